"""What a series says about how it was acquired; nothing about whose it is.

Classic and enhanced MR keep the same facts in different places: top-level attributes, or shared and
per-frame functional groups. :class:`Attributes` looks into all of them.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

_B_IN_SEQUENCE_NAME = re.compile(r"^[*_]?(?:ep|re)_b(\d{1,5})(?:t|#|$)")
_GE_B_OFFSET = 1_000_000_000
_MOST_TEXT = 128
DAMAGED = (
    ArithmeticError, AttributeError, EOFError, LookupError, NotImplementedError, TypeError,
    ValueError, struct.error,
)  # fmt: skip
"""What pydicom raises where bytes are not what their type says; it converts when asked."""
_PHILIPS = "Philips Imaging DD 001"
_SEQUENCE_NAMES = (
    (re.compile(r"^[*_]?ep(fid|2d_fid)"), ("GR", "EP")),
    (re.compile(r"^[*_]?(ep|re)(se|_b|2d)"), ("SE", "EP")),
    (re.compile(r"^[*_]?(tir|spcir)"), ("SE", "IR")),
    (re.compile(r"^[*_]?(spc|tse|se\d?d)"), ("SE",)),
    (re.compile(r"^[*_]?(wip_)?(tfl|cmp3d)"), ("GR", "IR")),
    (re.compile(r"^[*_]?(fl|fm|fi|tfi|ci)[23]d"), ("GR",)),
)
"""What Siemens calls its sequences (ep2d, tir, tse, tfl …), in the values of Scanning Sequence."""


@dataclass(frozen=True)
class SeriesHeader:
    """What decides the modality of a series; times in ms, angles in degrees, b in s/mm².

    Attributes:
        uid, number: the Series Instance UID and number.
        description, protocol, sequence_name: free text as the scanner wrote it.
        image_type: values of Image Type; of enhanced MR, the frame type's too.
        sequence, variant, options: Scanning Sequence, Sequence Variant and Scan Options, in the
            values of classic MR; those of enhanced MR are translated.
        acquisition: ``2D`` or ``3D``.
        contrast_agent: what Contrast/Bolus Agent says; empty where it says nothing.
        b_value: of a diffusion-weighted series.
        directionality: of its diffusion weighting: ``DIRECTIONAL``, ``ISOTROPIC`` or another.
        angio: Angio Flag, or time-of-flight of enhanced MR.
        acquisition_contrast: of enhanced MR, for example ``FLUID_ATTENUATED``.
        time: acquisition date and time, ``YYYYMMDDHHMMSS``; empty where unknown.
        modality: ``MR`` or another.
        slices, spacing, plane: the geometry, filled in when the series has been sorted.
        beside: the other volumes of the same scan, filled in when a study is identified.
    """

    uid: str = ""
    number: int | None = None
    description: str = ""
    protocol: str = ""
    sequence_name: str = ""
    image_type: tuple[str, ...] = ()
    sequence: tuple[str, ...] = ()
    variant: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    acquisition: str = ""
    echo_time: float | None = None
    repetition_time: float | None = None
    inversion_time: float | None = None
    flip_angle: float | None = None
    contrast_agent: str = ""
    b_value: float | None = None
    directionality: str = ""
    angio: bool = False
    acquisition_contrast: str = ""
    time: str = ""
    modality: str = "MR"
    manufacturer: str = ""
    slices: int = 0
    spacing: tuple[float, float, float] = field(default=(0.0, 0.0, 0.0))
    plane: str = ""
    beside: tuple[SeriesHeader, ...] = field(default=(), repr=False, compare=False)


class Attributes:
    """Attributes of one frame: its functional groups first, then the shared ones, then the top."""

    def __init__(self, *levels: Dataset) -> None:
        self._levels = levels

    @classmethod
    def of_frames(cls, dataset: Dataset, most: int = 20_000) -> list[Attributes]:
        """One of each frame; of a classic object, one.

        Raises:
            OverflowError: there are more than ``most``.
        """
        shared = _items(_sequence_of(dataset, "SharedFunctionalGroupsSequence"))
        frames = _sequence_of(dataset, "PerFrameFunctionalGroupsSequence")
        if len(frames) > most:
            raise OverflowError
        if not frames:
            return [cls(*shared, dataset)]
        return [cls(*_items([frame]), *shared, dataset) for frame in frames]

    def find(self, *keywords: str) -> Any:
        """The value of the first keyword that is there and not empty; None otherwise."""
        for keyword in keywords:
            for level in self._levels:
                value = _value(level, keyword)
                if value is not None and value != "" and value != []:
                    return value
        return None

    def is_broken(self, keyword: str) -> bool:
        """Whether something is there that should be a number, and is none."""
        for level in self._levels:
            value = _value(level, keyword, broken="broken")
            if value is not None and value != "" and value != []:
                return as_number(value) is None
        return False

    def text(self, *keywords: str) -> str:
        """A value as one line of text; empty where there is none."""
        value = self.find(*keywords)
        return "" if value is None else " ".join(str(value).split())[:_MOST_TEXT]

    def words(self, *keywords: str) -> tuple[str, ...]:
        """The values of a multi-valued text attribute, upper case."""
        value = self.find(*keywords)
        if value is None:
            return ()
        values = [value] if isinstance(value, str) else list(value)
        return tuple(str(one).strip().upper()[:_MOST_TEXT] for one in values[:32])

    def number(self, *keywords: str) -> float | None:
        """A value as a finite number; the first of several."""
        value = self.find(*keywords)
        if isinstance(value, (list, tuple)) or hasattr(value, "__getitem__"):
            value = value[0] if not isinstance(value, str) and len(value) else value
        return as_number(value)

    def numbers(self, keyword: str, count: int) -> tuple[float, ...] | None:
        """A value as ``count`` finite numbers; None where it is anything else."""
        value = self.find(keyword)
        if value is None or isinstance(value, str) or not hasattr(value, "__len__"):
            return None
        found = [as_number(one) for one in value]
        kept = [one for one in found if one is not None]
        return tuple(kept) if len(kept) == len(found) == count else None

    def private(self, group: int, creator: str, element: int) -> Any:
        """A vendor's private value; None where there is none."""
        for level in self._levels:
            # pydicom copies and sorts a data set to find a block; most hold none.
            if not any(tag >> 16 == group for tag in level.keys()):  # noqa: SIM118
                continue
            try:
                return level.private_block(group, creator)[element].value
            except DAMAGED:
                continue
        return None


def _value(level: Dataset, keyword: str, broken: Any = None) -> Any:
    """A value, or ``broken`` where its bytes are not what its type says."""
    try:
        return level.get(keyword)
    except DAMAGED:
        return broken


def _sequence_of(dataset: Dataset, keyword: str) -> Sequence[Dataset]:
    value = _value(dataset, keyword)
    return value if isinstance(value, DicomSequence) else []


def _items(groups: Sequence[Dataset]) -> list[Dataset]:
    """The items of the functional groups in the first of some groups' data sets."""
    found = []
    for group in groups[:1]:
        for tag in group.keys():  # noqa: SIM118 - a data set's own iterator converts every value
            try:
                value = group[tag].value
            except DAMAGED:
                continue
            if isinstance(value, DicomSequence) and value:
                found.append(value[0])
    return found


def as_number(value: Any) -> float | None:
    """A value as a finite number, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def b_value_of(attributes: Attributes) -> float | None:
    """The diffusion b-value: the standard's attribute, or where vendors keep theirs."""
    standard = attributes.number("DiffusionBValue")
    if standard is not None:
        return standard
    siemens = as_number(attributes.private(0x0019, "SIEMENS MR HEADER", 0x0C))
    if siemens is not None:
        return siemens
    ge = attributes.private(0x0043, "GEMS_PARM_01", 0x39)
    if ge is not None:
        return _ge_b_value(ge)
    for creator, group, element in (
        (_PHILIPS, 0x2001, 0x03),
        ("Image Private Header", 0x0065, 0x09),  # United Imaging
    ):
        value = as_number(attributes.private(group, creator, element))
        if value is not None:
            return value
    found = _B_IN_SEQUENCE_NAME.match(attributes.text("SequenceName"))
    return float(found[1]) if found else None


def _ge_b_value(value: Any) -> float | None:
    """GE's slot holds several values, the first with 1e9 added where a direction is coded."""
    if isinstance(value, (bytes, str)):
        value = (value.decode("ascii", "replace") if isinstance(value, bytes) else value).split(
            "\\"
        )
    first = value[0] if hasattr(value, "__getitem__") and len(value) else value
    number = as_number(first)
    return None if number is None else number % _GE_B_OFFSET


def header_of(attributes: Attributes) -> SeriesHeader:
    """The header of the series that a frame belongs to, but for its geometry."""
    number = attributes.number("SeriesNumber")
    date = attributes.text("AcquisitionDate", "SeriesDate", "StudyDate")
    time = attributes.text("AcquisitionTime", "SeriesTime")
    moment = attributes.text("AcquisitionDateTime") or (date + time if date and time else "")
    frame_type = attributes.words("FrameType")
    return SeriesHeader(
        uid=attributes.text("SeriesInstanceUID"),
        number=None if number is None else int(number),
        description=attributes.text("SeriesDescription"),
        protocol=attributes.text("ProtocolName"),
        sequence_name=attributes.text("SequenceName", "PulseSequenceName"),
        image_type=tuple(dict.fromkeys((*attributes.words("ImageType"), *frame_type))),
        sequence=_sequence(attributes),
        variant=attributes.words("SequenceVariant") or _enhanced_variant(attributes),
        options=attributes.words("ScanOptions"),
        acquisition=attributes.text("MRAcquisitionType").upper(),
        echo_time=attributes.number("EchoTime", "EffectiveEchoTime"),
        repetition_time=attributes.number("RepetitionTime"),
        inversion_time=attributes.number("InversionTime", "InversionTimes") or None,
        flip_angle=attributes.number("FlipAngle"),
        contrast_agent=_contrast_agent(attributes),
        b_value=b_value_of(attributes),
        directionality=_directionality(attributes),
        angio=attributes.text("AngioFlag").upper() == "Y"
        or attributes.text("TimeOfFlightContrast").upper() == "YES",
        acquisition_contrast=attributes.text("AcquisitionContrast").upper(),
        time=moment[:14],
        modality=attributes.text("Modality").upper(),
        manufacturer=attributes.text("Manufacturer"),
    )


def _sequence(attributes: Attributes) -> tuple[str, ...]:
    """Scanning Sequence in the values of classic MR, from wherever a vendor says it.

    Classic Philips objects call echo planar imaging SE or GR: there the private EPI Factor tells.
    """
    words = attributes.words("ScanningSequence") or _enhanced_sequence(attributes)
    name = attributes.text("SequenceName", "PulseSequenceName").lower()
    if not words:
        words = next((found for pattern, found in _SEQUENCE_NAMES if pattern.match(name)), ())
    factor = as_number(attributes.private(0x2001, _PHILIPS, 0x13))
    planar = (factor or 0) > 1 or attributes.text("EchoPlanarPulseSequence").upper() == "YES"
    return (*words, "EP") if planar and "EP" not in words else words


def _directionality(attributes: Attributes) -> str:
    """Diffusion Directionality: the standard's attribute, Siemens' or Philips' private one."""
    own = attributes.text("DiffusionDirectionality")
    siemens = attributes.private(0x0019, "SIEMENS MR HEADER", 0x0D)
    axis = str(attributes.private(0x2001, _PHILIPS, 0x04) or "").strip()
    philips = {"": "", "I": "ISOTROPIC"}.get(axis, "DIRECTIONAL" if axis in "PMSO" else "")
    return (own or str(siemens or "") or philips).strip().upper()[:_MOST_TEXT]


def _enhanced_sequence(attributes: Attributes) -> tuple[str, ...]:
    names = {"SPIN": ("SE",), "GRADIENT": ("GR",), "BOTH": ("SE", "GR")}
    words = [*names.get(attributes.text("EchoPulseSequence").upper(), ())]
    if attributes.text("EchoPlanarPulseSequence").upper() == "YES":
        words.append("EP")
    if attributes.text("InversionRecovery").upper() == "YES":
        words.append("IR")
    return tuple(words)


def _enhanced_variant(attributes: Attributes) -> tuple[str, ...]:
    words = []
    if attributes.text("Spoiling").upper() not in ("", "NONE"):
        words.append("SP")
    if attributes.text("SteadyStatePulseSequence").upper() not in ("", "NONE"):
        words.append("SS")
    if attributes.text("MagnetizationTransfer").upper() not in ("", "NONE"):
        words.append("MTC")
    return tuple(words)


def _contrast_agent(attributes: Attributes) -> str:
    agent = attributes.text("ContrastBolusAgent")
    if agent:
        return agent
    sequence = attributes.find("ContrastBolusAgentSequence")
    if not isinstance(sequence, DicomSequence) or not sequence:
        return ""
    return " ".join(str(sequence[0].get("CodeMeaning") or "contrast agent").split())[:_MOST_TEXT]
