"""The template bank: where templates come from, and what is stored."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_models.errors import InvalidCheckpoint, TemplateMismatch
from brainmvp_models.modality import BANK_ORDER, Modality
from brainmvp_models.templates import TemplateBank, minmax_scaled

SHAPE = (5, 6, 7)
RNG = np.random.default_rng(0)


def _write(path: Path, values: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(values, np.eye(4)), path)


def test_folder_gives_each_file_to_its_modality(tmp_path: Path) -> None:
    for index, name in enumerate(("T1C", "FLAIR")):
        _write(tmp_path / f"{name}.nii.gz", np.full(SHAPE, index, np.float32))
    bank = TemplateBank.from_folder(tmp_path)
    assert set(bank.modalities) == {Modality.FLAIR, Modality.T1C}
    assert bank.volumes[Modality.T1C].max() == 0
    assert bank.volumes[Modality.FLAIR].min() == 1


def test_voxels_of_a_folder_template_are_taken_as_they_lie(tmp_path: Path) -> None:
    values = RNG.standard_normal(SHAPE).astype(np.float32)
    _write(tmp_path / "T1.nii.gz", values)
    taken = TemplateBank.from_folder(tmp_path).volumes[Modality.T1]
    np.testing.assert_array_equal(taken, values)


@pytest.mark.parametrize("files", [[], ["t1.nii.gz", "readme.txt"]])
def test_folder_without_templates_is_refused(tmp_path: Path, files: list[str]) -> None:
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(TemplateMismatch, match="holds no template"):
        TemplateBank.from_folder(tmp_path)


def test_absent_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TemplateMismatch, match="holds no template"):
        TemplateBank.from_folder(tmp_path / "absent")


def test_damaged_template_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "T2.nii.gz"
    _write(path, RNG.standard_normal(SHAPE).astype(np.float32))
    whole = path.read_bytes()
    for damaged in (
        whole[: len(whole) // 2],
        b"no image",
        b"",
        whole[:-40] + bytes(40),
        whole[:-8] + bytes(8),
    ):
        path.write_bytes(damaged)
        with pytest.raises(TemplateMismatch, match=r"T2\.nii\.gz: cannot be read"):
            TemplateBank.from_folder(tmp_path)


def test_templates_of_two_shapes_are_refused(tmp_path: Path) -> None:
    _write(tmp_path / "T1.nii.gz", np.zeros((4, 4, 4), np.float32))
    _write(tmp_path / "T2.nii.gz", np.zeros((4, 4, 5), np.float32))
    with pytest.raises(TemplateMismatch, match=r"\(4, 4, 4\), \(4, 4, 5\)"):
        TemplateBank.from_folder(tmp_path)


def test_flat_template_is_refused(tmp_path: Path) -> None:
    _write(tmp_path / "T1.nii.gz", np.zeros((4, 4), np.float32))
    with pytest.raises(TemplateMismatch, match="three-dimensional"):
        TemplateBank.from_folder(tmp_path)


def test_rep_template_is_read_in_the_published_order() -> None:
    values = np.stack([np.full(SHAPE, index, np.float32) for index in range(8)])
    bank = TemplateBank.from_parameter(values)
    order = ["flair", "t1", "t1c", "t2", "mra", "pd", "dwi", "adc"]
    assert {m.value: int(v[0, 0, 0]) for m, v in bank.volumes.items()} == {
        name: index for index, name in enumerate(order)
    }


@pytest.mark.parametrize("shape", [(7, *SHAPE), SHAPE, (8, 1, *SHAPE)])
def test_rep_template_of_another_form_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidCheckpoint, match="rep_template has shape"):
        TemplateBank.from_parameter(np.zeros(shape, np.float32))


@pytest.mark.parametrize("kind", [np.float32, np.int16, np.uint8])
def test_saved_bank_loads_with_the_same_values_and_type(tmp_path: Path, kind: type) -> None:
    values = {m: (RNG.random(SHAPE) * 200).astype(kind) for m in (Modality.T2, Modality.ADC)}
    path = tmp_path / "templates.nii.gz"
    TemplateBank(values).save(path)
    loaded = TemplateBank.load(path, [Modality.T2, Modality.ADC])
    assert loaded.modalities == (Modality.T2, Modality.ADC)
    for modality, volume in values.items():
        assert loaded.volumes[modality].dtype == kind
        np.testing.assert_array_equal(loaded.volumes[modality], volume)


def test_slope_in_the_header_scales_the_stored_integers(tmp_path: Path) -> None:
    stored = np.arange(210, dtype=np.int16).reshape(SHAPE)
    image = nib.Nifti1Image(stored, np.eye(4))
    image.header.set_slope_inter(0.5, -3)
    nib.save(image, tmp_path / "PD.nii.gz")
    volume = TemplateBank.from_folder(tmp_path).volumes[Modality.PD]
    assert volume.dtype == np.float32
    np.testing.assert_array_equal(volume, stored * np.float32(0.5) - 3)


def test_saved_bank_lies_on_a_centred_millimetre_grid(tmp_path: Path) -> None:
    TemplateBank({Modality.T1: np.zeros(SHAPE, np.float32)}).save(tmp_path / "t.nii.gz")
    image = nib.load(tmp_path / "t.nii.gz")
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    assert image.header.get_zooms()[:3] == (1, 1, 1)
    np.testing.assert_allclose(image.affine @ [2, 2.5, 3, 1], [0, 0, 0, 1])


def test_templates_file_that_does_not_match_its_manifest_is_refused(tmp_path: Path) -> None:
    TemplateBank({Modality.T1: np.zeros(SHAPE, np.float32)}).save(tmp_path / "t.nii.gz")
    with pytest.raises(TemplateMismatch, match="for 2 modalities"):
        TemplateBank.load(tmp_path / "t.nii.gz", [Modality.T1, Modality.T2])


def test_only_keeps_the_wanted_templates_once_and_in_their_order() -> None:
    bank = TemplateBank({m: np.zeros(SHAPE, np.float32) for m in BANK_ORDER})
    wanted = [Modality.T2, Modality.T1, Modality.T1, Modality.T1IR]
    assert bank.only(wanted).modalities == (Modality.T2, Modality.T1)


def test_minmax_scaling_reaches_from_0_to_1() -> None:
    scaled = minmax_scaled(np.array([[[-4, 0, 12]]], np.int16))
    np.testing.assert_array_equal(scaled, np.array([[[0, 0.25, 1]]], np.float32))


def test_minmax_scaling_of_a_constant_gives_zeros_not_nan() -> None:
    np.testing.assert_array_equal(minmax_scaled(np.full(SHAPE, 7, np.uint8)), np.zeros(SHAPE))
