"""Reading NIfTI as scanners and tools write it; what is refused is in the API's tests too."""

from __future__ import annotations

import gzip
import time
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brainmvp_models.errors import BrainMVPError, InvalidVolume, VolumeTooLarge
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.nifti import Limits, compress, encode_nifti, read_nifti
from brainmvp_server.imaging.volume import Volume

AFFINE = np.array([[-0.9, 0, 0.1, 30], [0, 0.95, 0, -20], [0.03, 0, 3.0, 5], [0, 0, 0, 1]])


def written(tmp_path: Path, voxels: np.ndarray, name: str = "a.nii", **header: object) -> Path:
    image = nib.Nifti1Image(voxels, np.diag([-0.9, 0.95, 3, 1.0]))
    for field, value in header.items():
        image.header[field] = value
    nib.save(image, tmp_path / name)
    return tmp_path / name


def values(volume: Volume) -> np.ndarray:
    return volume.values(volume.stored)


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8"])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_voxels_and_affine_equal_nibabels(tmp_path: Path, dtype: str, name: str) -> None:
    voxels = np.random.default_rng(1).integers(0, 100, (4, 5, 6)).astype(dtype)
    path = written(tmp_path, voxels, name)
    volume = read_nifti(path, Modality.T1)
    np.testing.assert_array_equal(values(volume), nib.load(path).get_fdata())
    np.testing.assert_allclose(volume.grid.affine, nib.load(path).affine)


def test_compression_is_seen_from_content_not_from_the_name(tmp_path: Path) -> None:
    voxels = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    path = written(tmp_path, voxels, "a.nii.gz")
    renamed = path.rename(tmp_path / "no-extension")
    np.testing.assert_array_equal(read_nifti(renamed, Modality.T1).stored, voxels)


@pytest.mark.parametrize("slope", [0.5, -2.0])
def test_scaled_integers_read_as_their_values(tmp_path: Path, slope: float) -> None:
    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    image.header.set_slope_inter(slope, 3)
    nib.save(image, tmp_path / "a.nii")
    volume = read_nifti(tmp_path / "a.nii", Modality.T1)
    np.testing.assert_allclose(values(volume), nib.load(tmp_path / "a.nii").get_fdata())


def test_big_endian_nifti2_and_trailing_axes_of_one_are_read(tmp_path: Path) -> None:
    voxels = np.random.default_rng(2).random((3, 4, 5, 1)).astype(">f4")
    image = nib.Nifti2Image(voxels, np.eye(4), nib.Nifti2Header(endianness=">"))
    nib.save(image, tmp_path / "a.nii")
    volume = read_nifti(tmp_path / "a.nii", Modality.T1)
    assert volume.stored.dtype.isnative
    np.testing.assert_array_equal(volume.stored, voxels[..., 0])


def test_a_header_without_orientation_is_used_with_a_warning(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.arange(60.0).reshape(3, 4, 5), None), tmp_path / "a.nii")
    (warning,) = read_nifti(tmp_path / "a.nii", Modality.T1).warnings
    assert "left and right" in warning


def test_what_is_no_plain_volume_is_refused(tmp_path: Path) -> None:
    sheared = np.eye(4)
    sheared[0, 1] = 0.5
    colour = np.zeros((4, 4, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    images = {
        "degrees from right angles": nib.Nifti1Image(np.arange(64.0).reshape(4, 4, 4), sheared),
        "not a plain integer": nib.Nifti1Image(np.ones((4, 4, 4), np.complex64), np.eye(4)),
        "data type": nib.Nifti1Image(colour, np.eye(4)),
        "no volume": nib.Nifti1Image(np.ones((4, 4), np.float32), np.eye(4)),
        "one value": nib.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4)),
    }
    for reason, image in images.items():
        nib.save(image, tmp_path / "a.nii")
        with pytest.raises(InvalidVolume, match=reason) as caught:
            read_nifti(tmp_path / "a.nii", Modality.FLAIR)
        assert caught.value.subject == "flair" and caught.value.remedy


def test_half_of_a_pair_is_refused_with_the_remedy(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Pair(np.ones((4, 4, 4), np.float32), np.eye(4)), tmp_path / "a.img")
    with pytest.raises(InvalidVolume, match=r"\.hdr/\.img pair.*one \.nii\.gz"):
        read_nifti(tmp_path / "a.hdr", Modality.T1)


def test_a_lying_header_costs_neither_time_nor_memory(tmp_path: Path) -> None:
    body = bytearray(written(tmp_path, np.arange(60.0).reshape(3, 4, 5)).read_bytes())
    body[42:48] = np.array([30000] * 3, "<i2").tobytes()
    (tmp_path / "huge.nii").write_bytes(body)
    (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(bytes(300 << 20), 1))
    tracemalloc.start()
    start = time.monotonic()
    with pytest.raises(VolumeTooLarge, match="30000 × 30000 × 30000"):
        read_nifti(tmp_path / "huge.nii", Modality.T1)
    with pytest.raises(InvalidVolume):
        read_nifti(tmp_path / "bomb.nii.gz", Modality.T1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20
    assert time.monotonic() - start < 30


def test_the_limit_of_voxels_is_the_callers(tmp_path: Path) -> None:
    path = written(tmp_path, np.arange(60.0).reshape(3, 4, 5))
    assert read_nifti(path, Modality.T1, Limits(voxels=60)).grid.shape == (3, 4, 5)
    with pytest.raises(VolumeTooLarge):
        read_nifti(path, Modality.T1, Limits(voxels=59))


@given(
    edits=st.lists(st.tuples(st.integers(0, 900), st.integers(0, 255)), max_size=12),
    cut=st.integers(0, 1000),
    packed=st.booleans(),
)
@settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))
def test_no_bytes_break_the_reader_but_by_its_own_errors(
    tmp_path: Path, edits: list[tuple[int, int]], cut: int, packed: bool
) -> None:
    voxels = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    body = bytearray(nib.Nifti1Image(voxels, np.eye(4)).to_bytes())
    if packed:
        body = bytearray(gzip.compress(bytes(body), mtime=0))
    for place, byte in edits:
        body[place % len(body)] = byte
    path = tmp_path / "fuzz.nii"
    path.write_bytes(bytes(body[: max(len(body) - cut, 0)] if cut < 200 else body))
    try:
        volume = read_nifti(path, Modality.T1, Limits(voxels=10_000))
    except BrainMVPError as error:
        assert error.problem and error.remedy and error.subject == "t1"
    else:
        assert np.isfinite(volume.grid.affine).all()


def test_a_mask_carries_the_scans_geometry_bit_for_bit_and_none_of_its_text(
    tmp_path: Path,
) -> None:
    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), None)
    image.header.set_qform(np.diag([-0.9, 0.95, 3, 1.0]) + np.eye(4, k=3) * 7, code=1)
    image.header.set_xyzt_units("mm", "sec")
    for field in ("descrip", "aux_file", "db_name", "intent_name"):
        image.header[field] = b"Doe^Jane"
    nib.save(image, tmp_path / "a.nii")
    volume = read_nifti(tmp_path / "a.nii", Modality.T1)
    mask = np.zeros(volume.grid.shape, np.uint8)
    mask[1, 2, 3] = 4
    content = encode_nifti(mask, volume.header)
    assert b"Doe" not in content
    back, scan = nib.Nifti1Image.from_bytes(content), nib.load(tmp_path / "a.nii")
    np.testing.assert_array_equal(back.affine, scan.affine)
    np.testing.assert_array_equal(np.asarray(back.dataobj), mask)
    for field in ("qform_code", "sform_code", "quatern_b", "qoffset_x", "srow_x", "xyzt_units"):
        np.testing.assert_array_equal(back.header[field], scan.header[field])


def test_equal_masks_give_equal_bytes() -> None:
    assert compress(b"abc" * 1000) == compress(b"abc" * 1000)
