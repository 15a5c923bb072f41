"""How a modality shows tissue and tumour.

Brightness is drawn around what the modality's physics gives; the ranges are ours, written from the
order of tissues that textbooks give (for example Westbrook, "MRI in Practice"), with white matter
of a T1 near 1. They keep the order of tissues in every modality, not any scanner's calibration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.modality import Modality
from brainmvp_training.synthetic.anatomy import Anatomy
from brainmvp_training.synthetic.fields import Array, blurred, smooth_field, thick_slices
from brainmvp_training.synthetic.glioma import CORE, ENHANCING, OEDEMA, Glioma

Range: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class Palette:
    """Ranges of brightness of one modality; ``texture`` is how much of a T1's texture it shows."""

    csf: Range
    grey: Range
    white: Range
    core: Range
    enhancing: Range
    oedema: Range
    texture: Range


PALETTES: dict[Modality, Palette] = {
    Modality.T1: Palette(
        (0.10, 0.40),
        (0.50, 0.78),
        (0.85, 1.05),
        (0.25, 0.50),
        (0.52, 0.75),
        (0.52, 0.74),
        (0.4, 1.0),
    ),
    Modality.T1C: Palette(
        (0.10, 0.40),
        (0.52, 0.82),
        (0.85, 1.05),
        (0.22, 0.48),
        (1.20, 1.70),
        (0.54, 0.76),
        (0.3, 1.0),
    ),
    Modality.T2: Palette(
        (0.85, 1.10),
        (0.52, 0.70),
        (0.30, 0.48),
        (0.78, 1.05),
        (0.55, 0.85),
        (0.70, 0.95),
        (-0.6, 0.2),
    ),
    Modality.FLAIR: Palette(
        (0.05, 0.25),
        (0.70, 0.90),
        (0.50, 0.68),
        (0.35, 0.85),
        (0.90, 1.20),
        (1.08, 1.45),
        (-0.4, 0.4),
    ),
    Modality.PD: Palette(
        (0.75, 0.98),
        (0.88, 1.02),
        (0.62, 0.80),
        (0.85, 1.05),
        (0.92, 1.05),
        (0.95, 1.15),
        (-0.4, 0.2),
    ),
    Modality.DWI: Palette(
        (0.05, 0.20),
        (0.60, 0.75),
        (0.48, 0.60),
        (0.15, 0.42),
        (0.78, 1.10),
        (0.55, 0.80),
        (-0.3, 0.3),
    ),
    Modality.ADC: Palette(
        (0.88, 1.10),
        (0.26, 0.34),
        (0.21, 0.28),
        (0.60, 0.88),
        (0.32, 0.46),
        (0.48, 0.70),
        (-0.1, 0.1),
    ),
    Modality.MRA: Palette(
        (0.05, 0.20),
        (0.40, 0.55),
        (0.34, 0.48),
        (0.15, 0.35),
        (0.42, 0.62),
        (0.34, 0.48),
        (0.0, 0.3),
    ),
}


@dataclass(frozen=True)
class Contrast:
    """How one scan paints one subject.

    Attributes:
        tissue: brightness of CSF, grey and white matter.
        lesion: brightness of core, enhancing tumour and oedema.
        texture: share of the anatomy's texture, over the grey-white distance.
        gamma: exponent on the painted image.
        bias: strength of the multiplicative bias field, natural logarithm.
        blur: standard deviation of the point spread, in mm.
        noise: standard deviation of the Rician noise.
        thickness: slice thickness in mm, 1 for an isotropic scan.
        axis: the axis across the slices.
        vessels: brightness of flowing blood, 0 where it is not shown.
    """

    tissue: tuple[float, float, float]
    lesion: tuple[float, float, float]
    texture: float
    gamma: float
    bias: float
    blur: float
    noise: float
    thickness: int
    axis: int
    vessels: float

    @classmethod
    def draw(cls, modality: Modality, rng: np.random.Generator) -> Contrast:
        """A random contrast of a modality."""
        palette = PALETTES[modality]
        csf, grey, white = _draw(rng, palette.csf, palette.grey, palette.white)
        core, enhancing, oedema = _draw(rng, palette.core, palette.enhancing, palette.oedema)
        thick = rng.random() < 0.35
        return cls(
            tissue=(csf, grey, white),
            lesion=(core, enhancing, oedema),
            texture=float(rng.uniform(*palette.texture)),
            gamma=float(np.exp(rng.normal(0, 0.12))),
            bias=float(rng.uniform(0, 0.2)),
            blur=float(rng.uniform(0, 0.7)),
            noise=float(rng.uniform(0.01, 0.06)),
            thickness=int(rng.integers(2, 6)) if thick else 1,
            axis=int(rng.choice((2, 2, 1, 0))),
            vessels=float(rng.uniform(1.1, 1.7)) if modality is Modality.MRA else 0.0,
        )

    def paint(self, anatomy: Anatomy, glioma: Glioma, rng: np.random.Generator) -> Array:
        """The scan (X, Y, Z) of a subject: positive in the brain, exactly zero outside."""
        image = self._tissue(anatomy)
        for label, brightness in zip((CORE, ENHANCING, OEDEMA), self.lesion, strict=True):
            self._add_part(image, glioma, label, brightness, rng)
        if self.vessels:
            image[_vessels(anatomy, rng)] = self.vessels
        np.maximum(image, 0.02, out=image)
        np.power(image, np.float32(self.gamma), out=image)
        image[~anatomy.brain] = 0
        if self.blur > 0.2:
            image = blurred(image, self.blur)
        if self.thickness > 1:
            image = thick_slices(image, self.axis, self.thickness)
        image *= np.exp(np.float32(self.bias) * smooth_field(image.shape, 60, rng))
        return self._noisy(image, anatomy, rng)

    def _tissue(self, anatomy: Anatomy) -> Array:
        levels = np.asarray(self.tissue, np.float32)
        image: Array = np.tensordot(levels, anatomy.tissue, axes=1)
        image += np.float32(self.texture * abs(levels[2] - levels[1])) * anatomy.texture
        return image

    def _add_part(
        self, image: Array, glioma: Glioma, label: int, brightness: float, rng: np.random.Generator
    ) -> None:
        """Paint one part; oedema lets half of the tissue's own contrast through."""
        place = glioma.part(label)
        if not place.any():
            return
        mottled = brightness * (1 + 0.08 * smooth_field(image.shape, 6, rng)[place])
        own = 0.3 if label == OEDEMA else 0.1
        image[place] = own * image[place] + np.float32(1 - own) * mottled

    def _noisy(self, image: Array, anatomy: Anatomy, rng: np.random.Generator) -> Array:
        level = np.float32(self.noise)
        real = image + level * rng.standard_normal(image.shape, dtype=np.float32)
        imaginary = level * rng.standard_normal(image.shape, dtype=np.float32)
        scan: Array = np.hypot(real, imaginary)  # a magnitude image: noise is Rician
        scan[~anatomy.brain] = 0
        return scan


def _draw(rng: np.random.Generator, *ranges: Range) -> tuple[float, ...]:
    return tuple(float(rng.uniform(low, high)) for low, high in ranges)


def _vessels(anatomy: Anatomy, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Thin winding tubes: where two smooth random fields both vanish, outside white matter."""
    one, two = (smooth_field(anatomy.shape, 25, rng) for _ in range(2))
    tubes: NDArray[np.bool_] = np.hypot(one, two) < 0.06
    tubes &= anatomy.brain & (anatomy.tissue[2] < 0.5)
    return tubes
