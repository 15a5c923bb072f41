"""What a modality is read from: a NIfTI file, or a stack of a DICOM series."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

from brainmvp_models.errors import VolumeTooLarge
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.nifti import Limits, Outline, outline_nifti, read_nifti
from brainmvp_server.imaging.nifti_space import Form
from brainmvp_server.imaging.volume import Volume

if TYPE_CHECKING:
    from brainmvp_server.imaging.dicom.series import Stack

Source: TypeAlias = Union[Path, "Stack"]

_STACK_VOXEL_BYTES = 2


def outline(
    source: Source, modality: Modality, limits: Limits = Limits(), form: Form = "sform"
) -> Outline:
    """How large a source's volume is, by its headers.

    Raises:
        InvalidVolume, VolumeTooLarge: see :func:`read_nifti`.
    """
    if isinstance(source, Path):
        return outline_nifti(source, modality, limits, form)
    voxels = math.prod(source.grid.shape)
    if voxels > limits.voxels:
        raise VolumeTooLarge(
            f"series {source.label} has {voxels} voxels; the limit is {limits.voxels}",
            remedy="Leave the series out, or crop it to the head",
            subject=modality.value,
        )
    return Outline(source.grid, _STACK_VOXEL_BYTES)


def read_volume(
    source: Source, modality: Modality, limits: Limits = Limits(), form: Form = "sform"
) -> Volume:
    """Read the volume of a modality; ``form`` is for NIfTI, see :func:`read_nifti`.

    Raises:
        InvalidVolume, VolumeTooLarge: see :func:`read_nifti` and :func:`read_stack`.
    """
    if isinstance(source, Path):
        return read_nifti(source, modality, limits, form)
    from brainmvp_server.imaging.dicom.pixels import read_stack

    return read_stack(source, modality, limits)
