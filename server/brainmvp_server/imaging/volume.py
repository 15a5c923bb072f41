"""A volume: one modality's voxels with the grid they lie on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.modality import Modality
from brainmvp_server.imaging.grid import Grid

if TYPE_CHECKING:
    from brainmvp_server.imaging.dicom.source import DicomSource


@dataclass(frozen=True, eq=False)
class SpatialHeader:
    """The geometry of a NIfTI header, kept bit for bit so that a mask can carry it.

    Free text of the original header is not kept: it may name a patient.
    """

    fields: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Volume:
    """One modality as it lies in its file.

    Attributes:
        modality: which contrast it is.
        stored: (i, j, k) voxels in the file's own type.
        slope, intercept: a voxel's value is ``stored * slope + intercept``.
        grid: where the voxels lie.
        header: the spatial part of the file's header.
        digest: ``sha256:…`` of the file; of a DICOM series, of its affine and voxels.
        warnings: what a reader should know about this file.
        frame_of_reference: its UID, where the volume comes from DICOM; equal ones share a world.
        source: the series the volume comes from, where that is DICOM.
    """

    modality: Modality
    stored: NDArray[Any]
    slope: float
    intercept: float
    grid: Grid
    header: SpatialHeader
    digest: str
    warnings: tuple[str, ...] = ()
    frame_of_reference: str = ""
    source: DicomSource | None = None

    def values(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """The values of some stored voxels, in float32."""
        if self.slope == 1.0 and self.intercept == 0.0:
            return stored.astype(np.float32, copy=False)
        scaled = stored * np.float64(self.slope) + np.float64(self.intercept)
        return np.asarray(scaled, dtype=np.float32)
