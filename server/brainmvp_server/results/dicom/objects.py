"""Which DICOM objects a result has, as named files."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from brainmvp_models.errors import UnwritableObject
from brainmvp_models.task import ScoreOutputs
from brainmvp_server.inference.result import Result
from brainmvp_server.observability.logs import places_of
from brainmvp_server.results.dicom.object_options import ObjectOptions

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

log = logging.getLogger(__name__)

_LETTERS = ("LO", "LT", "PN", "SH", "ST", "UC", "UT")
"""What the character set is for (PS3.5, section 6.1.2.3)."""
SEGMENTATION, REPORT = "segmentation.dcm", "report.dcm"


@dataclass(frozen=True)
class ObjectFile:
    """An object as a Part 10 file."""

    name: str
    content: bytes


@dataclass(frozen=True)
class MissingObject:
    """An object that the result should have, and why it has not."""

    name: str
    error: UnwritableObject


def has_objects(result: Result) -> bool:
    """Whether the study came as DICOM, so that objects can refer to it."""
    return result.study.native.source is not None


def notes_of(result: Result, missing: Sequence[MissingObject]) -> tuple[str, ...]:
    """What whoever gets the objects must know of them: what is missing, what they leave out."""
    source = result.study.native.source
    left_out = source.left_out if source else ()
    return (
        *(f"{one.name} is missing: {one.error.problem}. {one.error.remedy}" for one in missing),
        *(f"the DICOM objects do not repeat {sentence}" for sentence in left_out),
    )


def object_files(
    result: Result, options: ObjectOptions = ObjectOptions()
) -> Iterator[ObjectFile | MissingObject]:
    """The objects by name, the segmentation first; one that fails never loses the others.

    A segmentation has at least one segment: where no output is determinable there is none.

    Raises:
        ValueError: the study did not come as DICOM.
    """
    from brainmvp_server.results.dicom.codes import labels_of
    from brainmvp_server.results.dicom.overlay import Overlay
    from brainmvp_server.results.dicom.segmentation import segmentation
    from brainmvp_server.results.dicom.structured_report import measurement_report

    if not has_objects(result):
        raise ValueError("the study did not come as DICOM")
    mask: list[Dataset] = []

    def segment() -> Dataset:
        made = segmentation(result, options.encoding, options.frames)
        mask.append(made)
        return made

    outputs = result.outputs
    shows = not isinstance(outputs, ScoreOutputs) and bool(labels_of(outputs))
    if shows:
        yield attempt(SEGMENTATION, segment)
    yield attempt(REPORT, lambda: measurement_report(result, mask[0] if mask else None))
    if options.overlay and shows:
        shown = Overlay.of(result)
        for number in range(1, len(shown.slices) + 1):
            yield attempt(f"overlay-{number:04d}.dcm", partial(shown.capture, number))


def attempt(name: str, make: Callable[[], Dataset]) -> ObjectFile | MissingObject:
    """An object as a file, or why it cannot be one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom and highdicom would quote names
            return ObjectFile(name, _file(make()))
    except UnwritableObject as error:
        return MissingObject(
            name, UnwritableObject(error.problem, remedy=error.remedy, subject=name)
        )
    except Exception as error:  # a bug: its message may quote what it should not
        log.error(
            "a DICOM object could not be written (%s)", type(error).__name__,
            extra={"fields": {"object": name, "trace": " < ".join(reversed(places_of(error)))}},
        )  # fmt: skip
        unforeseen = UnwritableObject(
            "it could not be written, by a fault of the service",
            remedy="The other files are whole; report it with the log's line about it",
            subject=name,
        )
        return MissingObject(name, unforeseen)


def _file(dataset: Dataset) -> bytes:
    """A Part 10 file; it names UTF-8 only where it holds more than ASCII, which some tools want."""
    if all(str(element.value).isascii() for element in dataset.iterall() if element.VR in _LETTERS):
        dataset.pop("SpecificCharacterSet", None)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
