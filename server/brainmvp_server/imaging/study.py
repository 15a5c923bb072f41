"""A study: the volumes of one examination, on one grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from brainmvp_models.errors import GridMismatch, MissingModality
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.imaging.nifti import Limits
from brainmvp_server.imaging.nifti_space import Form
from brainmvp_server.imaging.sources import Source, read_volume
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


def read_study(
    sources: Mapping[Modality, Source],
    limits: Limits = Limits(),
    *,
    resample: bool = False,
    form: Form = "sform",
) -> Study:
    """Read the volumes of a study side by side; the order of ``sources`` is the study's order.

    DICOM series of one frame of reference that lie on other grids than the first one are resampled
    onto it. NIfTI files say nothing about whose world they lie in: they are resampled only where
    ``resample`` asks for it, and lie where ``form`` says where a header has both.

    Raises:
        InvalidVolume, VolumeTooLarge, MissingModality: see :func:`read_volume`, :meth:`Study.of`.
        GridMismatch: volumes on different grids that are not, or cannot be, resampled.
    """
    return on_one_grid(read_volumes(sources, limits, form=form), resample=resample)


def read_volumes(
    sources: Mapping[Modality, Source], limits: Limits = Limits(), *, form: Form = "sform"
) -> tuple[Volume, ...]:
    """Read the volumes of a study side by side, each on its own grid, in the order of ``sources``.

    Raises:
        InvalidVolume, VolumeTooLarge: see :func:`read_volume`.
    """
    with ThreadPoolExecutor(max_workers=max(len(sources), 1)) as pool:
        read = pool.map(lambda item: read_volume(item[1], item[0], limits, form), sources.items())
        return tuple(read)


def on_one_grid(volumes: Sequence[Volume], *, resample: bool = False) -> Study:
    """A study of volumes that were read; see :func:`read_study`.

    Raises:
        MissingModality, GridMismatch: see :func:`read_study`.
    """
    return Study.of([_on_grid(volume, volumes[0], resample=resample) for volume in volumes])


def lie_on_one_grid(volumes: Sequence[Volume]) -> bool:
    """Whether the volumes show the same voxels, whatever order their axes are stored in."""
    return all(_apart(volumes[0].grid, volume.grid) is None for volume in volumes[1:])


def _on_grid(volume: Volume, reference: Volume, *, resample: bool) -> Volume:
    if volume is reference:
        return volume
    frames = volume.frame_of_reference, reference.frame_of_reference
    if all(frames) and frames[0] != frames[1]:
        raise GridMismatch(
            f"it lies in another frame of reference than {reference.modality}: the patient was "
            "positioned anew between the two",
            remedy="Leave one of the series out, or register them and send NIfTI",
            subject=volume.modality.value,
        )
    if _apart(reference.grid, volume.grid) is None or not (resample or all(frames)):
        return volume
    from brainmvp_server.imaging.align import resampled

    return resampled(volume, reference)


def _check_same_grid(reference: Volume, volume: Volume) -> None:
    apart = _apart(reference.grid, volume.grid)
    if apart is None:
        return
    raise GridMismatch(
        apart.format(name=reference.modality),
        remedy=f"Resample it onto the grid of {reference.modality}, or ask for it with resample, "
        "which registers and prepares nothing",
        subject=volume.modality.value,
    )


def same_grid(reference: Grid, other: Grid) -> bool:
    """Whether two grids have the same voxels, whatever order their axes are stored in."""
    return _apart(reference, other) is None


def _apart(reference: Grid, other: Grid) -> str | None:
    """How two grids differ, with a place for the reference's name; None where they do not."""
    here, there = reference.canonical(), other.canonical()
    if here.shape != there.shape:
        return f"it has {_size(there)} voxels, {{name}} has {_size(here)}"
    if here.distance(there) > _SAME_PLACE * min(here.spacing):
        return f"it lies up to {here.distance(there):.2f} mm from {{name}}, voxel for voxel"
    return None


def _size(grid: Grid) -> str:
    return " × ".join(map(str, grid.shape))
