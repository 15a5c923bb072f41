"""Reading masks: what breaks here refuses what somebody drew, or reads other voxels."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_models.errors import InvalidVolume, VolumeTooLarge
from brainmvp_server.imaging.nifti import Limits
from brainmvp_server.imaging.nifti_mask import read_labels, read_mask


def test_a_mask_that_is_nearly_or_all_empty_is_read_however_well_it_packs(tmp_path: Path) -> None:
    voxels = np.zeros((200, 200, 50), np.uint8)
    for found in (0, 3):
        voxels[100:104, 90, 30] = found
        path = tmp_path / f"mask-{found}.nii.gz"
        path.write_bytes(gzip.compress(nib.Nifti1Image(voxels, np.eye(4)).to_bytes()))
        assert path.stat().st_size * 250 < voxels.size
        labels, _ = read_labels(path, "mask")
        assert np.count_nonzero(labels) == (4 if found else 0)
        assert read_mask(path, "mask")[0].sum() == (4 if found else 0)


def test_a_mask_is_still_no_larger_than_a_scan_may_be(tmp_path: Path) -> None:
    path = tmp_path / "mask.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((100, 100, 100), np.uint8), np.eye(4)), path)
    with pytest.raises(VolumeTooLarge, match="the limit is 999999"):
        read_labels(path, "mask", Limits(voxels=999_999))


@pytest.mark.parametrize("value", [-1, 0.5, 70_000, np.nan])
def test_what_is_no_label_is_refused(value: float, tmp_path: Path) -> None:
    path = tmp_path / "mask.nii.gz"
    voxels = np.random.default_rng(0).integers(0, 3, (30, 30, 30)).astype(np.float32)
    voxels[3, 3, 3] = value
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)
    with pytest.raises(InvalidVolume, match="no labels"):
        read_labels(path, "mask")
