"""What may be one study."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_models.errors import GridMismatch, MissingModality
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.study import Study, read_study

VOXELS = np.arange(6 * 7 * 8, dtype=np.int16).reshape(6, 7, 8)


def save(path: Path, affine: np.ndarray, voxels: np.ndarray = VOXELS) -> Path:
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


def test_the_same_voxels_stored_in_another_axis_order_are_one_study(tmp_path: Path) -> None:
    first = save(tmp_path / "a.nii", np.diag([1.0, 1, 2, 1]))
    turned = nib.load(first).as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
    nib.save(turned, tmp_path / "b.nii")
    study = read_study({Modality.T1: first, Modality.T2: tmp_path / "b.nii"})
    one, two = (volume.grid.orientation.view(volume.stored) for volume in study.volumes)
    np.testing.assert_array_equal(one, two)
    assert study.native.modality is Modality.T1


def test_a_shift_of_a_voxel_is_a_mismatch_and_rounding_is_not(tmp_path: Path) -> None:
    first = save(tmp_path / "a.nii", np.eye(4))
    near, far = np.eye(4), np.eye(4)
    near[0, 3], far[0, 3] = 1e-3, 1.0
    read_study({Modality.T1: first, Modality.T2: save(tmp_path / "b.nii", near)})
    with pytest.raises(GridMismatch, match=r"t2: it lies up to 1\.00 mm from t1"):
        read_study({Modality.T1: first, Modality.T2: save(tmp_path / "c.nii", far)})


def test_another_shape_is_a_mismatch_that_names_both(tmp_path: Path) -> None:
    first = save(tmp_path / "a.nii", np.eye(4))
    other = save(tmp_path / "b.nii", np.eye(4), VOXELS[:-1])
    with pytest.raises(GridMismatch, match="5 × 7 × 8 voxels, t1 has 6 × 7 × 8"):
        read_study({Modality.T1: first, Modality.T2: other})


def test_an_empty_study_is_refused() -> None:
    with pytest.raises(MissingModality):
        Study.of([])
