"""Volumes, components, boxes and centroids of shapes whose measures are known."""

from __future__ import annotations

import numpy as np
import pytest

from brainmvp_models.task import Label, Region, RegionOutputs
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.inference.measure import measure
from brainmvp_server.inference.parts import MOST_PARTS, SMALLEST_PART_ML

OUTPUTS = RegionOutputs(
    regions=(Region(name="lesion", labels=(1,)),), labels=(Label(value=1, name="lesion"),)
)


def test_two_boxes_on_a_turned_anisotropic_grid() -> None:
    affine = np.array([[0, -2.0, 0, 10], [0.5, 0, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1]])
    grid = Grid((20, 20, 20), affine)
    mask = np.zeros(grid.shape, bool)
    mask[2:6, 3:5, 1:2] = True
    mask[6, 5, 2] = True  # touches by a corner: still one part
    mask[15:17, 15:17, 15:17] = True
    (found,) = measure((mask,), OUTPUTS, grid)
    assert found.voxels == 8 + 1 + 8
    assert found.volume_ml == pytest.approx(17 * 3 / 1000)
    assert found.components == 2
    low, high = found.bounding_box_mm or ((0, 0, 0), (0, 0, 0))
    assert low == pytest.approx((10 - 2 * 16.5, -20 + 0.5 * 1.5, 5 + 3 * 0.5))
    assert high == pytest.approx((10 - 2 * 2.5, -20 + 0.5 * 16.5, 5 + 3 * 16.5))
    centre = affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + affine[:3, 3]
    assert found.centroid_mm == pytest.approx(centre, abs=1e-3)


def test_nothing_found_is_said_plainly() -> None:
    (found,) = measure((np.zeros((4, 4, 4), bool),), OUTPUTS, Grid((4, 4, 4), np.eye(4)))
    assert (found.voxels, found.volume_ml, found.components) == (0, 0.0, 0)
    assert found.bounding_box_mm is None and found.centroid_mm is None
    assert found.parts == () and found.size is None
    assert found.side is None and found.to_surface_mm is None


def test_parts_are_numbered_by_size_and_measured_each_for_itself() -> None:
    grid = Grid((30, 30, 30), np.diag([1.0, 1.0, 1.0, 1.0]))
    mask = np.zeros(grid.shape, bool)
    mask[2:5, 2:5, 2:5] = True
    mask[10:20, 12:16, 20] = True
    (found,) = measure((mask,), OUTPUTS, grid)
    flat, cube = found.parts
    assert (flat.number, flat.voxels, cube.number, cube.voxels) == (1, 40, 2, 27)
    assert flat.centroid_mm == (14.5, 13.5, 20.0) and cube.centroid_mm == (3.0, 3.0, 3.0)
    assert cube.volume_ml == pytest.approx(0.027)
    assert found.size is not None
    assert found.size.diameter_mm == flat.size.diameter_mm > cube.size.diameter_mm
    assert found.size.diameter_3d_mm == max(p.size.diameter_3d_mm for p in found.parts)


def test_speckle_does_not_make_an_answer_large() -> None:
    grid = Grid((60, 60, 60), np.eye(4))
    mask = np.zeros(grid.shape, bool)
    mask[::3, ::3, ::3] = True
    (specks,) = measure((mask,), OUTPUTS, grid)
    assert specks.components == 8000
    assert [part.voxels for part in specks.parts] == [1]  # the largest, however small it is
    mask[:, 30:50, 30:50] = False
    for part in range(MOST_PARTS + 5):
        at = 2 * part
        mask[at % 50 : at % 50 + 1, 30:45, 31 + 4 * (at // 50)] = True
    (many,) = measure((mask,), OUTPUTS, grid)
    assert len(many.parts) == MOST_PARTS
    assert all(part.volume_ml >= SMALLEST_PART_ML for part in many.parts)
