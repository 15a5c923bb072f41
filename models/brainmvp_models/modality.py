"""The MRI modalities a BrainMVP model can take."""

from __future__ import annotations

import difflib
from enum import Enum

from brainmvp_models.errors import UnknownModality
from brainmvp_models.names import MODALITY_OF, strict_modality


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


def parse_modality(name: str) -> Modality:
    """The modality called ``name``, every word of which must be known; see :mod:`names`.

    Case, ``-`` and ``_`` do not matter: ``T1-post``, ``T1+C`` and ``t1ce`` are all t1c.

    Raises:
        UnknownModality: the name is none of the known ones.
    """
    key = name.strip().lower().replace("-", "").replace("_", "")
    found = MODALITY_OF.get(key) or strict_modality(name)
    if found is None:
        known = ", ".join(modality.value for modality in Modality)
        raise UnknownModality(f"{_quoted(name)} is not a modality", remedy=f"Use one of: {known}")
    return Modality(found)


def _quoted(name: str) -> str:
    """``name`` if it is short or nearly a modality; else it might name a patient."""
    short = len(name) <= 4 and name.isalnum()
    near = difflib.get_close_matches(name.lower(), MODALITY_OF)
    return f"'{printable(name)}'" if short or near else "the name"


def printable(text: str, limit: int = 40) -> str:
    """``text`` made safe to quote in a message: printable characters only, and not too many."""
    clean = "".join(character if character.isprintable() else "?" for character in text)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"
