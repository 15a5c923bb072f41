"""What a modality is read from: a NIfTI file, or a stack of a DICOM series."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

from brainmvp_models.errors import InvalidVolume
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.imaging.nifti import Limits, Outline, outline_nifti, read_nifti
from brainmvp_server.imaging.nifti_space import Form
from brainmvp_server.imaging.volume import Volume

if TYPE_CHECKING:
    from brainmvp_server.imaging.dicom.series import Stack

Source: TypeAlias = Union[Path, "Stack"]


def outline(
    source: Source, modality: Modality, limits: Limits = Limits(), form: Form = "sform"
) -> Outline:
    """How large a source's volume is, by its headers.

    Raises:
        InvalidVolume, VolumeTooLarge: see :func:`read_nifti`; or it shows too thin a slab.
    """
    found = _outline(source, modality, limits, form)
    _check_field(found.grid, modality, limits)
    return found


def _outline(source: Source, modality: Modality, limits: Limits, form: Form) -> Outline:
    if isinstance(source, Path):
        return outline_nifti(source, modality, limits, form)
    from brainmvp_server.imaging.dicom.pixels import outline_stack

    return outline_stack(source, modality, limits)


def _check_field(grid: Grid, modality: Modality, limits: Limits) -> None:
    """Refuse a field of view in which no network sees a head.

    Raises:
        InvalidVolume: it is thinner along an axis than the limit.
    """
    widths = [count * edge for count, edge in zip(grid.shape, grid.nominal_spacing, strict=True)]
    if min(widths) < limits.field_mm:
        size = " × ".join(f"{width:.4g}" for width in widths)
        raise InvalidVolume(
            f"its field of view is {size} mm, thinner than the {limits.field_mm:g} mm that a "
            "result needs",
            remedy="Send the whole series, or leave it out; the setting least_field_mm is the "
            "limit",
            subject=modality.value,
        )


def read_volume(
    source: Source, modality: Modality, limits: Limits = Limits(), form: Form = "sform"
) -> Volume:
    """Read the volume of a modality; ``form`` is for NIfTI, see :func:`read_nifti`.

    Raises:
        InvalidVolume, VolumeTooLarge: see :func:`read_nifti` and :func:`read_stack`; or a stack
            shows too thin a slab.
    """
    if isinstance(source, Path):
        return read_nifti(source, modality, limits, form)
    _check_field(source.grid, modality, limits)
    from brainmvp_server.imaging.dicom.pixels import read_stack

    return read_stack(source, modality, limits)
