"""Distances to the brain's surface and halves of the brain, on bodies that are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainmvp_server.imaging.grid import Grid
from brainmvp_server.inference.brain_surface import Brain, PointCloud
from brainmvp_server.inference.parts import Part, parts_of
from mask_border import border

RADIUS = 50.0
RIGHTWARD = np.array([1.0, 0.0, 0.0])


def ball(grid: Grid, centre: tuple[float, float, float], radius: float) -> np.ndarray:
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    world = index @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    return np.asarray(((world - centre) ** 2).sum(axis=-1) <= radius**2)


def centred(shape: tuple[int, int, int], spacing: float) -> Grid:
    """A grid whose middle is the world's origin."""
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -spacing * (np.array(shape) - 1) / 2
    return Grid(shape, affine)


HEAD = centred((60, 60, 60), 2.0)
LESIONS = centred((110, 110, 110), 1.0)


def brain(rightward: np.ndarray = RIGHTWARD) -> Brain:
    return Brain(ball(HEAD, (0, 0, 0), RADIUS), HEAD, np.eye(4), rightward)


def the_part(centre: tuple[float, float, float], radius: float, within: Brain) -> Part:
    (part,), _ = parts_of(ball(LESIONS, centre, radius), (0, 0, 0), LESIONS, within)
    return part


@pytest.mark.parametrize("centre", [(30.0, 0.0, 0.0), (-12.0, 24.0, 6.0), (0.0, 0.0, -33.0)])
def test_a_ball_in_a_ball_lies_as_deep_as_geometry_says(
    centre: tuple[float, float, float],
) -> None:
    part = the_part(centre, 8.0, brain())
    assert part.to_surface_mm == pytest.approx(RADIUS - np.linalg.norm(centre) - 8, abs=2.0)


def test_what_reaches_out_of_the_brain_is_at_its_surface() -> None:
    assert the_part((45.0, 0.0, 0.0), 8.0, brain()).to_surface_mm == 0.0


def test_sides_are_the_patients_and_what_crosses_the_middle_is_on_both() -> None:
    assert the_part((20.0, 0.0, 0.0), 8.0, brain()).side == "right"
    assert the_part((-20.0, 0.0, 0.0), 8.0, brain()).side == "left"
    assert the_part((2.0, 0.0, 0.0), 8.0, brain()).side == "both"


def test_a_brain_of_another_world_gives_the_same() -> None:
    angle = np.radians(30)
    away = np.eye(4)
    away[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    away[:3, 3] = (5, -9, 40)
    moved = Grid(HEAD.shape, np.linalg.inv(away) @ HEAD.affine)
    elsewhere = Brain(ball(HEAD, (0, 0, 0), RADIUS), moved, away, RIGHTWARD)
    here, there = (the_part((20.0, 10.0, 0.0), 8.0, one) for one in (brain(), elsewhere))
    assert there.to_surface_mm == pytest.approx(here.to_surface_mm, abs=1e-3)
    assert there.right_share == here.right_share


def test_a_turned_head_has_its_halves_turned() -> None:
    diagonal = np.array([np.sqrt(0.5), np.sqrt(0.5), 0.0])
    assert the_part((-15.0, 30.0, 0.0), 5.0, brain()).side == "left"
    assert the_part((-15.0, 30.0, 0.0), 5.0, brain(rightward=diagonal)).side == "right"


def test_the_border_of_the_image_is_no_surface_of_the_brain() -> None:
    cut = HEAD.shape[2] // 2
    half = Brain(brain().mask[:, :, :cut], Grid((60, 60, cut), HEAD.affine), np.eye(4), RIGHTWARD)
    part = the_part((0.0, 0.0, -9.0), 4.0, half)
    assert part.to_surface_mm == pytest.approx(RADIUS - 13, abs=2.0)


def test_a_hole_in_the_brain_is_no_surface_of_it() -> None:
    mask = brain().mask & ~ball(HEAD, (20, 0, 0), 6)
    holed = Brain(mask, HEAD, np.eye(4), RIGHTWARD)
    part = the_part((0.0, 0.0, 0.0), 5.0, holed)
    assert part.to_surface_mm == pytest.approx(RADIUS - 5, abs=2.0)


def test_without_a_brain_nothing_is_said_of_it() -> None:
    (part,), _ = parts_of(ball(LESIONS, (0, 0, 0), 5), (0, 0, 0), LESIONS, None)
    assert part.side is None and part.to_surface_mm is None
    empty = Brain(np.zeros(HEAD.shape, bool), HEAD, np.eye(4), RIGHTWARD)
    part = the_part((0, 0, 0), 5, empty)
    assert part.side is None and part.to_surface_mm is None


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 200), st.integers(1, 200), st.integers(0, 10**6), st.floats(0, 80))
def test_no_two_points_are_nearer_than_the_distance(
    here: int, there: int, seed: int, apart: float
) -> None:
    draw = np.random.default_rng(seed)
    one, two = draw.normal(size=(here, 3)) * 12, draw.normal(size=(there, 3)) * 12 + apart
    expected = np.linalg.norm(one[:, None] - two[None], axis=2).min()
    assert PointCloud(one).distance(PointCloud(two)) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.2, 0.9))
def test_no_face_of_a_ragged_part_is_nearer_to_the_surface_than_its_depth(
    seed: int, share: float
) -> None:
    draw = np.random.default_rng(seed)
    mask = draw.random((9, 8, 7)) < share
    mask[:, 4, 4] = mask[:, :, 4] = True  # one part, whatever else is drawn beside it
    grid = Grid(mask.shape, np.diag([2.0, 1.0, 3.0, 1.0]))
    middle = np.array((9.0, 4.0, 10.0)) + draw.uniform(-9, 9, size=3)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = middle - 2.0 * 17.5
    head = Grid((36, 36, 36), affine)
    within = Brain(ball(head, tuple(middle), 33.0), head, np.eye(4), RIGHTWARD)
    parts, count = parts_of(mask, (0, 0, 0), grid, within)
    first, points = parts[0], border(mask) @ grid.affine[:3, :3].T
    apart = np.linalg.norm(points[:, None] - within.surface.points[None], axis=2)
    nearest = min(part.to_surface_mm for part in parts if part.to_surface_mm is not None)
    if len(parts) == count:
        assert nearest == pytest.approx(apart.min(), abs=0.5)
    assert first.to_surface_mm is not None and first.to_surface_mm >= apart.min() - 1e-3
