"""How much memory a study will take, by its headers alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

from brainmvp_models.task import Task
from brainmvp_server.imaging.nifti import Outline
from brainmvp_server.inference.resample import resampled_length

_FLOAT = 4
_ROOM = 1.25
"""For what lives for a moment, and for an allocator that gives back late."""
_KEPT = 96 << 20
"""What the allocator keeps of arrays that are freed, and files being decompressed."""


def study_bytes(
    outlines: Sequence[Outline],
    task: Task,
    *,
    probabilities: bool = False,
    templates: bool = False,
) -> int:
    """Peak memory of a study on its way through, without the network; an upper estimate.

    It takes model space as if nothing were cropped. What studies that fill their field of view
    really took of it is in docs/performance.md.
    """
    native = max(math.prod(outline.grid.shape) for outline in outlines)
    stored = sum(math.prod(o.grid.shape) * o.voxel_bytes for o in outlines)
    space = model_voxels(outlines[0], task)
    outputs = 0 if task.kind == "classification" else task.outputs.count
    given, channels = len(outlines), len(task.channels)
    # Each modality is scaled to float32, then stacked one by one: one more than all channels.
    reading = _FLOAT * (native + space) * given
    stacking = _FLOAT * space * (channels + 1)
    blending = _FLOAT * space * (channels + outputs)
    # Members and mask; probabilities where they are asked for, or where the grid was resampled.
    maps = 2 if probabilities or space != native else 0
    restoring = native * (outputs + 1) + _FLOAT * outputs * (space + maps * max(native, space))
    # The stored voxels stay from the first to the last, and so do templates that are shown.
    stays = stored + (_FLOAT * max(native, space) * (channels - given) if templates else 0)
    return _KEPT + int(_ROOM * (stays + max(reading, stacking, blending, restoring)))


def model_voxels(outline: Outline, task: Task) -> int:
    """Voxels of the whole study at the model's spacing, no axis smaller than a window.

    Args:
        outline: of the first volume, whose grid is the study's.
    """
    canonical = outline.grid.canonical()
    lengths = (
        resampled_length(n, spacing, target)
        for n, spacing, target in zip(
            canonical.shape, canonical.nominal_spacing, task.preprocessing.spacing_mm, strict=True
        )
    )
    return math.prod(max(n, w) for n, w in zip(lengths, task.window.size, strict=True))
