"""DICOM files to frames: one frame is one slice, wherever it lies.

A file is read without trust: a deflated one could unpack to anything and is refused, so is a
header that holds too much (:mod:`extent`), lengths are bounded by the file, and whatever else is
wrong with it makes it an unreadable file, never a crash.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from brainmvp_server.imaging.dicom.extent import check_extent
from brainmvp_server.imaging.dicom.header import (
    Attributes,
    SeriesHeader,
    as_number,
    b_value_of,
    header_of,
)
from brainmvp_server.observability.logs import kind_and_place

log = logging.getLogger(__name__)

_MOST_FRAMES = 20_000
_PREAMBLE = 132

Vector = tuple[float, ...]


@dataclass(frozen=True)
class Frame:
    """One slice: where it lies in space and in which file.

    Attributes:
        path, index: the file, and the frame in it (0 in a classic object).
        position, orientation: as in DICOM, mm, L-P-S; None where the slice has no place.
        spacing: mm between rows, between columns.
        step: mm between slices, as the header says; None where it does not.
        size: rows, columns.
        slope, intercept: stored values to values.
        moment: what tells repetitions apart: temporal position, acquisition number, trigger time.
    """

    path: Path
    index: int
    instance: str
    position: Vector | None
    orientation: Vector | None
    spacing: Vector | None
    step: float | None
    size: tuple[int, int]
    slope: float
    intercept: float
    b_value: float | None
    echo_time: float | None
    image_type: tuple[str, ...]
    moment: tuple[float, ...]


@dataclass(frozen=True)
class Instance:
    """One object: who and what it belongs to, its header and its frames.

    Attributes:
        patient: the patient's ID; for comparing, never for showing.
        frame_of_reference: its UID; empty where it has none.
        fault: why it cannot be part of a volume; empty where it can.
    """

    path: Path
    uid: str
    study: str
    patient: str
    frame_of_reference: str
    header: SeriesHeader
    frames: tuple[Frame, ...]
    fault: str = ""


@dataclass(frozen=True)
class Scanned:
    """What a heap of files holds.

    Attributes:
        instances: the readable images.
        unreadable: how many files are damaged, or of no kind that is read.
        other: how many are not DICOM, or carry no image (directories, reports).
    """

    instances: tuple[Instance, ...]
    unreadable: int
    other: int


def is_dicom(path: Path) -> bool:
    """Whether a file starts as DICOM files do."""
    with path.open("rb") as file:
        return file.read(_PREAMBLE)[128:] == b"DICM"


def scan(paths: Iterable[Path]) -> Scanned:
    """Read the headers of files in any order; an object sent twice counts once."""
    instances: dict[str, Instance] = {}
    reasons: Counter[str] = Counter()
    other = 0
    for path in paths:
        if not is_dicom(path):
            other += 1
            continue
        try:
            found = read_instance(path)
        except UnreadableFile as error:
            reasons[str(error)] += 1
            continue
        if found is None:
            other += 1
        else:
            instances.setdefault(found.uid or str(path), found)
    for reason, count in reasons.most_common(10):
        log.info("%d DICOM headers could not be read: %s", count, reason)
    return Scanned(tuple(instances.values()), reasons.total(), other)


class UnreadableFile(Exception):
    """A file that pydicom cannot make sense of, that would unpack to anything or holds too much."""


def read_instance(path: Path) -> Instance | None:
    """One file's header and frames; None where it holds no image.

    Raises:
        UnreadableFile: see there.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom would quote values of the file
            check_extent(path)
            dataset = open_dataset(path, stop_before_pixels=True)
            if "Rows" not in dataset or "Columns" not in dataset:
                return None
            return _instance(path, dataset)
    except UnreadableFile:
        raise
    except MemoryError:  # ours, not the file's: its header was weighed
        raise
    except Exception as error:
        raise UnreadableFile(kind_and_place(error)) from None


def open_dataset(path: Path, *, stop_before_pixels: bool = False) -> Dataset:
    """A file's data set.

    Raises:
        UnreadableFile: it is deflated, or no DICOM.
    """
    try:
        meta = read_file_meta_info(path)
        if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            raise UnreadableFile("deflated")
        return pydicom.dcmread(path, stop_before_pixels=stop_before_pixels)
    except InvalidDicomError:
        raise UnreadableFile("no DICOM") from None


def _instance(path: Path, dataset: Dataset) -> Instance:
    if len(dataset.get("PerFrameFunctionalGroupsSequence") or ()) > _MOST_FRAMES:
        raise UnreadableFile("too many frames")
    attributes = Attributes.of_frames(dataset)
    top = attributes[0]
    frames = tuple(_frame(path, index, one) for index, one in enumerate(attributes))
    return Instance(
        path=path,
        uid=top.text("SOPInstanceUID"),
        study=top.text("StudyInstanceUID"),
        patient=top.text("PatientID"),
        frame_of_reference=top.text("FrameOfReferenceUID"),
        header=header_of(top),
        frames=frames,
        fault=_fault(dataset, len(frames)),
    )


def _fault(dataset: Dataset, frames: int) -> str:
    """Why an image cannot be part of a volume."""
    if int(dataset.get("SamplesPerPixel") or 1) != 1:
        return "its images are in colour"
    if dataset.get("PhotometricInterpretation", "MONOCHROME2") != "MONOCHROME2":
        return "its images are not plain grey values"
    if int(dataset.get("NumberOfFrames") or 1) != frames:
        return "its frames have no place in space (multi-frame without functional groups)"
    if dataset.get("Modality", "MR") != "MR":
        return "it is not magnetic resonance"
    return ""


def _frame(path: Path, index: int, attributes: Attributes) -> Frame:
    orientation = attributes.numbers("ImageOrientationPatient", 6)
    rows, columns = attributes.number("Rows") or 0, attributes.number("Columns") or 0
    slope = attributes.number("RescaleSlope")
    moments = ("TemporalPositionIndex", "TemporalPositionIdentifier", "AcquisitionNumber")
    return Frame(
        path=path,
        index=index,
        instance=attributes.text("SOPInstanceUID"),
        position=attributes.numbers("ImagePositionPatient", 3),
        orientation=orientation if orientation and _is_orientation(orientation) else None,
        spacing=attributes.numbers("PixelSpacing", 2),
        step=attributes.number("SpacingBetweenSlices"),
        size=(int(rows), int(columns)),
        slope=1.0 if slope is None or slope == 0 else slope,
        intercept=attributes.number("RescaleIntercept") or 0.0,
        b_value=b_value_of(attributes),
        echo_time=attributes.number("EchoTime", "EffectiveEchoTime"),
        image_type=attributes.words("FrameType", "ImageType"),
        moment=tuple(as_number(attributes.find(name)) or 0.0 for name in moments),
    )


def _is_orientation(cosines: Vector) -> bool:
    row, column = np.array(cosines[:3]), np.array(cosines[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    return bool(np.allclose(lengths, 1, atol=1e-2) and abs(row @ column) < 1e-2)
