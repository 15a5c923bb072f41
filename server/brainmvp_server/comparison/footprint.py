"""How much memory two studies take while they are compared."""

from __future__ import annotations

import math
from collections.abc import Mapping

from brainmvp_models.modality import Modality
from brainmvp_server.imaging.nifti import Limits
from brainmvp_server.imaging.sources import Source, outline

_IMAGES = 6
"""Float images of the largest series: registering, reading its brain and drawing it, in turn."""


def comparison_bytes(sources: Mapping[Modality, Source], limits: Limits) -> int:
    """Bytes of one of the two times, an upper estimate by headers.

    Raises:
        InvalidVolume, VolumeTooLarge: a header that cannot be used.
    """
    outlines = [outline(source, modality, limits) for modality, source in sources.items()]
    voxels = [math.prod(one.grid.shape) for one in outlines]
    stored = sum(n * one.voxel_bytes for n, one in zip(voxels, outlines, strict=True))
    return stored + _IMAGES * 4 * max(voxels, default=0)
