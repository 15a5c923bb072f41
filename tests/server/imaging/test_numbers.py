"""Numbers as files hold them: huge, tiny, far from zero, and scalings that give none."""

from __future__ import annotations

import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_models.errors import InvalidVolume
from brainmvp_models.modality import Modality
from brainmvp_models.task import Preprocessing
from brainmvp_server.imaging.nifti import read_nifti
from brainmvp_server.imaging.study import Study
from brainmvp_server.inference.preprocess import prepare

_RULES = Preprocessing()


def head(kind: str = "f8") -> np.ndarray:
    """A head of 1 … 200 on zeros, (24, 26, 28)."""
    voxels = np.zeros((24, 26, 28))
    voxels[4:20, 4:22, 4:24] = np.random.default_rng(4).integers(1, 200, (16, 18, 20))
    return voxels.astype(kind)


def written(path: Path, voxels: np.ndarray, scaling: tuple[float, float] | None = None) -> Path:
    content = bytearray(nib.Nifti1Image(voxels, np.eye(4)).to_bytes())
    if scaling:
        struct.pack_into("<2f", content, 112, *scaling)
    path.write_bytes(content)
    return path


SAME = {
    "float64 × 1e300": (head() * 1e300, None),
    "float64 × 1e-60": (head() * 1e-60, None),
    "float64 × 1e-300": (head() * 1e-300, None),
    "float64 far from zero": (head() + 1e9, None),
    "int32 far from zero": ((head() + 2e9).astype("i4"), None),
    "float32 near its largest": ((head() * 1e36).astype("f4"), None),
    "float32, small": ((head() * 1e-37).astype("f4"), None),
    "slope 1e38": (head("i2"), (1e38, 0.0)),
    "slope 1e-38": (head("i2"), (1e-38, 0.0)),
    "slope NaN means none": (head("i2"), (np.nan, np.nan)),
    "slope 0 means none": (head("i2"), (0.0, 7.0)),
    "intercept": (head("i2"), (2.0, -1000.0)),
}
"""Files whose voxels mean the same image, in other units."""


@pytest.mark.parametrize("name", SAME)
def test_an_image_in_other_units_reaches_the_model_as_the_same_image(
    name: str, tmp_path: Path
) -> None:
    plain = read_nifti(written(tmp_path / "plain.nii", head("i2")), Modality.T1)
    expected = prepare(Study.of([plain]), _RULES)
    volume = read_nifti(written(tmp_path / "a.nii", *SAME[name]), Modality.T1)
    prepared = prepare(Study.of([volume]), _RULES)
    assert prepared.space.box == expected.space.box
    image = prepared.images[Modality.T1]
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, expected.images[Modality.T1], atol=2e-5)


def hot(value: float) -> np.ndarray:
    voxels = head("f4")
    voxels[10, 10, 10] = value
    return voxels


REFUSED = {
    "intercept NaN": (head("i2"), (1.0, np.nan), "scaled by 1 and shifted by nan"),
    "intercept infinite": (head("i2"), (1.0, np.inf), "shifted by inf"),
    "slope infinite": (head("i2"), (np.inf, 0.0), "scaled by inf"),
    "beyond float64": (head() * 1e300, (1e30, 0.0), "64 bits"),
    "denormal": (head() * 1e-320, None, "64 bits"),
    "one voxel of 1e30": (hot(1e30), None, "times as bright"),
    "one voxel of -1e30": (hot(-1e30), None, "times as bright"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_numbers_that_no_network_can_take_are_refused_and_the_part_is_named(
    name: str, tmp_path: Path
) -> None:
    voxels, scaling, problem = REFUSED[name]
    path = written(tmp_path / "a.nii", voxels, scaling)
    with pytest.raises(InvalidVolume, match=problem) as caught:
        prepare(Study.of([read_nifti(path, Modality.T1C)]), _RULES)
    assert caught.value.subject == "t1c" and caught.value.remedy
