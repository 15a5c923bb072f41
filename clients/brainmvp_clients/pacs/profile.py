"""What de-identification does to each attribute: PS3.15's Basic Confidentiality Profile.

The table is PS3.15, table E.1-1, as the dicom-anonymizer package carries it, with two options of
the standard: *Clean Descriptors*, for the few texts that tell a series' modality, of which only
words of the trade are kept; *Retain Safe Private*, for the numbers and code words by which
vendors tell diffusion weighting and echo planar imaging (table E.3.10-1).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from functools import cache

from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from pydicom.datadict import tag_for_keyword
from pydicom.tag import BaseTag

EDITION = "dicomfields_2026c"


class Action(Enum):
    """What becomes of an attribute. Where the table leaves a choice, the one that stays valid."""

    REMOVE = "X"
    EMPTY = "Z"
    DUMMY = "D"
    UID = "U"
    CLEAN = "C"


_ACTIONS = {
    "X_TAGS": Action.REMOVE,
    "Z_TAGS": Action.EMPTY,
    "X_Z_TAGS": Action.EMPTY,
    "D_TAGS": Action.DUMMY,
    "Z_D_TAGS": Action.DUMMY,
    "X_D_TAGS": Action.DUMMY,
    "X_Z_D_TAGS": Action.DUMMY,
    "U_TAGS": Action.UID,
    "X_Z_U_STAR_TAGS": Action.EMPTY,
}
CLEANED = (
    "SeriesDescription",
    "ProtocolName",
    "AcquisitionProtocolDescription",
    "ContrastBolusAgent",
)
"""Texts that tell a modality."""

SAFE_PRIVATE = frozenset(
    {
        (0x0019, "SIEMENS MR HEADER", 0x0C),
        (0x0019, "SIEMENS MR HEADER", 0x0D),
        (0x0043, "GEMS_PARM_01", 0x39),
        (0x0065, "Image Private Header", 0x09),
        (0x2001, "Philips Imaging DD 001", 0x03),
        (0x2001, "Philips Imaging DD 001", 0x04),
        (0x2001, "Philips Imaging DD 001", 0x13),
    }
)
"""Private attributes that are kept: group, creator, element. b-values, the kind of diffusion
weighting (0D, 04) and the EPI factor (13); what the server tells a series by."""
_DIRECTIONS = frozenset(
    {"", "NONE", "DIRECTIONAL", "ISOTROPIC", "BMATRIX", "I", "P", "M", "S", "O"}
)
_MOST_BINARY = 8

_WORD = re.compile(
    r"""
    3d|2d|ax|axi|axial|tra|transverse|transversal|sag|sagittal|cor|coronal|obl|oblique|iso
    |t1|t1w|t2|t2w|pd|pdw|flair|dwi|dti|diff|diffusion|adc|trace|tracew|ep2d|epi|resolve|b\d{1,4}
    |mprage|mp2rage|mpr|rage|tfl|tfe|ffe|fse|tse|se|ir|irse|gre|spgr|fspgr|bravo|vibe|thrive|lava
    |space|cube|vista|vfl|isp|spc|stir|tirm|fl2d|fl3d|flash|spoiled|fast|turbo|echo|spin|gradient
    |inversion|recovery|prep|dark|fluid|blade|propeller|tof|mra|angio|swi|swan|phase|mag|magnitude
    |mip|minip|sub|subtraction|loc|localizer|localiser|scout|survey|aahscout|perf|perfusion|dsc|dce
    |asl|pasl|pcasl|cbf|cbv|mtt|pre|post|contrast|gd|gad|gadolinium|ce|km|gadovist|dotarem|prohance
    |magnevist|multihance|gadobutrol|gadoterate|fs|fat|sat|fatsat|spair|dixon|water|brain|head|neuro
    |derived|reformat|haste|ssfse|motion|corr|wo|with|without|and|plus|dual|te|tr|ti|ms|mm|[+*]
    """,
    re.VERBOSE,
)
_TOKEN = re.compile(r"[A-Za-z0-9]+|[+*]")


@cache
def table() -> dict[tuple[int, int], Action]:
    """The action by group and element; an attribute that is not in it is kept."""
    found = {}
    tags = dicom_anonymization_database_selector(EDITION)
    for category, action in _ACTIONS.items():
        for tag in tags[category]:
            if len(tag) == 2:
                found[tag[0], tag[1]] = action
    for keyword in CLEANED:
        tag = BaseTag(tag_for_keyword(keyword) or 0)
        found[tag.group, tag.element] = Action.CLEAN
    return found


def action_for(tag: BaseTag) -> Action | None:
    """What becomes of a standard attribute; nothing where it is kept."""
    if tag.group & 0xFF00 in (0x5000, 0x6000):
        # Curves and overlays can hold burned-in text (the table's 50xx and 60xx).
        return Action.REMOVE
    return table().get((tag.group, tag.element))


def is_harmless(value: object) -> bool:
    """Whether the value of a kept private attribute is what it should be: numbers or a code."""
    if isinstance(value, bytes):
        return len(value) <= _MOST_BINARY or is_harmless(value.decode("latin-1").strip("\0 "))
    if isinstance(value, str):
        return all(_is_number_or_code(part) for part in value.split("\\"))
    if isinstance(value, Sequence):
        return all(map(is_harmless, value))
    return value is None or isinstance(value, (int, float))


def _is_number_or_code(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text.strip().upper() in _DIRECTIONS
    return True


def cleaned(text: str) -> str:
    """The words of a description that every site uses; names and numbers go."""
    words = _TOKEN.findall(text.lower())
    return " ".join(word for word in words if _WORD.fullmatch(word))
