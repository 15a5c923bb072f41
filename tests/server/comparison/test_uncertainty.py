"""How far a volume is known: too narrow calls noise growth, too wide calls growth noise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from brainmvp_server.comparison.uncertainty import by_border, by_card
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.inference.parts import Components


def ball(radius_mm: float, edges: tuple[float, float, float]) -> Components:
    """One ball in the middle of a grid."""
    shape = tuple(int(2 * radius_mm / edge) + 6 for edge in edges)
    at = np.indices(shape).reshape(3, -1).T - (np.array(shape) - 1) / 2
    inside = np.linalg.norm(at * edges, axis=1) < radius_mm
    grid = Grid((shape[0], shape[1], shape[2]), np.diag([*edges, 1.0]))
    return Components.of(inside.reshape(shape), (0, 0, 0), grid)


@pytest.mark.parametrize("radius", [6.0, 12.0, 20.0])
def test_the_border_of_a_ball_is_its_surface_times_what_a_voxel_leaves_open(radius: float) -> None:
    found = ball(radius, (1.0, 1.0, 1.0))
    shell_ml = 4 * math.pi * radius**2 * 1.96 / math.sqrt(12) / 1000
    assert by_border(found)[0] == pytest.approx(shell_ml, rel=0.05)


def test_thick_slices_leave_more_open() -> None:
    assert by_border(ball(12, (1, 1, 4)))[0] > 1.5 * by_border(ball(12, (1, 1, 1)))[0]


def test_each_part_has_the_border_it_has_alone() -> None:
    mask = np.zeros((30, 12, 12), dtype=np.bool_)
    mask[:6, :6, :6] = True  # at the array's edge: its border counts there too
    mask[20:23, 4:7, 4:7] = True
    found = Components.of(mask, (0, 0, 0), Grid(mask.shape, np.eye(4)))
    faces = np.array([6 * 36, 6 * 9])
    np.testing.assert_allclose(by_border(found), faces * 2 / 3 * 1.96 / math.sqrt(12) / 1000)


def test_a_normal_error_with_the_cards_mean_lies_within_19_times_of_20() -> None:
    random, error = np.random.default_rng(3), 2.5
    drawn = random.normal(0, 1, 200_000)
    drawn *= error / np.abs(drawn).mean()
    assert np.mean(np.abs(drawn) < by_card(30.0, 30.0, error)) == pytest.approx(0.95, abs=0.003)


def test_the_errors_of_lesions_add_up_to_the_structures() -> None:
    volumes = np.array([12.0, 3.0, 0.4])
    widths = [by_card(float(one), float(volumes.sum()), 1.7) for one in volumes]
    assert np.hypot.reduce(widths) == pytest.approx(by_card(15.4, 15.4, 1.7))
    assert by_card(0.0, 0.0, 1.7) == 0
