"""The table of header sets (``header_sets.txt``), as headers that have been through the reader."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from brainmvp_server.imaging.dicom.header import Attributes, SeriesHeader, header_of

_MANUFACTURERS = {
    "siemens": "SIEMENS", "ge": "GE MEDICAL SYSTEMS", "philips": "Philips Medical Systems",
    "canon": "CANON_MEC",
}  # fmt: skip
_TABLE = Path(__file__).with_suffix(".txt")


@dataclass(frozen=True)
class HeaderSet:
    """One row: what it is (``-`` never used, ``?`` not to be known) and what its header says."""

    label: str
    vendor: str
    group: str
    description: str
    header: SeriesHeader

    def __str__(self) -> str:
        return f"{self.vendor} {self.description}"


def header_sets() -> list[HeaderSet]:
    """All rows of the table."""
    rows, group = [], ""
    for line in _TABLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            group = line[3:]
        elif line and not line.startswith("#"):
            rows.append(_row(line, group))
    return rows


def _row(line: str, group: str) -> HeaderSet:
    label, vendor, description, image_type, sequence, variant, timing, further = (
        cell.strip() for cell in line.split("|")
    )
    more = dict(word.partition("=")[::2] for word in _words(further))
    ds = Dataset()
    ds.Modality, ds.SeriesDescription = "MR", description
    if image_type != ".":
        ds.ImageType = _image_type(image_type)
    _sequence(ds, sequence, variant, timing, more)
    if "agent" in more:
        ds.ContrastBolusAgent = more["agent"]
    if "protocol" in more:
        ds.ProtocolName = more["protocol"]
    ds.Manufacturer = _MANUFACTURERS[vendor]
    if "b" in more:
        _b_value(ds, vendor, float(more["b"]), enhanced="contrast" in more)
    if "direction" in more:
        ds.DiffusionDirectionality = more["direction"]
    if "planar" in more:
        ds.EchoPlanarPulseSequence = more["planar"]
    if "epi" in more:
        block = ds.private_block(0x2001, "Philips Imaging DD 001", create=True)
        block.add_new(0x13, "SL", int(more["epi"]))
    header = header_of(Attributes.of_frames(ds)[0])
    if "n" in more:
        header = SeriesHeader(**{**vars(header), "slices": int(more["n"])})
    return HeaderSet(label, vendor, group, description, header)


def _words(text: str) -> list[str]:
    """``agent=15ML MULTIHANCE angio`` as its two words: a value runs up to the next key."""
    keys = (
        "agent=", "b=", "name=", "options=", "protocol=", "contrast=", "n=", "direction=",
        "planar=", "epi=",
    )  # fmt: skip
    flags = ("angio", "gradient", "spin", "tof")
    found: list[str] = []
    for word in text.split():
        if word.startswith(keys) or word in flags or not found:
            found.append(word)
        else:
            found[-1] += f" {word}"
    return found


def _image_type(text: str) -> list[str]:
    """Values that hold spaces are known; all others end at one."""
    spaced = (
        "PHASE MAP", "SCREEN SAVE", "CSA REPORT", "CSA MPR", "T1 MAP", "PROJECTION IMAGE",
    )  # fmt: skip
    for value in spaced:
        text = text.replace(value, value.replace(" ", "~"))
    return [word.replace("~", " ") for word in text.split()]


def _sequence(ds: Dataset, sequence: str, variant: str, timing: str, more: dict[str, str]) -> None:
    kind, tr, te, ti, flip = (None if word == "." else word for word in timing.split())
    if kind:
        ds.MRAcquisitionType = kind
    if "contrast" in more:
        ds.SharedFunctionalGroupsSequence = [_shared(more, tr, te, ti, flip)]
        ds.AcquisitionContrast = more["contrast"]
        ds.EchoPulseSequence = "GRADIENT" if "gradient" in more else "SPIN"
        ds.TimeOfFlightContrast = "YES" if "tof" in more else "NO"
        return
    if sequence != ".":
        ds.ScanningSequence, ds.SequenceVariant = sequence.split(), variant.split()
    for keyword, value in (
        ("RepetitionTime", tr), ("EchoTime", te), ("InversionTime", ti), ("FlipAngle", flip),
        ("SequenceName", more.get("name")),
    ):  # fmt: skip
        if value is not None:
            setattr(ds, keyword, value)
    if "options" in more:
        ds.ScanOptions = more["options"].split(",")
    if "angio" in more:
        ds.AngioFlag = "Y"


def _shared(
    more: dict[str, str], tr: str | None, te: str | None, ti: str | None, flip: str | None
) -> Dataset:
    shared, timing, echo, modifier = Dataset(), Dataset(), Dataset(), Dataset()
    timing.RepetitionTime, timing.FlipAngle = float(tr or 0), float(flip or 0)
    echo.EffectiveEchoTime = float(te or 0)
    modifier.InversionRecovery = "YES" if ti else "NO"
    modifier.Spoiling = "RF"
    if ti:
        modifier.InversionTimes = [float(ti)]
    shared.MRTimingAndRelatedParametersSequence = [timing]
    shared.MREchoSequence = [echo]
    shared.MRModifierSequence = [modifier]
    return shared


def _b_value(ds: Dataset, vendor: str, value: float, *, enhanced: bool) -> None:
    if enhanced:
        diffusion = Dataset()
        diffusion.DiffusionBValue = value
        ds.SharedFunctionalGroupsSequence[0].MRDiffusionSequence = [diffusion]
    elif vendor == "siemens":
        block = ds.private_block(0x0019, "SIEMENS MR HEADER", create=True)
        block.add_new(0x0C, "IS", int(value))
    elif vendor == "ge":
        block = ds.private_block(0x0043, "GEMS_PARM_01", create=True)
        block.add_new(0x39, "IS", [int(value), 8, 0, 0])
    else:
        ds.DiffusionBValue = value
