"""Whole heads of any contrast with the brain known, drawn from label maps of ``../shared/anatomy``.

Each tissue has one brightness a contrast, with fine texture, a coil's slow shading and the noise of
a magnitude image; thick slices are means of thin ones. What each label is was read from where it
lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainmvp_models.modality import Modality
from brainmvp_server.imaging.grid import Grid
from brainmvp_server.imaging.volume import SpatialHeader, Volume
from brainmvp_server.preparation.brain_network import one_without_holes

Mask = NDArray[np.bool_]
EXAMS = (5, 10, 13, 18)
"""Heads that nothing was tuned on: old, middle-aged, young, very atrophic."""

_WHITE = (2, 7, 16, 41, 46, 85)
_GREY = (3, 8, *range(10, 14), 17, 18, 26, 28, 42, 47, *range(49, 55), 58, 60, 136, 137, 163, 164)
_VENTRICLES = (4, 5, 14, 15, 43, 44, 72)
_FLUID = 24
_TISSUES: dict[str, tuple[int, ...]] = {
    "white": _WHITE,
    "grey": _GREY,
    "fluid": (*_VENTRICLES, _FLUID),
    "lesion": (25, 57),
    "vessel": (30, 62, 514),
    "mucosa": (502, 509),
    "eye": (506, 508),
    "soft": (507,),
    "skin": (511,),
    "bone": (515,),
    "marrow": (516,),
    "cord": (512, 530),
}
_BRAIN = (*_WHITE, *_GREY, *_VENTRICLES, *_TISSUES["lesion"], 30, 62)

_ORDER = tuple(_TISSUES)
_BRIGHTNESS: dict[Modality, tuple[float, ...]] = {
    Modality.T1: (0.80, 0.58, 0.18, 0.6, 0.35, 0.55, 0.25, 0.65, 0.85, 0.10, 0.75, 0.75),
    Modality.T1C: (0.75, 0.58, 0.18, 0.6, 1.10, 1.00, 0.25, 0.65, 0.85, 0.10, 0.75, 0.75),
    Modality.T2: (0.38, 0.52, 1.00, 0.7, 0.12, 0.80, 1.00, 0.45, 0.55, 0.07, 0.45, 0.40),
    Modality.FLAIR: (0.50, 0.66, 0.12, 1.0, 0.20, 0.70, 0.15, 0.45, 0.55, 0.07, 0.45, 0.50),
    Modality.PD: (0.62, 0.78, 0.85, 0.9, 0.30, 0.80, 0.80, 0.70, 0.75, 0.10, 0.65, 0.65),
}
CONTRASTS = tuple(_BRIGHTNESS)
_TEXTURE, _SHADING, _NOISE = 0.12, 0.2, 0.02


@dataclass(frozen=True, eq=False)
class RenderedHead:
    """A series and its brain, with the fluid around it, on the same voxels."""

    volume: Volume
    brain: Mask


@dataclass(frozen=True, eq=False)
class LabelledHead:
    """A head's labels, 1 mm, R, A, S."""

    labels: NDArray[np.int32]

    @classmethod
    def load(cls, folder: Path, number: int) -> LabelledHead:
        """Head ``number`` of the label maps in a folder."""
        image = nib.as_closest_canonical(nib.load(folder / f"head_{number:02d}.nii.gz"))
        return cls(np.asarray(image.dataobj).astype(np.int32))

    def brain(self) -> Mask:
        """The brain and the fluid between it and the skull, without the spinal canal."""
        tissue = np.isin(self.labels, _BRAIN)
        inside = tissue | (self.labels == _FLUID)
        inside[:, :, : np.nonzero(tissue.any(axis=(0, 1)))[0][0]] = False
        inside = one_without_holes(inside)
        opened: Mask = ndimage.binary_opening(inside, iterations=2) | (tissue & inside)
        return opened

    def of_tissues(self, values: Mapping[str, float]) -> NDArray[np.float32]:
        """(X, Y, Z) each tissue's value; that of ``""`` where there is none of them."""
        table = np.full(1 << 10, values[""], dtype=np.float32)
        for tissue, labels in _TISSUES.items():
            table[list(labels)] = values[tissue]
        shown: NDArray[np.float32] = table[self.labels]
        return shown

    def rendered(self, contrast: Modality, slice_mm: int, seed: int) -> RenderedHead:
        """A series of this contrast, its slices axial and so thick."""
        random = np.random.default_rng(seed)
        values = _brightness(contrast)[self.labels]
        texture = ndimage.gaussian_filter(random.standard_normal(values.shape), 1)
        shading = ndimage.zoom(
            random.uniform(1 - _SHADING, 1 + _SHADING, (4, 4, 4)),
            np.array(values.shape) / 4,
            order=1,
        )
        values = ndimage.gaussian_filter(values * (1 + _TEXTURE * texture) * shading, 0.5)
        values, brain = _thick(values, slice_mm), _thick(self.brain(), slice_mm) > 0.5
        noise = random.normal(0, _NOISE, (2, *values.shape))
        stored = np.rint(1000 * np.hypot(values + noise[0], noise[1])).astype(np.int16)
        affine = np.diag([1.0, 1.0, float(slice_mm), 1.0])
        grid = Grid((stored.shape[0], stored.shape[1], stored.shape[2]), affine)
        volume = Volume(contrast, stored, 1, 0, grid, SpatialHeader({}), "sha256:" + 64 * "0")
        return RenderedHead(volume, brain)


def _brightness(contrast: Modality) -> NDArray[np.float32]:
    """By label; labels of unknown meaning are middling."""
    table = np.full(1 << 10, 0.5, dtype=np.float32)
    table[0] = 0
    for tissue, brightness in zip(_ORDER, _BRIGHTNESS[contrast], strict=True):
        table[list(_TISSUES[tissue])] = brightness
    return table


def _thick(values: NDArray[np.generic], slices: int) -> NDArray[np.float32]:
    """Means of so many slices along z; what is left over at the top is left out."""
    count = values.shape[2] // slices
    cut = values[:, :, : count * slices].astype(np.float32)
    means: NDArray[np.float32] = cut.reshape(*cut.shape[:2], count, slices).mean(axis=3)
    return means
