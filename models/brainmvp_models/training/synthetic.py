"""Synthetic multi-parametric studies from real anatomy.

The anatomy is the grey and white matter maps of the MNI ICBM152 2009a non-linear symmetric template
(Fonov et al., NeuroImage 54:313-327, 2011) that nilearn ships. A subject is that anatomy bent by a
random smooth deformation, with its tissue borders displaced by smooth random fields, so that
cortices differ; a contrast paints each tissue with a brightness drawn around what the modality's
physics gives, then come a bias field, blur and noise. Background is exactly zero, as in a
skull-stripped scan.

All arrays are (X, Y, Z) in R, A, S order at 1 mm; tissues are CSF, grey matter, white matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from brainmvp_models.modality import Modality

Array = NDArray[np.float32]

TISSUES = ("CSF", "GM", "WM")

_RANGES: dict[Modality, tuple[tuple[float, float], ...]] = {
    Modality.T1: ((0.10, 0.40), (0.50, 0.78), (0.85, 1.05)),
    Modality.T1C: ((0.10, 0.40), (0.52, 0.82), (0.85, 1.05)),
    Modality.T2: ((0.85, 1.10), (0.52, 0.70), (0.30, 0.48)),
    Modality.FLAIR: ((0.05, 0.25), (0.78, 1.00), (0.52, 0.72)),
}
"""Brightness of CSF, grey and white matter a modality; the order of tissues is the physics'."""


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Shares (3, X, Y, Z) of CSF, grey and white matter; their sum is 1 in the brain, else 0."""

    tissue: Array

    @property
    def brain(self) -> NDArray[np.bool_]:
        """Where the brain is."""
        inside: NDArray[np.bool_] = self.tissue.sum(axis=0) > 0.5
        return inside

    @property
    def labels(self) -> NDArray[np.uint8]:
        """0 background, 1 CSF, 2 grey matter, 3 white matter."""
        winner = self.tissue.argmax(axis=0).astype(np.uint8) + np.uint8(1)
        return np.where(self.brain, winner, np.uint8(0))

    def cropped(self, margin: int) -> Anatomy:
        """The anatomy cut to its brain's box and some voxels around it."""
        box = []
        for axis in range(3):
            others = tuple(a for a in range(3) if a != axis)
            (hits,) = np.nonzero(self.brain.any(axis=others))
            box.append(slice(max(int(hits[0]) - margin, 0), int(hits[-1]) + 1 + margin))
        return Anatomy(np.ascontiguousarray(self.tissue[(slice(None), *box)]))

    def window(self, start: tuple[int, int, int], size: int) -> Anatomy:
        """A cubic part."""
        place = tuple(slice(a, a + size) for a in start)
        return Anatomy(self.tissue[(slice(None), *place)])


@dataclass(frozen=True)
class Contrast:
    """How one scan paints the tissues.

    Attributes:
        brightness: of CSF, grey and white matter.
        gamma: exponent on the painted image.
        bias: strength of the multiplicative bias field, natural logarithm.
        blur: standard deviation of the point spread, in mm.
        noise: standard deviation of the noise, over the brightest tissue.
    """

    brightness: tuple[float, float, float]
    gamma: float
    bias: float
    blur: float
    noise: float

    @classmethod
    def draw(cls, modality: Modality, rng: np.random.Generator) -> Contrast:
        """A random contrast of a modality."""
        csf, grey, white = (float(rng.uniform(*limits)) for limits in _RANGES[modality])
        return cls(
            brightness=(csf, grey, white),
            gamma=float(np.exp(rng.normal(0, 0.15))),
            bias=float(rng.uniform(0, 0.2)),
            blur=float(rng.uniform(0, 0.7)),
            noise=float(rng.uniform(0.01, 0.06)),
        )

    def tone(self, tissue: Array) -> Array:
        """Tissue shares (3, …) to brightness (…), before bias, blur and noise."""
        mixed = np.tensordot(np.asarray(self.brightness, np.float32), tissue, axes=1)
        toned: Array = np.power(np.maximum(mixed, 0), np.float32(self.gamma), dtype=np.float32)
        return toned

    def paint(self, anatomy: Anatomy, rng: np.random.Generator) -> Array:
        """The scan (X, Y, Z) of an anatomy: positive in the brain, zero outside."""
        shape = anatomy.tissue.shape[1:]
        image = self.tone(anatomy.tissue)
        if self.blur > 0.2:
            image = _blurred(image, self.blur)
        image *= np.exp(np.float32(self.bias) * smooth_field(shape, 60, rng))
        level = np.float32(self.noise)
        real = image + level * rng.standard_normal(shape, dtype=np.float32)
        imaginary = level * rng.standard_normal(shape, dtype=np.float32)
        scan: Array = np.hypot(real, imaginary)  # a magnitude image: noise is Rician
        scan[~anatomy.brain] = 0
        return scan


def load_anatomy() -> Anatomy:
    """The MNI152 anatomy from the installed nilearn package.

    Raises:
        ModuleNotFoundError: nilearn is not installed.
    """
    spec = find_spec("nilearn")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("nilearn is not installed: pip install 'brainmvp[train]'")
    folder = Path(spec.origin).parent / "datasets" / "data"

    def read(kind: str) -> Array:
        image: Any = nib.load(folder / f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz")
        return np.asarray(image.dataobj, dtype=np.float32) / np.float32(255)

    grey, white, brain = read("gm"), read("wm"), read("t1") > 0
    total = np.maximum(grey + white, 1)
    grey, white = grey / total, white / total
    tissue = np.stack((np.maximum(1 - grey - white, 0), grey, white))
    tissue[:, ~brain] = 0
    return Anatomy(tissue)


def draw_subject(anatomy: Anatomy, rng: np.random.Generator, *, strength: float = 1.0) -> Anatomy:
    """A new subject: the anatomy bent, its tissue borders displaced, cropped to its brain.

    Args:
        strength: 1 for the usual variety; near 0 the subject resembles the anatomy.
    """
    bent = _deformed(anatomy.tissue, rng, strength)
    brain = bent.sum(axis=0) > 0.5
    bent = _displaced_borders(bent, rng, strength)
    bent[:, ~brain] = 0
    return Anatomy(bent).cropped(margin=1)


def smooth_field(shape: tuple[int, ...], grain: float, rng: np.random.Generator) -> Array:
    """A smooth random field of about unit deviation that changes over ``grain`` mm."""
    coarse = [max(int(np.ceil(n / grain)) + 2, 3) for n in shape]
    knots = torch.from_numpy(rng.standard_normal((1, 1, *coarse), dtype=np.float32))
    field = F.interpolate(knots, size=list(shape), mode="trilinear", align_corners=True)
    smooth: Array = field[0, 0].numpy()
    return smooth


def _deformed(tissue: Array, rng: np.random.Generator, strength: float) -> Array:
    """Resample (3, X, Y, Z) through a random affine and a smooth displacement."""
    shape = tissue.shape[1:]
    angles = rng.normal(0, 0.08, 3) * strength
    linear = _rotation(angles) * np.exp(rng.normal(0, 0.06, 3) * strength)
    theta = torch.from_numpy(np.concatenate((linear, np.zeros((3, 1))), axis=1).astype(np.float32))
    grid = F.affine_grid(theta[None], [1, 1, *shape], align_corners=True)
    for axis, n in enumerate(reversed(shape)):
        millimetres = 5 * smooth_field(shape, 40, rng) + 1.5 * smooth_field(shape, 15, rng)
        grid[0, ..., axis] += torch.from_numpy(millimetres * (strength * 2 / (n - 1)))
    bent = F.grid_sample(torch.from_numpy(tissue[None]), grid, align_corners=True)
    result: Array = bent[0].numpy()
    return result


def _displaced_borders(tissue: Array, rng: np.random.Generator, strength: float) -> Array:
    """Sharpen an average brain's soft shares into one subject's own folds.

    Each tissue's log share is shifted by a smooth random field, then the shares are made sharper.
    """
    sharpness = np.float32(rng.uniform(1.5, 4.0))
    logits = np.log(tissue + 1e-3)
    for index in range(len(logits)):
        amplitude = np.float32(strength * rng.uniform(0.2, 1.0))
        logits[index] += amplitude * smooth_field(logits.shape[1:], rng.uniform(3, 6), rng)
    logits *= sharpness
    shares: Array = np.exp(logits - logits.max(axis=0))
    shares /= shares.sum(axis=0)
    return shares


def _rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(x @ y @ z)


def _blurred(image: Array, deviation: float) -> Array:
    """Gaussian blur by three short convolutions."""
    reach = np.arange(-2, 3, dtype=np.float32)
    kernel = np.exp(-0.5 * (reach / np.float32(deviation)) ** 2)
    weights = torch.from_numpy(kernel / kernel.sum())
    x = torch.from_numpy(image[None, None])
    for axis in range(3):
        shape, padding = [1, 1, 1, 1, 1], [0, 0, 0]
        shape[axis + 2], padding[axis] = 5, 2
        x = F.conv3d(x, weights.reshape(shape), padding=padding)
    blurred: Array = x[0, 0].numpy()
    return blurred
