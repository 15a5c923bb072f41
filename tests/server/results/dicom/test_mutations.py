"""Whatever headers the reader accepts, objects are valid or refused by tag: never another error.

The headers are those of real scanners, cut to a few small slices, with faults as files have them:
tags removed, emptied, shuffled, of a wrong type, too long, in no character set; private ones gone.
"""

from __future__ import annotations

import io
import os
import random
import re
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset

from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import BrainMVPError
from brainmvp_server.imaging.dicom.texts import tag_of
from brainmvp_server.results.dicom.objects import MissingObject, object_files
from drawn_results import drawn, mask_of, volumes_of

SERIES = ("ge-jitter-t1", "philips-classic-t1", "siemens-xa30-enhanced-t1")
MUTANTS = int(os.environ.get("BRAINMVP_MUTANTS", "24"))
CHECKED = 8
"""Every so many is looked at by dciodvfy, which is a process of its own."""
SIZE, SLICES = 24, 5
OF_INTEREST = (
    "SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName", "Manufacturer", "SoftwareVersions", "StationName",
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientWeight",
    "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientIdentityRemoved",
    "PositionReferenceIndicator", "LossyImageCompression", "SliceThickness", "ImageType",
    "SpacingBetweenSlices", "SharedFunctionalGroupsSequence", "DimensionIndexSequence",
)  # fmt: skip
CHARACTER_SET = pydicom.tag.Tag("SpecificCharacterSet")
TAG = re.compile(r"\w+ \([0-9A-F]{4},[0-9A-F]{4}\)( is missing|: )")


@pytest.fixture(scope="module")
def bundle(bundles: Path) -> Bundle:
    return Bundle.open(bundles / "demo-glioma" / "1")


@pytest.fixture(scope="module", params=SERIES)
def series(request: pytest.FixtureRequest, real_data: Callable[[str], Path]) -> list[bytes]:
    """A real series, cut to a corner of its first slices."""
    files = sorted((real_data("dicom") / request.param).glob("*.dcm"))
    if "enhanced" not in request.param:
        datasets = sorted(map(pydicom.dcmread, files), key=lambda d: d.SliceLocation)[:SLICES]
    else:
        (dataset,) = datasets = [pydicom.dcmread(files[0])]
        dataset.PerFrameFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence[:SLICES]
    return [_cut(dataset) for dataset in datasets]


def _cut(dataset: Dataset) -> bytes:
    pixels = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    frames = len(dataset.get("PerFrameFunctionalGroupsSequence") or [0])
    middle = [(size - SIZE) // 2 for size in pixels.shape[1:]]
    kept = pixels[:frames, middle[0] :, middle[1] :][:, :SIZE, :SIZE]
    dataset.PixelData = np.ascontiguousarray(kept).tobytes()
    dataset.Rows = dataset.Columns = SIZE
    if "NumberOfFrames" in dataset:
        dataset.NumberOfFrames = frames
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def _mutated(content: bytes, chance: random.Random) -> bytes:
    """A file with one to three faults; the same chance gives the same faults."""
    dataset = pydicom.dcmread(io.BytesIO(content))
    if chance.random() < 0.3:
        dataset.remove_private_tags()
    for _ in range(chance.randint(1, 3)):
        places = [dataset, *_groups(dataset)]
        place = chance.choice(places) if chance.random() < 0.4 else dataset
        tags = [tag for tag in place._dict if tag.group not in (0x0002, 0x0028, 0x7FE0)]
        if place is dataset and chance.random() < 0.8:
            tags = [pydicom.tag.Tag(keyword) for keyword in OF_INTEREST]
        if tags:
            _spoil(place, chance.choice(tags), chance)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def _groups(dataset: Dataset) -> Iterator[Dataset]:
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        found = dataset.get(keyword)
        for item in found if isinstance(found, pydicom.Sequence) else ():
            yield item
            for element in item:
                if element.VR == "SQ":
                    yield from element.value


def _spoil(place: Dataset, tag: pydicom.tag.BaseTag, chance: random.Random) -> None:
    given = place[tag].value if tag in place else None
    place.pop(tag, None)
    fault = chance.choice(("gone", "empty", "letters", "long", "bytes", "type", "shuffled", "many"))
    if fault == "gone":
        return
    vr = pydicom.datadict.dictionary_VR(tag) if not tag.is_private else "LO"
    if tag == CHARACTER_SET and fault in ("type", "bytes"):
        fault = "letters"  # pydicom writes no file in a character set that is a number
    if fault == "type" or vr in ("SQ", "OB", "OW", "OB or OW", "US or SS"):
        kind = chance.choice(("SQ", "US", "FD"))
        value: object = {"SQ": [Dataset()], "US": 7, "FD": 0.5}[kind]
        place.add(DataElement(tag, kind, value))
        return
    letters = list(str(given if given is not None else "1.2.3"))
    chance.shuffle(letters)
    raw = {
        "empty": b"",
        "letters": b"***",
        "long": b"1" * 90,
        "bytes": b"M\xfcll\x1b$B\xff",
        "shuffled": "".join(letters).encode("ascii", "replace"),
        "many": rb"1.2\3.4\5",
    }[fault]
    even = raw + b" " * (len(raw) % 2)
    place[tag] = RawDataElement(tag, vr, len(even), even, 0, False, True)


def test_a_mutated_header_gives_valid_objects_or_names_the_tag_at_fault(
    series: list[bytes], bundle: Bundle, tmp_path: Path, program: Callable[[str], Path]
) -> None:
    written = refused = 0
    for number in range(MUTANTS):
        files = []
        for index, content in enumerate(series):
            # Every file has the same faults, or the first alone.
            faults = random.Random(number if number % 3 else number + index * 1000)
            path = tmp_path / f"{number:04d}-{index}.dcm"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                path.write_bytes(_mutated(content, faults))
            files.append(path)
        try:
            volumes = volumes_of(files)
        except BrainMVPError:
            continue
        for volume in volumes:
            result = drawn(volume, bundle)
            for made in object_files(result):
                if isinstance(made, MissingObject):
                    assert TAG.search(made.error.problem), (number, made)
                    refused += 1
                    continue
                written += 1
                if made.name == "segmentation.dcm":
                    np.testing.assert_array_equal(
                        mask_of(made.content, result.study.native.grid), result.mask
                    )
                if number % CHECKED == 0:
                    path = tmp_path / made.name
                    path.write_bytes(made.content)
                    said = subprocess.run(
                        [program("dciodvfy"), path], capture_output=True, check=False
                    )
                    assert b"Error" not in said.stderr, (number, said.stderr)
    assert written > MUTANTS // 2 and refused, (
        "the mutants are too mild or too wild to prove a thing"
    )


def test_a_tag_is_named_as_people_look_it_up() -> None:
    assert tag_of("PatientID") == "PatientID (0010,0020)"
