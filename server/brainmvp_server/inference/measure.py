"""What a mask holds, in millilitres and millimetres."""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray

from brainmvp_models.task import Label, Region, RegionOutputs, SegmentationOutputs
from brainmvp_server.imaging.grid import Grid, bounding_box

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Structure:
    """One region, or one class but the background, as it was found.

    Attributes:
        value: its value in the mask; None for a region that is a union of several labels.
        labels: the values in the mask that it is made of.
        components: connected parts (26 neighbours).
        bounding_box_mm: two opposite corners, outer voxel edges, RAS+; None if nothing was found.
        centroid_mm: mean of the voxels' centres, RAS+; None if nothing was found.
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


def measure(
    members: tuple[NDArray[np.bool_], ...], outputs: SegmentationOutputs, grid: Grid
) -> tuple[Structure, ...]:
    """Measure each region or class.

    Args:
        members: one (i, j, k) boolean array a region, or a class without the background.
    """
    entries: list[Region | Label] = []
    entries += outputs.regions if isinstance(outputs, RegionOutputs) else outputs.classes[1:]
    return tuple(
        _structure(mask, entry, grid) for mask, entry in zip(members, entries, strict=True)
    )


def _structure(mask: NDArray[np.bool_], entry: Region | Label, grid: Grid) -> Structure:
    box = bounding_box(mask)
    labels = entry.labels if isinstance(entry, Region) else (entry.value,)
    value = labels[0] if len(labels) == 1 else None
    if box is None:
        return Structure(
            entry.name, entry.title, value, labels, entry.colour, 0, 0.0, 0, None, None
        )
    inside = np.asfortranarray(mask[box.slices])
    voxels = int(np.count_nonzero(inside))
    _, components = cc3d.connected_components(inside, connectivity=26, return_N=True)
    return Structure(
        name=entry.name,
        title=entry.title,
        value=value,
        labels=labels,
        colour=entry.colour,
        voxels=voxels,
        volume_ml=round(voxels * grid.voxel_ml, 6),
        components=int(components),
        bounding_box_mm=_box_mm(np.array(box.start), np.array(box.stop), grid),
        centroid_mm=_point(_centroid(inside) + np.array(box.start), grid),
    )


def _centroid(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean index of the true voxels along each axis."""
    means = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        weights = np.count_nonzero(mask, axis=others).astype(np.float64)
        means.append(float(np.average(np.arange(mask.shape[axis]), weights=weights)))
    return np.array(means)


def _box_mm(start: NDArray[np.intp], stop: NDArray[np.intp], grid: Grid) -> tuple[Point, Point]:
    ends = np.stack((start - 0.5, stop - 0.5))
    corners = np.array(np.meshgrid(*ends.T, indexing="ij")).reshape(3, -1)
    world = grid.affine[:3, :3] @ corners + grid.affine[:3, 3:]
    return _rounded(world.min(axis=1)), _rounded(world.max(axis=1))


def _point(index: NDArray[np.float64], grid: Grid) -> Point:
    return _rounded(grid.affine[:3, :3] @ index + grid.affine[:3, 3])


def _rounded(point: NDArray[np.float64]) -> Point:
    x, y, z = (round(float(value), 3) + 0.0 for value in point)
    return x, y, z
