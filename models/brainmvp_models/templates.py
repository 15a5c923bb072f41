"""The template bank: one learned volume a modality, which stands in for a missing one.

Templates lie on the SRI24/BraTS grid: 240 x 240 x 155 voxels of 1 mm, axes R, A, S.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from brainmvp_models.errors import InvalidCheckpoint, TemplateMismatch
from brainmvp_models.modality import BANK_ORDER, Modality

TEMPLATE_SHAPE = (240, 240, 155)
"""Voxels of a published template along R, A and S."""

Volume = NDArray[Any]


@dataclass(frozen=True)
class TemplateBank:
    """Templates by modality, each (X, Y, Z) in R, A, S order at 1 mm, all of one shape."""

    volumes: Mapping[Modality, Volume]

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
            {m: self.volumes[m] for m in dict.fromkeys(wanted) if m in self.volumes}
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
        return cls({m: _read(path, whole=True) for m, path in present.items()})

    @classmethod
    def load(cls, path: Path, modalities: Sequence[Modality]) -> TemplateBank:
        """The bank in a bundle's four-dimensional ``templates.nii.gz``, in the manifest's order."""
        stack = _read(path)
        if stack.ndim != 4 or stack.shape[3] != len(modalities):
            raise TemplateMismatch(
                f"has shape {stack.shape} for {len(modalities)} modalities",
                remedy="Export the bundle again",
                subject=path.name,
            )
        return cls({m: stack[..., index] for index, m in enumerate(modalities)})

    def save(self, path: Path) -> None:
        """Write all templates as one (X, Y, Z, modality) NIfTI with a RAS, 1 mm affine."""
        stack, step = _compact(np.stack(list(self.volumes.values()), axis=-1))
        image = nib.Nifti1Image(stack, _centred_affine(stack.shape[:3]))
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


def _read(path: Path, *, whole: bool = False) -> Volume:
    """Voxels of a NIfTI file; integers stay integers unless the header scales them.

    Args:
        whole: read up to the gzip checksum first, which nibabel does not reach.
    """
    try:
        if whole:
            with gzip.open(path) as file:
                while file.read(1 << 20):
                    pass
        image: Any = nib.load(path)
        return np.asarray(image.dataobj, dtype=_storage(image))
    except (OSError, EOFError, ValueError, zlib.error, ImageFileError) as error:
        raise TemplateMismatch(
            f"cannot be read ({type(error).__name__})",
            remedy="Give a complete NIfTI file",
            subject=path.name,
        ) from None


def _compact(stack: Volume) -> tuple[Volume, float]:
    """``stack`` as bytes and a step, where that holds every value exactly; else as it is."""
    if stack.dtype.kind == "f" and stack.min() >= 0:
        for step in (2.0**-power for power in range(9)):
            codes = stack / np.float32(step)
            if codes.max() <= 255 and np.array_equal(codes, np.rint(codes)):
                return codes.astype(np.uint8), step
    return stack, 1.0


def _storage(image: Any) -> np.dtype[Any]:
    slope, inter = image.dataobj.slope, image.dataobj.inter
    unscaled = slope == 1 and inter == 0
    return np.dtype(image.get_data_dtype() if unscaled else np.float32)


def _centred_affine(shape: Sequence[int]) -> NDArray[np.float64]:
    affine = np.eye(4)
    affine[:3, 3] = [-(n - 1) / 2 for n in shape]
    return affine
