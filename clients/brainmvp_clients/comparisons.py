"""What a server says of two studies of a patient, as frozen values."""

from __future__ import annotations

from brainmvp_clients.answers import Answer, Part, Triple


class VisitCompared(Answer):
    """One of the two times; ``model`` is None for a mask made elsewhere."""

    series: str
    digest: str
    spacing_mm: Triple
    model: str | None = None
    version: str | None = None
    bundle: str | None = None
    demo: bool = False


class AlignmentDone(Answer):
    """How the two times were brought together, rigidly.

    Attributes:
        moved_mm: how far a point of the head was moved, on average.
        similarity_before, similarity_after: normalised mutual information by the headers and as
            aligned, 1 to 2; None where both times are one file.
        after_to_before: 4 × 4, the later mask's world to the earlier one's, R-A-S mm.
    """

    before_series: str
    after_series: str
    moved_mm: float
    turned_degrees: float
    similarity_before: float | None = None
    similarity_after: float | None = None
    after_to_before: tuple[tuple[float, float, float, float], ...]


class FigureChange(Answer):
    """A volume in mL or a product in mm² at two times.

    Attributes:
        percent: of ``before``; None where that is 0.
        difference_low, difference_high: the 95 % interval of the difference.
        status: new, gone, grown, shrunk, stable, not decidable or absent.
    """

    before: float
    after: float
    difference: float
    percent: float | None = None
    difference_low: float
    difference_high: float
    status: str


class LesionCompared(Answer):
    """A lesion at two times.

    Attributes:
        centroid_mm: in the later time's world, RAS+; ``centroid_before_mm`` in the earlier one's.
        before, after: its connected parts.
    """

    number: int
    status: str
    volume_ml: FigureChange
    product_mm2: FigureChange
    side: str | None = None
    centroid_mm: Triple
    centroid_before_mm: Triple | None = None
    before: tuple[Part, ...]
    after: tuple[Part, ...]


class StructureCompared(Answer):
    """A structure at two times.

    Attributes:
        counts: how many lesions of each status.
        specks: lesions left out for their size.
        error_before_ml, error_after_ml: the model's mean absolute volume error that the intervals
            rest on; None where none was measured.
    """

    name: str
    title: str
    labels: tuple[int, ...]
    volume_ml: FigureChange
    counts: dict[str, int]
    lesions: tuple[LesionCompared, ...]
    specks: int
    error_before_ml: float | None = None
    error_after_ml: float | None = None


class Comparison(Answer):
    """What changed between two studies of a patient."""

    before: VisitCompared
    after: VisitCompared
    alignment: AlignmentDone
    volume_threshold_percent: float
    product_threshold_percent: float
    structures: tuple[StructureCompared, ...]
    warnings: tuple[str, ...]
    intended_use: str
