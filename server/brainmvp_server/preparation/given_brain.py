"""A brain mask of the user's own, which is taken instead of one that is looked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from brainmvp_models.errors import ImplausibleBrain, NoBrain
from brainmvp_server.imaging.nifti import Limits
from brainmvp_server.imaging.nifti_mask import read_mask
from brainmvp_server.imaging.nifti_space import Form
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.inference.checked_study import BRAIN
from brainmvp_server.preparation.brain import BrainMask, plausible_ml
from brainmvp_server.preparation.drawn_on import series_drawn_on


def given_brain(
    path: Path,
    volumes: Sequence[Volume],
    limits: Limits = Limits(),
    form: Form = "sform",
) -> BrainMask:
    """The brain that a mask file says: every voxel that is not 0.

    Args:
        volumes: the study's series; the mask lies on the grid of one of them, the first that fits.
            A NIfTI file says nothing else of whose world it lies in.

    Raises:
        InvalidVolume, VolumeTooLarge: the file is no usable mask.
        NoBrain: it is empty.
        ImplausibleBrain: it is full, or the brain is too small or too large.
        GridMismatch: it lies on the grid of none of the series.
    """
    mask, grid = read_mask(path, BRAIN, limits, form)
    if not mask.any():
        raise NoBrain("the mask is empty", remedy="Send one in which the brain is 1", subject=BRAIN)
    if mask.all():
        raise ImplausibleBrain(
            "the mask is the whole image",
            remedy="Send one in which the brain is 1 and all else 0",
            subject=BRAIN,
        )
    drawn_on = series_drawn_on(grid, volumes, "the mask", BRAIN)
    ml = plausible_ml(mask, grid, BRAIN)
    return BrainMask(mask, grid, ml, drawn_on=drawn_on)
