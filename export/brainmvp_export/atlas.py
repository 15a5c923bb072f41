"""Make the atlas that the server ships, from the MNI152 average that nilearn ships.

``python -m brainmvp_export.atlas`` writes it to where the server looks for it; the ``train`` extra
brings nilearn.
"""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np

from brainmvp_models.errors import InvalidDatalist
from brainmvp_server.imaging.grid import bounding_box
from brainmvp_server.preparation.atlas import MNI152_FILE

_SOURCE = "data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
_BLOCK = 2
"""Millimetres of a voxel that is written: what heads are registered at."""


def source() -> Path:
    """The average in nilearn's package: a brain without its skull, uint8, 1 mm.

    Raises:
        InvalidDatalist: nilearn is not installed.
    """
    found = find_spec("nilearn.datasets")
    if found is None or found.origin is None:
        raise InvalidDatalist(
            "the atlas comes with nilearn, which is not installed",
            remedy="Run pip install 'brainmvp[train]'",
        )
    return Path(found.origin).parent / _SOURCE


def build(target: Path) -> None:
    """Write the brain's box of the average as means of blocks, uint8; the same bytes every time."""
    whole = nib.load(source())
    voxels = np.asarray(whole.dataobj)
    box = bounding_box(voxels > 0)
    assert box is not None
    # Blocks count from a dark layer before the brain; behind it the last may need dark voxels.
    start = np.array(box.start) - _BLOCK
    blocks = -(-(np.array(box.stop) + _BLOCK - start) // _BLOCK)
    padded = np.zeros(blocks * _BLOCK, dtype=np.uint8)
    padded[tuple(slice(_BLOCK, _BLOCK + n) for n in box.shape)] = voxels[box.slices]
    parts = np.stack([blocks, np.full(3, _BLOCK)], axis=1).ravel()
    means = padded.reshape(parts).mean(axis=(1, 3, 5))
    affine = whole.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ (start + (_BLOCK - 1) / 2)
    affine[:3, :3] *= _BLOCK
    image = nib.Nifti1Image(np.rint(means).astype(np.uint8), affine)
    target.write_bytes(gzip.compress(image.to_bytes(), mtime=0))


if __name__ == "__main__":
    build(MNI152_FILE)
