"""A patient's head as a function of a point in space, so that it can be drawn on any grid.

An ellipsoid of soft folds, by T1 and by FLAIR, with one bright lesion that the FLAIR alone shows.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

LESION = np.array([24.0, -31.0, 18.0])
"""Its centre in the head's own frame, R-A-S mm: right, behind and above the middle."""
LESION_MM = 14.0
"""Its radius; 11.5 mL."""
_HEAD_MM = np.array([76.0, 92.0, 84.0])
_BRAIN = 0.75
"""The brain's semi-axes, of the head's."""
_BRIGHT = 1800.0
_rng = np.random.default_rng(26)
_DIRECTIONS = _rng.standard_normal((12, 3))
_WAVES = _DIRECTIONS / np.linalg.norm(_DIRECTIONS, axis=1)[:, None]
_WAVES *= 2 * np.pi / np.linspace(22, 60, 12)[:, None]
_PHASES = _rng.uniform(0, 2 * np.pi, 12)

TURNS = tuple(
    np.array(signs)[:, None] * np.eye(3)[list(order)]
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
)
"""The 48 ways in which a volume's axes can lie along R, A and S: columns are its axes."""


@dataclass(frozen=True, eq=False)
class DrawnGrid:
    """Where a series has its voxels.

    Attributes:
        axes: (3, 3), the directions of its axes as columns: a turn, or a turn after a rotation.
        spacing: mm along its axes.
        count: voxels along each.
        middle: of the field of view, mm.
    """

    axes: Points
    spacing: tuple[float, float, float]
    count: tuple[int, int, int]
    middle: tuple[float, float, float] = (4.0, -6.0, 9.0)

    @property
    def affine(self) -> Points:
        """(4, 4), indices to R-A-S mm."""
        affine = np.eye(4)
        affine[:3, :3] = self.axes @ np.diag(self.spacing)
        half = (np.array(self.count) - 1) / 2
        affine[:3, 3] = np.array(self.middle) - affine[:3, :3] @ half
        return affine


def draw(what: str, grid: DrawnGrid, path: Path, to_head: Points | None = None) -> Path:
    """Write a series of the patient, or the mask of its brain.

    Args:
        what: ``t1``, ``flair`` or ``brain``.
        to_head: (4, 4), takes a point of the series's world to the head's own frame.
    """
    way = (np.eye(4) if to_head is None else to_head) @ grid.affine
    index = np.indices(grid.count).reshape(3, -1)
    point = (way[:3, :3] @ index + way[:3, 3:]).T
    out = np.linalg.norm(point / _HEAD_MM, axis=1)
    if what == "brain":
        values = (out < _BRAIN).astype(np.uint8)
    else:
        inside = out < 1
        point = point[inside]
        folds = np.cos(point @ _WAVES.T + _PHASES).sum(axis=1) / 4
        head = 500 + (180 if what == "t1" else -140) * np.clip(folds, -1.5, 1.5)
        if what == "flair":
            head[np.linalg.norm(point - LESION, axis=1) < LESION_MM] = _BRIGHT
        values = np.zeros(len(out), np.int16)
        values[inside] = head.astype(np.int16)
    nib.save(nib.Nifti1Image(values.reshape(grid.count), grid.affine), path)
    return path
