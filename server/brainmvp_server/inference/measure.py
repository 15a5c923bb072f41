"""What a mask holds, in millilitres and millimetres."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.task import Label, Region, RegionOutputs, SegmentationOutputs
from brainmvp_server.imaging.grid import Grid, bounding_box
from brainmvp_server.inference.brain_surface import Brain
from brainmvp_server.inference.diameters import Point, Size
from brainmvp_server.inference.parts import (
    Part,
    Side,
    centroid_of,
    parts_of,
    right_share_of,
    side_of,
)


@dataclass(frozen=True)
class Structure:
    """One region, or one class but the background, as it was found.

    Attributes:
        value: its value in the mask; None for a region that is a union of several labels.
        labels: the values in the mask that it is made of.
        components: connected parts (26 neighbours).
        bounding_box_mm: two opposite corners, outer voxel edges, RAS+; None if nothing was found.
        centroid_mm: mean of the voxels' centres, RAS+; None if nothing was found.
        parts: the largest connected parts, by size: as many as :func:`parts_of` measures.
        confidence: the mean probability of its voxels, calibrated where the bundle has a
            calibration; None if nothing was found.
    """

    name: str
    title: str
    value: int | None
    labels: tuple[int, ...]
    colour: str
    voxels: int
    volume_ml: float
    components: int
    bounding_box_mm: tuple[Point, Point] | None
    centroid_mm: Point | None
    parts: tuple[Part, ...]
    confidence: float | None = None

    @property
    def size(self) -> Size | None:
        """The diameters of the part that is longest in the plane, and the longest in space of all.

        No diameter spans two parts. None if nothing was found.
        """
        if not self.parts:
            return None
        longest = max((part.size for part in self.parts), key=lambda size: size.diameter_mm)
        in_space = max(part.size.diameter_3d_mm for part in self.parts)
        return replace(longest, diameter_3d_mm=in_space)

    @property
    def side(self) -> Side | None:
        """The half of the brain its parts lie in; None if nothing was found or no brain known."""
        return side_of(right_share_of(self.parts))

    @property
    def to_surface_mm(self) -> float | None:
        """The smallest distance of a part to the outer surface of the brain."""
        known = [part.to_surface_mm for part in self.parts if part.to_surface_mm is not None]
        return min(known, default=None)


def measure(
    members: tuple[NDArray[np.bool_], ...],
    outputs: SegmentationOutputs,
    grid: Grid,
    brain: Brain | None = None,
) -> tuple[Structure, ...]:
    """Measure each region or class.

    Args:
        members: one (i, j, k) boolean array a region, or a class without the background.
        brain: where it is known, in the grid's world.
    """
    entries: list[Region | Label] = []
    entries += outputs.regions if isinstance(outputs, RegionOutputs) else outputs.classes[1:]
    return tuple(
        _structure(mask, entry, grid, brain) for mask, entry in zip(members, entries, strict=True)
    )


def _structure(
    mask: NDArray[np.bool_], entry: Region | Label, grid: Grid, brain: Brain | None
) -> Structure:
    box = bounding_box(mask)
    labels = entry.labels if isinstance(entry, Region) else (entry.value,)
    value = labels[0] if len(labels) == 1 else None
    if box is None:
        return Structure(
            entry.name, entry.title, value, labels, entry.colour, 0, 0.0, 0, None, None, ()
        )
    inside = np.asfortranarray(mask[box.slices])
    voxels = int(np.count_nonzero(inside))
    parts, components = parts_of(inside, box.start, grid, brain)
    return Structure(
        name=entry.name,
        title=entry.title,
        value=value,
        labels=labels,
        colour=entry.colour,
        voxels=voxels,
        volume_ml=round(voxels * grid.voxel_ml, 6),
        components=components,
        bounding_box_mm=_box_mm(np.array(box.start), np.array(box.stop), grid),
        centroid_mm=centroid_of(inside, box.start, grid),
        parts=parts,
    )


def _box_mm(start: NDArray[np.intp], stop: NDArray[np.intp], grid: Grid) -> tuple[Point, Point]:
    ends = np.stack((start - 0.5, stop - 0.5))
    corners = np.array(np.meshgrid(*ends.T, indexing="ij")).reshape(3, -1)
    world = grid.affine[:3, :3] @ corners + grid.affine[:3, 3:]
    return _rounded(world.min(axis=1)), _rounded(world.max(axis=1))


def _rounded(point: NDArray[np.float64]) -> Point:
    x, y, z = (round(float(value), 3) + 0.0 for value in point)
    return x, y, z
