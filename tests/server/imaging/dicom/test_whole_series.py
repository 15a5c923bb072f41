"""A series that is there is used whole, or the study is refused: no template takes its place.

Each case changes how a study's T2 comes, of 12 slices beside a T1 of 12. A next one is a next line.
"""

from __future__ import annotations

import copy
import gzip
import io
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EncapsulatedPDFStorage,
    RawDataStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from brainmvp_models.errors import MixedStudy, NothingIdentified
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.archive import Unpacked
from brainmvp_server.imaging.intake import Intake, IntakeOptions, chosen_for, take_in
from brainmvp_server.imaging.sources import read_volume
from brainmvp_server.results.findings import Findings
from dicom_studies import PLANTED, Series, Study, contrast_image, header_of, write_series

SLICES = 12
WANTED = (Modality.T1, Modality.T2)
Files = list[Dataset | bytes]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("study")
    made = Study(folder, generate_uid(), generate_uid(), "PLANTED-ID-4711-0")
    for number, name in ((1, "t1"), (3, "t2")):
        image = contrast_image(name, grid=((16, 20, SLICES), (10.0, 10.0, 10.0)))
        header = header_of("siemens", name)
        made.series[name] = write_series(
            folder, [image], header, "siemens", study=made, number=number, contrast=name,
            shuffle=False,
        )  # fmt: skip
    return made


def datasets(series: Series) -> list[Dataset]:
    return [pydicom.dcmread(path) for path in series.files]


def encoded(dataset: Dataset) -> bytes:
    body = io.BytesIO()
    dataset.save_as(body, enforce_file_format=True)
    return body.getvalue()


def taken(files: Files, folder: Path, **assigned: Modality | None) -> Intake:
    folder.mkdir()
    heap = []
    for number, file in enumerate(files):
        path = folder / f"{number:03d}"
        path.write_bytes(file if isinstance(file, bytes) else encoded(file))
        heap.append(Unpacked(path, ""))
    unpacked = folder / "unpacked"
    unpacked.mkdir()
    return take_in(heap, unpacked, IntakeOptions({k.strip("_"): m for k, m in assigned.items()}))


def again(dataset: Dataset, **changes: object) -> Dataset:
    """The same object under a new SOP Instance UID, but for what changes."""
    made = copy.deepcopy(dataset)
    made.SOPInstanceUID = generate_uid()
    for keyword, value in changes.items():
        setattr(made, keyword, value)
    return made


def each(change: Callable[[int, Dataset], None]) -> Callable[[list[Dataset]], Files]:
    def apply(files: list[Dataset]) -> Files:
        for number, dataset in enumerate(files):
            change(number, dataset)
        return [*files]

    return apply


def one(change: Callable[[Dataset], None]) -> Callable[[list[Dataset]], Files]:
    return each(lambda number, ds: change(ds) if number == 4 else None)


def other_voxels(dataset: Dataset) -> Dataset:
    return again(dataset, PixelData=bytes(reversed(dataset.PixelData)))


def without_preamble(dataset: Dataset) -> bytes:
    return encoded(dataset)[132:]


def without_meta(dataset: Dataset) -> bytes:
    return encoded(dataset)[144 + dataset.file_meta.FileMetaInformationGroupLength :]


def deflated(dataset: Dataset) -> bytes:
    dataset = copy.deepcopy(dataset)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return encoded(dataset)


def zipped(files: list[Dataset], depth: int = 1) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        for number, dataset in enumerate(files):
            archive.writestr(f"{number}", encoded(dataset))
    for _ in range(depth - 1):
        inner, body = body.getvalue(), io.BytesIO()
        with zipfile.ZipFile(body, "w") as archive:
            archive.writestr("inner.zip", inner)
    return body.getvalue()


def zipped_bytes(content: bytes) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr("study.tar.gz", content)
    return body.getvalue()


def tarred(files: list[Dataset]) -> bytes:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as archive:
        for number, dataset in enumerate(files):
            content = encoded(dataset)
            entry = tarfile.TarInfo(f"{number}.dcm")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return body.getvalue()


def no_image(dataset: Dataset, kind: str) -> Dataset:
    """An object of the series that holds no image."""
    made = again(dataset, SOPClassUID=kind)
    for keyword in ("Rows", "Columns", "PixelData", "ImagePositionPatient", "BitsAllocated"):
        delattr(made, keyword)
    return made


def private_object(dataset: Dataset) -> Dataset:
    """Such as Philips' private spectra: it keeps a place, but has no size."""
    made = again(dataset, SOPClassUID="1.3.46.670589.11.0.0.12.9")
    for keyword in ("Rows", "Columns", "PixelData"):
        delattr(made, keyword)
    return made


def capture(dataset: Dataset, *, colour: bool) -> Dataset:
    made = again(dataset, SOPClassUID=SecondaryCaptureImageStorage)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(made, keyword)
    if colour:
        made.PhotometricInterpretation, made.SamplesPerPixel = "RGB", 3
    return made


def split(first: slice, second: slice, number: int = 3) -> Callable[[list[Dataset]], Files]:
    """The series under two Series Instance UIDs."""

    def apply(files: list[Dataset]) -> Files:
        uid = generate_uid()
        for dataset in files[second]:
            dataset.SeriesInstanceUID, dataset.SeriesNumber = uid, number
        return [*files[first], *files[second]]

    return apply


def set_position(rounded: Callable[[int], float]) -> Callable[[int, Dataset], None]:
    def change(number: int, dataset: Dataset) -> None:
        x, y, _ = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y, f"{rounded(number):.10g}"]

    return change


def jitter(number: int, dataset: Dataset) -> None:
    cosines = [float(value) for value in dataset.ImageOrientationPatient]
    cosines[1] += 1.6e-3 * (number % 2)
    dataset.ImageOrientationPatient = cosines


def gone(*keywords: str) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        for keyword in keywords:
            if keyword in dataset:
                delattr(dataset, keyword)

    return change


@dataclass(frozen=True)
class Case:
    """How a T2 comes, and what must become of it.

    Attributes:
        slices: how many are used; 0 where the study is refused.
        says: what the note, or the reason, says; empty where nothing is to be said.
    """

    change: Callable[[list[Dataset]], Files]
    slices: int
    says: str = ""
    same: bool = True


CASES = {
    "as it is": Case(lambda files: [*files], SLICES),
    "sent twice under new UIDs": Case(
        lambda files: [*files, *map(again, files)], SLICES, "12 of its 24 slices came again, alike"
    ),
    "three slices sent twice": Case(
        lambda files: [*files, *map(again, files[:3])], SLICES, "3 of its 15 slices came again"
    ),
    "all twice with other voxels": Case(
        lambda files: [*files, *map(other_voxels, files)], 0, "shows each slice 2 times .*other vox"
    ),
    "some twice with other voxels": Case(
        lambda files: [*files, *map(other_voxels, files[:3])], 0, "3 of its 15 slices lie where"
    ),
    "no position": Case(
        each(lambda _, ds: gone("ImagePositionPatient")(ds)), 0, r"12 of its 12 images .*0020,0032"
    ),
    "one slice without position": Case(
        one(gone("ImagePositionPatient")), 0, r"1 of its 12 images .*0020,0032"
    ),
    "one slice without spacing": Case(one(gone("PixelSpacing")), 0, r"1 of its 12.*0028,0030"),
    "one slice with another spacing": Case(
        one(lambda ds: setattr(ds, "PixelSpacing", [9, 9])), 0, r"Pixel Spacing \(0028,0030\)"
    ),
    "one slice without orientation": Case(
        one(gone("ImageOrientationPatient")), 0, r"1 of its 12.*0020,0037"
    ),
    "one slice without rows": Case(one(gone("Rows")), 0, r"1 of its 12 images .*0028,0010"),
    "no rows at all": Case(each(lambda _, ds: gone("Rows")(ds)), 0, r"12 of its 12.*0028,0010"),
    "a slope that is none": Case(
        one(lambda ds: ds.add_new("RescaleSlope", "LO", "abc")), 0, r"RescaleSlope \(0028,1053\)"
    ),
    "scaled but for one slice": Case(
        each(lambda n, ds: n and setattr(ds, "RescaleSlope", 2)), 0, "1 of its 12.*0028,1053"
    ),
    "an echo time that the last slice lacks": Case(
        lambda files: [*files[:-1], again(files[-1], EchoTime=None)], SLICES - 1,
        "1 of its 12 images differ in contrast .*one slice only", same=False,
    ),
    "one stray of another size": Case(
        lambda files: [*files, again(files[0], Rows=8, PixelData=bytes(8 * 16 * 2))],
        0, r"differ in size .*1 of 13",
    ),
    "one stray of another direction": Case(
        lambda files: [*files, again(files[0], ImageOrientationPatient=[0, 1, 0, 0, 0, -1])],
        0, r"2 orientations \(0020,0037\): 1 of 13",
    ),
    "orientations that jitter": Case(
        each(jitter), 0, r"jitter: .*0020,0037.* up to 0.002 .*more than the 0.001"
    ),
    "all at one position": Case(
        each(lambda _, ds: setattr(ds, "ImagePositionPatient", [1, 2, 3])), 0,
        r"all its 12 images have the same position .*0020,0032",
    ),
    "two frames of reference": Case(
        one(lambda ds: setattr(ds, "FrameOfReferenceUID", "1.2.3")), 0, "0020,0052"
    ),
    "a frame of reference that is often empty": Case(
        one(lambda ds: setattr(ds, "FrameOfReferenceUID", "")), SLICES
    ),
    "a raw data object": Case(
        lambda files: [*files, no_image(files[0], RawDataStorage)], SLICES,
        r"1 object \(Raw Data Storage\)",
    ),
    "a document": Case(
        lambda files: [no_image(files[0], EncapsulatedPDFStorage), *files], SLICES,
        r"1 object \(Encapsulated PDF Storage\)",
    ),
    "a colour screenshot": Case(
        lambda files: [capture(files[0], colour=True), *files], SLICES, r"1 object \(in colour\)"
    ),
    "two grey screenshots": Case(
        lambda files: [*files, *(capture(ds, colour=False) for ds in files[:2])], SLICES,
        r"2 objects \(a secondary capture\)",
    ),
    "a spacing below zero": Case(
        each(lambda _, ds: setattr(ds, "PixelSpacing", [10, -10])), 0, r"12 of its 12.*0028,0030"
    ),
    "a spacing of zero": Case(
        each(lambda _, ds: setattr(ds, "PixelSpacing", [0, 10])), 0, r"12 of its 12.*0028,0030"
    ),
    "an object of a vendor's own class": Case(
        lambda files: [*files, private_object(files[0])], SLICES,
        r"1 object \(an unknown SOP class\)",
    ),
    "compressed by gzip": Case(
        lambda files: [gzip.compress(encoded(ds)) for ds in files], 0,
        "files that cannot be read: 12.*compressed by gzip",
    ),
    "packed as a tar archive": Case(
        lambda files: [tarred(files)], 0, "files that cannot be read: 1.*tar archive"
    ),
    "packed as a tar archive in a zip": Case(
        lambda files: [zipped_bytes(gzip.compress(tarred(files)))], 0,
        "files that cannot be read: 1.*tar archive",
    ),
    "in inverted grey": Case(
        each(lambda _, ds: setattr(ds, "PhotometricInterpretation", "MONOCHROME1")), 0,
        "12 of its 12 images have no plain grey values",
    ),
    "the last slices compressed by gzip": Case(
        lambda files: [*files[:10], *(gzip.compress(encoded(ds)) for ds in files[10:])], 10,
        "damaged files, which were not read: 2", same=False,
    ),
    "some without preamble": Case(
        lambda files: [*map(without_preamble, files[:4]), *files[4:]], SLICES
    ),
    "some without file meta information": Case(
        lambda files: [*map(without_meta, files[:4]), *files[4:]], SLICES
    ),
    "deflated": Case(lambda files: [*map(deflated, files)], SLICES),
    "a zip beside some": Case(lambda files: [zipped(files[:4]), *files[4:]], SLICES),
    "a zip in zips": Case(lambda files: [zipped(files[:4], depth=3), *files[4:]], SLICES),
    "halves under two series UIDs": Case(
        split(slice(0, 6), slice(6, None)), SLICES, "joined from 2 Series .*all 12 slices"
    ),
    "every other slice under another UID": Case(
        split(slice(0, None, 2), slice(1, None, 2)), SLICES, "joined from 2 Series Instance UIDs"
    ),
    "halves under two numbers": Case(
        split(slice(0, 6), slice(6, None), number=301), SLICES, "joined from 2"
    ),
    "a series UID for each slice": Case(
        each(lambda _, ds: setattr(ds, "SeriesInstanceUID", generate_uid())), SLICES,
        "joined from 12",
    ),
    "one slice without series UID": Case(
        one(lambda ds: setattr(ds, "SeriesInstanceUID", "")), SLICES, "joined from 2"
    ),
    "fewer than its acquisition has": Case(
        lambda files: each(lambda _, ds: setattr(ds, "ImagesInAcquisition", 12))(files[:10]), 10,
        r"10 of 12 slices are here, by Images in Acquisition", same=False,
    ),
    "too few slices of it": Case(
        lambda files: [*files[:9]], 0, "series 3 is the only t2, and it is not used: too few slices"
    ),
    "halves with a slice missing between them": Case(
        lambda files: split(slice(0, 6), slice(6, None))([*files[:6], *files[7:]]), 0,
        "series 3-1, 3-2 are t2, none is used: it is not used: too few slices",
    ),
    "half of the head": Case(
        lambda files: each(set_position(lambda n: 5.0 * n))(files), SLICES,
        "its 12 slices cover 60 mm, t1 covers 120 mm there", same=False,
    ),
    "positions rounded to 0.1 mm": Case(
        each(set_position(lambda n: round(2.35 * n, 1))), SLICES, "its 12 slices cover 28 mm",
        same=False,
    ),
    "a gap among thin slices": Case(
        each(set_position(lambda n: 2.35 * n + (0.4 if n > 5 else 0))), 0,
        "2.35 mm apart, but 2.75 mm .*differ by 2%, or by 0.1 mm where positions are rounded",
    ),
    "a slice that is missing": Case(lambda files: [*files[:4], *files[5:]], 0, "20.00 mm between"),
    "a PatientID that is often empty": Case(
        each(lambda n, ds: setattr(ds, "PatientID", "" if n % 2 else ds.PatientID)), SLICES
    ),
    "a study UID that is often empty": Case(
        each(lambda n, ds: setattr(ds, "StudyInstanceUID", "" if n % 2 else ds.StudyInstanceUID)),
        SLICES,
    ),
    "a file whose header ends early": Case(
        lambda files: [encoded(files[0])[:400] for _ in files], 0, "files that cannot be read: 12"
    ),
}  # fmt: skip


LACKS_SLICES = {
    "a slice that is missing", "too few slices of it", "halves with a slice missing between them",
    "a gap among thin slices",
}  # fmt: skip
"""What the archive may still have whole."""


@pytest.mark.parametrize("name", CASES)
def test_a_t2_that_is_there_is_used_whole_or_the_study_is_refused(
    name: str, study: Study, tmp_path: Path
) -> None:
    case = CASES[name]
    t1, t2 = study.series["t1"], study.series["t2"]
    files = [path.read_bytes() for path in t1.files] + case.change(datasets(t2))
    intake = taken(files, tmp_path / "heap")
    if not case.slices:
        with pytest.raises(NothingIdentified) as refused:
            chosen_for(intake, WANTED, {})
        error = refused.value
        assert re.search(case.says, error.problem), error.problem
        assert error.subject == "t2"
        assert "assign=" in error.remedy or "leave them out" in error.remedy
        lacks_slices = name in LACKS_SLICES or "cannot be read" in error.problem
        assert lacks_slices or "as NIfTI" in error.remedy, "sending it again would not help"
        assert name not in LACKS_SLICES or "again, whole" in error.remedy
        assert not any(word in str(error) for word in PLANTED)
        return
    sources = chosen_for(intake, WANTED, {})
    warnings = "\n".join(Findings.of(intake, sources).warnings)
    assert re.search(case.says, warnings) if case.says else not warnings, warnings
    volume = read_volume(sources[Modality.T2], Modality.T2)
    assert volume.grid.shape[2] == case.slices
    if case.same:
        whole = taken([path.read_bytes() for path in t2.files], tmp_path / "whole")
        assert volume.digest == read_volume(whole.sources()[Modality.T2], Modality.T2).digest


def unnamed(dataset: Dataset) -> Dataset:
    """A slice of which nothing tells what it shows."""
    made = again(dataset, SeriesNumber=9)
    for keyword in ("SeriesDescription", "ProtocolName", "EchoTime", "RepetitionTime",
                    "SequenceName", "ScanningSequence", "SequenceVariant"):  # fmt: skip
        if keyword in made:
            delattr(made, keyword)
    return made


def test_a_series_that_nobody_can_name_is_not_filled_over_in_silence(
    study: Study, tmp_path: Path
) -> None:
    t1 = [path.read_bytes() for path in study.series["t1"].files]
    t2 = datasets(study.series["t2"])
    uid = generate_uid()
    odd = [again(unnamed(ds), SeriesInstanceUID=uid) for ds in t2]
    intake = taken([*t1, *odd], tmp_path / "heap")
    sources = chosen_for(intake, WANTED, {})
    (note,) = Findings.of(intake, sources, WANTED).warnings
    assert re.search("series 9: not used.*if one is t2, assign it", note), note
    whole = taken([*t1, *odd, *t2], tmp_path / "whole")
    assert Findings.of(whole, chosen_for(whole, WANTED, {}), WANTED).warnings == ()


def test_the_sender_may_say_that_a_series_is_to_be_filled(study: Study, tmp_path: Path) -> None:
    files: Files = [path.read_bytes() for path in study.series["t1"].files]
    files += datasets(study.series["t2"])[:5] + datasets(study.series["t2"])[6:]
    with pytest.raises(NothingIdentified, match="assign=3:none: t2 then counts as missing"):
        chosen_for(taken(files, tmp_path / "a"), WANTED, {})
    left_out = taken(files, tmp_path / "b", **{"3": None})
    assert list(chosen_for(left_out, WANTED, {})) == [Modality.T1]


def test_a_series_that_another_one_stands_for_refuses_nothing(study: Study, tmp_path: Path) -> None:
    """A gap in the second T2 does not matter, nor does what the model does not take."""
    t2 = datasets(study.series["t2"])
    uid = generate_uid()
    second = [again(ds, SeriesInstanceUID=uid, SeriesNumber=9) for ds in (*t2[:4], *t2[5:])]
    intake = taken([*t2, *second], tmp_path / "heap")
    assert list(chosen_for(intake, (Modality.T2,), {})) == [Modality.T2]
    alone = taken([*datasets(study.series["t1"]), *second], tmp_path / "alone")
    assert list(chosen_for(alone, (Modality.T1,), {})) == [Modality.T1]


def test_two_series_of_one_number_are_told_apart(study: Study, tmp_path: Path) -> None:
    t2 = datasets(study.series["t2"])
    uid = generate_uid()
    second = [again(ds, SeriesInstanceUID=uid) for ds in t2]
    assert [s.label for s in _series(taken([*t2, *second], tmp_path / "a"))] == ["3-1", "3-2"]
    with pytest.raises(NothingIdentified, match=r"2 series are called '3'.*3-1, 3-2"):
        taken([*t2, *second], tmp_path / "b", **{"3": Modality.T1})
    named = taken([*t2, *second], tmp_path / "c", **{"3-2": Modality.T1})
    assert named.sources()[Modality.T1].header.uid in {uid, study.series["t2"].uid}  # type: ignore[union-attr]
    assert chosen_for(named, WANTED, {}).keys() == {Modality.T1, Modality.T2}


def test_each_uid_of_a_joined_series_names_it(study: Study, tmp_path: Path) -> None:
    files = split(slice(0, 6), slice(6, None), number=301)(datasets(study.series["t2"]))
    for number, name in enumerate(["3", "301", *{ds.SeriesInstanceUID for ds in files}]):  # type: ignore[union-attr]
        found = taken(files, tmp_path / str(number), **{name: Modality.T1})
        assert found.sources()[Modality.T1].header.slices == SLICES  # type: ignore[union-attr]


def test_two_patients_with_ids_are_still_two(study: Study, tmp_path: Path) -> None:
    files = one(lambda ds: setattr(ds, "PatientID", "another"))(datasets(study.series["t2"]))
    with pytest.raises(MixedStudy, match="2 patients"):
        taken(files, tmp_path / "heap")


def test_a_deflated_file_that_unpacks_to_anything_is_no_memory(tmp_path: Path) -> None:
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    body = io.BytesIO()
    empty = pydicom.dataset.FileDataset("", Dataset(), file_meta=meta)
    pydicom.dcmwrite(body, empty, enforce_file_format=True)
    body.seek(0)
    length = 144 + pydicom.dcmread(body).file_meta.FileMetaInformationGroupLength
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = body.getvalue()[:length] + packer.compress(bytes(64 << 20)) + packer.flush()
    intake = taken([bomb], tmp_path / "heap")
    (damaged,) = intake.unread
    assert "deflated" in damaged.reason and "more than is allowed" in damaged.reason


def test_a_real_series_beside_raw_data_is_used(
    real_data: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = real_data("dicom") / "philips-enhanced-with-raw"
    intake = taken([path.read_bytes() for path in sorted(folder.iterdir())], tmp_path / "heap")
    sources = chosen_for(intake, (Modality.T1,), {})
    assert read_volume(sources[Modality.T1], Modality.T1).grid.shape[2] == SLICES
    (warning,) = Findings.of(intake, sources).warnings
    assert "Raw Data Storage" in warning


def _series(intake: Intake) -> tuple[object, ...]:
    assert intake.dicom is not None
    return intake.dicom.series
