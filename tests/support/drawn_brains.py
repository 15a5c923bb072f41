"""Brains of four contrasts, drawn from ellipsoids: for tests of how series are told apart."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from brainmvp_models.modality import Modality
from limited_bundle import PEOPLE

Array = NDArray[np.float32]

SHAPE, VOXEL_MM = (40, 48, 40), 4.0
_LEVELS = {
    Modality.T1: (0.55, 0.9, 0.2, 0.3),
    Modality.T1C: (0.55, 0.9, 0.2, 1.3),
    Modality.T2: (0.55, 0.4, 1.0, 0.2),
    Modality.FLAIR: (0.8, 0.6, 0.15, 0.3),
}
"""Cortex, white matter, ventricles, and the sinus behind the brain."""


def drawn_study(seed: int, size: float = 1.0) -> dict[Modality, Array]:
    """(40, 48, 40) a modality, voxels of 4 mm, background 0.

    Args:
        size: of the brain along each axis, over its usual size.
    """
    random = np.random.default_rng(seed)
    axes = [np.linspace(-1, 1, n) for n in SHAPE]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    wide = size * random.uniform(0.75, 0.9, 3)
    radius = np.sqrt((x / wide[0]) ** 2 + (y / wide[1]) ** 2 + (z / wide[2]) ** 2)
    sinus = (radius < 1) & (y < -0.7 * wide[1]) & (np.abs(x) < 0.25)
    images = {}
    for modality, (cortex, white, ventricle, vessel) in _LEVELS.items():
        image = np.where(radius < 0.75, white, cortex)
        image = np.where(radius < 0.25, ventricle, image)
        image = np.where(sinus, vessel, image) * random.uniform(0.9, 1.1)
        image = image + random.normal(0, 0.03, SHAPE)
        images[modality] = np.where(radius < 1, np.maximum(image, 0.05), 0).astype(np.float32)
    return images


def written_study(folder: Path, seed: int) -> dict[str, str]:
    """The same as files in a folder, by modality."""
    folder.mkdir(parents=True)
    affine = np.diag([VOXEL_MM, VOXEL_MM, VOXEL_MM, 1])
    for modality, image in drawn_study(seed).items():
        nib.save(nib.Nifti1Image(image, affine), folder / f"{modality}.nii.gz")
    return {modality.value: f"{folder.name}/{modality}.nii.gz" for modality in _LEVELS}


def written_list(folder: Path, training: int, validation: int) -> Path:
    """A list of drawn studies in two sections."""
    sections: dict[str, list[object]] = {"training": [], "validation": []}
    for seed in range(training + validation):
        section = "training" if seed < training else "validation"
        sections[section].append({"image": written_study(folder / f"{section}-{seed}", seed)})
    path = folder / "list.json"
    whom = dict.fromkeys(sections, PEOPLE.model_dump())
    path.write_text(json.dumps({**sections, "populations": whom}))
    return path
