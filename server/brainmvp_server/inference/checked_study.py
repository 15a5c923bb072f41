"""A study held against a task by its names and headers, before any voxel is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from brainmvp_models.modality import Modality
from brainmvp_models.task import Task
from brainmvp_server.imaging.nifti import Limits
from brainmvp_server.imaging.sources import Source, outline
from brainmvp_server.inference.fill import check_modalities
from brainmvp_server.inference.footprint import model_voxels, study_bytes
from brainmvp_server.inference.options import PredictOptions


@dataclass(frozen=True)
class CheckedStudy:
    """What a task can be run on, and how.

    Attributes:
        sources: by modality; the first one's grid is the result's.
        limits: what a volume may hold.
        voxels: of model space, as if nothing were cropped.
        memory: peak bytes on its way through, an upper estimate.
    """

    sources: Mapping[Modality, Source]
    options: PredictOptions
    limits: Limits
    voxels: int
    memory: int


def check_study(
    sources: Mapping[Modality, Source],
    task: Task,
    options: PredictOptions = PredictOptions(),
    limits: Limits = Limits(),
) -> CheckedStudy:
    """Refuse a study that the task cannot be run on; each header is read once.

    Raises:
        UnknownModality, MissingModality: see :func:`check_modalities`.
        InvalidVolume, VolumeTooLarge: a header that cannot be used.
    """
    check_modalities(tuple(sources), task, options.policy(task))
    outlines = [outline(source, m, limits, options.form) for m, source in sources.items()]
    memory = study_bytes(
        outlines, task, probabilities=options.probabilities, templates=options.templates
    )
    return CheckedStudy(sources, options, limits, model_voxels(outlines[0], task), memory)
