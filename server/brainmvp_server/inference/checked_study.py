"""A study held against a task by its names and headers, before any voxel is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from brainmvp_models.errors import InvalidInput
from brainmvp_models.modality import Modality
from brainmvp_models.task import Task
from brainmvp_server.imaging.nifti import Limits
from brainmvp_server.imaging.nifti_mask import outline_mask
from brainmvp_server.imaging.sources import Source, outline
from brainmvp_server.inference.fill import check_modalities
from brainmvp_server.inference.footprint import model_voxels, study_bytes
from brainmvp_server.inference.options import PredictOptions

BRAIN = "brain"
"""What a brain mask of the user's own is called: the part, the option, the subject of errors."""


@dataclass(frozen=True)
class CheckedStudy:
    """What a task can be run on, and how.

    Attributes:
        sources: by modality; the first one's grid is the result's.
        limits: what a volume may hold.
        voxels: of model space, as if nothing were cropped.
        memory: peak bytes on its way through, an upper estimate.
        brain: a brain mask of the user's own.
    """

    sources: Mapping[Modality, Source]
    options: PredictOptions
    limits: Limits
    voxels: int
    memory: int
    brain: Path | None = None


def check_study(
    sources: Mapping[Modality, Source],
    task: Task,
    options: PredictOptions = PredictOptions(),
    limits: Limits = Limits(),
    brain: Path | None = None,
) -> CheckedStudy:
    """Refuse a study that the task cannot be run on; each header is read once.

    Args:
        brain: a brain mask of the user's own, a NIfTI file.

    Raises:
        InvalidInput: a brain mask for a study that is not to be prepared.
        UnknownModality, MissingModality: see :func:`check_modalities`; or the options' space is
            of no series.
        InvalidVolume, VolumeTooLarge: a header that cannot be used.
    """
    options.check_space()
    check_modalities(tuple(sources), task, options.policy(task))
    outlines = [outline(source, m, limits, options.form) for m, source in sources.items()]
    memory = study_bytes(
        outlines, task, probabilities=options.probabilities, templates=options.templates
    )
    if brain is not None:
        memory += _mask_bytes(brain, options, limits)
    return CheckedStudy(sources, options, limits, model_voxels(outlines[0], task), memory, brain)


def _mask_bytes(brain: Path, options: PredictOptions, limits: Limits) -> int:
    """What a brain mask takes, as it is stored and as it is used."""
    if options.as_it_is:
        raise InvalidInput(
            "a brain mask is of no use where the study is taken as it is",
            remedy="Leave it out, or ask for prepare=auto without resample",
            subject=BRAIN,
        )
    outline = outline_mask(brain, BRAIN, limits, options.form)
    return math.prod(outline.grid.shape) * (outline.voxel_bytes + 1)
