"""Whose an object is: valid values in Unicode, or none with a word about it, or no object."""

from __future__ import annotations

import io
import subprocess
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import UnwritableObject
from brainmvp_server.inference.result import Result
from brainmvp_server.results.dicom.object_options import ObjectOptions
from brainmvp_server.results.dicom.objects import MissingObject, ObjectFile, notes_of, object_files
from dicom_studies import contrast_image, header_of, write_series
from drawn_results import drawn, volumes_of

LONG_UID = "1." + "2" * 69


@dataclass(frozen=True)
class Case:
    """A source, as its files hold it, and what is written.

    Attributes:
        given: bytes by keyword; None takes the attribute away.
        written: values of the objects.
        noted: attributes that the objects do not repeat, and say so.
    """

    given: Mapping[str, bytes | None]
    written: Mapping[str, str] = field(default_factory=dict)
    noted: tuple[str, ...] = ()


YAMADA = "Yamada^Tarou=山田^太郎=やまだ^たろう"
READABLE = {
    "japanese, empty first character set": Case(
        {
            "SpecificCharacterSet": rb"\ISO 2022 IR 87",
            "PatientName": b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B="
            b"\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        },
        {"PatientName": YAMADA},
    ),
    "utf-8, a space for the underscore": Case(
        {"SpecificCharacterSet": b"ISO IR 192", "PatientName": YAMADA.encode()},
        {"PatientName": YAMADA},
    ),
    "utf-8 of an unknown name": Case(
        {"SpecificCharacterSet": b"ISO_IR 999", "PatientName": "Å^Ö".encode()},
        {"PatientName": "Å^Ö"},
    ),
    "plain letters of an unknown name": Case(
        {"SpecificCharacterSet": b"KLINGON", "PatientName": b"Doe^Jane"},
        {"PatientName": "Doe^Jane"},
    ),
    "latin-1": Case(
        {"SpecificCharacterSet": b"ISO_IR 100", "PatientName": "Müller^Jörg".encode("latin-1")},
        {"PatientName": "Müller^Jörg"},
    ),
    "chinese": Case(
        {
            "SpecificCharacterSet": b"GB18030",
            "PatientName": "Wang^XiaoDong=王^小东".encode("gb18030"),
        },
        {"PatientName": "Wang^XiaoDong=王^小东"},
    ),
    "letters in no character set": Case(
        {"SpecificCharacterSet": None, "PatientName": "Müller^Jörg".encode("latin-1")},
        {"PatientName": ""},
        ("PatientName (0010,0010): its characters cannot be read",),
    ),
    "letters in an unknown character set": Case(
        {"SpecificCharacterSet": b"ISO_IR 999", "ReferringPhysicianName": b"M\xfcller"},
        {"ReferringPhysicianName": ""},
        ("ReferringPhysicianName (0008,0090): its characters cannot be read",),
    ),
    "an escape to a set that is not declared": Case(
        {"SpecificCharacterSet": b"ISO_IR 100", "PatientName": b"Doe\x1b$Bzz"},
        {"PatientName": ""},
        ("PatientName (0010,0010): it holds control characters",),
    ),
    "no date of birth": Case(
        {"PatientBirthDate": b"***"},
        {"PatientBirthDate": ""},
        ("PatientBirthDate (0010,0030): it is no date",),
    ),
    "a day that is none": Case(
        {"StudyDate": b"20240230"}, {"StudyDate": ""}, ("StudyDate (0008,0020): it is no date",)
    ),
    "an old date and time": Case(
        {"StudyDate": b"2024.03.05", "StudyTime": b"10:15:00"},
        {"StudyDate": "20240305", "StudyTime": "101500"},
    ),
    "no time": Case(
        {"StudyTime": b"noon"}, {"StudyTime": ""}, ("StudyTime (0008,0030): it is no time of day",)
    ),
    "no sex": Case(
        {"PatientSex": b"XX"},
        {"PatientSex": ""},
        ("PatientSex (0010,0040): it is none of M, F, O",),
    ),
    "long accession number": Case(
        {"AccessionNumber": b"A" * 20},
        {"AccessionNumber": ""},
        ("AccessionNumber (0008,0050): it is longer than 16 characters",),
    ),
    "several study ids": Case(
        {"StudyID": rb"1\2"}, {"StudyID": ""}, ("StudyID (0020,0010): it has several values",)
    ),
    "nobody": Case({"PatientID": None, "PatientName": None}, {"PatientID": "", "PatientName": ""}),
    "no age and no weight": Case(
        {"PatientAge": b"forty", "PatientWeight": b"heavy"},
        noted=(
            "PatientAge (0010,1010): it is no age",
            "PatientWeight (0010,1030): it is no number",
        ),
    ),
    "a maker of many letters": Case(
        {"Manufacturer": b"M" * 70},
        noted=("Manufacturer (0008,0070): it is longer than 64 characters",),
    ),
    "a frame of reference of no valid UID": Case(
        {"FrameOfReferenceUID": LONG_UID.encode()},
        noted=("FrameOfReferenceUID (0020,0052): it is no valid UID; another stands in its place",),
    ),
    "no frame of reference": Case({"FrameOfReferenceUID": None}),
    "class and instance in the file's meta header alone": Case(
        {"SOPClassUID": None, "SOPInstanceUID": None}
    ),
    "de-identified, nobody says how": Case(
        {"PatientIdentityRemoved": b"YES", "PatientAge": None},
        {"PatientIdentityRemoved": "YES", "DeidentificationMethod": "not stated by the source"},
    ),
    "a trial": Case(
        {
            "ClinicalTrialSponsorName": b"Sponsor",
            "ClinicalTrialProtocolID": b"P1",
            "ClinicalTrialSubjectID": b"S1",
        },
        {"ClinicalTrialSubjectID": "S1", "ClinicalTrialSiteID": ""},
    ),
    "half a trial": Case({"ClinicalTrialSponsorName": b"Sponsor"}),
    "lossy, nobody says how": Case({"LossyImageCompression": b"01"}),
}

REFUSED: dict[str, tuple[Mapping[str, bytes | None], str]] = {
    "no study": ({"StudyInstanceUID": None}, "StudyInstanceUID (0020,000D) is missing"),
    "an empty study": ({"StudyInstanceUID": b""}, "StudyInstanceUID (0020,000D) is missing"),
    "a long study": (
        {"StudyInstanceUID": LONG_UID.encode()},
        "StudyInstanceUID (0020,000D): it is no valid UID",
    ),
    "a study of letters": (
        {"StudyInstanceUID": b"1.2.a"},
        "StudyInstanceUID (0020,000D): it is no valid UID",
    ),
    "no series": ({"SeriesInstanceUID": None}, "SeriesInstanceUID (0020,000E) is missing"),
    "long objects": (
        {"SOPInstanceUID": LONG_UID.encode()},
        "SOPInstanceUID (0008,0018): it is no valid UID",
    ),
    "a series under no root": (
        {"SeriesInstanceUID": b"1801.4290.2"},
        "SeriesInstanceUID (0020,000E): it is no valid UID",
    ),
    "an ID in no character set": (
        {"SpecificCharacterSet": None, "PatientID": b"M\xfc1"},
        "PatientID (0010,0020): its characters cannot be read",
    ),
    "a long ID": (
        {"PatientID": b"9" * 65},
        "PatientID (0010,0020): it is longer than 64 characters",
    ),
}


@pytest.fixture(scope="module")
def bundle(bundles: Path) -> Bundle:
    return Bundle.open(bundles / "demo-glioma" / "1")


@pytest.fixture
def series(tmp_path: Path) -> tuple[Path, ...]:
    image = contrast_image("t1", grid=((20, 16, 4), (10.0, 12.0, 30.0)))
    return write_series(tmp_path, [image], header_of("ge", "t1"), "ge").files


def changed(files: tuple[Path, ...], given: Mapping[str, bytes | None], bundle: Bundle) -> Result:
    """The result of the series with these attributes, byte for byte, in each file."""
    for number, path in enumerate(files):
        dataset, later = pydicom.dcmread(path), {}
        for keyword, value in given.items():
            tag = Tag(tag_for_keyword(keyword))
            dataset.pop(tag, None)
            if value is None:
                continue
            if keyword == "SOPInstanceUID":
                value += b"%d" % number
            even = value + b" " * (len(value) % 2)
            # pydicom would decode and encode letters anew: they are put into the file instead.
            plain = even.isascii() and b"\x1b" not in even
            placeholder = even if plain else keyword.encode().ljust(len(even), b".")[: len(even)]
            later[placeholder] = even
            vr = dictionary_VR(keyword)
            dataset[tag] = RawDataElement(tag, vr, len(even), placeholder, 0, False, True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the character sets that are the point here
            dataset.save_as(path)
        content = path.read_bytes()
        for placeholder, even in later.items():
            content = content.replace(placeholder, even)
        path.write_bytes(content)
    (volume,) = volumes_of(files)
    return drawn(volume, bundle)


@pytest.mark.parametrize("name", READABLE)
def test_an_object_repeats_what_is_valid_and_says_what_it_leaves_out(
    name: str, series: tuple[Path, ...], bundle: Bundle, tmp_path: Path,
    program: Callable[[str], Path],
) -> None:  # fmt: skip
    case = READABLE[name]
    result = changed(series, case.given, bundle)
    notes = [f"the DICOM objects do not repeat {noted}" for noted in case.noted]
    assert list(notes_of(result, ())) == notes
    for one in object_files(result, ObjectOptions(overlay=True)):
        assert isinstance(one, ObjectFile), one
        made = pydicom.dcmread(io.BytesIO(one.content))
        letters = not all(value.isascii() for value in case.written.values())
        assert made.get("SpecificCharacterSet") == ("ISO_IR 192" if letters else None)
        for keyword, value in case.written.items():
            assert str(made[keyword].value or "") == value, one.name
        for element in made.iterall():
            assert element.VR != "UI" or len(str(element.value)) <= 64
        path = tmp_path / one.name
        path.write_bytes(one.content)
        said = subprocess.run([program("dciodvfy"), path], capture_output=True, check=False)
        assert b"Error" not in said.stderr, said.stderr


@pytest.mark.parametrize("name", REFUSED)
def test_no_object_is_written_that_would_belong_to_nobody(
    name: str, series: tuple[Path, ...], bundle: Bundle
) -> None:
    given, problem = REFUSED[name]
    made = list(object_files(changed(series, given, bundle), ObjectOptions(overlay=True)))
    assert [one.name for one in made][:2] == ["segmentation.dcm", "report.dcm"]
    for one in made:
        assert isinstance(one, MissingObject) and isinstance(one.error, UnwritableObject)
        assert one.error.problem == f"series 1: {problem}" and one.error.subject == one.name


def test_a_missing_frame_of_reference_is_the_same_in_every_object_and_every_time(
    series: tuple[Path, ...], bundle: Bundle
) -> None:
    result = changed(series, {"FrameOfReferenceUID": None}, bundle)
    again = drawn(*volumes_of(series), bundle)
    made = [next(iter(object_files(one))) for one in (result, again)]
    frames = {
        pydicom.dcmread(io.BytesIO(one.content)).FrameOfReferenceUID
        for one in made
        if isinstance(one, ObjectFile)
    }
    assert len(frames) == 1
