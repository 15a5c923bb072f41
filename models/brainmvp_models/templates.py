"""The template bank: one learned volume a modality, which stands in for a missing one.

Templates lie on the SRI24/BraTS grid: 240 x 240 x 155 voxels of 1 mm, axes R, A, S.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from brainmvp_models.errors import InvalidCheckpoint, TemplateMismatch
from brainmvp_models.modality import BANK_ORDER, Modality

TEMPLATE_SHAPE = (240, 240, 155)
"""Voxels of a published template along R, A and S."""

Volume = NDArray[Any]

_GZIP = b"\x1f\x8b"
_IsalError: type[Exception] = isal_zlib.error  # type: ignore[assignment]
_DAMAGED = (_IsalError, ImageFileError, HeaderDataError, WrapStructError)


@dataclass(frozen=True)
class TemplateBank:
    """Templates by modality, each (X, Y, Z) in R, A, S order at 1 mm, all of one shape.

    Attributes:
        volumes: the templates as they are stored.
        step: a template's value is what is stored, times this.
    """

    volumes: Mapping[Modality, Volume]
    step: float = 1.0

    def __post_init__(self) -> None:
        shapes = {volume.shape for volume in self.volumes.values()}
        if len(shapes) > 1 or any(len(shape) != 3 for shape in shapes):
            raise TemplateMismatch(
                f"templates have shapes {sorted(shapes)}",
                remedy="Give three-dimensional templates of one shape",
            )

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities that have a template."""
        return tuple(self.volumes)

    def only(self, wanted: Sequence[Modality]) -> TemplateBank:
        """The bank without the templates that are not ``wanted``; absent ones are left out."""
        return TemplateBank(
            {m: self.volumes[m] for m in dict.fromkeys(wanted) if m in self.volumes}, self.step
        )

    def at_spacing(self, spacing_mm: Sequence[float]) -> TemplateBank:
        """The bank on a grid of other voxels with the same centre, by linear interpolation."""
        if all(edge == 1 for edge in spacing_mm):
            return self
        step = np.float32(self.step)
        return TemplateBank(
            {
                m: _resampled(v.astype(np.float32) * step, spacing_mm)
                for m, v in self.volumes.items()
            }
        )

    @classmethod
    def from_parameter(cls, rep_template: Volume) -> TemplateBank:
        """The bank in ``rep_template`` (8, X, Y, Z) of a published pre-trained file.

        Raises:
            InvalidCheckpoint: the first axis does not hold the eight modalities.
        """
        if rep_template.ndim != 4 or rep_template.shape[0] != len(BANK_ORDER):
            raise InvalidCheckpoint(
                f"rep_template has shape {rep_template.shape}",
                remedy=f"It must be ({len(BANK_ORDER)}, X, Y, Z), one volume a modality",
            )
        return cls({m: rep_template[index] for index, m in enumerate(BANK_ORDER)})

    @classmethod
    def from_folder(cls, folder: Path) -> TemplateBank:
        """The bank in a folder of ``T1.nii.gz``, ``FLAIR.nii.gz``, … (upper case, as published).

        The affine of a published template is the identity; voxels are taken as they lie.

        Raises:
            TemplateMismatch: no such folder, no template in it, or one that cannot be read.
        """
        found = {m: folder / f"{m.value.upper()}.nii.gz" for m in BANK_ORDER}
        present = {m: path for m, path in found.items() if path.is_file()}
        if not present:
            raise TemplateMismatch(
                "holds no template",
                remedy="Name the files T1.nii.gz, FLAIR.nii.gz, … in upper case",
                subject=str(folder),
            )
        return cls({m: _values(*_read(path)) for m, path in present.items()})

    @classmethod
    def load(cls, path: Path, modalities: Sequence[Modality]) -> TemplateBank:
        """The bank in a bundle's four-dimensional ``templates.nii.gz``, in the manifest's order."""
        stack, step = _read(path)
        if stack.ndim != 4 or stack.shape[3] != len(modalities):
            raise TemplateMismatch(
                f"has shape {stack.shape} for {len(modalities)} modalities",
                remedy="Export the bundle again",
                subject=path.name,
            )
        return cls({m: stack[..., index] for index, m in enumerate(modalities)}, step)

    def save(self, path: Path) -> None:
        """Write all templates as one (X, Y, Z, modality) NIfTI with a RAS, 1 mm affine."""
        stack, step = np.stack(list(self.volumes.values()), axis=-1), self.step
        if step == 1:
            stack, step = _compact(stack)
        image = nib.Nifti1Image(stack, centred_affine(stack.shape[:3]))
        image.header.set_xyzt_units("mm")
        image.header.set_slope_inter(step, 0)
        nib.save(image, path)


def minmax_scaled(template: Volume) -> NDArray[np.float32]:
    """``template`` scaled to [0, 1], as pre-training uses it; a constant one becomes zeros."""
    values = template.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if high == low:
        return np.zeros_like(values)
    return (values - np.float32(low)) / np.float32(high - low)


def _resampled(volume: NDArray[np.float32], spacing_mm: Sequence[float]) -> NDArray[np.float32]:
    for axis, edge in enumerate(spacing_mm):
        n = volume.shape[axis]
        count = max(round(n / edge), 1)
        place = np.clip((np.arange(count) - (count - 1) / 2) * edge + (n - 1) / 2, 0, n - 1)
        below = np.minimum(place.astype(int), max(n - 2, 0))
        share = (place - below).astype(np.float32)
        shape = [1, 1, 1]
        shape[axis] = count
        share = share.reshape(shape)
        above = np.minimum(below + 1, n - 1)
        volume = volume.take(below, axis) * (1 - share) + volume.take(above, axis) * share
    return volume


def _read(path: Path) -> tuple[Volume, float]:
    """Voxels of a NIfTI file as they are stored, and the step that makes values of them.

    A file whose header adds an offset is read as values, with step 1.
    """
    try:
        content = path.read_bytes()
        if content[:2] == _GZIP:
            content = igzip.decompress(content)  # verifies the checksum
        image: Any = nib.Nifti1Image.from_bytes(content)
        data = image.dataobj
        if data.inter == 0:
            return np.asanyarray(data.get_unscaled()), float(data.slope)
        return np.asarray(data, dtype=np.float32), 1.0
    except (OSError, EOFError, ValueError, *_DAMAGED) as error:
        raise TemplateMismatch(
            f"cannot be read ({type(error).__name__})",
            remedy="Give a complete NIfTI file",
            subject=path.name,
        ) from None


def _values(stored: Volume, step: float) -> Volume:
    return stored if step == 1 else stored.astype(np.float32) * np.float32(step)


def _compact(stack: Volume) -> tuple[Volume, float]:
    """``stack`` as bytes and a step, where that holds every value exactly; else as it is."""
    if stack.dtype.kind == "f" and stack.min() >= 0:
        for step in (2.0**-power for power in range(9)):
            codes = stack / np.float32(step)
            if codes.max() <= 255 and np.array_equal(codes, np.rint(codes)):
                return codes.astype(np.uint8), step
    return stack, 1.0


def centred_affine(shape: Sequence[int]) -> NDArray[np.float64]:
    """A true affine: R-A-S, 1 mm, the centre of the grid at the origin."""
    affine = np.eye(4)
    affine[:3, 3] = [-(n - 1) / 2 for n in shape]
    return affine
