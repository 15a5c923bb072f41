"""A segmentation without the outputs that a study's modalities cannot decide."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from brainmvp_models.determinable import without
from brainmvp_models.task import ClassOutputs, RegionOutputs, SegmentationOutputs
from brainmvp_server.inference.postprocess import Array, Segmentation, segment
from brainmvp_server.inference.preprocess import ModelSpace
from brainmvp_server.inference.result_space import ResultSpace


def segment_without(
    logits: Array,
    space: ModelSpace,
    outputs: SegmentationOutputs,
    left_out: Collection[str],
    *,
    probabilities: bool,
    onto: ResultSpace | None = None,
) -> Segmentation:
    """The segmentation of logits (O, X, Y, Z), as :func:`segment` makes it, without some outputs.

    Its members and probabilities are those of ``without(outputs, left_out)``. A region that is left
    out is never looked at; a class still takes its voxels from the others, and they are background.
    """
    if not left_out:
        return segment(logits, space, outputs, probabilities=probabilities, onto=onto)
    shown = without(outputs, left_out)
    if isinstance(outputs, RegionOutputs) and isinstance(shown, RegionOutputs):
        kept = [i for i, region in enumerate(outputs.regions) if region.name not in left_out]
        if not kept:
            shape = (onto.grid if onto else space.native).shape
            return Segmentation(np.zeros(shape, np.uint8, order="F"), (), ())
        return segment(logits[kept], space, shown, probabilities=probabilities, onto=onto)
    assert isinstance(outputs, ClassOutputs)
    whole = segment(logits, space, outputs, probabilities=probabilities, onto=onto)
    kept = [i for i, c in enumerate(outputs.classes) if i == 0 or c.name not in left_out]
    values = [c.value for i, c in enumerate(outputs.classes) if i not in kept]
    whole.mask[np.isin(whole.mask, values)] = 0
    return Segmentation(
        mask=whole.mask,
        outputs=tuple(whole.outputs[i - 1] for i in kept[1:]),
        probabilities=tuple(whole.probabilities[i] for i in kept if probabilities),
        marked=tuple(whole.marked[i - 1] for i in kept[1:]),
    )
