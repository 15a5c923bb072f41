"""A volume: one modality's voxels with the grid they lie on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.modality import Modality
from brainmvp_server.imaging.dicom_source import DicomSource
from brainmvp_server.imaging.grid import Grid

_LARGE = 1e30
"""Values larger than this, or spans smaller than its inverse, are not worked on in float32."""
_FINE = 2.0**-11
"""Nor are spans smaller than this share of the values: float32 has 23 bits, an image needs 12."""


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
        field_of_view: the grid the voxels were measured on, where the volume was resampled and
            that does not reach all of ``grid``: beyond it, nothing is known.
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
    field_of_view: Grid | None = None

    @cached_property
    def precision(self) -> type[np.float32] | type[np.float64]:
        """What the values are worked on in: float32, or float64 where that could not hold them."""
        if self.stored.dtype.itemsize <= 2 and self._is_plain:
            return np.float32
        low, high = np.sort(self._scaled(np.array([self.stored.min(), self.stored.max()])))
        largest, span = max(abs(low), abs(high)), high - low
        plain = largest < _LARGE and span > max(1 / _LARGE, _FINE * largest)
        return np.float32 if plain else np.float64

    def values(self, stored: NDArray[Any]) -> NDArray[Any]:
        """The values of some stored voxels, in :attr:`precision`."""
        if self._is_plain:
            return stored.astype(self.precision, copy=False)
        return np.asarray(self._scaled(stored), dtype=self.precision)

    @property
    def _is_plain(self) -> bool:
        return self.slope == 1.0 and self.intercept == 0.0

    def _scaled(self, stored: NDArray[Any]) -> NDArray[np.float64]:
        return scaled(stored, self.slope, self.intercept)


def scaled(stored: NDArray[Any], slope: float, intercept: float) -> NDArray[np.float64]:
    """The values that stored numbers mean."""
    with np.errstate(over="ignore", invalid="ignore"):
        values: NDArray[np.float64] = stored * np.float64(slope) + np.float64(intercept)
    return values
