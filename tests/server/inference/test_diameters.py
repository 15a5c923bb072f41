"""Diameters of bodies whose measures are known, and against every pair of border points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainmvp_server.imaging.grid import Grid
from brainmvp_server.inference.diameters import Points, Size, farthest, size_of, slice_axis
from mask_border import border

SPACINGS = ((1.0, 1.0, 1.0), (0.5, 0.5, 3.0), (0.9, 1.1, 1.3))


def turned(spacing: tuple[float, float, float], degrees: float = 0.0) -> np.ndarray:
    """An affine of a spacing, turned about two axes."""
    angle = np.radians(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    about_z = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag(spacing)
    affine[:3, 3] = (-30, 12, 7)
    return affine


def ellipsoid(affine: np.ndarray, form: np.ndarray, reach: float) -> np.ndarray:
    """The voxels whose centres x fulfil x' form x <= 1, with the origin between voxels."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    half = np.ceil(reach / spacing).astype(int) + 2
    index = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in half], indexing="ij"), axis=-1)
    world = (index + np.array((0.1, 0.2, 0.3))) @ affine[:3, :3].T
    return np.einsum("...a,ab,...b->...", world, form, world) <= 1


@pytest.mark.parametrize("degrees", [0.0, 25.0])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_a_ball_is_as_long_as_broad_as_its_diameter(
    spacing: tuple[float, float, float], degrees: float
) -> None:
    affine, radius = turned(spacing, degrees), 14.3
    mask = ellipsoid(affine, np.eye(3) / radius**2, radius)
    size = size_of(mask, Grid(mask.shape, affine))
    edge = max(spacing[:2])
    assert size.diameter_mm == pytest.approx(2 * radius, abs=edge)
    assert size.across_mm == pytest.approx(2 * radius, abs=edge)
    assert size.diameter_3d_mm == pytest.approx(2 * radius, abs=max(spacing))
    assert size.product_mm2 == pytest.approx(size.diameter_mm * size.across_mm, abs=0.1)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("degrees", [0.0, 20.0])
def test_an_oblique_ellipsoid_has_the_axes_of_its_section_in_the_plane_of_the_grid(
    spacing: tuple[float, float, float], degrees: float
) -> None:
    affine, halves = turned(spacing, degrees), np.array((21.0, 12.0, 9.0))
    axes = np.linalg.qr(np.array([[1.0, 0.4, 0.2], [-0.3, 1.0, 0.5], [0.2, -0.4, 1.0]]))[0]
    form = axes @ np.diag(1 / halves**2) @ axes.T
    mask = ellipsoid(affine, form, 21.0)
    size = size_of(mask, Grid(mask.shape, affine))
    plane = np.linalg.qr(affine[:3, :2])[0]
    section = 2 / np.sqrt(np.linalg.eigvalsh(plane.T @ form @ plane))
    assert size.diameter_mm == pytest.approx(section.max(), abs=1.2 * max(spacing[:2]))
    assert size.across_mm == pytest.approx(section.min(), abs=1.2 * max(spacing[:2]))
    assert size.diameter_3d_mm == pytest.approx(42.0, abs=max(spacing))


def test_one_voxel_measures_from_face_to_face() -> None:
    size = size_of(np.ones((1, 1, 1), bool), Grid((1, 1, 1), np.diag([2.0, 3.0, 1.0, 1.0])))
    assert (size.diameter_mm, size.across_mm, size.diameter_3d_mm) == (3.0, 2.0, 3.0)
    assert size.diameter_ends_mm == ((0.0, -1.5, 0.0), (0.0, 1.5, 0.0))


@pytest.mark.parametrize(
    ("spacing", "axes", "plane"),
    [
        ((1, 1, 1), (0, 1, 2), "axial"),
        ((1, 1, 1.2), (1, 2, 0), "axial"),
        ((0.5, 0.5, 5), (0, 1, 2), "axial"),
        ((0.5, 0.5, 5), (1, 2, 0), "sagittal"),
        ((0.5, 0.5, 5), (0, 2, 1), "coronal"),
    ],
)
def test_thick_slices_are_measured_as_acquired_and_all_else_axially(
    spacing: tuple[float, float, float], axes: tuple[int, int, int], plane: str
) -> None:
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for axis, (world, step) in enumerate(zip(axes, spacing, strict=True)):
        affine[world, axis] = -step
    axis, found = slice_axis(Grid((9, 9, 9), affine))
    assert found == plane
    assert axes[axis] == ("sagittal", "coronal", "axial").index(plane)


def test_the_ends_lie_where_the_part_is_on_the_whole_grid() -> None:
    grid = Grid((40, 40, 40), turned((0.9, 1.1, 1.3), 20.0))
    mask = np.zeros(grid.shape, bool)
    mask[20:31, 10:12, 15] = True
    size = size_of(mask[18:33, 9:14, 14:17], grid, (18, 9, 14))
    inverse = np.linalg.inv(grid.affine)
    for end in (*size.diameter_ends_mm, *size.across_ends_mm):
        index = inverse[:3, :3] @ end + inverse[:3, 3]
        assert index[2] == pytest.approx(15, abs=0.01)
        assert 19.49 < index[0] < 30.51 and 9.49 < index[1] < 11.51
    along, across = (np.subtract(*ends) for ends in (size.diameter_ends_mm, size.across_ends_mm))
    assert np.linalg.norm(along) == pytest.approx(size.diameter_mm, abs=0.01)
    assert np.linalg.norm(across) == pytest.approx(size.across_mm, abs=0.01)
    assert along @ across == pytest.approx(0, abs=0.02)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_it_is_what_all_pairs_of_border_points_say(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(*[st.integers(1, 6)] * 3))
    seed = data.draw(st.integers(0, 10**6))
    share = data.draw(st.sampled_from([0.1, 0.4, 0.9]))
    spacing = data.draw(st.sampled_from(SPACINGS))
    mask = np.random.default_rng(seed).random(shape) < share
    mask[0, 0, 0] = True
    grid = Grid(shape, turned(spacing, data.draw(st.sampled_from([0.0, 20.0]))))
    found, expected = size_of(mask, grid), slow_size(mask, grid)
    assert found.diameter_mm == pytest.approx(expected[0], abs=2e-3)
    assert found.across_mm == pytest.approx(expected[1], abs=2e-3)
    assert found.diameter_3d_mm == pytest.approx(expected[2], abs=2e-3)


def slow_size(mask: np.ndarray, grid: Grid) -> tuple[float, float, float]:
    """The longest diameter in a slice, the longest across it, and in space, by trying all."""
    axis, _ = slice_axis(grid)
    points, linear = border(mask), grid.affine[:3, :3]
    inside = points[points[:, axis] == np.round(points[:, axis])]
    best: list[tuple[float, float]] = []
    for level in np.unique(inside[:, axis]):
        flat = inside[inside[:, axis] == level] @ linear.T
        apart = np.linalg.norm(flat[:, None] - flat[None], axis=2)
        for a, b in np.argwhere(np.triu(apart >= apart.max() - 1e-6)):
            if a != b:
                best.append((float(apart.max()), slow_across(flat, int(a), int(b))))
    longest = max(length for length, _ in best)
    width = max(width for length, width in best if length >= longest - 1e-6)
    space = points @ linear.T
    return longest, width, float(np.linalg.norm(space[:, None] - space[None], axis=2).max())


def slow_across(flat: Points, a: int, b: int) -> float:
    """The longest chord of the convex hull across a to b: every segment is met by every line."""
    along = (flat[b] - flat[a]) / np.linalg.norm(flat[b] - flat[a])
    place = (flat - flat[a]) @ along
    rest = flat - flat[a] - place[:, None] * along
    across = rest[int(np.linalg.norm(rest, axis=1).argmax())]
    across = across / max(float(np.linalg.norm(across)), 1e-9)
    height = rest @ across
    one, two = (index.ravel() for index in np.indices((len(flat), len(flat))))
    widest = 0.0
    for at in place:
        span = place[two] - place[one]
        met = (np.minimum(place[one], place[two]) <= at) & (
            at <= np.maximum(place[one], place[two])
        )
        crossing = met & (np.abs(span) > 1e-9)
        share = (at - place[one][crossing]) / span[crossing]
        heights = height[one][crossing] * (1 - share) + height[two][crossing] * share
        same = height[np.abs(place - at) <= 1e-9]
        heights = np.concatenate([heights, same])
        widest = max(widest, float(np.ptp(heights)))
    return widest


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 400), st.integers(0, 10**6), st.sampled_from([0.0, 1.0, 50.0]))
def test_no_pair_of_points_is_farther_apart_than_the_farthest(
    count: int, seed: int, flat: float
) -> None:
    points = np.random.default_rng(seed).normal(size=(count, 3)) * (10, 10, flat)
    (a, b), length = farthest(points)
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    assert length == pytest.approx(apart.max(), abs=1e-9)
    assert apart[a, b] == pytest.approx(length, abs=1e-9)


def test_a_hollow_or_ragged_part_measures_as_its_outside() -> None:
    grid = Grid((20, 20, 20), np.eye(4))
    full = np.zeros(grid.shape, bool)
    full[3:17, 4:15, 5:12] = True
    hollow = full.copy()
    hollow[4:16, 5:14, 6:11] = False
    assert size_of(hollow, grid) == size_of(full, grid)


def test_equal_diameters_take_the_one_that_is_broadest() -> None:
    mask = np.zeros((11, 5, 2), bool)
    mask[:, 2, 0] = True
    mask[:, 2, 1] = mask[5, :, 1] = True
    size: Size = size_of(mask, Grid(mask.shape, np.eye(4)))
    assert (size.diameter_mm, size.across_mm) == (11.0, 5.0)
