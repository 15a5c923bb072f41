"""A study: the volumes of one examination, on one grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from brainmvp_models.errors import GridMismatch, MissingModality
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.imaging.nifti import Limits, read_nifti
from brainmvp_server.imaging.volume import Volume

_SAME_PLACE = 0.1
"""Grids agree when no corner is further off than this share of the smallest voxel edge."""


@dataclass(frozen=True)
class Study:
    """Volumes that show the same voxels, at least one; the first one's grid is the native grid."""

    volumes: tuple[Volume, ...]

    @classmethod
    def of(cls, volumes: Sequence[Volume]) -> Study:
        """A study of volumes that lie on one grid, whatever order their axes are stored in.

        Raises:
            MissingModality: there is no volume.
            GridMismatch: a volume has other voxels than the first one.
        """
        if not volumes:
            raise MissingModality("the study holds no volume", remedy="Send at least one modality")
        reference = volumes[0]
        for volume in volumes[1:]:
            _check_same_grid(reference, volume)
        return cls(tuple(volumes))

    @property
    def native(self) -> Volume:
        """The volume whose grid and header results carry."""
        return self.volumes[0]

    def volume(self, modality: Modality) -> Volume | None:
        """The volume of a modality, if the study has it."""
        return next((v for v in self.volumes if v.modality == modality), None)


def read_study(files: Mapping[Modality, Path], limits: Limits = Limits()) -> Study:
    """Read the volumes of a study side by side; the order of ``files`` is the study's order.

    Raises:
        InvalidVolume, VolumeTooLarge, GridMismatch, MissingModality: see :func:`read_nifti` and
            :meth:`Study.of`.
    """
    with ThreadPoolExecutor(max_workers=max(len(files), 1)) as pool:
        volumes = list(pool.map(lambda item: read_nifti(item[1], item[0], limits), files.items()))
    return Study.of(volumes)


def _check_same_grid(reference: Volume, volume: Volume) -> None:
    here, there = reference.grid.canonical(), volume.grid.canonical()
    if here.shape != there.shape:
        problem = f"it has {_size(there)} voxels, {reference.modality} has {_size(here)}"
    elif here.distance(there) > _SAME_PLACE * min(here.spacing):
        problem = (
            f"it lies up to {here.distance(there):.2f} mm from {reference.modality}, "
            "voxel for voxel"
        )
    else:
        return
    raise GridMismatch(
        problem,
        remedy=f"Resample it onto the grid of {reference.modality}",
        subject=volume.modality.value,
    )


def _size(grid: Grid) -> str:
    return " × ".join(map(str, grid.shape))
