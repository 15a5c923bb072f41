"""Real brains on the grids that scanners use: plane, spacing, slice order."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
from scipy.ndimage import affine_transform

Plane = Literal["axial", "coronal", "sagittal", "oblique"]
PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal", "oblique")

_COLIN27 = Path(__file__).parents[3] / "examples" / "colin27" / "colin27_t1.nii.gz"

# Where columns (along a row), rows (down a column) and slices run, in the RAS world.
_AXES = {
    "axial": ((-1, 0, 0), (0, -1, 0), (0, 0, 1)),
    "coronal": ((-1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "sagittal": ((0, -1, 0), (0, 0, -1), (-1, 0, 0)),
    "oblique": ((-1, 0, 0), (0, -1, 0), (0, 0, 1)),
}
_TILT_DEGREES = (17.0, -8.0, 5.0)


@lru_cache(maxsize=1)
def colin27() -> nib.Nifti1Image:
    """Colin27, T1, brain extracted, 1 mm."""
    return nib.load(_COLIN27)


@lru_cache(maxsize=1)
def mni152() -> nib.Nifti1Image:
    """The MNI152 T1 template that nilearn ships, 2 mm."""
    from nilearn.datasets import load_mni152_template

    return load_mni152_template(resolution=2)


def affine_for(
    plane: Plane,
    spacing: tuple[float, float, float],
    shape: tuple[int, int, int],
    *,
    reverse: bool = False,
    centre: tuple[float, float, float] = (0.0, -18.0, 8.0),
) -> np.ndarray:
    """RAS affine of (column, row, slice) indices; ``reverse`` turns the order of the slices."""
    axes = np.array(_AXES[plane], dtype=float).T
    if plane == "oblique":
        axes = _tilt() @ axes
    if reverse:
        axes[:, 2] *= -1
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = np.array(centre) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def small_grid(
    plane: Plane, *, thick: bool = False, part: bool = False
) -> tuple[tuple[int, int, int], tuple]:
    """Shape (columns, rows, slices) and spacing that hold a head, or a part, and stay quick."""
    spacing = (3.0, 3.0, 5.0) if thick else (3.5, 3.5, 3.5)
    extent = (
        (84, 84, 84)
        if part
        else {
            "axial": (180, 216, 170),
            "oblique": (200, 224, 190),
            "coronal": (180, 180, 216),
            "sagittal": (216, 180, 180),
        }[plane]
    )
    shape = tuple(round(e / s) for e, s in zip(extent, spacing, strict=True))
    return shape, spacing


@lru_cache(maxsize=64)
def contrast_image(
    contrast: str,
    plane: Plane = "axial",
    *,
    reverse: bool = False,
    thick: bool = False,
    part: bool = False,
    source: str = "colin27",
    grid: tuple[tuple[int, int, int], tuple[float, float, float]] | None = None,
) -> nib.Nifti1Image:
    """A contrast as int16 voxels (column, row, slice) on a scanner's grid, with its RAS affine."""
    shape, spacing = grid or small_grid(plane, thick=thick, part=part)
    affine = affine_for(plane, spacing, shape, reverse=reverse)
    image = colin27() if source == "colin27" else mni152()
    voxels = np.asarray(image.dataobj, dtype=np.float32)
    matrix = np.linalg.inv(image.affine) @ affine
    sampled = affine_transform(voxels, matrix[:3, :3], matrix[:3, 3], output_shape=shape, order=1)
    sampled = np.clip(sampled / sampled.max(), 0, 1)
    return nib.Nifti1Image(_curve(contrast)(sampled).astype(np.int16), affine)


def _curve(contrast: str):
    """A contrast's intensities, as a function of a T1's between 0 and 1; 0 stays background."""
    slopes = {"t1": 900, "t1c": 1000, "mra": 400, "swi": 500, "localizer": 700, "mip": 600}
    if contrast in slopes:
        return lambda x: slopes[contrast] * x
    if contrast == "subtraction":
        return lambda x: 900 * (x - 0.5) * (x > 0.05)
    heights = {"adc": 2400, "dwi": 500, "b0": 1200}
    return lambda x: heights.get(contrast, 1100) * (1.05 - x) * (x > 0.05)


def _tilt() -> np.ndarray:
    turned = np.eye(3)
    for axis, degrees in enumerate(_TILT_DEGREES):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        turn = np.eye(3)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn[i, i], turn[i, j], turn[j, i], turn[j, j] = c, -s, s, c
        turned = turned @ turn
    return turned
