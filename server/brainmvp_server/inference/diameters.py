"""How long and how broad one connected part is: in the plane of the series, and in space.

A diameter runs from border to border. The border lies midway between a voxel of the part and its
neighbour outside, where a surface at the level 0.5 crosses the lines between voxel centres. That is
the surface the Image Biomarker Standardisation Initiative measures on (IBSI reference manual,
3.1.11, "maximum 3D diameter", code L0JK). Between voxel centres every diameter would be about one
voxel too short, between voxel corners about one voxel's diagonal too long.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from brainmvp_server.imaging.grid import Grid

Plane = Literal["sagittal", "coronal", "axial"]
Point = tuple[float, float, float]
Ends = tuple[Point, Point]
Points = NDArray[np.float64]
Mask = NDArray[np.bool_]

PLANES: tuple[Plane, Plane, Plane] = ("sagittal", "coronal", "axial")
THICK = 1.5
"""Slices so many times as far apart as their coarser pixels are measured in the plane they were
acquired in."""
_EQUAL_MM = 1e-6
"""Diameters that differ by less are equally long."""
_TURNS = 16
"""Directions in a plane in which the slices' widths are compared."""
_FEW = 4
"""Of the directions in space, the fewest along an edge of a cube."""
_BLOCK = 4_000_000
"""Numbers that are worked on at a time."""


@dataclass(frozen=True)
class Size:
    """The diameters of one connected part, in mm.

    Attributes:
        plane: the slices that ``diameter_mm`` and ``across_mm`` lie in.
        diameter_mm: the longest distance between two points of the border in one slice.
        across_mm: the longest one in the same slice at right angles to it, within the convex hull.
        product_mm2: both multiplied: the bidimensional product of Macdonald (J Clin Oncol 1990;
            8:1277), RANO (J Clin Oncol 2010; 28:1963) and RANO 2.0 (J Clin Oncol 2023; 41:5187).
        diameter_3d_mm: the longest distance between two points of the border.
        diameter_ends_mm, across_ends_mm: where they begin and end, RAS+.
    """

    plane: Plane
    diameter_mm: float
    across_mm: float
    product_mm2: float
    diameter_3d_mm: float
    diameter_ends_mm: Ends
    across_ends_mm: Ends


def slice_axis(grid: Grid) -> tuple[int, Plane]:
    """The axis across the slices to measure in, and their plane.

    Thick slices are measured as they were acquired; where voxels have about equal edges, or the
    slices are axial anyway, in the plane nearest to axial.
    """
    _, second, coarsest = sorted(range(3), key=lambda axis: grid.spacing[axis])
    axis = grid.orientation.axes[2]
    if grid.spacing[coarsest] > THICK * grid.spacing[second]:
        axis = coarsest
    return axis, PLANES[grid.orientation.axes.index(axis)]


def size_of(mask: Mask, grid: Grid, start: tuple[int, int, int] = (0, 0, 0)) -> Size:
    """Measure a part.

    Args:
        mask: (i, j, k), with at least one true voxel: a box cut out of the grid.
        start: where on the grid the box begins.
    """
    axis, plane = slice_axis(grid)
    ends = [line_ends(mask, along) for along in range(3)]
    linear, corner = grid.affine[:3, :3], grid.affine[:3, :3] @ start + grid.affine[:3, 3]
    flat = np.concatenate([ends[along] for along in range(3) if along != axis])
    cross = _longest_cross(flat, axis, linear)
    space = np.concatenate(ends) @ linear.T
    _, long_mm = farthest(space)
    diameter, across = (_world(pair, linear, corner) for pair in (cross.along, cross.across))
    return Size(
        plane=plane,
        diameter_mm=round(cross.diameter, 3),
        across_mm=round(cross.width, 3),
        product_mm2=round(cross.diameter * cross.width, 3),
        diameter_3d_mm=round(long_mm, 3),
        diameter_ends_mm=diameter,
        across_ends_mm=across,
    )


def line_ends(mask: Mask, axis: int, beyond: float = 0.5) -> Points:
    """(N, 3) indices where lines along an axis enter the mask first and leave it last.

    The other crossings lie between these: no diameter ends there.

    Args:
        beyond: how far past the centres of the outermost voxels; half a voxel is their border.
    """
    hit = mask.any(axis=axis)
    first = mask.argmax(axis=axis)[hit] - beyond
    last = mask.shape[axis] - np.flip(mask, axis).argmax(axis=axis)[hit] - 1 + beyond
    places = np.argwhere(hit).astype(np.float64)
    enter, leave = (np.insert(places, axis, end, axis=1) for end in (first, last))
    return np.concatenate([enter, leave])


@dataclass(frozen=True, eq=False)
class _Cross:
    """Two diameters at right angles; (2, 3) indices each."""

    diameter: float
    width: float
    along: Points
    across: Points


def _longest_cross(points: Points, axis: int, linear: Points) -> _Cross:
    """The longest diameter in a slice, and the longest across it; of equals the broadest.

    Args:
        points: (N, 3) indices; the one along ``axis`` is whole and names the slice.
        linear: (3, 3), index steps to mm.
    """
    inner = [along for along in range(3) if along != axis]
    # Two right-angled coordinates in mm, whatever angle the axes of the grid have.
    to_mm = np.asarray(np.linalg.qr(linear[:, inner]).R)
    best: _Cross | None = None
    for level, flat in _long_slices(points, axis, to_mm):
        hull = convex_hull(flat)
        apart = np.linalg.norm(hull[:, None] - hull[None], axis=2)
        longest = float(apart.max())
        for a, b in np.argwhere(np.triu(apart >= longest - _EQUAL_MM, 1)):
            chord = chord_across(hull, int(a), int(b))
            width = float(np.linalg.norm(chord[1] - chord[0]))
            gain = longest - (best.diameter if best else -np.inf)
            if best is None or gain > _EQUAL_MM or (gain >= -_EQUAL_MM and width > best.width):
                along, across = (
                    np.insert(pair @ np.linalg.inv(to_mm).T, axis, level, axis=1)
                    for pair in (hull[[a, b]], chord)
                )
                best = _Cross(longest, width, along, across)
    assert best is not None  # a part has a voxel
    return best


def _long_slices(points: Points, axis: int, to_mm: Points) -> Iterator[tuple[float, Points]]:
    """The slices that can hold the longest diameter: each one's index, and its points (N, 2) in mm.

    A slice's diameter is at least its width in any direction, and at most the largest of its widths
    in evenly spread ones over the cosine of half the angle between two of them.
    """
    points = points[np.argsort(points[:, axis], kind="stable")]
    levels, begins = np.unique(points[:, axis], return_index=True)
    flat = np.delete(points, axis, axis=1) @ to_mm.T
    angles = np.pi / _TURNS * np.arange(_TURNS)
    reach = flat @ np.stack([np.cos(angles), np.sin(angles)])
    widths = np.maximum.reduceat(reach, begins) - np.minimum.reduceat(reach, begins)
    widest = widths.max(axis=1)
    least = widest.max() * np.cos(np.pi / (2 * _TURNS)) - _EQUAL_MM
    for level, width, part in zip(levels, widest, np.split(flat, begins[1:]), strict=True):
        if width >= least:
            yield float(level), part


def convex_hull(points: Points) -> Points:
    """The corners of the convex hull of (N, 2) points, counterclockwise, by a monotone chain."""
    ordered = [(float(x), float(y)) for x, y in np.unique(points, axis=0)]
    halves = []
    for way in (ordered, ordered[::-1]):
        half: list[tuple[float, float]] = []
        for point in way:
            while len(half) > 1 and _turn(half[-2], half[-1], point) <= 0:
                half.pop()
            half.append(point)
        halves += half[:-1]
    return np.array(halves or ordered)


def _turn(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    """Above 0 where the way from a over b to c turns left."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def chord_across(hull: Points, a: int, b: int) -> Points:
    """The longest chord (2, 2) of a convex polygon at right angles to its diameter from a to b.

    The polygon's two sides are functions of the place along the diameter, for no corner lies beyond
    its ends; between corners they are straight, so that the longest chord goes through a corner.
    """
    along = hull[b] - hull[a]
    along = along / np.linalg.norm(along)
    across = np.array([-along[1], along[0]])
    place, height = (hull - hull[a]) @ along, (hull - hull[a]) @ across
    height[[a, b]] = 0.0
    sides = []
    for side in (height >= 0, height <= 0):
        order = np.argsort(place[side], kind="stable")
        sides.append(np.interp(place, place[side][order], height[side][order]))
    at = int(np.argmax(sides[0] - sides[1]))
    foot = hull[a] + place[at] * along
    return np.stack([foot + sides[0][at] * across, foot + sides[1][at] * across])


def farthest(points: Points) -> tuple[tuple[int, int], float]:
    """The two of (N, 3) points that are farthest apart, and their distance.

    It is exact. A first guess leaves out the points near its middle: none of them can be an end.
    Directions are spread so that none in space is more than an angle d from one of them. Seen along
    the nearest one, the pair lies at least cos d of its length apart: so each end lies in a thin
    cap of the points at that side, and only caps are compared pair by pair.
    """
    pair, best, _ = _along(points, _directions(_FEW))
    radii = np.linalg.norm(points - points[list(pair)].mean(axis=0), axis=1)
    kept = np.flatnonzero(radii >= best - radii.max() - _EQUAL_MM)
    points = points[kept]
    fine = max(_FEW, round(0.7 * len(points) ** 0.25))
    directions, slack = _directions(fine), float(np.cos(np.sqrt(2) / fine))
    guess, length, reaches = _along(points, directions)
    if length > best:
        pair, best = (int(kept[guess[0]]), int(kept[guess[1]])), length
    for at in np.argsort(reaches[:, 0] - reaches[:, 1]):
        low, high = reaches[at]
        least = best * slack - _EQUAL_MM
        if high - low < least:
            break
        reach = points @ directions[at]
        tops, bottoms = (
            np.flatnonzero(cap) for cap in (reach >= low + least, reach <= high - least)
        )
        guess, length = _farthest_between(points, tops, bottoms)
        if length > best:
            pair, best = (int(kept[guess[0]]), int(kept[guess[1]])), length
    return pair, best


def _along(points: Points, directions: Points) -> tuple[tuple[int, int], float, Points]:
    """The farthest of the pairs that directions have at their ends, and where they end (M, 2)."""
    pair, best = (0, 0), 0.0
    reaches = np.empty((len(directions), 2))
    step = max(_BLOCK // len(points), 1)
    for at in range(0, len(directions), step):
        reach = directions[at : at + step] @ points.T
        bottoms, tops = reach.argmin(axis=1), reach.argmax(axis=1)
        rows = np.arange(len(reach))
        reaches[at : at + step] = np.stack([reach[rows, bottoms], reach[rows, tops]], axis=1)
        apart = np.linalg.norm(points[tops] - points[bottoms], axis=1)
        widest = int(apart.argmax())
        if apart[widest] > best:
            pair, best = (int(tops[widest]), int(bottoms[widest])), float(apart[widest])
    return pair, best, reaches


def _directions(fine: int) -> Points:
    """(3 fine², 3) unit vectors: any direction or its opposite is within √2 / fine rad of one.

    They point to the middles of squares on three faces of a cube; half a square's diagonal is
    √2 / fine of half the cube's edge.
    """
    middles = (2 * np.arange(fine) + 1) / fine - 1
    a, b = (grid.ravel() for grid in np.meshgrid(middles, middles))
    vectors = np.concatenate(
        [np.insert(np.stack([a, b], axis=1), face, 1.0, axis=1) for face in range(3)]
    )
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _farthest_between(
    points: Points, tops: NDArray[np.intp], bottoms: NDArray[np.intp]
) -> tuple[tuple[int, int], float]:
    """The farthest pair with one end among each."""
    pair, best = (0, 0), 0.0
    there = points[bottoms]
    step = max(_BLOCK // (3 * max(len(bottoms), 1)), 1)
    for at in range(0, len(tops), step):
        here = points[tops[at : at + step]]
        squares = here @ (-2 * there.T)
        squares += np.square(here).sum(axis=1)[:, None]
        squares += np.square(there).sum(axis=1)
        a, b = np.unravel_index(int(squares.argmax()), squares.shape)
        if squares[a, b] > best:
            pair, best = (int(tops[at + a]), int(bottoms[b])), float(squares[a, b])
    return pair, float(np.sqrt(best))


def _world(pair: Points, linear: Points, corner: Points) -> Ends:
    """Two indices (2, 3) as points in mm."""
    ends = pair @ linear.T + corner
    first, second = (tuple(round(float(value), 3) + 0.0 for value in end) for end in ends)
    return (first[0], first[1], first[2]), (second[0], second[1], second[2])
