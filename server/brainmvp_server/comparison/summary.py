"""A comparison as JSON: what the service answers and ``comparison.json`` holds."""

from __future__ import annotations

from pydantic import Field

from brainmvp_models.modality import Modality
from brainmvp_server.comparison.align import Alignment
from brainmvp_server.comparison.change import Change, Status, Thresholds
from brainmvp_server.comparison.compare import Comparison
from brainmvp_server.comparison.lesions import Lesion, StructureChange
from brainmvp_server.comparison.match import LEAST_SHARED, REACH_MM
from brainmvp_server.comparison.visit import Visit
from brainmvp_server.inference.parts import SMALLEST_PART_ML
from brainmvp_server.results.structures import PartFound
from brainmvp_server.results.wire import Point, Wire

INTENDED_USE = (
    "For research. The figures describe two masks and how far they can be told apart; they are no "
    "assessment of response or progression. Look at both studies."
)


class VisitCompared(Wire):
    """One of the two times."""

    series: Modality = Field(description="The series that the mask lies on.")
    digest: str = Field(description="That series' digest, as in a result's summary.")
    spacing_mm: Point
    model: str | None = Field(description="Null for a mask made elsewhere.")
    version: str | None
    bundle: str | None
    demo: bool


class AlignmentDone(Wire):
    """How the two times were brought together: rigidly, nothing was bent."""

    before_series: Modality
    after_series: Modality
    moved_mm: float = Field(description="How far a point of the head was moved, on average.")
    turned_degrees: float
    similarity_before: float | None = Field(
        description="Normalised mutual information by the headers, 1 to 2; null for one file."
    )
    similarity_after: float | None = Field(description="The same as they were brought.")
    after_to_before: tuple[tuple[float, float, float, float], ...] = Field(
        description="4 × 4, takes a point of the later mask's world to the earlier one's, R-A-S mm."
    )


class FigureChange(Wire):
    """A figure at two times."""

    before: float
    after: float
    difference: float
    percent: float | None = Field(description="Of before; null where that is 0.")
    difference_low: float = Field(description="Lower end of the 95 % interval of the difference.")
    difference_high: float = Field(description="Its upper end.")
    status: Status

    @classmethod
    def of(cls, change: Change) -> FigureChange:
        """As it was computed, to three digits."""
        return cls(
            before=round(change.before, 3),
            after=round(change.after, 3),
            difference=round(change.difference, 3),
            percent=None if change.percent is None else round(change.percent, 1),
            difference_low=round(change.low, 3),
            difference_high=round(change.high, 3),
            status=change.status,
        )


class LesionCompared(Wire):
    """A lesion at two times."""

    number: int = Field(description="1 for the largest of either time.")
    status: Status = Field(description="By its volume.")
    volume_ml: FigureChange
    product_mm2: FigureChange = Field(
        description="Bidimensional product; of a lesion in several parts, their sum."
    )
    side: str | None = Field(description="The half of the brain; null where no brain is known.")
    centroid_mm: Point = Field(description="In the later time's world, RAS+.")
    centroid_before_mm: Point | None = Field(
        description="In the earlier time's world; null where it was not there."
    )
    before: tuple[PartFound, ...] = Field(
        description=f"Its connected parts of {SMALLEST_PART_ML:g} mL or more, as in that time's "
        "result, numbered anew."
    )
    after: tuple[PartFound, ...]

    @classmethod
    def of(cls, lesion: Lesion) -> LesionCompared:
        """As it was compared."""
        return cls(
            number=lesion.number,
            status=lesion.status,
            volume_ml=FigureChange.of(lesion.volume),
            product_mm2=FigureChange.of(lesion.product),
            side=lesion.side,
            centroid_mm=lesion.centroid_mm,
            centroid_before_mm=lesion.centroid_before_mm,
            before=tuple(map(PartFound.of, lesion.before)),
            after=tuple(map(PartFound.of, lesion.after)),
        )


class StructureCompared(Wire):
    """A structure at two times, and its lesions."""

    name: str
    title: str
    labels: tuple[int, ...] = Field(description="The values in the masks that it is made of.")
    volume_ml: FigureChange = Field(description="Of all of it.")
    counts: dict[Status, int] = Field(description="How many lesions of each status.")
    lesions: tuple[LesionCompared, ...] = Field(
        description=f"By size. Parts are one lesion where they share {LEAST_SHARED:.0%} of the "
        f"smaller one, or share nothing and lie within {REACH_MM:g} mm."
    )
    specks: int = Field(
        description=f"Lesions that are left out: no part of them has {SMALLEST_PART_ML:g} mL."
    )
    error_before_ml: float | None = Field(
        description="The model's mean absolute volume error that the intervals rest on; null where "
        "none was measured: they then rest on the place of the border between voxels."
    )
    error_after_ml: float | None

    @classmethod
    def of(cls, structure: StructureChange) -> StructureCompared:
        """As it was compared."""
        statuses = [lesion.status for lesion in structure.lesions]
        return cls(
            name=structure.kind.name,
            title=structure.kind.title,
            labels=structure.kind.labels,
            volume_ml=FigureChange.of(structure.volume),
            counts={one: statuses.count(one) for one in Status if one in statuses},
            lesions=tuple(map(LesionCompared.of, structure.lesions)),
            specks=structure.specks,
            error_before_ml=structure.errors_ml[0],
            error_after_ml=structure.errors_ml[1],
        )


class ComparisonSummary(Wire):
    """Everything about a comparison but its pictures."""

    before: VisitCompared
    after: VisitCompared
    alignment: AlignmentDone
    volume_threshold_percent: float
    product_threshold_percent: float
    structures: tuple[StructureCompared, ...]
    warnings: tuple[str, ...]
    intended_use: str

    @classmethod
    def of(cls, made: Comparison) -> ComparisonSummary:
        """Of a comparison."""
        limits: Thresholds = made.thresholds
        return cls(
            before=_visit(made.before),
            after=_visit(made.after),
            alignment=_alignment(made.alignment),
            volume_threshold_percent=limits.volume_percent,
            product_threshold_percent=limits.product_percent,
            structures=tuple(map(StructureCompared.of, made.structures)),
            warnings=made.warnings,
            intended_use=INTENDED_USE,
        )


def _visit(visit: Visit) -> VisitCompared:
    made = visit.maker
    x, y, z = (round(edge, 4) for edge in visit.grid.spacing)
    return VisitCompared(
        series=visit.drawn_on,
        digest=visit.shown.digest,
        spacing_mm=(x, y, z),
        model=made.name if made else None,
        version=made.version if made else None,
        bundle=made.bundle if made else None,
        demo=made is not None and made.demo,
    )


def _alignment(done: Alignment) -> AlignmentDone:
    found = done.found
    a, b, c, d = (tuple(round(float(value), 6) for value in row) for row in done.to_before.matrix)
    return AlignmentDone(
        before_series=done.series[0],
        after_series=done.series[1],
        moved_mm=round(found.moved_mm, 2) if found else 0.0,
        turned_degrees=round(found.to_moving.degrees, 2) if found else 0.0,
        similarity_before=round(found.before, 4) if found else None,
        similarity_after=round(found.after, 4) if found else None,
        after_to_before=(a, b, c, d),  # type: ignore[arg-type]
    )
