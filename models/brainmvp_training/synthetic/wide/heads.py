"""Whole heads as shares of tissue, read from label maps.

Label maps have FreeSurfer's numbers for the brain and those of SynthSeg's training maps for the
rest of the head (repository BBillot/SynthSeg, ``data/training_label_maps``, Apache-2.0). What the
numbers from 502 mean was read from where they lie. The dura has no label: it is the layer of CSF
that touches bone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, distance_transform_edt

from brainmvp_models.errors import InvalidDatalist
from brainmvp_training.synthetic.anatomy import mni152
from brainmvp_training.synthetic.fields import Array

VOXEL_MM = 2
EXAM_HEADS = ("head_05", "head_10", "head_13", "head_18")
"""Kept for exams: no training sees them."""
_MARGIN_MM = 14
_DURA_MM = 2
_NO_TISSUE = 255


class Tissue(IntEnum):
    """What a head is made of, as channels of :attr:`Head.shares`; what is left is air."""

    WHITE = 0
    GREY = 1
    DEEP_GREY = 2
    LIMBIC = 3  # hippocampus and amygdala
    BRIGHT_CORTEX = 4  # insula and cingulate: brighter in a FLAIR
    CSF = 5
    VENTRICLE = 6
    FLOWING_CSF = 7  # around cerebellum and brain stem, third and fourth ventricle
    LESION = 8  # of white matter
    VESSEL = 9
    PLEXUS = 10
    PITUITARY = 11
    MUCOSA = 12
    DURA = 13
    SOFT = 14
    BONE = 15
    MARROW = 16
    EYE = 17


_LABELS: dict[Tissue, tuple[int, ...]] = {
    Tissue.WHITE: (2, 41, 7, 46, 16, 85),
    Tissue.GREY: (3, 42, 8, 47, 26, 58),
    Tissue.DEEP_GREY: (10, 11, 12, 13, 28, 49, 50, 51, 52, 60),
    Tissue.LIMBIC: (17, 18, 53, 54),
    Tissue.CSF: (24,),
    Tissue.VENTRICLE: (4, 5, 43, 44, 72),
    Tissue.FLOWING_CSF: (14, 15),
    Tissue.LESION: (25, 57),
    Tissue.VESSEL: (30, 62, 514),
    Tissue.PLEXUS: (136, 137, 163, 164),
    Tissue.PITUITARY: (502,),
    Tissue.MUCOSA: (509,),
    Tissue.SOFT: (507, 511, 512),
    Tissue.BONE: (515,),
    Tissue.MARROW: (516,),
    Tissue.EYE: (506, 508, 530),
}
_PUTAMEN, _HINDBRAIN, _LATERAL = (12, 51), (7, 8, 16, 46, 47), (4, 43)

BRAIN = (
    Tissue.WHITE,
    Tissue.GREY,
    Tissue.DEEP_GREY,
    Tissue.LIMBIC,
    Tissue.BRIGHT_CORTEX,
    Tissue.VENTRICLE,
    Tissue.LESION,
    Tissue.PLEXUS,
)
"""What the tightest brain extraction leaves."""
NERVOUS = BRAIN[:5]
"""Where lesions grow."""


@dataclass(frozen=True, eq=False)
class Head:
    """One head, cut to its brain's box and 14 mm around it.

    Attributes:
        shares: (18, X, Y, Z) of each :class:`Tissue`, in 255ths, voxels of 2 mm.
    """

    name: str
    shares: NDArray[np.uint8]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along R, A and S."""
        x, y, z = self.shares.shape[1:]
        return x, y, z


def head_files(folder: Path, *, exam: bool = False) -> tuple[Path, ...]:
    """The label maps of a folder: those of :data:`EXAM_HEADS`, or all others.

    Raises:
        InvalidDatalist: there are none.
    """
    found = sorted(folder.glob("head_*.nii.gz"))
    wanted = tuple(f for f in found if (f.name.split(".")[0] in EXAM_HEADS) == exam)
    if not wanted:
        raise InvalidDatalist(
            f"holds no label maps of heads{' for exams' * exam}",
            remedy="Give a folder of head_NN.nii.gz, or leave --heads out",
            subject=folder.name,
        )
    return wanted


def read_head(path: Path) -> Head:
    """A head from its label map of 1 mm.

    Raises:
        InvalidDatalist: it cannot be read, has other voxels, or holds no brain.
    """
    try:
        image: Any = nib.as_closest_canonical(nib.load(path))
        labels = np.asarray(image.dataobj)
    except (OSError, ValueError, nib.filebasedimages.ImageFileError):
        raise InvalidDatalist(
            "cannot be read as a label map", remedy="Give a NIfTI file", subject=path.name
        ) from None
    if labels.ndim != 3 or not np.allclose(image.header.get_zooms()[:3], 1, atol=0.05):
        raise InvalidDatalist(
            "is no volume of 1 mm", remedy="Give label maps of 1 mm", subject=path.name
        )
    if not np.isin(labels, _LABELS[Tissue.WHITE]).any():
        raise InvalidDatalist(
            "holds no white matter", remedy="Give a FreeSurfer-like label map", subject=path.name
        )
    return Head(path.name.split(".")[0], _shares(_cropped(labels.astype(np.int64))))


def mni152_head() -> Head:
    """The average brain that nilearn ships, as a head of CSF, grey and white matter alone.

    Raises:
        TrainingFailed: nilearn is not installed.
    """
    around = _MARGIN_MM
    tissue = np.pad(mni152().tissue, [(0, 0), *[(around, around)] * 3])
    csf, grey, white = (_pooled(share) for share in tissue)
    shares = np.zeros((len(Tissue), *csf.shape), np.uint8)
    for kind, share in ((Tissue.CSF, csf), (Tissue.GREY, grey), (Tissue.WHITE, white)):
        shares[kind] = np.rint(share * 255)
    return Head("mni152", shares)


def _cropped(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    brain = np.isin(labels, [n for kind in (*BRAIN, Tissue.CSF) for n in _LABELS.get(kind, ())])
    # The spinal canal holds CSF down the neck: the box is the brain's.
    brain &= ~np.isin(labels, _LABELS[Tissue.CSF])
    box = []
    for axis in range(3):
        (hits,) = np.nonzero(brain.any(axis=tuple(a for a in range(3) if a != axis)))
        first, last = max(int(hits[0]) - _MARGIN_MM, 0), int(hits[-1]) + 1 + _MARGIN_MM
        box.append(slice(first, last))
    return np.ascontiguousarray(labels[tuple(box)])


def _shares(labels: NDArray[np.int64]) -> NDArray[np.uint8]:
    kinds = np.full(max(int(labels.max()) + 1, 1024), _NO_TISSUE, np.uint8)
    for kind, numbers in _LABELS.items():
        kinds[list(numbers)] = kind
    tissue = kinds[labels]
    bone = np.isin(tissue, (Tissue.BONE, Tissue.MARROW))
    dura = binary_dilation(bone, iterations=_DURA_MM) & (tissue == Tissue.CSF)
    tissue[dura] = Tissue.DURA
    shares = np.stack([_pooled(tissue == kind) for kind in Tissue])
    _split(shares, labels)
    return np.rint(shares * 255).astype(np.uint8)


def _split(shares: Array, labels: NDArray[np.int64]) -> None:
    """Set apart the cortex that is brighter in a FLAIR, and the CSF that flows."""
    putamen, hindbrain, lateral = (
        _distance(_pooled(np.isin(labels, numbers)) > 0.5)
        for numbers in (_PUTAMEN, _HINDBRAIN, _LATERAL)
    )
    across = np.arange(shares.shape[1], dtype=np.float32)
    white = shares[Tissue.WHITE].sum(axis=(1, 2))
    middle = float((across * white).sum() / white.sum())
    aside = np.abs(across - middle)[:, None, None] * VOXEL_MM
    insula = (putamen <= 10) & (aside > 26)
    cingulate = (aside < 10) & (lateral <= 18)
    _move(shares, Tissue.GREY, Tissue.BRIGHT_CORTEX, (insula | cingulate) & (hindbrain > 8))
    _move(shares, Tissue.CSF, Tissue.FLOWING_CSF, hindbrain <= 12)


def _move(shares: Array, source: Tissue, into: Tissue, where: NDArray[np.bool_]) -> None:
    shares[into][where] += shares[source][where]
    shares[source][where] = 0


def _distance(mask: NDArray[np.bool_]) -> Array:
    """Distance in mm to the mask; far from everything where it is empty."""
    if not mask.any():
        return np.full(mask.shape, 1e3, np.float32)
    distance: Array = distance_transform_edt(~mask, sampling=VOXEL_MM).astype(np.float32)
    return distance


def _pooled(volume: NDArray[Any]) -> Array:
    """Means over cubes of 2 × 2 × 2 voxels; an odd last one is dropped."""
    x, y, z = (n // VOXEL_MM for n in volume.shape)
    cut = volume[: x * 2, : y * 2, : z * 2].reshape(x, 2, y, 2, z, 2)
    pooled: Array = cut.mean(axis=(1, 3, 5), dtype=np.float32)
    return pooled
