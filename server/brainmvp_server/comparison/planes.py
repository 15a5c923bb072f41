"""Axial planes through both times at one place, in the later time's world."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmvp_server.comparison.change import Status
from brainmvp_server.comparison.compare import Comparison
from brainmvp_server.comparison.lesions import Lesion, StructureChange
from brainmvp_server.comparison.visit import Visit
from brainmvp_server.imaging.align import interpolated
from brainmvp_server.imaging.grid import Grid, carried
from brainmvp_server.inference.brain_surface import Brain
from brainmvp_server.inference.parts import Components
from brainmvp_server.preparation.rigid import RigidTransform

Array = NDArray[np.float32]

ROWS = 4
_PIXEL_MM = 0.5
_MARGIN_MM = 6.0
_APART_MM = 4.0
"""Planes nearer to each other than this show the same again."""
_DARK, _BRIGHT = 1.0, 99.5
"""Percentiles of the brain's values that are drawn black and white."""
_FIRST = (Status.NEW, Status.GONE, Status.GROWN, Status.SHRUNK, Status.UNDECIDED, Status.STABLE)
"""What is shown before what."""
_HERE = RigidTransform.identity()


@dataclass(frozen=True, eq=False)
class Outline:
    """A lesion in a plane: its name, and (rows, columns) where it is."""

    name: str
    status: Status
    inside: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Panel:
    """One time in a plane: (rows, columns) from 0 to 1, and the lesions that are there.

    Rows run from anterior down, columns from the patient's right.
    """

    image: Array
    outlines: tuple[Outline, ...]


@dataclass(frozen=True, eq=False)
class Row:
    """One place at both times; ``height_mm`` is the plane's S coordinate."""

    height_mm: float
    before: Panel
    after: Panel


def rows_of(made: Comparison) -> Iterator[Row]:
    """Planes through what changed most, at most :data:`ROWS`; else three of the brain."""
    structures = drawn_structures(made.structures)
    low, high = _field(made)
    times = (
        _Time(made.before, made.brains[0], made.alignment.to_before, 0),
        _Time(made.after, made.brains[1], _HERE, 1),
    )
    for height in _heights(structures, float(low[2]), float(high[2])):
        plane = _plane(low, high, height)
        before, after = (time.panel(plane, structures) for time in times)
        yield Row(height, before, after)


def drawn_structures(structures: Sequence[StructureChange]) -> tuple[StructureChange, ...]:
    """Those that are no part of another one: of a tumour's regions, the whole tumour."""
    labels = [set(one.kind.labels) for one in structures]
    return tuple(
        one for one, mine in zip(structures, labels, strict=True)
        if not any(mine < other for other in labels)
    )  # fmt: skip


class _Time:
    """One of the two times, ready to be drawn.

    Args:
        way: takes a point of the later world to this time's.
        index: 0 for the earlier.
    """

    def __init__(self, visit: Visit, brain: Brain | None, way: RigidTransform, index: int) -> None:
        shown = visit.shown
        self._values = np.asarray(shown.values(shown.stored), np.float32)
        self._grid, self._way, self._index = shown.grid, way, index
        inside = self._values > self._values.min() if brain is None else brain.mask
        ends = np.percentile(self._values[inside], (_DARK, _BRIGHT))
        self._low, self._span = float(ends[0]), max(float(ends[1] - ends[0]), 1e-6)

    def panel(self, plane: Grid, structures: Sequence[StructureChange]) -> Panel:
        values, _ = interpolated(self._values, self._grid, plane, self._way.matrix)
        image = np.clip((_upright(values) - self._low) / self._span, 0, 1)
        return Panel(np.asarray(image, np.float32), tuple(self._outlines(plane, structures)))

    def _outlines(self, plane: Grid, structures: Sequence[StructureChange]) -> Iterator[Outline]:
        for structure in structures:
            found = structure.found[self._index]
            if found is None:
                continue
            numbers = _upright(_read(found, plane, self._way))
            for lesion in structure.lesions:
                parts = (lesion.matched.before, lesion.matched.after)[self._index]
                inside = np.isin(numbers, parts)
                if inside.any():
                    name = str(lesion.number)
                    if len(structures) > 1:
                        name = f"{structure.kind.name} {name}"
                    yield Outline(name, lesion.status, inside)


def _field(made: Comparison) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two corners, mm, around the brain in the later world, or around the series."""
    brain, grid = made.brains[1], made.after.shown.grid
    inside = np.argwhere(brain.mask) if brain is not None else np.argwhere(np.ones(grid.shape))
    points = carried(inside[:: max(len(inside) // 50_000, 1)], grid.affine)
    return points.min(axis=0) - _MARGIN_MM, points.max(axis=0) + _MARGIN_MM


def _heights(structures: Sequence[StructureChange], low: float, high: float) -> Iterator[float]:
    lesions = [lesion for structure in structures for lesion in structure.lesions]
    if not lesions:
        yield from (low + share * (high - low) for share in (0.35, 0.5, 0.65))
        return
    taken: list[float] = []
    for lesion in sorted(lesions, key=_rank):
        height = _height(lesion)
        if all(abs(height - other) >= _APART_MM for other in taken) and len(taken) < ROWS:
            taken.append(height)
            yield height


def _height(lesion: Lesion) -> float:
    """Where it is seen at the later time: the plane of its largest part's longest diameter."""
    if not lesion.after:
        return lesion.centroid_mm[2]
    one, other = lesion.after[0].size.diameter_ends_mm
    return (one[2] + other[2]) / 2


def _rank(lesion: Lesion) -> tuple[int, float]:
    return _FIRST.index(lesion.status), -max(lesion.volume.before, lesion.volume.after)


def _plane(low: NDArray[np.float64], high: NDArray[np.float64], height: float) -> Grid:
    affine = np.diag([_PIXEL_MM, _PIXEL_MM, 1.0, 1.0])
    affine[:3, 3] = (low[0], low[1], height)
    across, up = (int(n) for n in np.ceil((high - low)[:2] / _PIXEL_MM) + 1)
    return Grid((across, up, 1), affine)


def _read(found: Components, plane: Grid, way: RigidTransform) -> NDArray[np.int32]:
    """(X, Y, 1), the number of the part at each pixel, 0 outside."""
    index = np.indices(plane.shape).reshape(3, -1).T
    points = way.apply(carried(index, plane.affine))
    places = np.rint(carried(points, found.grid.inverse)).astype(np.intp)
    places -= np.array(found.start)
    reached = ((places >= 0) & (places < found.numbers.shape)).all(axis=1)
    read = np.zeros(len(index), dtype=np.int32)
    read[reached] = found.numbers[tuple(places[reached].T)]
    return read.reshape(plane.shape)


def _upright(plane: NDArray[Any]) -> NDArray[Any]:
    """(rows, columns) of a plane (X, Y, 1): anterior up, the patient's right on the left."""
    return plane[::-1, ::-1, 0].T
