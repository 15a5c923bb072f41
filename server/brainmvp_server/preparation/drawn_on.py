"""Which series a mask was drawn on: nothing in a NIfTI file says so but its grid."""

from __future__ import annotations

from collections.abc import Sequence

from brainmvp_models.errors import GridMismatch
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.imaging.study import same_grid
from brainmvp_server.imaging.volume import Volume


def series_drawn_on(grid: Grid, series: Sequence[Volume], what: str, subject: str) -> Modality:
    """The first of the series whose grid it is.

    Args:
        what: how the error calls the mask; ``subject`` names its file.

    Raises:
        GridMismatch: it is the grid of none of them.
    """
    for volume in series:
        if same_grid(volume.grid, grid):
            return volume.modality
    known = ", ".join(volume.modality.value for volume in series)
    raise GridMismatch(
        f"{what} lies on the grid of none of the series",
        remedy=f"Bring it onto the grid of one of them: {known}",
        subject=subject,
    )
