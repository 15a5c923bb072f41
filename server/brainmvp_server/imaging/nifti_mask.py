"""Reading masks and labels: NIfTI files of few values, or of one, which are no volumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmvp_server.imaging.grid import Grid
from brainmvp_server.imaging.nifti import Limits, Outline, Reading, told_of
from brainmvp_server.imaging.nifti_space import Form, Unusable
from brainmvp_server.imaging.volume import scaled

_TWO_VALUES = "Send 1 inside and 0 outside; cut probabilities off at 0.5 first"
_LARGEST = 65535
_EXPANSION = 1100
"""A mask may be empty, and packs as well as deflate can, 1032 times; the limit on voxels holds."""


def outline_mask(
    path: Path, subject: str, limits: Limits = Limits(), form: Form = "sform"
) -> Outline:
    """A mask's size by its header; ``subject`` names the file in errors.

    Raises:
        InvalidVolume, VolumeTooLarge: see :func:`outline_nifti`.
    """
    with told_of(subject):
        return Reading(path, limits, form, _EXPANSION).outline()


def read_mask(
    path: Path, subject: str, limits: Limits = Limits(), form: Form = "sform"
) -> tuple[NDArray[np.bool_], Grid]:
    """Read a file of 0 and one other value; ``subject`` names it in errors.

    Returns:
        (i, j, k), where the file is not 0, and where its voxels lie.

    Raises:
        InvalidVolume: as :func:`read_nifti`; or it holds a third value.
        VolumeTooLarge: see :func:`read_nifti`.
    """
    with told_of(subject):
        read = Reading(path, limits, form, _EXPANSION).voxels()
        low, high = read.stored.min(), read.stored.max()
        ends = scaled(np.array([low, high]), read.slope, read.intercept)
        if not np.isfinite(ends).all():
            raise Unusable("it holds values that are NaN or infinite", _TWO_VALUES)
        if low == high:
            return np.full(read.stored.shape, bool(ends[0])), read.place.grid
        if 0 not in ends or not np.isin(read.stored, (low, high)).all():
            raise Unusable("it is no mask: it holds other values than 0 and one more", _TWO_VALUES)
        outside = low if ends[0] == 0 else high
        return read.stored != outside, read.place.grid


def read_labels(
    path: Path, subject: str, limits: Limits = Limits(), form: Form = "sform"
) -> tuple[NDArray[Any], Grid]:
    """Read a file of whole numbers; ``subject`` names it in errors.

    Returns:
        (i, j, k), in the smallest type of unsigned integers, and where its voxels lie.

    Raises:
        InvalidVolume: as :func:`read_nifti`; or it holds other values than 0, 1, … 65535.
        VolumeTooLarge: see :func:`read_nifti`.
    """
    with told_of(subject):
        read = Reading(path, limits, form, _EXPANSION).voxels()
        values = scaled(read.stored, read.slope, read.intercept)
        low, high = values.min(), values.max()
        if not (low >= 0 and high <= _LARGEST and np.array_equal(values, np.rint(values))):
            raise Unusable(
                f"its values are no labels: whole numbers from 0 to {_LARGEST}",
                "Send a mask in which each structure has a number",
            )
        return values.astype(np.min_scalar_type(int(high))), read.place.grid
