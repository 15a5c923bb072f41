"""A real brain at two times, with lesions drawn into it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from brainmvp_models.modality import Modality
from brainmvp_server.comparison.change import Thresholds
from brainmvp_server.comparison.compare import Comparison, compare
from brainmvp_server.comparison.visit import Visit
from brainmvp_server.imaging.align import interpolated
from brainmvp_server.imaging.grid import Grid, carried
from brainmvp_server.imaging.nifti import read_nifti, spatial_header
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.preparation.brain_network import BrainNetworks
from brainmvp_server.preparation.rigid import RigidTransform


@contextmanager
def no_networks(_: CancelToken) -> Iterator[BrainNetworks]:
    """For brains without skulls, which nothing has to be found in."""
    pytest.fail("a brain without its skull was looked for")
    yield


def compared(before: Visit, after: Visit) -> Comparison:
    """Both, by the usual thresholds."""
    return compare(before, after, no_networks, Thresholds())


@pytest.fixture(scope="session")
def brain(colin27: Path) -> Volume:
    """A real T1 without its skull, in voxels of 2 mm."""
    fine = read_nifti(colin27, Modality.T1)
    coarse = fine.stored[::2, ::2, ::2]
    affine = fine.grid.affine @ np.diag([2.0, 2.0, 2.0, 1.0])
    grid = Grid((coarse.shape[0], coarse.shape[1], coarse.shape[2]), affine)
    return _volume(coarse.astype(np.int16), grid, "sha256:one")


def moved(volume: Volume, by: RigidTransform) -> Volume:
    """The head as a scanner would show it after it moved: interpolated on a grid of its own.

    Args:
        by: takes a point of the head before to where it is then.
    """
    grid = _wide(volume.grid)
    values = np.asarray(volume.stored, np.float32)
    image, _ = interpolated(values, volume.grid, grid, by.inverse.matrix)
    return _volume(np.rint(image).astype(np.int16), grid, "sha256:other")


def balls(grid: Grid, *found: tuple[tuple[float, float, float], float]) -> NDArray[np.uint8]:
    """A mask with balls of centres and radii in mm."""
    points = carried(np.indices(grid.shape).reshape(3, -1).T, grid.affine)
    mask = np.zeros(len(points), dtype=np.uint8)
    for centre, radius in found:
        mask[np.linalg.norm(points - centre, axis=1) < radius] = 1
    return mask.reshape(grid.shape)


def drawn(volume: Volume, *found: tuple[tuple[float, float, float], float]) -> Visit:
    """A visit with balls as its mask."""
    return Visit((volume,), volume.modality, balls(volume.grid, *found), volume.grid)


def _wide(grid: Grid) -> Grid:
    """A grid with room for a head that moved."""
    step = np.eye(4)
    step[:3, 3] = -10
    x, y, z = (n + 20 for n in grid.shape)
    return Grid((x, y, z), grid.affine @ step)


def _volume(stored: NDArray[np.int16], grid: Grid, digest: str) -> Volume:
    return Volume(Modality.T1, stored, 1.0, 0.0, grid, spatial_header(grid.affine), digest)
