"""How a series shows a head and what is in it.

Brightness is drawn around the order of tissues that textbooks give (for example Westbrook, "MRI in
Practice"), with white matter of a T1 near 1, and in some series beyond it. Contrast agent goes
where the blood-brain barrier is not: vessels, dura, plexus, pituitary and mucosa, each by a draw of
its own. A healthy FLAIR is bright at the ventricles' rim and caps, in the insula, the cingulate and
the medial temporal lobe, and where CSF flows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from brainmvp_models.modality import Modality
from brainmvp_training.synthetic.fields import Array, blurred, smooth_field
from brainmvp_training.synthetic.wide.heads import VOXEL_MM, Tissue
from brainmvp_training.synthetic.wide.tumours import Part

Range = tuple[float, float]
_T1: dict[Tissue, Range] = {
    Tissue.WHITE: (0.85, 1.05),
    Tissue.GREY: (0.50, 0.80),
    Tissue.DEEP_GREY: (0.60, 0.92),
    Tissue.LIMBIC: (0.50, 0.78),
    Tissue.BRIGHT_CORTEX: (0.50, 0.80),
    Tissue.CSF: (0.06, 0.38),
    Tissue.LESION: (0.50, 0.85),
    Tissue.VESSEL: (0.15, 0.95),
    Tissue.PLEXUS: (0.30, 0.65),
    Tissue.PITUITARY: (0.60, 1.00),
    Tissue.MUCOSA: (0.40, 0.70),
    Tissue.DURA: (0.25, 0.65),
    Tissue.SOFT: (0.40, 1.40),
    Tissue.BONE: (0.02, 0.20),
    Tissue.MARROW: (0.50, 1.40),
    Tissue.EYE: (0.10, 0.35),
}
_T2: dict[Tissue, Range] = {
    Tissue.WHITE: (0.28, 0.48),
    Tissue.GREY: (0.48, 0.70),
    Tissue.DEEP_GREY: (0.36, 0.60),
    Tissue.LIMBIC: (0.50, 0.74),
    Tissue.BRIGHT_CORTEX: (0.50, 0.72),
    Tissue.CSF: (0.85, 1.30),
    Tissue.LESION: (0.55, 0.90),
    Tissue.VESSEL: (0.05, 0.60),
    Tissue.PLEXUS: (0.60, 1.00),
    Tissue.PITUITARY: (0.40, 0.75),
    Tissue.MUCOSA: (0.80, 1.20),
    Tissue.DURA: (0.10, 0.60),
    Tissue.SOFT: (0.25, 0.80),
    Tissue.BONE: (0.02, 0.20),
    Tissue.MARROW: (0.20, 0.70),
    Tissue.EYE: (0.80, 1.30),
}
_FLAIR: dict[Tissue, Range] = {
    Tissue.WHITE: (0.50, 0.68),
    Tissue.GREY: (0.62, 0.90),
    Tissue.DEEP_GREY: (0.55, 0.85),
    Tissue.LIMBIC: (0.75, 1.12),
    Tissue.BRIGHT_CORTEX: (0.72, 1.05),
    Tissue.CSF: (0.04, 0.30),
    Tissue.LESION: (0.85, 1.40),
    Tissue.VESSEL: (0.05, 0.95),
    Tissue.PLEXUS: (0.45, 1.10),
    Tissue.PITUITARY: (0.60, 1.00),
    Tissue.MUCOSA: (0.70, 1.30),
    Tissue.DURA: (0.30, 1.05),
    Tissue.SOFT: (0.30, 1.10),
    Tissue.BONE: (0.02, 0.20),
    Tissue.MARROW: (0.20, 0.90),
    Tissue.EYE: (0.05, 0.40),
}
_TISSUES = {Modality.T1: _T1, Modality.T1C: _T1, Modality.T2: _T2, Modality.FLAIR: _FLAIR}
MODALITIES = tuple(_TISSUES)

_PARTS: dict[Modality, dict[Part, Range]] = {
    Modality.T1: {
        Part.NECROSIS: (0.22, 0.55),
        Part.OEDEMA: (0.50, 0.80),
        Part.SOLID: (0.42, 0.76),
        Part.ENHANCING: (0.45, 0.82),
        Part.CYST: (0.12, 0.42),
        Part.BLOOD: (0.40, 1.60),
        Part.CAVITY: (0.06, 0.38),
        Part.SCAR: (0.42, 0.88),
    },
    Modality.T1C: {
        Part.NECROSIS: (0.22, 0.60),
        Part.OEDEMA: (0.50, 0.80),
        Part.SOLID: (0.42, 0.80),
        Part.ENHANCING: (1.02, 1.90),
        Part.CYST: (0.12, 0.42),
        Part.BLOOD: (0.40, 1.60),
        Part.CAVITY: (0.06, 0.38),
        Part.SCAR: (0.42, 0.88),
    },
    Modality.T2: {
        Part.NECROSIS: (0.70, 1.15),
        Part.OEDEMA: (0.60, 0.98),
        Part.SOLID: (0.55, 1.00),
        Part.ENHANCING: (0.48, 0.88),
        Part.CYST: (0.85, 1.25),
        Part.BLOOD: (0.08, 1.00),
        Part.CAVITY: (0.85, 1.30),
        Part.SCAR: (0.55, 0.95),
    },
    Modality.FLAIR: {
        Part.NECROSIS: (0.25, 1.05),
        Part.OEDEMA: (0.88, 1.50),
        Part.SOLID: (0.80, 1.45),
        Part.ENHANCING: (0.75, 1.30),
        Part.CYST: (0.08, 0.75),
        Part.BLOOD: (0.15, 1.30),
        Part.CAVITY: (0.04, 0.35),
        Part.SCAR: (0.85, 1.45),
    },
}
_UPTAKE: dict[Tissue, tuple[float, Range]] = {
    Tissue.VESSEL: (0.90, (0.95, 2.10)),
    Tissue.DURA: (0.70, (0.60, 1.60)),
    Tissue.PLEXUS: (0.90, (0.85, 1.90)),
    Tissue.PITUITARY: (0.90, (1.00, 1.80)),
    Tissue.MUCOSA: (0.90, (0.90, 1.80)),
}
"""The chance that a tissue takes up the agent, and how bright it is then in a T1c."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A head and what grew in it.

    Attributes:
        shares: (18, X, Y, Z) of each :class:`Tissue`, 0 to 1.
        parts: (X, Y, Z) :class:`Part` of a lesion, 0 for none.
        weak: whether what enhances does so weakly.
    """

    shares: Array
    parts: NDArray[np.uint8]
    weak: bool


def paint(subject: Subject, modality: Modality, rng: np.random.Generator) -> Array:
    """A series (X, Y, Z) of a whole head as a perfect scanner would give it."""
    levels = _levels(modality, rng)
    image: Array = np.tensordot(levels, subject.shares, axes=1)
    shape = image.shape
    if modality is Modality.T1C:
        _add_agent(image, subject, rng)
    if modality is Modality.FLAIR:
        _add_healthy_brightness(image, subject, rng)
    contrast = abs(float(levels[Tissue.WHITE] - levels[Tissue.GREY]))
    grain = 0.5 * smooth_field(shape, 3, rng) + 0.5 * smooth_field(shape, 10, rng)
    image += np.float32(contrast * rng.uniform(0.05, 0.3)) * grain
    add_parts(image, subject.parts, modality, rng, weak=subject.weak)
    return np.maximum(image, np.float32(0.01))


def add_parts(
    image: Array,
    parts: NDArray[np.uint8],
    modality: Modality,
    rng: np.random.Generator,
    *,
    weak: bool,
) -> None:
    """Paint lesions into a series whose white matter has its palette's brightness."""
    for part, (low, high) in _PARTS[modality].items():
        place = parts == part
        level = rng.uniform(low, high)
        own = rng.uniform(0.1, 0.45) if part in (Part.OEDEMA, Part.SCAR) else 0.1
        if part is Part.ENHANCING and modality is Modality.T1C and weak:
            level = rng.uniform(0.9, 1.1)
        if not place.any():
            continue
        mottled = np.float32(level) * (1 + np.float32(0.1) * smooth_field(image.shape, 3, rng))
        share = blurred(place.astype(np.float32), 0.5) * np.float32(1 - own)
        image += share * (mottled - image)


def white_brightness(modality: Modality) -> float:
    """The middle of the range that white matter has in a modality."""
    low, high = _TISSUES[modality][Tissue.WHITE]
    return (low + high) / 2


def _levels(modality: Modality, rng: np.random.Generator) -> Array:
    """Brightness of each tissue; in one series of six each is moved beyond its range."""
    ranges = dict(_TISSUES[modality])
    levels = np.zeros(len(Tissue), np.float32)
    for tissue, (low, high) in ranges.items():
        levels[tissue] = rng.uniform(low, high)
    levels[Tissue.VENTRICLE] = levels[Tissue.CSF] * rng.uniform(0.85, 1.15)
    levels[Tissue.FLOWING_CSF] = levels[Tissue.CSF] * rng.uniform(0.9, 1.2)
    if rng.random() < 1 / 6:
        levels *= np.exp(rng.normal(0, 0.15, len(levels))).astype(np.float32)
    return levels


def _add_agent(image: Array, subject: Subject, rng: np.random.Generator) -> None:
    """Contrast agent in healthy tissue, uneven along sinus, dura and plexus."""
    for tissue, (chance, (low, high)) in _UPTAKE.items():
        taken, level = rng.random() < chance, np.float32(rng.uniform(low, high))
        patchy = np.float32(rng.uniform(0, 0.5))
        if not taken:
            continue
        uneven = np.clip(1 + patchy * smooth_field(image.shape, 8, rng), 0, 1.5)
        share = subject.shares[tissue]
        image += share * uneven * np.maximum(level - image, 0)
    if rng.random() < 0.7:  # veins too thin for the label map, along the brain's surface
        image += _thin_veins(subject, rng) * np.float32(rng.uniform(0.1, 0.6))


def _thin_veins(subject: Subject, rng: np.random.Generator) -> Array:
    """Where two smooth random fields both vanish: winding tubes, most of them in CSF."""
    shape = subject.parts.shape
    one, two = (smooth_field(shape, 9, rng) for _ in range(2))
    tubes = np.maximum(1 - np.hypot(one, two) / 0.12, 0)
    csf = subject.shares[Tissue.CSF] + subject.shares[Tissue.FLOWING_CSF]
    return np.asarray(tubes * (0.25 + 0.75 * csf), np.float32)


def _add_healthy_brightness(image: Array, subject: Subject, rng: np.random.Generator) -> None:
    """A FLAIR's ventricular rim and caps, and CSF that flowed while it was measured."""
    shares, shape = subject.shares, image.shape
    if rng.random() < 0.8:
        ventricle = shares[Tissue.VENTRICLE] > 0.5
        distance = ventricle_distance(ventricle)
        reach = np.float32(rng.uniform(1.5, 5))
        caps = np.clip(0.4 + 0.8 * smooth_field(shape, 12, rng), 0, 2)
        rim = np.exp(-distance / reach) * caps * (1 - ventricle)
        tissue = shares[Tissue.WHITE] + shares[Tissue.DEEP_GREY] + shares[Tissue.GREY]
        image += np.float32(rng.uniform(0.1, 0.7)) * rim * tissue
    if rng.random() < 0.5:
        flow = np.clip(smooth_field(shape, 9, rng), 0, 1.5) * np.float32(rng.uniform(0.1, 0.8))
        image += flow * shares[Tissue.FLOWING_CSF]
    if rng.random() < 0.3:
        flow = np.clip(smooth_field(shape, 12, rng) - 0.7, 0, 1) * np.float32(rng.uniform(0.1, 0.7))
        image += flow * (shares[Tissue.CSF] + shares[Tissue.VENTRICLE])
    if rng.random() < 0.5:  # the coil, or the cortex itself, brighter in places
        patch = np.clip(smooth_field(shape, 15, rng), 0, 1.5) * np.float32(rng.uniform(0.05, 0.3))
        cortex = shares[Tissue.GREY] + shares[Tissue.BRIGHT_CORTEX] + shares[Tissue.LIMBIC]
        image += patch * cortex


def ventricle_distance(ventricle: NDArray[np.bool_]) -> Array:
    """Distance to the ventricles in mm, up to 30: beyond, nothing asks for it."""
    if not ventricle.any():
        return np.full(ventricle.shape, 30, np.float32)
    distance: Array = np.minimum(distance_transform_edt(~ventricle, sampling=VOXEL_MM), 30)
    return distance.astype(np.float32)
