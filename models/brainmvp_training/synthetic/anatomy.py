"""Real brains as shares of tissue.

The anatomy to train on is the MNI ICBM152 2009a non-linear symmetric average with its grey and
white matter maps (Fonov et al., NeuroImage 54:313-327, 2011) that nilearn ships. Any T1 without its
skull can be an anatomy too: Colin27 (Holmes et al., J Comput Assist Tomogr 22:324-333, 1998) is the
one held out. Arrays are (X, Y, Z) in R, A, S order at 1 mm.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from brainmvp_models.errors import InvalidDatalist, TrainingFailed
from brainmvp_training.synthetic.fields import Array, blurred

TISSUES = ("CSF", "GM", "WM")
_HOLLOWS_MM = (5, 10)
"""Half the width of the hollows that a looser brain extraction leaves filled."""


@dataclass(frozen=True, eq=False)
class Anatomy:
    """One brain.

    Attributes:
        tissue: shares (3, X, Y, Z) of CSF, grey and white matter; their sum is 1 in the brain,
            else 0.
        texture: (X, Y, Z) what a real T1 shows beyond its three tissues: deep nuclei, vessels,
            folds. In units of the distance between grey and white matter; 0 outside the brain.
    """

    tissue: Array
    texture: Array

    @cached_property
    def brain(self) -> NDArray[np.bool_]:
        """Where the brain is."""
        inside: NDArray[np.bool_] = self.tissue.sum(axis=0) > 0.5
        return inside

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along R, A and S."""
        x, y, z = self.texture.shape
        return x, y, z

    @cached_property
    def loose(self) -> tuple[Anatomy, ...]:
        """The same brain after looser extractions: CSF in the cisterns and other hollows outside.

        A network that only ever saw tight ones takes a cistern for a core.
        """
        return tuple(self._hollows_filled(reach) for reach in _HOLLOWS_MM)

    def _hollows_filled(self, reach: int) -> Anatomy:
        """CSF wherever a ball of ``reach`` mm outside the brain does not fit."""
        padded = np.pad(self.brain, reach + 1)
        near = distance_transform_edt(~padded) <= reach
        closed = distance_transform_edt(near) > reach
        inner = slice(reach + 1, -reach - 1)
        hollows = closed[inner, inner, inner] & ~self.brain
        tissue = self.tissue.copy()
        tissue[:, hollows] = np.array([[1], [0], [0]], np.float32)
        return Anatomy(tissue, self.texture)

    def cropped(self, margin: int) -> Anatomy:
        """The anatomy cut to its brain's box and some voxels around it."""
        box = []
        for axis in range(3):
            others = tuple(a for a in range(3) if a != axis)
            (hits,) = np.nonzero(self.brain.any(axis=others))
            box.append(slice(max(int(hits[0]) - margin, 0), int(hits[-1]) + 1 + margin))
        return Anatomy(
            np.ascontiguousarray(self.tissue[(slice(None), *box)]),
            np.ascontiguousarray(self.texture[tuple(box)]),
        )


def mni152() -> Anatomy:
    """The MNI152 anatomy from the installed nilearn package.

    Raises:
        TrainingFailed: nilearn is not installed.
    """
    grey, white, scan = (_mni152_map(kind) for kind in ("gm", "wm", "t1"))
    brain = scan > 0
    total = np.maximum(grey + white, 1)
    grey, white = grey / total, white / total
    tissue = np.stack((np.maximum(1 - grey - white, 0), grey, white))
    tissue[:, ~brain] = 0
    return Anatomy(tissue, _texture(scan, tissue)).cropped(margin=1)


def mni152_t1() -> Array:
    """The average T1 of MNI152, brain-extracted, as nilearn ships it."""
    return _mni152_map("t1")


def from_t1(path: Path) -> Anatomy:
    """The anatomy in a brain-extracted T1 of 1 mm whose background is zero.

    Three brightness levels are found by k-means; a voxel between two of them is a mixture of both
    tissues, in proportion (the partial volume model of Choi et al., IEEE TMI 10:395-407, 1991).

    Raises:
        InvalidDatalist: it cannot be read as such a scan.
    """
    try:
        image: Any = nib.as_closest_canonical(nib.load(path))
        scan = np.asarray(image.dataobj, dtype=np.float32)
    except (OSError, ValueError, nib.filebasedimages.ImageFileError):
        raise InvalidDatalist(
            "cannot be read as a scan", remedy="Give a NIfTI file", subject=path.name
        ) from None
    if scan.ndim != 3 or not np.allclose(image.header.get_zooms()[:3], 1, atol=0.01):
        raise InvalidDatalist(
            "is no volume of 1 mm", remedy="Resample the scan to 1 mm", subject=path.name
        )
    brain = scan > 0
    if not 0.05 < brain.mean() < 0.95:
        raise InvalidDatalist(
            "has no zero background around the brain",
            remedy="Give a brain-extracted T1",
            subject=path.name,
        )
    levels = _three_levels(blurred(scan, 0.6)[brain])
    place = np.interp(scan, levels, (0.0, 1.0, 2.0)).astype(np.float32)
    tissue = np.stack([np.clip(1 - np.abs(place - k), 0, 1) for k in range(3)])
    tissue[:, ~brain] = 0
    return Anatomy(tissue, _texture(scan, tissue)).cropped(margin=1)


def _mni152_map(kind: str) -> Array:
    spec = find_spec("nilearn")
    if spec is None or spec.origin is None:
        raise TrainingFailed(
            "MNI152 comes with nilearn, which is not installed",
            remedy="pip install 'brainmvp[train]', or give another --anatomy",
        )
    folder = Path(spec.origin).parent / "datasets" / "data"
    image: Any = nib.load(folder / f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz")
    return np.asarray(image.dataobj, dtype=np.float32) / np.float32(255)


def _three_levels(values: Array, rounds: int = 20) -> NDArray[np.float64]:
    """Brightness of CSF, grey and white matter in a T1: k-means of its histogram."""
    counts, edges = np.histogram(values, bins=256)
    centres = (edges[1:] + edges[:-1]) / 2
    levels = np.quantile(values, (0.05, 0.4, 0.85))
    for _ in range(rounds):
        nearest = np.abs(centres[:, None] - levels).argmin(axis=1)
        levels = np.array(
            [
                np.average(centres[nearest == k], weights=counts[nearest == k] + 1e-9)
                for k in (0, 1, 2)
            ]
        )
    return np.sort(levels)


def _texture(scan: Array, tissue: Array) -> Array:
    """The scan less what its tissue shares explain, over the grey-white distance."""
    brain = tissue.sum(axis=0) > 0.5
    shares = tissue[:, brain].reshape(3, -1).T.astype(np.float64)
    levels, *_ = np.linalg.lstsq(shares, scan[brain].astype(np.float64), rcond=None)
    texture = np.zeros_like(scan)
    texture[brain] = (scan[brain] - shares @ levels) / abs(levels[2] - levels[1])
    return np.clip(texture, -1.5, 1.5)
