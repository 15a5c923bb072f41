"""The series of a study and its brain on the grid of its result, where they can be laid over it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from brainmvp_server.imaging.align import interpolated
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.inference.result import Result


def series_on_result(result: Result) -> Iterator[Volume]:
    """Every series on the result's grid, one at a time.

    Those of a raw study are brought there by one linear interpolation, whole heads with their
    skulls; one of whole numbers keeps such. The series whose grid it is stays as it came, and so do
    all series of a study that was not prepared.
    """
    onto = result.onto
    for volume in result.study.volumes:
        if onto is None or volume is result.study.native:
            yield volume
            continue
        way = onto.to_series[volume.modality]
        values = volume.values(volume.stored)
        image: NDArray[np.generic] = interpolated(values, volume.grid, onto.grid, way)[0]
        plain = volume.slope == 1.0 and volume.intercept == 0.0
        if plain and np.issubdtype(volume.stored.dtype, np.integer):
            image = np.rint(image).astype(volume.stored.dtype)
        header = result.study.native.header
        yield replace(volume, stored=image, slope=1.0, intercept=0.0, grid=onto.grid, header=header)


def brain_on_result(result: Result) -> NDArray[np.uint8] | None:
    """(i, j, k) 1 in the brain, on the result's grid; None for a study that was not prepared."""
    brain = result.brain
    if brain is None or result.preparation is None:
        return None
    across = np.asarray(np.linalg.inv(brain.to_result), np.float64)
    grid = result.study.native.grid
    inside = interpolated(brain.mask.astype(np.float32), brain.grid, grid, across)[0]
    return (inside >= 0.5).astype(np.uint8)
