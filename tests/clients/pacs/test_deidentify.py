"""What leaves for the server names nobody, and what returns is the patient's again."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.nifti1 import Nifti1Extension
from pydicom import Dataset, dcmread
from pydicom.uid import UID

from brainmvp_clients.errors import ClientError
from brainmvp_clients.pacs.deidentify import Pseudonymizer, pseudonymize
from brainmvp_clients.pacs.profile import cleaned
from brainmvp_clients.pacs.pseudonyms import Pseudonyms
from brainmvp_clients.score.nifti import without_text
from brainmvp_clients.score.study_files import Study, StudyFiles, UnusableStudy
from brainmvp_server.imaging.dicom.files import scan
from brainmvp_server.imaging.dicom.header import Attributes, header_of
from brainmvp_server.imaging.dicom.series import sort_series
from brainmvp_server.imaging.identify.identify_study import identify_study
from brainmvp_server.imaging.identify.rules import load_rules
from dicom_studies import PLANTED, write_study
from dicom_studies import Study as Written

PSEUDONYMS = Pseudonyms(b"0123456789abcdef")


@pytest.fixture(scope="module", params=["siemens", "ge", "philips"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    enhanced = request.param == "philips"
    folder = tmp_path_factory.mktemp(request.param)
    return write_study(folder, request.param, ("t1", "t1c", "dwi"), enhanced=enhanced)


def _elements(dataset: Dataset) -> Iterator[Any]:
    for element in dataset:
        yield element
        if element.VR == "SQ":
            for item in element.value:
                yield from _elements(item)


def test_no_planted_word_and_no_uid_is_left_in_any_file(written: Written, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    study = Study(written.uid, "x")
    study_files = StudyFiles(files=written.files, dicom=True)
    hidden = Pseudonymizer(PSEUDONYMS).pseudonymize(study, study_files, tmp_path / "out")
    assert len(hidden.files) == len(written.files)
    uids = {written.uid, written.frame, *(series.uid for series in written.series.values())}
    for path in (hidden.files[0], hidden.files[-1]):
        raw = path.read_bytes()
        for word in (*PLANTED, *uids):
            assert word.encode() not in raw, word
        dataset = dcmread(path)
        assert dataset.PatientIdentityRemoved == "YES"
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        for element in _elements(dataset):
            if element.VR == "DA" and not element.is_empty:
                assert element.value == "19000101", element
    assert not any(word in path.name for path in hidden.files for word in PLANTED)


def test_what_tells_a_modality_and_the_geometry_stays(written: Written, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    study_files = StudyFiles(files=written.files, dicom=True)
    hidden = Pseudonymizer(PSEUDONYMS).pseudonymize(Study("k", "x"), study_files, tmp_path / "out")
    kept = (
        "Modality", "ImageType", "ScanningSequence", "SequenceVariant", "EchoTime",
        "RepetitionTime", "InversionTime", "FlipAngle", "DiffusionBValue",
        "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "InstanceNumber",
        "SharedFunctionalGroupsSequence", "Rows", "Columns", "PixelData", "Manufacturer",
    )  # fmt: skip
    for before, after in zip(written.files, hidden.files, strict=True):
        old, new = dcmread(before), dcmread(after)
        for word in kept:
            if word != "SharedFunctionalGroupsSequence":
                assert old.get(word) == new.get(word), word
            assert (word in old) == (word in new), word
        assert old.get("ContrastBolusAgent", "") == "" or "ContrastBolusAgent" in new
        assert (0x0019, 0x100C) not in old or old[0x0019, 0x100C].value == new[0x0019, 0x100C].value


def test_series_of_one_study_stay_one_study_on_one_frame(written: Written, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    study_files = StudyFiles(files=written.files, dicom=True)
    hidden = Pseudonymizer(PSEUDONYMS).pseudonymize(Study("k", "x"), study_files, tmp_path / "out")
    datasets = [dcmread(path, stop_before_pixels=True) for path in hidden.files]
    assert len({d.StudyInstanceUID for d in datasets}) == 1
    assert len({d.FrameOfReferenceUID for d in datasets}) == 1
    assert len({d.PatientID for d in datasets}) == 1
    assert len({d.SeriesInstanceUID for d in datasets}) == len(written.series)
    assert len({d.SOPInstanceUID for d in datasets}) == len(datasets)
    assert datasets[0].StudyInstanceUID == PSEUDONYMS.uid(written.uid)


def test_an_object_that_returns_has_the_patient_and_every_reference_again(
    written: Written, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    pseudonymizer, study = Pseudonymizer(PSEUDONYMS), Study("k", "x")
    hidden = pseudonymizer.pseudonymize(
        study, StudyFiles(files=written.files, dicom=True), tmp_path / "out"
    )
    source, original = dcmread(hidden.files[0]), dcmread(written.files[0])
    result = dcmread(hidden.files[0])
    result.SOPInstanceUID = "1.2.3.4"
    reference, series = Dataset(), Dataset()
    reference.ReferencedSOPClassUID = source.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
    series.SeriesInstanceUID = source.SeriesInstanceUID
    series.ReferencedInstanceSequence = [reference]
    result.ReferencedSeriesSequence = [series]
    pseudonymizer.restore(study, result)
    assert result.SOPInstanceUID == result.file_meta.MediaStorageSOPInstanceUID == "1.2.3.4"
    back = result.ReferencedSeriesSequence[0]
    assert back.SeriesInstanceUID == original.SeriesInstanceUID
    assert back.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == original.SOPInstanceUID
    for word in ("PatientName", "PatientID", "PatientBirthDate", "StudyDate", "AccessionNumber"):
        assert result.get(word) == original.get(word), word
    assert "PatientIdentityRemoved" not in result


def test_private_attributes_and_burned_in_text_do_not_pass(tmp_path: Path) -> None:
    written = write_study(tmp_path / "s", "siemens", ("t1",))
    dataset = dcmread(written.files[0])
    block = dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x10, "OB", b"Plantedname ")
    other = dataset.private_block(0x0019, "SOME SITE", create=True)
    other.add_new(0x0C, "LO", "Plantedname")
    dataset.file_meta.SourceApplicationEntityTitle = "Plantedclinic"
    dataset.add_new(0x60004000, "LT", "Plantedname")
    pseudonymize(dataset, PSEUDONYMS, {})
    dataset.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    assert b"Planted" not in (tmp_path / "x.dcm").read_bytes()

    burned = dcmread(written.files[0])
    burned.BurnedInAnnotation = "YES"
    burned.save_as(tmp_path / "burned.dcm")
    (tmp_path / "out").mkdir()
    study_files = StudyFiles(files=(tmp_path / "burned.dcm",), dicom=True)
    with pytest.raises(UnusableStudy):
        Pseudonymizer(PSEUDONYMS).pseudonymize(Study("k", "x"), study_files, tmp_path / "out")


PRIVATE = {
    "Siemens": ((0x0019, "SIEMENS MR HEADER", 0x0C, "IS", 1000),
                (0x0019, "SIEMENS MR HEADER", 0x0D, "CS", "DIRECTIONAL")),
    "GE": ((0x0043, "GEMS_PARM_01", 0x39, "IS", [1000000800, 8, 0, 0]),),
    "United Imaging": ((0x0065, "Image Private Header", 0x09, "FD", 700.0),),
    "Philips": ((0x2001, "Philips Imaging DD 001", 0x03, "FL", 900.0),
                (0x2001, "Philips Imaging DD 001", 0x04, "CS", "I"),
                (0x2001, "Philips Imaging DD 001", 0x13, "SL", 55)),
}  # fmt: skip


@pytest.mark.parametrize("vendor", PRIVATE)
def test_what_vendors_tell_of_diffusion_is_there_for_the_server(
    tmp_path: Path, vendor: str
) -> None:
    written = write_study(tmp_path / "s", "siemens", ("t1",))
    dataset = dcmread(written.files[0])
    for group, creator, element, kind, value in PRIVATE[vendor]:
        dataset.private_block(group, creator, create=True).add_new(element, kind, value)
    before = header_of(Attributes(dataset))
    assert before.b_value
    pseudonymize(dataset, PSEUDONYMS, {})
    after = header_of(Attributes(dataset))
    for name in ("b_value", "directionality", "sequence"):
        assert getattr(after, name) == getattr(before, name), name


@pytest.mark.parametrize("vendor", PRIVATE)
@pytest.mark.parametrize("kind", ["LO", "UN"])
def test_a_name_in_the_place_of_a_number_does_not_pass(
    tmp_path: Path, vendor: str, kind: str
) -> None:
    dataset = dcmread(write_study(tmp_path / "s", "siemens", ("t1",)).files[0])
    planted = b"Plantedname " if kind == "UN" else "1000\\Plantedname"
    for group, creator, element, *_ in PRIVATE[vendor]:
        dataset.private_block(group, creator, create=True).add_new(element, kind, planted)
    pseudonymize(dataset, PSEUDONYMS, {})
    dataset.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    assert b"Plantedname" not in (tmp_path / "x.dcm").read_bytes()


def test_real_series_are_identified_alike_before_and_after(
    real_data: Callable[[str], Path], tmp_path: Path
) -> None:
    for folder in sorted(path for path in real_data("dicom").iterdir() if path.is_dir()):
        files = tuple(sorted(path for path in folder.rglob("*") if path.is_file()))
        out = tmp_path / folder.name
        out.mkdir()
        hidden = Pseudonymizer(PSEUDONYMS).pseudonymize(
            Study(folder.name, "x"), StudyFiles(files=files, dicom=True), out
        )
        before, after = (
            [
                (one.answer.modality, one.answer.confidence, one.used,
                 one.header.b_value or 0,  # Philips says 0 in a private sequence
                 one.header.directionality, one.header.sequence, one.header.slices)
                for one in identify_study(
                    sort_series(found.instances, found.beside), load_rules(None)
                ).series
            ]
            for found in (scan(files), scan(hidden.files))
        )  # fmt: skip
        assert before == after and before, folder.name


@given(st.text(max_size=64))
def test_a_pseudonym_depends_on_key_and_text_alone_and_is_a_valid_uid(text: str) -> None:
    other = Pseudonyms(b"another key of sixteen")
    assert PSEUDONYMS.uid(text) == Pseudonyms(PSEUDONYMS.key).uid(text) != other.uid(text)
    assert UID(PSEUDONYMS.uid(text)).is_valid
    assert PSEUDONYMS.name(text) != PSEUDONYMS.name(text, "patient")
    assert len(PSEUDONYMS.name(text)) <= 64


@given(st.lists(st.sampled_from(["Plantedname", "4711", "T1", "19700213", "AX", "Dr", "Smith"])))
def test_a_description_keeps_words_of_the_trade_and_nothing_else(words: list[str]) -> None:
    assert set(cleaned(" ".join(words)).split()) <= {"t1", "ax"}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("AX T1 MPRAGE POST_GD J.Smith", "ax t1 mprage post gd"),
        ("ep2d_diff_b1000_TRACEW 19700213", "ep2d diff b1000 tracew"),
        ("T2* FLAIR Doe^Jane", "t2 * flair"),
    ],
)
def test_descriptions_of_real_protocols_still_tell_the_modality(text: str, kept: str) -> None:
    assert cleaned(text) == kept


@pytest.mark.parametrize("key", [None, "", "short"])
def test_a_key_that_can_be_guessed_is_refused(key: str | None) -> None:
    with pytest.raises(ClientError, match="need a key"):
        Pseudonyms.of(key)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_volume_loses_its_texts_and_nothing_else(
    tmp_path: Path, kind: Callable[..., Any], zipped: bool
) -> None:
    voxels = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    image = kind(voxels, np.diag([1, 2, 3, 1]))
    image.header["descrip"] = b"Plantedname"
    image.header["aux_file"] = b"PLANTED-ID-4711"
    image.header["intent_name"] = b"Jane"
    image.header.extensions.append(Nifti1Extension(6, b"Plantedname was here"))
    path = tmp_path / "Plantedname.nii"
    nib.save(image, path)
    if zipped:
        path = path.with_suffix(".nii.gz")
        path.write_bytes(gzip.compress((tmp_path / "Plantedname.nii").read_bytes()))
    (tmp_path / "out").mkdir()
    hidden = without_text(path, tmp_path / "out")
    assert not any(word.encode() in hidden.read_bytes() for word in PLANTED)
    again = nib.load(hidden)
    assert np.array_equal(again.dataobj, voxels)
    assert np.array_equal(again.affine, image.affine)
    assert not again.header.extensions


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\0\0\0\1" + bytes(300), "MGH"),
        (gzip.compress(b"\0\0\0\1" + bytes(300)), "MGH"),
        (b"NRRD0005\n", "NRRD"),
    ],
    ids=["MGH", "MGH in gzip", "NRRD"],  # gzip writes the time, by which workers would differ
)
def test_a_format_whose_texts_cannot_be_taken_out_is_named_and_nothing_stays(
    tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "x").write_bytes(content)
    (tmp_path / "out").mkdir()
    with pytest.raises(UnusableStudy, match=f"{said}.*Convert it to NIfTI"):
        without_text(tmp_path / "x", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@given(st.binary(max_size=400))
def test_no_bytes_make_it_fail_but_as_an_unusable_study(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    (folder / "x").write_bytes(content)
    (folder / "out").mkdir()
    with pytest.raises(UnusableStudy):
        without_text(folder / "x", folder / "out")
