"""Real headers with tags removed, emptied, shuffled, of wrong types, or without private ones.

Every such series is read as what it is, or left out for a reason that is told: nothing else stands
in its place, and nobody sees a stack trace. Pixels and frames are cut to a few, for speed.
"""

from __future__ import annotations

import copy
import io
import os
import random
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from brainmvp_models.errors import InvalidInput, NothingIdentified
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.archive import Unpacked
from brainmvp_server.imaging.intake import Intake, chosen_for, take_in
from brainmvp_server.imaging.sources import read_volume
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.results.findings import Findings

SAMPLES = {
    "ge-jitter-t1": Modality.T1,
    "philips-classic-t1": Modality.T1,
    "philips-enhanced-with-raw": Modality.T1,
    "siemens-xa30-adc": Modality.ADC,
    "siemens-xa30-enhanced-t1": Modality.T1,
    "siemens-xa30-field-map": Modality.T1,
    "siemens-xa30-trace": Modality.DWI,
}
MUTANTS = int(os.environ.get("BRAINMVP_MUTANTS", "8"))
"""Of each sample; 143 make 1,001 and take minutes."""
SLICES, SIDE = 10, 6
GEOMETRY = (
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns",
    "NumberOfFrames", "RescaleSlope", "RescaleIntercept", "SeriesInstanceUID", "StudyInstanceUID",
    "PatientID", "FrameOfReferenceUID", "SOPClassUID", "SOPInstanceUID", "SeriesNumber",
    "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "PixelRepresentation",
    "Modality", "ImageType", "EchoTime", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", "PlanePositionSequence", "PlaneOrientationSequence",
    "PixelMeasuresSequence", "PixelValueTransformationSequence", "MRDiffusionSequence",
)  # fmt: skip
"""What decides what and where a series is: half of the mutations hit these."""
NOT_TOLD = {"RescaleSlope", "RescaleIntercept", "PixelValueTransformationSequence"}
"""Gone from every image, nothing tells that the values were scaled."""


def small(path: Path) -> Dataset:
    """A few frames and pixels of an object."""
    dataset = pydicom.dcmread(path)
    if "PixelData" not in dataset:
        return dataset
    pixels = dataset.pixel_array[..., :SIDE, :SIDE]
    if "PerFrameFunctionalGroupsSequence" in dataset:
        frames = dataset.PerFrameFunctionalGroupsSequence
        pixels, count = pixels[:SLICES], min(SLICES, len(frames))
        dataset.PerFrameFunctionalGroupsSequence = Sequence(list(frames)[:count])
        dataset.NumberOfFrames = count
    dataset.Rows = dataset.Columns = SIDE
    noise = np.arange(pixels.size, dtype=pixels.dtype).reshape(pixels.shape)  # nothing is constant
    dataset.PixelData = (pixels + noise).astype(pixels.dtype).tobytes()
    return dataset


def elements(dataset: Dataset, *, private: bool) -> list[tuple[Dataset, DataElement]]:
    """Every element but the pixels, with the data set that holds it."""
    found = []
    for element in dataset:
        if element.keyword == "PixelData" or (element.tag.is_private and not private):
            continue
        found.append((dataset, element))
        if element.VR == "SQ":
            for item in element.value:
                found += elements(item, private=private)
    return found


def mutate(dataset: Dataset, keyword: str, how: str, rng: random.Random) -> None:
    """Change an attribute wherever it is; by ``somewhere`` in one place only."""
    if how == "private gone":
        dataset.remove_private_tags()
        return
    places = [p for p in elements(dataset, private=False) if p[1].keyword == keyword]
    if places and "somewhere" in how:
        places = [rng.choice(places)]
    for owner, element in places:
        value = element.value
        if "removed" in how:
            del owner[element.tag]
        elif element.VR == "SQ":
            owner[element.tag].value = Sequence([])
        elif "emptied" in how:
            owner[element.tag].value = None
        elif "shuffled" in how and element.VM > 1:
            owner[element.tag].value = rng.sample(list(value), len(value))
        elif "wrong type" in how:
            owner[element.tag] = DataElement(element.tag, "LO", "wrong")


HOWS = (
    "removed", "removed somewhere", "emptied", "emptied somewhere", "shuffled",
    "shuffled somewhere", "wrong type", "wrong type somewhere", "private gone",
)  # fmt: skip


def encoded(dataset: Dataset) -> bytes:
    body = io.BytesIO()
    dataset.save_as(body)
    return body.getvalue()


def taken(folder: Path, files: list[bytes]) -> Intake:
    heap = []
    for number, body in enumerate(files):
        path = folder / str(number)
        path.write_bytes(body)
        heap.append(Unpacked(path, ""))
    return take_in(heap, folder)


def places_of(volume: Volume) -> dict[tuple[Any, ...], np.ndarray]:
    """The values of each slice by where it lies."""
    values = volume.values(volume.stored)
    ends = (volume.grid.affine @ (0, 0, k, 1) for k in range(values.shape[2]))
    return {tuple(np.round(end[:3], 1)): values[:, :, k] for k, end in enumerate(ends)}


def check(
    intake: Intake, modality: Modality, filler: Path, truth: dict[tuple[Any, ...], np.ndarray],
    *, comparable: bool,
) -> str:  # fmt: skip
    """What became of a mutant: used, refused or not known; fails where it is anything else."""
    other = Modality.FLAIR
    try:
        sources = chosen_for(intake, (modality, other), {other: filler})
    except NothingIdentified as error:
        assert error.subject == modality.value and error.remedy
        assert re.search(r"series \S+ |file \d+", error.problem), error.problem
        assert re.search(r"\(?\d{4},\d{4}|slice|acquisition|orientation|header|mosaic|frames",
                         error.problem), error.problem  # fmt: skip
        return "refused"
    if modality not in sources:
        series = intake.dicom.series if intake.dicom else ()
        assert not intake.unread, "damaged files are passed over"
        assert not any(one.answer.modality == modality and not one.stack for one in series
                       if one.reason and "localizer" not in one.reason)  # fmt: skip
        assert all(one.reason for one in series)
        return "not known"
    volume = read_volume(sources[modality], modality)
    slices = places_of(volume)
    if len(slices) < len(truth):
        assert Findings.of(intake, sources).warnings, "a part is used as if it were whole"
    if comparable:
        for place, values in slices.items():
            assert place in truth, "a slice lies elsewhere"
            np.testing.assert_allclose(values, truth[place], rtol=1e-5)
    return "used"


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_mutated_header_gives_its_series_or_a_reason(
    sample: str,
    real_data: Callable[[str], Path],
    scan_of_nothing: Path,
    tmp_path: Path,
) -> None:
    modality, rng = SAMPLES[sample], random.Random(sample)
    warnings.simplefilter("ignore")
    originals = [small(path) for path in sorted((real_data("dicom") / sample).iterdir())[:SLICES]]
    bodies = [encoded(one) for one in originals]
    folder = tmp_path / "original"
    folder.mkdir()
    intake = taken(folder, bodies)
    truth = {}
    if intake.dicom and modality in intake.dicom.chosen:
        truth = places_of(read_volume(intake.dicom.chosen[modality], modality))
    names = sorted({e.keyword for one in originals for _, e in elements(one, private=False)} - {""})
    became: dict[str, int] = {}
    for number in range(MUTANTS):
        keyword = rng.choice([k for k in GEOMETRY if k in names] if number % 2 else names)
        how = rng.choice(HOWS)
        which = range(len(bodies)) if rng.random() < 0.5 else [rng.randrange(len(bodies))]
        files = list(bodies)
        for index in which:
            mutant = copy.deepcopy(originals[index])
            mutate(mutant, keyword, how, rng)
            files[index] = encoded(mutant)
        folder = tmp_path / str(number)
        folder.mkdir()
        comparable = "shuffled" not in how and keyword not in NOT_TOLD
        try:
            end = check(
                taken(folder, files), modality, scan_of_nothing, truth, comparable=comparable
            )
        except InvalidInput as error:
            assert error.problem and error.remedy
            end = "refused"
        except Exception as error:
            raise AssertionError(f"{keyword} {how} in {len(which)} of {len(bodies)}") from error
        became[end] = became.get(end, 0) + 1
    assert sum(became.values()) == MUTANTS
    if truth:
        assert became["used"] > MUTANTS / 3, became


@pytest.fixture
def scan_of_nothing(tmp_path: Path) -> Path:
    """A file that stands for another modality; nobody reads it."""
    path = tmp_path / "flair.nii"
    path.touch()
    return path
