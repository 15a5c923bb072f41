"""The MRI modalities a BrainMVP model can take."""

from __future__ import annotations

import difflib
from enum import Enum

from brainmvp_models.errors import UnknownModality


class Modality(str, Enum):
    """An MRI contrast, by the lower-case name used in files, manifests and REST parts."""

    FLAIR = "flair"
    T1 = "t1"
    T1C = "t1c"
    T2 = "t2"
    MRA = "mra"
    PD = "pd"
    DWI = "dwi"
    ADC = "adc"
    T1IR = "t1ir"

    def __str__(self) -> str:
        return self.value


BANK_ORDER: tuple[Modality, ...] = (
    Modality.FLAIR,
    Modality.T1,
    Modality.T1C,
    Modality.T2,
    Modality.MRA,
    Modality.PD,
    Modality.DWI,
    Modality.ADC,
)
"""Order of the first axis of ``rep_template`` in a published pre-trained file."""

_ALIASES = {
    "t1ce": Modality.T1C,
    "t1gd": Modality.T1C,
    "t1post": Modality.T1C,
    "t1n": Modality.T1,
    "t1w": Modality.T1,
    "t2w": Modality.T2,
    "t2f": Modality.FLAIR,
    "t2flair": Modality.FLAIR,
    "tof": Modality.MRA,
    "angio": Modality.MRA,
    "pdw": Modality.PD,
}


def parse_modality(name: str) -> Modality:
    """The modality called ``name``; case, ``-`` and ``_`` do not matter, common aliases are known.

    Raises:
        UnknownModality: the name is none of the known ones.
    """
    key = name.strip().lower().replace("-", "").replace("_", "")
    try:
        return _ALIASES.get(key) or Modality(key)
    except ValueError:
        known = ", ".join(modality.value for modality in Modality)
        raise UnknownModality(
            f"{_quoted(name)} is not a modality", remedy=f"Use one of: {known}"
        ) from None


def _quoted(name: str) -> str:
    """``name`` if it is short or nearly a modality; else it might name a patient."""
    short = len(name) <= 4 and name.isalnum()
    near = difflib.get_close_matches(name.lower(), [*_ALIASES, *(m.value for m in Modality)])
    return f"'{printable(name)}'" if short or near else "the name"


def printable(text: str, limit: int = 40) -> str:
    """``text`` made safe to quote in a message: printable characters only, and not too many."""
    clean = "".join(character if character.isprintable() else "?" for character in text)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"
