"""The structures of a mask and their connected parts, as ``summary.json`` holds them."""

from __future__ import annotations

from pydantic import Field

from brainmvp_server.inference.diameters import Plane
from brainmvp_server.inference.measure import Structure
from brainmvp_server.inference.parts import MOST_PARTS, ONE_SIDE, SMALLEST_PART_ML, Part, Side
from brainmvp_server.results.wire import Point, Wire


class SizeFound(Wire):
    """The diameters of a connected part, from border to border."""

    plane: Plane = Field(description="The slices that the first two diameters lie in.")
    diameter_mm: float = Field(description="The longest diameter in one slice.")
    across_mm: float = Field(description="The longest one in that slice at right angles to it.")
    product_mm2: float = Field(description="Both multiplied: RANO's bidimensional product.")
    diameter_3d_mm: float = Field(description="The longest diameter in space.")
    diameter_ends_mm: tuple[Point, Point] = Field(description="RAS+.")
    across_ends_mm: tuple[Point, Point] = Field(description="RAS+.")


class PartFound(Wire):
    """A connected part of a structure (26 neighbours): of a model of lesions, a lesion."""

    number: int = Field(description="1 for the largest; it says nothing of another result's parts.")
    voxels: int
    volume_ml: float
    centroid_mm: Point = Field(description="Mean of the voxels' centres, RAS+.")
    size: SizeFound
    side: Side | None = Field(
        description=f"The half of the brain that holds {100 * ONE_SIDE:.0f} % of it; null where no "
        "brain is known."
    )
    to_surface_mm: float | None = Field(
        description="The smallest distance to the outer surface of the brain, 0 where it reaches "
        "outside; null where no brain is known."
    )

    @classmethod
    def of(cls, part: Part) -> PartFound:
        """As it was measured."""
        return cls(
            number=part.number,
            voxels=part.voxels,
            volume_ml=part.volume_ml,
            centroid_mm=part.centroid_mm,
            size=SizeFound(**vars(part.size)),
            side=part.side,
            to_surface_mm=part.to_surface_mm,
        )


class StructureFound(Wire):
    """A region or class, measured on the native grid."""

    name: str
    title: str
    value: int | None = Field(
        description="Its value in the mask; null for a region of several labels."
    )
    labels: tuple[int, ...] = Field(description="The values in the mask that it is made of.")
    colour: str
    volume_ml: float
    voxels: int
    components: int = Field(description="Connected parts (26 neighbours).")
    bounding_box_mm: tuple[Point, Point] | None = Field(
        description="Two opposite corners, outer voxel edges, RAS+; null if nothing was found."
    )
    centroid_mm: Point | None = Field(
        description="Mean of the voxels' centres, RAS+; null if nothing was found."
    )
    size: SizeFound | None = Field(
        default=None,
        description="Of the part that is longest in one slice; diameter_3d_mm is the largest of "
        "any part.",
    )
    side: Side | None = Field(default=None, description="As of a part, of the parts together.")
    to_surface_mm: float | None = Field(
        default=None, description="As of a part, of the part that is nearest."
    )
    parts: tuple[PartFound, ...] = Field(
        default=(),
        description=f"The largest connected parts, by size: at most {MOST_PARTS}, and beyond the "
        f"first only those of {SMALLEST_PART_ML:g} mL or more. components counts all.",
    )

    confidence: float | None = Field(
        default=None,
        description="The mean probability of its voxels, 0 to 1; it ranks results, see "
        "docs/evaluation.md. Null if nothing was found.",
    )

    @classmethod
    def of(cls, structure: Structure) -> StructureFound:
        """As it was measured."""
        size = structure.size
        return cls(
            name=structure.name,
            title=structure.title,
            value=structure.value,
            labels=structure.labels,
            colour=structure.colour,
            volume_ml=structure.volume_ml,
            voxels=structure.voxels,
            components=structure.components,
            bounding_box_mm=structure.bounding_box_mm,
            centroid_mm=structure.centroid_mm,
            size=SizeFound(**vars(size)) if size else None,
            side=structure.side,
            to_surface_mm=structure.to_surface_mm,
            parts=tuple(PartFound.of(part) for part in structure.parts),
            confidence=None if structure.confidence is None else round(structure.confidence, 4),
        )
