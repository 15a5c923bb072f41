"""Where headers place their voxels: units, two forms, and what strict readers trip over."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.eulerangles import euler2mat

from brainmvp_models.errors import InvalidVolume
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.nifti import encode_nifti, outline_nifti, read_nifti
from brainmvp_server.imaging.nifti_space import SPATIAL, Form, placement

AFFINE = np.array([[-0.9, 0, 0, 30], [0, 0.95, 0, -20], [0, 0, 3.0, 5], [0, 0, 0, 1]])
SHAPE = (6, 5, 4)


def image(
    sform: np.ndarray | None = AFFINE, qform: np.ndarray | None = AFFINE, unit: str = "mm"
) -> nib.Nifti1Image:
    one = nib.Nifti1Image(np.arange(120, dtype=np.int16).reshape(SHAPE), None)
    one.set_qform(qform, 0 if qform is None else 1)
    one.set_sform(sform, 0 if sform is None else 1)
    one.header.set_xyzt_units(unit)
    return one


def edited(one: nib.Nifti1Image, offset: int, layout: str, *values: float) -> bytes:
    content = bytearray(one.to_bytes())
    struct.pack_into(layout, content, offset, *values)
    return bytes(content)


def sized(factor: float) -> np.ndarray:
    return np.diag([factor, factor, factor, 1]) @ AFFINE


SAME = {
    "metres": image(sized(0.001), sized(0.001), "meter").to_bytes(),
    "micrometres": image(sized(1000), sized(1000), "micron").to_bytes(),
    "no unit": image(unit="unknown").to_bytes(),
    "a unit that is none": edited(image(), 123, "<B", 7),
    "seconds beside millimetres": edited(image(), 123, "<B", 2 | 8),
    "qfac 0 means 1": edited(image(None, AFFINE @ np.diag([-1, 1, 1, 1])), 76, "<f", 0.0),
    "qfac NaN means 1": edited(image(None, AFFINE @ np.diag([-1, 1, 1, 1])), 76, "<f", np.nan),
    "qfac -3 means -1": edited(image(None), 76, "<f", -3.0),
    "negative pixdim": edited(image(None), 80, "<3f", -0.9, 0.95, -3.0),
    "a quaternion longer than 1 by rounding": edited(image(None), 256, "<3f", 0, 1.0000002, 0),
    "an empty sform beside a good qform": edited(image(), 280, "<12f", *[0] * 12),
    "an sform of NaN beside a good qform": edited(image(), 280, "<12f", *[np.nan] * 12),
    "a broken qform beside a good sform": edited(image(), 256, "<3f", 9, 9, 9),
    "pixdim 0 beside a good sform": edited(image(), 80, "<3f", 0, 0, 0),
}
"""Files whose voxels lie where AFFINE says, up to a mirroring for the sake of qfac."""


@pytest.mark.parametrize("name", SAME)
def test_what_the_standard_allows_is_read_as_it_means_and_its_mask_by_strict_readers(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(SAME[name])
    volume = read_nifti(path, Modality.T1)
    np.testing.assert_allclose(np.abs(volume.grid.affine), np.abs(AFFINE), atol=1e-4)
    assert outline_nifti(path, Modality.T1).grid.spacing == volume.grid.spacing
    mask = nib.Nifti1Image.from_bytes(encode_nifti(np.ones(SHAPE, np.uint8), volume.header))
    unit = {1: 1000, 3: 0.001}.get(int(mask.header["xyzt_units"]) & 7, 1)
    np.testing.assert_allclose(
        np.diag([unit, unit, unit, 1]) @ mask.affine, volume.grid.affine, atol=1e-4
    )


REFUSED = {
    "0.001 mm without a unit": (image(sized(0.001), None).to_bytes(), "no scan of a head.*units"),
    "metres that are millimetres": (image(unit="meter").to_bytes(), "no scan of a head.*units"),
    "micrometres that are millimetres": (image(unit="micron").to_bytes(), "no scan of a head"),
    "a field of view of 30 m": (edited(image(), 42, "<3h", 6, 30000, 2), "mm wide"),
    "both forms empty": (
        edited(image(np.zeros((4, 4)), None), 280, "<12f", *[0] * 12),
        "singular",
    ),
    "two axes the same": (edited(image(None, None), 254, "<h", 1), "singular"),
    "a quaternion that is none": (edited(image(None), 256, "<3f", 9, 9, 9), "singular"),
    "pixdim 0": (edited(image(None), 80, "<3f", 0, 1, 1), "singular"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_place_that_no_head_has_is_refused_by_its_header_alone(name: str, tmp_path: Path) -> None:
    content, problem = REFUSED[name]
    (tmp_path / "a.nii").write_bytes(content)
    reads: list[Callable[..., Any]] = [read_nifti, outline_nifti]
    for read in reads:
        with pytest.raises(InvalidVolume, match=problem) as caught:
            read(tmp_path / "a.nii", Modality.T2)
        assert caught.value.subject == "t2" and caught.value.remedy


TURNED = AFFINE @ np.diag([1, -1, -1, 1])
APART = {
    "equal": (AFFINE, None),
    "a quarter of a voxel": (AFFINE + np.eye(4, k=3) * 0.2, None),
    "half a voxel and more": (AFFINE + np.eye(4, k=3) * 0.5, "0.5 mm"),
    "scaled": (np.diag([1.1, 1.1, 1.1, 1]) @ AFFINE, "3.9 mm"),
    "upside down": (TURNED, "mm apart"),
}


@pytest.mark.parametrize("form", ["sform", "qform"])
@pytest.mark.parametrize("name", APART)
def test_forms_that_disagree_are_a_warning_with_the_figure_and_the_user_chooses(
    name: str, form: Form, tmp_path: Path
) -> None:
    qform, figure = APART[name]
    scan = image(AFFINE, qform)
    nib.save(scan, tmp_path / "a.nii")
    volume = read_nifti(tmp_path / "a.nii", Modality.T1, form=form)
    expected = scan.get_sform() if form == "sform" else scan.get_qform()
    np.testing.assert_array_equal(volume.grid.affine, expected)
    assert bool(volume.warnings) == (figure is not None)
    for warning in volume.warnings:
        other = "qform" if form == "sform" else "sform"
        assert warning.startswith("t1: ") and f"the {form} is used" in warning
        assert figure and figure in warning and f"form={other}" in warning


@pytest.mark.parametrize("kept", ["sform", "qform"])
def test_the_form_that_is_there_is_used_whatever_is_asked_for(kept: Form, tmp_path: Path) -> None:
    scan = image(AFFINE, None) if kept == "sform" else image(None, AFFINE)
    nib.save(scan, tmp_path / "a.nii")
    for form in ("sform", "qform"):
        volume = read_nifti(tmp_path / "a.nii", Modality.T1, form=form)
        np.testing.assert_allclose(volume.grid.affine, AFFINE, atol=1e-5)
        assert volume.warnings == ()


angles = st.floats(-3.1, 3.1)
edges = st.floats(0.2, 8)


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray:
    turn = euler2mat(draw(angles), draw(angles), draw(angles))
    flips = [draw(st.sampled_from([-1, 1])) for _ in range(3)]
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([flip * draw(edges) for flip in flips])
    affine[:3, 3] = [draw(st.floats(-300, 300)) for _ in range(3)]
    return affine


@given(
    sform=st.none() | affines(),
    qform=st.none() | affines(),
    codes=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    unit=st.sampled_from(["mm", "unknown"]),
    kind=st.sampled_from([nib.Nifti1Image, nib.Nifti2Image]),
    order=st.sampled_from("<>"),
)
@settings(deadline=None, max_examples=150)
def test_a_masks_geometry_is_the_scans_bit_for_bit_and_voxels_lie_where_nibabel_says(
    sform: np.ndarray | None,
    qform: np.ndarray | None,
    codes: tuple[int, int],
    unit: str,
    kind: type[Any],
    order: str,
) -> None:
    header = kind.header_class(endianness=order)
    header.set_data_shape(SHAPE)
    header.set_qform(qform, 0 if qform is None else codes[0])
    header.set_sform(sform, 0 if sform is None else codes[1])
    header.set_xyzt_units(unit)
    place = placement(header, SHAPE)
    np.testing.assert_array_equal(place.grid.affine, header.get_best_affine())
    mask = nib.Nifti1Image.from_bytes(encode_nifti(np.ones(SHAPE, np.uint8), place.header))
    for field in SPATIAL:
        expected = np.asarray(header[field]).astype(mask.header[field].dtype)
        np.testing.assert_array_equal(mask.header[field], expected)
    if sform is not None and qform is not None:
        chosen = placement(header, SHAPE, "qform")
        np.testing.assert_array_equal(chosen.grid.affine, header.get_qform())
        assert chosen.warnings == () or "the qform is used" in chosen.warnings[0]
