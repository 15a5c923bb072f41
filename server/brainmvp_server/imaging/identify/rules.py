"""The rules that tell modalities apart: what they look like and when one holds."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from brainmvp_models.errors import InvalidRules
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.dicom.header import SeriesHeader

Range = tuple[float, float]
_NUMBERS = (
    "echo_time", "repetition_time", "inversion_time", "flip_angle", "b_value", "slices",
)  # fmt: skip
_WORDS = {
    "image_type": "ImageType",
    "sequence": "ScanningSequence",
    "variant": "SequenceVariant",
    "options": "ScanOptions",
}
_NAMES = {
    "echo_time": "EchoTime", "repetition_time": "RepetitionTime", "flip_angle": "FlipAngle",
    "inversion_time": "InversionTime", "b_value": "DiffusionBValue", "slices": "slices",
}  # fmt: skip
_WIP = re.compile(r"^wip ?")
_SPACES = re.compile(r"[_\-/:,;()\[\]^.=\s]+")


class _Rule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*")
    @classmethod
    def _patterns_compile(cls, value: object) -> object:
        if isinstance(value, str):
            try:
                re.compile(value)
            except re.error as error:
                raise ValueError(f"not a regular expression: {error}") from None
        return value


class Condition(_Rule):
    """Holds when every entry that is given holds; see ``rules.yaml``."""

    text: str | None = None
    without: str | None = None
    sequence_name: str | None = None
    manufacturer: str | None = None
    image_type: tuple[str, ...] = Field(
        default=(), description="One of these; a backslash joins values that follow each other."
    )
    no_image_type: tuple[str, ...] = Field(default=(), description="None of these.")
    sequence: tuple[str, ...] = Field(default=(), description="All of these.")
    no_sequence: tuple[str, ...] = Field(default=(), description="None of these.")
    variant: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    acquisition: Literal["2D", "3D"] | None = None
    acquisition_contrast: tuple[str, ...] = ()
    directionality: tuple[str, ...] = ()
    echo_time: Range | None = None
    repetition_time: Range | None = None
    inversion_time: Range | None = None
    flip_angle: Range | None = None
    b_value: Range | None = None
    slices: Range | None = None
    angio: bool | None = None
    derived: bool | None = None
    absent: tuple[str, ...] = ()
    echoes: Range | None = Field(default=None, description="Echo times of the whole scan.")
    beside: tuple[Condition, ...] = Field(
        default=(), description="Each holds for another volume of the same scan."
    )


class Exclusion(_Rule):
    """Series that are never used, and why.

    Attributes:
        stands_for: what such a series is to a model that was trained on it all the same.
        incomplete: whether such a series may be what is left of one that would be used.
    """

    reason: str
    when: tuple[Condition, ...]
    stands_for: Modality | None = None
    incomplete: bool = False


class Naming(_Rule):
    """How a modality is named by the header, by physics and in words.

    Attributes:
        agrees: physics that bears out the words, but could be that of something else.
        allows: physics that does not speak against the words.
    """

    modality: Modality
    derived: bool = Field(default=False, description="A derived series may be this modality.")
    contrast: bool = Field(default=False, description="With contrast agent it is t1c.")
    header: tuple[Condition, ...] = ()
    physics: tuple[Condition, ...] = ()
    agrees: tuple[Condition, ...] = ()
    allows: tuple[Condition, ...] = ()
    text: str | None = None
    without: str | None = None


class ContrastWords(_Rule):
    """Words for contrast agent that was given, or was not."""

    given: str
    not_given: str
    no_agent: str


class Rules(_Rule):
    """A whole table."""

    exclusions: tuple[Exclusion, ...] = ()
    modalities: tuple[Naming, ...] = ()
    contrast: ContrastWords | None = None

    def speaks(self, text: str) -> bool:
        """Whether a text names any kind of series, used or not."""
        told = [condition.text for exclusion in self.exclusions for condition in exclusion.when]
        told += [naming.text for naming in self.modalities]
        return any(re.search(pattern, text) for pattern in told if pattern is not None)


def load_rules(site: Path | None = None) -> Rules:
    """The rules that ship with the package; those of a site's own file come before them.

    Raises:
        InvalidRules: the file does not exist, does not parse or does not validate.
    """
    own = _shipped()
    if site is None:
        return own
    try:
        extra = Rules.model_validate(yaml.safe_load(site.read_text(encoding="utf-8")) or {})
    except OSError:
        problem = "cannot be read"
    except yaml.YAMLError:
        problem = "is no YAML"
    except ValidationError as error:
        first = error.errors()[0]
        problem = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    else:
        return Rules(
            exclusions=(*extra.exclusions, *own.exclusions),
            modalities=(*extra.modalities, *own.modalities),
            contrast=extra.contrast or own.contrast,
        )
    raise InvalidRules(problem, remedy="See docs/dicom-identification.md", subject=site.name)


@lru_cache(maxsize=1)
def _shipped() -> Rules:
    text = resources.files(__package__).joinpath("rules.yaml").read_text(encoding="utf-8")
    return Rules.model_validate(yaml.safe_load(text))


def plain(text: str) -> str:
    """Text as patterns see it: lower case, separators as single spaces, no leading ``WIP``."""
    return _WIP.sub("", _SPACES.sub(" ", text.lower()).strip())


def said(header: SeriesHeader) -> str:
    """What somebody called the series."""
    return plain(header.description) or plain(header.protocol)


def said_where(header: SeriesHeader) -> str:
    """The attribute that :func:`said` quotes."""
    return "SeriesDescription" if plain(header.description) else "ProtocolName"


def called(header: SeriesHeader, rules: Rules) -> SeriesHeader:
    """The header with the one text that names it: the protocol, where the description is mute.

    GE's Protocol Name is that of the whole study, and names none of its series.
    """
    mute = not rules.speaks(plain(header.description))
    if mute and rules.speaks(plain(header.protocol)) and "GE" not in header.manufacturer[:2]:
        return replace(header, description="")
    return header


def matches(condition: Condition, header: SeriesHeader) -> tuple[str, ...] | None:
    """The evidence, where a condition holds; None where it does not."""
    evidence: list[str] = []
    for test in (_texts, _words, _numbers, _flags, _scan):
        found = test(condition, header)
        if found is None:
            return None
        evidence += found
    return tuple(evidence)


def first_match(conditions: tuple[Condition, ...], header: SeriesHeader) -> tuple[str, ...] | None:
    """The evidence of the first condition that holds."""
    for condition in conditions:
        evidence = matches(condition, header)
        if evidence is not None:
            return evidence
    return None


def spoken(pattern: str | None, without: str | None, text: str) -> str | None:
    """The words in which ``text`` matches a pattern, and does not match another."""
    if pattern is None or (without is not None and re.search(without, text)):
        return None
    found = re.search(pattern, text)
    return found[0].strip() if found else None


def _texts(condition: Condition, header: SeriesHeader) -> list[str] | None:
    evidence = []
    text = said(header)
    if condition.without is not None and re.search(condition.without, text):
        return None
    if condition.text is not None:
        found = re.search(condition.text, text)
        if not found:
            return None
        evidence.append(f"{said_where(header)} says '{found[0].strip()}'")
    made_by = header.manufacturer.lower()
    if condition.manufacturer is not None and not re.search(condition.manufacturer, made_by):
        return None
    if condition.sequence_name is not None:
        found = re.search(condition.sequence_name, header.sequence_name.lower())
        if not found:
            return None
        evidence.append(f"SequenceName holds '{found[0]}'")
    return evidence


def _words(condition: Condition, header: SeriesHeader) -> list[str] | None:
    evidence = []
    for name, keyword in _WORDS.items():
        wanted, there = getattr(condition, name), getattr(header, name)
        if not wanted:
            continue
        joined = "\\".join(("", *there, ""))
        hits = [word for word in wanted if f"\\{word}\\" in joined]
        if not hits or (name == "sequence" and len(hits) < len(wanted)):
            return None
        evidence.append(f"{keyword} {' '.join(hits)}")
    if any(word in header.sequence for word in condition.no_sequence):
        return None
    if any(word in header.image_type for word in condition.no_image_type):
        return None
    if condition.directionality:
        if header.directionality not in condition.directionality:
            return None
        evidence.append(f"DiffusionDirectionality {header.directionality}")
    if condition.acquisition_contrast:
        if header.acquisition_contrast not in condition.acquisition_contrast:
            return None
        evidence.append(f"AcquisitionContrast {header.acquisition_contrast}")
    if condition.acquisition is not None and header.acquisition != condition.acquisition:
        return None
    return evidence


def _numbers(condition: Condition, header: SeriesHeader) -> list[str] | None:
    evidence = []
    for name in _NUMBERS:
        limits, value = getattr(condition, name), getattr(header, name)
        if limits is None:
            continue
        if value is None or not limits[0] <= value <= limits[1]:
            return None
        evidence.append(f"{_NAMES[name]} {value:g}")
    if any(getattr(header, name) not in (None, (), "") for name in condition.absent):
        return None
    return evidence


def _scan(condition: Condition, header: SeriesHeader) -> list[str] | None:
    """What the other volumes of the same scan tell."""
    evidence = []
    if condition.echoes is not None:
        echoes = len({one.echo_time for one in (header, *header.beside)} - {None})
        if not condition.echoes[0] <= echoes <= condition.echoes[1]:
            return None
        evidence.append(f"{echoes} echo times")
    for wanted in condition.beside:
        found = next((f for f in (matches(wanted, one) for one in header.beside) if f), None)
        if found is None:
            return None
        evidence += [f"beside {text}" for text in found]
    return evidence


def _flags(condition: Condition, header: SeriesHeader) -> list[str] | None:
    evidence = []
    if condition.angio is not None:
        if header.angio != condition.angio:
            return None
        evidence.append("AngioFlag Y")
    if condition.derived is not None:
        if is_derived(header) != condition.derived:
            return None
        if condition.derived:
            evidence.append("ImageType DERIVED")
    return evidence


def is_derived(header: SeriesHeader) -> bool:
    """Whether the images were computed from others."""
    return header.image_type[:1] == ("DERIVED",)
