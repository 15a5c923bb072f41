"""DICOM files to frames: one frame is one slice, wherever it lies.

A file is read without trust: a header that holds too much is not read (:mod:`extent`), and
whatever else is wrong with it makes it an unreadable file, or an image with a fault, never a crash.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID

from brainmvp_models.dicom_start import is_dicom
from brainmvp_server.imaging.dicom.dataset import UnreadableFile, open_dataset
from brainmvp_server.imaging.dicom.extent import TooMuch, check_extent
from brainmvp_server.imaging.dicom.header import (
    Attributes,
    SeriesHeader,
    as_number,
    b_value_of,
    header_of,
)
from brainmvp_server.observability.logs import kind_and_place

log = logging.getLogger(__name__)

_COLOURS = ("RGB", "YBR", "PALETTE")
_IMAGE = ("BitsAllocated", "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient")
"""What tells an image that does not say what it is, nor how large."""

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
        slope, intercept: stored values to values; ``scaled`` where the header says them.
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
    scaled: bool
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
        fault: why it cannot be a slice, though it should be one; names the attribute; else empty.
        stray: why it is no slice of an MR volume by its kind, such as a screenshot; else empty.
        expected: how many images the acquisition has, as the header says; None where it does not.
    """

    path: Path
    uid: str
    study: str
    patient: str
    frame_of_reference: str
    header: SeriesHeader
    frames: tuple[Frame, ...]
    fault: str = ""
    stray: str = ""
    expected: int | None = None


@dataclass(frozen=True)
class Beside:
    """An object of a series that is no image: which series, and the name of its kind."""

    series: str
    kind: str


@dataclass(frozen=True)
class Unread:
    """A DICOM file that cannot be read, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Scanned:
    """What a heap of files holds.

    Attributes:
        instances: the readable images.
        unread: the damaged files.
        other: how many are not DICOM, or carry no image (directories, reports, raw data).
        beside: those of them that belong to a series.
    """

    instances: tuple[Instance, ...]
    unread: tuple[Unread, ...]
    other: int
    beside: tuple[Beside, ...] = ()

    @property
    def unreadable(self) -> int:
        """How many files are damaged."""
        return len(self.unread)


def scan(paths: Iterable[Path]) -> Scanned:
    """Read the headers of files in any order; an object sent twice counts once."""
    instances: dict[str, Instance] = {}
    reasons: Counter[str] = Counter()
    unread: list[Unread] = []
    beside: list[Beside] = []
    other = 0
    for path in paths:
        if not is_dicom(path):
            other += 1
            continue
        try:
            found = read_instance(path)
        except UnreadableFile as fault:
            unread.append(Unread(path, fault.args[0]))
            reasons[fault.args[-1]] += 1
            continue
        if isinstance(found, Instance):
            instances.setdefault(found.uid or str(path), found)
            continue
        other += 1
        if found.series:
            beside.append(found)
    for reason, count in reasons.most_common(10):
        log.info("%d DICOM headers could not be read: %s", count, reason)
    return Scanned(tuple(instances.values()), tuple(unread), other, tuple(beside))


def read_instance(path: Path) -> Instance | Beside:
    """One file's header and frames, or what it is where it holds no image.

    Raises:
        UnreadableFile: see there.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom would quote values of the file
            check_extent(path)
            dataset = open_dataset(path, stop_before_pixels=True)
            top = Attributes(dataset)
            kind = _kind(top) or _kind(Attributes(dataset.file_meta))
            if not _is_image(kind, top):
                return Beside(top.text("SeriesInstanceUID"), kind or "an unknown SOP class")
            return _instance(path, dataset, kind)
    except UnreadableFile:
        raise
    except TooMuch as much:
        raise UnreadableFile(f"its header holds too much ({much})") from None
    except MemoryError:  # ours, not the file's: its header was weighed
        raise
    except Exception as error:
        problem = f"its header is damaged ({type(error).__name__})"
        raise UnreadableFile(problem, kind_and_place(error)) from None


def _kind(top: Attributes) -> str:
    """The name of an object's SOP class; empty where that is private, unknown or missing."""
    uid = UID(top.text("SOPClassUID", "MediaStorageSOPClassUID"))
    return uid.name if uid.name != uid else ""


def _is_image(kind: str, top: Attributes) -> bool:
    if kind and not kind.endswith("Image Storage"):
        return False
    if top.number("Rows") and top.number("Columns"):
        return True
    own = UID(top.text("SOPClassUID"))
    if not kind and own.is_valid and own.is_private and top.find("Rows") is None:
        return False  # a vendor's own, such as a spectrum
    if any(top.find(name) is not None for name in _IMAGE):
        return True
    if kind:
        raise UnreadableFile("its header ends before its size (0028,0010)")
    return False


def _instance(path: Path, dataset: Dataset, kind: str) -> Instance:
    try:
        attributes = Attributes.of_frames(dataset)
    except OverflowError:
        raise UnreadableFile("it has more frames than are read") from None
    top = attributes[0]
    frames = tuple(_frame(path, index, one) for index, one in enumerate(attributes))
    expected = top.number("ImagesInAcquisition")
    return Instance(
        path=path,
        uid=top.text("SOPInstanceUID"),
        study=top.text("StudyInstanceUID"),
        patient=top.text("PatientID"),
        frame_of_reference=top.text("FrameOfReferenceUID"),
        header=header_of(top),
        frames=frames,
        fault=_fault(attributes),
        stray=_stray(top, kind),
        expected=None if expected is None else int(expected),
    )


def _stray(top: Attributes, kind: str) -> str:
    """Why an image is by its kind no slice of an MR volume."""
    if top.text("PhotometricInterpretation").upper().startswith(_COLOURS):
        return "in colour"
    if top.text("Modality").upper() not in ("", "MR") and "MR" not in kind.split():
        return "not magnetic resonance"
    return "a secondary capture" if "Secondary Capture" in kind else ""


def _fault(attributes: Sequence[Attributes]) -> str:
    """Why an image cannot be part of a volume."""
    top, frames = attributes[0], len(attributes)
    if not (top.number("Rows") and top.number("Columns")):
        return "no valid size (Rows, Columns; 0028,0010 and 0028,0011)"
    if top.number("SamplesPerPixel") not in (None, 1.0):
        return "more than one sample a pixel, without being in colour (0028,0002)"
    if top.text("PhotometricInterpretation").upper() not in ("", "MONOCHROME2"):
        return "no plain grey values (Photometric Interpretation, 0028,0004)"
    count = top.number("NumberOfFrames") or 1
    if frames == 1 < count:
        return "frames without a place in space (multi-frame without functional groups)"
    if count != frames:
        return f"{frames} functional groups for {count:g} frames (Number of Frames, 0028,0008)"
    for name, tag in (("RescaleSlope", "0028,1053"), ("RescaleIntercept", "0028,1052")):
        if any(one.is_broken(name) for one in attributes):
            return f"no valid {name} ({tag})"
    return ""


def _frame(path: Path, index: int, attributes: Attributes) -> Frame:
    orientation = attributes.numbers("ImageOrientationPatient", 6)
    spacing = attributes.numbers("PixelSpacing", 2)
    rows, columns = attributes.number("Rows") or 0, attributes.number("Columns") or 0
    slope = attributes.number("RescaleSlope")
    moments = ("TemporalPositionIndex", "TemporalPositionIdentifier", "AcquisitionNumber")
    return Frame(
        path=path,
        index=index,
        instance=attributes.text("SOPInstanceUID"),
        position=attributes.numbers("ImagePositionPatient", 3),
        orientation=orientation if orientation and _is_orientation(orientation) else None,
        spacing=spacing if spacing and min(spacing) > 0 else None,
        step=attributes.number("SpacingBetweenSlices"),
        size=(int(rows), int(columns)),
        slope=1.0 if slope is None or slope == 0 else slope,
        intercept=attributes.number("RescaleIntercept") or 0.0,
        scaled=slope is not None,
        b_value=b_value_of(attributes),
        echo_time=attributes.number("EchoTime", "EffectiveEchoTime"),
        image_type=attributes.words("FrameType", "ImageType"),
        moment=tuple(as_number(attributes.find(name)) or 0.0 for name in moments),
    )


def _is_orientation(cosines: Vector) -> bool:
    row, column = np.array(cosines[:3]), np.array(cosines[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    return bool(np.allclose(lengths, 1, atol=1e-2) and abs(row @ column) < 1e-2)
