"""A whole head drawn in a moment, and a mask of its brain: two balls, of 3,050 and 905 mL."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

_EDGE_MM = 4.0
_COUNT = 60
_HEAD_MM, _BRAIN_MM = 90.0, 60.0


@dataclass(frozen=True)
class DrawnHead:
    """Two files on one grid.

    Attributes:
        series: what a series of a whole head is to :mod:`brainmvp_server.preparation.inspect`.
        brain: 1 inside, 0 outside.
        ml: what the mask holds, in mL.
    """

    series: Path
    brain: Path
    ml: float


def draw_head(folder: Path) -> DrawnHead:
    """Write both files into a folder."""
    at = (np.indices((_COUNT,) * 3) - (_COUNT - 1) / 2) * _EDGE_MM
    away = np.sqrt((at**2).sum(axis=0))
    random = np.random.default_rng(5)
    voxels = np.where(away < _HEAD_MM, random.integers(200, 900, away.shape), 0)
    affine = np.diag([_EDGE_MM] * 3 + [1.0])
    affine[:3, 3] = -_EDGE_MM * (_COUNT - 1) / 2
    brain = away < _BRAIN_MM
    series, mask = folder / "head.nii.gz", folder / "brain.nii.gz"
    nib.save(nib.Nifti1Image(voxels.astype(np.int16), affine), series)
    nib.save(nib.Nifti1Image(brain.astype(np.uint8), affine), mask)
    return DrawnHead(series, mask, float(brain.sum()) * _EDGE_MM**3 / 1000)
