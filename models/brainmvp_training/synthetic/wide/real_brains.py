"""Real brains without a tumour, into which synthetic tumours are put.

A folder holds ``t1``, ``t1c``, ``t2`` and ``flair`` (NIfTI, one grid of 1 mm, brain extracted) and
``lesions``, a mask of lesions that are no tumour. Each series is scaled so that white matter has
the brightness of the palette.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy.ndimage import binary_erosion

from brainmvp_models.errors import InvalidDatalist
from brainmvp_training.synthetic.fields import Array
from brainmvp_training.synthetic.wide.brightness import MODALITIES, white_brightness
from brainmvp_training.synthetic.wide.heads import VOXEL_MM


@dataclass(frozen=True, eq=False)
class RealBrain:
    """Scans of one person.

    Attributes:
        maps: (6, X, Y, Z), voxels of 2 mm: the series in the order of ``MODALITIES``, white matter
            (0 or 1, what is bright in T1), and the brain without its rim (0 or 1).
    """

    name: str
    maps: Array

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along R, A and S."""
        x, y, z = self.maps.shape[1:]
        return x, y, z


def brain_folders(folder: Path) -> tuple[Path, ...]:
    """The brains in a folder: its folders that hold all four series.

    Raises:
        InvalidDatalist: there are none.
    """
    found = tuple(
        sorted(
            path
            for path in folder.iterdir()
            if all((path / f"{m.value}.nii.gz").is_file() for m in MODALITIES)
        )
        if folder.is_dir()
        else ()
    )
    if not found:
        raise InvalidDatalist(
            "holds no folder with t1, t1c, t2 and flair",
            remedy="Give a folder of brains, or leave --brains out",
            subject=folder.name,
        )
    return found


def read_brain(folder: Path) -> RealBrain:
    """The brain of one folder.

    Raises:
        InvalidDatalist: a series cannot be read, or they do not lie on one grid.
    """
    series = [_read(folder / f"{m.value}.nii.gz") for m in MODALITIES]
    if len({volume.shape for volume in series}) > 1:
        raise InvalidDatalist(
            "has series on several grids", remedy="Bring them to one grid", subject=folder.name
        )
    brain = np.all([volume > 0 for volume in series], axis=0)
    levels = np.percentile(series[0][brain], (60, 95))
    white = brain & (series[0] > levels[0]) & (series[0] < levels[1])
    scaled = [
        volume * np.float32(white_brightness(modality) / np.median(volume[white]))
        for modality, volume in zip(MODALITIES, series, strict=True)
    ]
    inner = binary_erosion(brain, iterations=2)
    return RealBrain(folder.name, np.stack([*scaled, white, inner]).astype(np.float32))


def _read(path: Path) -> Array:
    """One series at 2 mm, cut off beyond whole voxels."""
    try:
        image: Any = nib.as_closest_canonical(nib.load(path))
        volume = np.asarray(image.dataobj, np.float32)
    except (OSError, ValueError, nib.filebasedimages.ImageFileError):
        raise InvalidDatalist(
            "cannot be read as a scan", remedy="Give a NIfTI file", subject=path.name
        ) from None
    x, y, z = (n // VOXEL_MM for n in volume.shape)
    cut = volume[: x * 2, : y * 2, : z * 2].reshape(x, 2, y, 2, z, 2)
    return np.asarray(cut.mean(axis=(1, 3, 5)), np.float32)
