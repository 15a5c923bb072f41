"""Label maps become shares of tissue."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_models.errors import InvalidDatalist
from brainmvp_training.synthetic.wide.heads import (
    EXAM_HEADS,
    Tissue,
    head_files,
    mni152_head,
    read_head,
)


def _write(path: Path, labels: np.ndarray, edge: float = 1) -> Path:
    nib.save(nib.Nifti1Image(labels.astype(np.uint16), np.diag([edge, edge, edge, 1])), path)
    return path


def test_half_a_voxel_of_a_tissue_is_half_a_share(tmp_path: Path) -> None:
    labels = np.zeros((60, 60, 60), np.uint16)
    labels[20:40, 20:40, 20:40] = 2
    labels[30:40, 20:40, 20:35] = 3
    head = read_head(_write(tmp_path / "head_01.nii.gz", labels))
    shares = head.shares.astype(float) / 255
    assert shares[Tissue.WHITE].sum() * 8 == pytest.approx((labels == 2).sum(), rel=0.01)
    grey = shares[Tissue.GREY] + shares[Tissue.BRIGHT_CORTEX]
    assert grey.sum() * 8 == pytest.approx((labels == 3).sum(), rel=0.01)
    assert shares.sum(axis=0).max() == pytest.approx(1, abs=0.01)
    assert 0.4 < shares[Tissue.WHITE].max(axis=(0, 1))[::-1].max() <= 1


def test_csf_that_touches_bone_is_dura_and_csf_around_the_hindbrain_flows(tmp_path: Path) -> None:
    labels = np.full((64, 64, 64), 515, np.uint16)
    labels[8:56, 8:56, 8:56] = 24
    labels[20:44, 20:44, 28:44] = 2
    labels[24:40, 24:40, 20:28] = 16
    head = read_head(_write(tmp_path / "head_01.nii.gz", labels))
    ml = head.shares.sum(axis=(1, 2, 3)) / 255 * 8 / 1000
    # Two layers of the cube of 48 voxels, all of it in the box.
    assert ml[Tissue.DURA] == pytest.approx((48**3 - 44**3) / 1000, rel=0.1)
    assert 0 < ml[Tissue.FLOWING_CSF] < ml[Tissue.CSF]


def test_heads_for_exams_are_in_no_training(tmp_path: Path) -> None:
    for number in (1, 5, 10, 11, 13, 18):
        (tmp_path / f"head_{number:02d}.nii.gz").touch()
    names = [path.name[:7] for path in head_files(tmp_path)]
    assert names == ["head_01", "head_11"]
    assert tuple(path.name[:7] for path in head_files(tmp_path, exam=True)) == EXAM_HEADS


def test_what_is_no_label_map_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidDatalist, match="no label maps"):
        head_files(tmp_path)
    broken = tmp_path / "head_01.nii.gz"
    broken.write_bytes(b"no")
    coarse = _write(tmp_path / "head_02.nii.gz", np.full((30, 30, 30), 2), edge=2)
    empty = _write(tmp_path / "head_03.nii.gz", np.zeros((30, 30, 30)))
    for path, problem in ((broken, "cannot be read"), (coarse, "1 mm"), (empty, "white matter")):
        with pytest.raises(InvalidDatalist, match=problem) as caught:
            read_head(path)
        assert caught.value.subject == path.name


def test_without_heads_the_average_brain_has_no_skull() -> None:
    shares = mni152_head().shares
    assert shares[Tissue.WHITE].any() and not shares[Tissue.BONE].any()


def test_a_real_head_has_all_that_takes_up_the_agent(real_data: Callable[[str], Path]) -> None:
    head = read_head(real_data("anatomy") / "head_01.nii.gz")
    ml = head.shares.sum(axis=(1, 2, 3)) / 255 * 8 / 1000
    assert all(ml[kind] > 0.1 for kind in (Tissue.VESSEL, Tissue.PLEXUS, Tissue.DURA))
    assert 300 < ml[Tissue.WHITE] < 700 and 3 < ml[Tissue.BRIGHT_CORTEX] < 120
    assert 3 < ml[Tissue.FLOWING_CSF] < 120
