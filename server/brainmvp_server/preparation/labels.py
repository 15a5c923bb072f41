"""A mask that was drawn on one series, brought to where the study was."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmvp_server.imaging.align import interpolated
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.preparation.drawn_on import series_drawn_on
from brainmvp_server.preparation.stage import PreparedStudy

LABEL = "label"


def labels_brought(labels: NDArray[Any], grid: Grid, prepared: PreparedStudy) -> NDArray[Any]:
    """Labels (i, j, k) of one series' grid on the prepared study's, by one interpolation.

    Each voxel gets the label that most of it has.

    Raises:
        GridMismatch: they lie on the grid of none of the series.
    """
    drawn_on = series_drawn_on(grid, prepared.series, "it", LABEL)
    target = prepared.study.native.grid
    way = prepared.to_series[drawn_on].after(prepared.to_worked.inverse).matrix
    found = np.zeros(target.shape, labels.dtype)
    most = np.zeros(target.shape, np.float32)
    for value in np.unique(labels):
        share, _ = interpolated((labels == value).astype(np.float32), grid, target, way)
        found = np.where(share > most, value, found).astype(labels.dtype)
        most = np.maximum(share, most)
    return found
