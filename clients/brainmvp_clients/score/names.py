"""What a name says about an image: which modality, whether contrast agent was given, or a mask.

One vocabulary for parts of a request, files, BIDS and datalists. A name is read word by word; words
that are not in the vocabulary, such as a patient's, mean nothing. A name that says two things, or
that it is a mask or a kind of image that no model takes, is nobody's: the reason says which words
were the trouble, and no other word of the name is ever repeated.

The clients carry a copy of this file, for they import no models; a test holds the two together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_MODALITIES = {
    "flair": "flair t2f t2flair flairt2 tirm darkfluid",
    "t1": "t1 t1w t1n t1weighted mprage memprage bravo",
    "t1c": "t1c t1ce t1gd t1ct t1post t1km ct1 cet1 gdt1 t1wc t1wce t1cw t1gad t1gado t1contrast",
    "t2": "t2 t2w t2weighted",
    "mra": "mra tof angio tofmra",
    "pd": "pd pdw",
    "dwi": "dwi trace tracew isodwi",
    "adc": "adc dadc",
    "t1ir": "t1ir irt1 t1wir",
}
MODALITIES = tuple(_MODALITIES)
"""The names of all modalities."""

MODALITY_OF = {word: modality for modality, words in _MODALITIES.items() for word in words.split()}
"""The modality of each word that is one."""

_SEQUENCES = frozenset({"mprage", "memprage", "bravo"})
GIVEN = _set(
    """
    gd gad gado gadolinium gadovist gadavist gadobutrol dotarem magnevist multihance
    prohance post postcontrast postgad postgd postgado contrast contrasted contrastenhanced
    enhanced ce ceplus km mitkm kontrast kontrastmittel wc wcontrast inj
    """
)
NOT_GIVEN = _set(
    """
    pre precontrast pregad pregd native nativ plain noc nogd nogad nokm nocontrast
    noncontrast unenhanced nonenhanced ohnekm wocontrast noce nonce
    """
)
_WITHOUT = frozenset({"without", "wo", "no", "non", "not", "ohne", "sans", "before"})
_NOT_CONTRAST = _set(
    """
    op operative operation surgery surgical rt radiotherapy radiation treatment therapy
    chemo resection biopsy
    """
)
_MASK = _set(
    """
    seg segmentation dseg probseg aseg aparc mask masks brainmask msk label labels labelmap
    roi rois lesion lesions tumor tumour edema oedema gt groundtruth annotation contour
    contours prob probability pve
    """
)
_NEVER = _set(
    """
    t2star t2s t2starw r2star swi swan swp qsm minip mip mips perf perfusion pwi asl pcasl
    pasl dsc dce cbf cbv mtt ttp tmax bold fmri rest eadc expadc exponential dti tensor b0
    bzero phase pha mag1 mag2 fieldmap fmap magnitude1 magnitude2 phasediff stir dir
    localizer scout survey t1map t2map pdmap t1rho inv1 inv2 mt mtr mts mrv venography ciss
    fiesta ctp subtraction subtracted subtract subtr difference diffmap delta ratio ct pet
    """
)
_RELATIONS = frozenset({"to", "reg", "registered", "coreg", "in", "space", "on", "warped"})
_MAPS_OF = frozenset({"t1", "t1c", "t2", "pd", "flair", "t1ir"})
_PLAIN_ENTITIES = _set(
    """
    sub ses task acq rec dir run echo flip inv mt mod hemi res den split recording chunk
    """
)


@dataclass(frozen=True)
class NameEvidence:
    """What a name says.

    Attributes:
        modality: None where it says nothing clear.
        words: the words of the vocabulary that said it, as they were read.
        reason: why there is no modality; empty where there is one.
    """

    modality: str | None
    words: tuple[str, ...]
    reason: str = ""


def name_evidence(name: str) -> NameEvidence:
    """What a file's or a part's name says; folders before it and NIfTI's endings do not count.

    ``sub-01_ce-gadolinium_T1w.nii.gz`` is t1c, ``t1_reg_to_flair.nii`` nothing clear.
    """
    words = _words(name)
    kept = [word for word in words if _known(word)]
    masks = [word for word in kept if word in _MASK]
    if masks:
        return NameEvidence(None, tuple(kept), f"its name says '{masks[0]}': a mask")
    return _decided(words, kept)


def _decided(words: list[str], kept: list[str]) -> NameEvidence:
    modalities = _modalities(words)
    said, found = tuple(kept), sorted(set(modalities))
    never = [word for word in kept if word in _NEVER]
    if "map" in words and _MAPS_OF & set(found):
        never.append("map")
    if never:
        return NameEvidence(None, said, f"its name says '{never[0]}', which no model takes")
    if not found:
        return NameEvidence(None, (), "nothing in its name tells what it is")
    if len(found) > 1:
        return NameEvidence(None, said, f"its name says {' and '.join(found)}")
    modality = found[0]
    given, not_given, otherwise = _contrast(words)
    if given and not_given:
        return NameEvidence(None, said, "its name says with and without contrast agent")
    if modality == "t1c" and not_given:
        return NameEvidence(None, said, "its name says t1c and without contrast agent")
    if modality == "mra" and given:
        return NameEvidence(None, said, "its name says contrast angiography, which no model takes")
    if modality == "t1" and otherwise:
        return NameEvidence(None, said, "its name says 'post', but after what is not clear")
    if modality == "t1" and given:
        modality = "t1c"
    return NameEvidence(modality, said)


def strict_modality(name: str) -> str | None:
    """The modality, where every word of the name is known; for names that somebody chose."""
    words = _words(name)
    return name_evidence(name).modality if all(_known(w) or w == "w" for w in words) else None


def _words(name: str) -> list[str]:
    """The name's words in lower case; entities of BIDS lose what is no modality of the image."""
    stem = re.sub(r"(?<![a-z0-9])w/o(?![a-z0-9])", "without", name.strip().lower())
    stem = re.split(r"[/\\]", stem)[-1]
    stem = re.sub(r"\.(nii|hdr|img|mgz|mgh|nrrd)(\.gz)?$|\.gz$", "", stem)
    if re.match(r"sub-[a-z0-9]+_", stem):
        stem = "_".join(_entity(part) for part in stem.split("_"))
    stem = re.sub(r"(?<=[tr]2)w?\*", "star", stem)
    stem = re.sub(r"\+ ?(c|ce|gd|km|gad[a-z]*|contrast)(?![a-z0-9])", " contrast ", stem)
    stem = re.sub(r"(?<![a-z0-9])c ?\+", " contrast ", stem)
    words = [part for word in re.split(r"[^a-z0-9]+", stem) if word for part in _split(word)]
    if words[:1] == ["sub"]:
        words = words[1:]
    return _joined(["subtraction" if word == "sub" else word for word in words])


def _entity(part: str) -> str:
    """What counts of one part of a BIDS name: of an acquisition only what it says of contrast."""
    key, dash, value = part.partition("-")
    if not dash or key not in _PLAIN_ENTITIES:
        return part
    words = [word for whole in re.split(r"[^a-z0-9]+", value) for word in _split(whole)]
    about = GIVEN | NOT_GIVEN
    return "_".join(w for w in words if w in about) if key == "acq" else ""


def _split(word: str) -> list[str]:
    """``t1gadolinium`` as its two words."""
    if word in MODALITY_OF or word in _NEVER:
        return [word]
    for start in ("t1w", "t1", "mprage", "flair", "t2w", "t2"):
        rest = word.removeprefix(start)
        if rest != word and rest in GIVEN | NOT_GIVEN | _MASK:
            return [start, rest]
    return [word]


def _joined(words: list[str]) -> list[str]:
    """Words that mean something together: ``t2 star``, ``t1 c``, ``t1 ir``, ``exp adc``."""
    pairs = {
        ("t2", "star"): "t2star", ("t2w", "star"): "t2star", ("t2", "s"): "t2star",
        ("t2", "gre"): "t2star", ("t2", "ffe"): "t2star", ("t1", "c"): "t1c", ("t1w", "c"): "t1c",
        ("t1", "ir"): "t1ir", ("ir", "t1"): "t1ir",
        ("t1w", "ir"): "t1ir", ("exp", "adc"): "eadc", ("e", "adc"): "eadc",
        ("dark", "fluid"): "darkfluid",
        ("b", "0"): "b0", ("bval", "0"): "b0", ("diff", "map"): "diffmap",
        ("field", "map"): "fieldmap", ("t1", "diff"): "diffmap",
    }  # fmt: skip
    out: list[str] = []
    for word in words:
        both = pairs.get((out[-1], word)) if out else None
        out[-1:] = [both] if both else [*out[-1:], word]
    return out


def _modalities(words: list[str]) -> set[str]:
    found = {MODALITY_OF[word] for word in words if word in MODALITY_OF}
    if found == {"t1", "t1c"} and {w for w in words if MODALITY_OF.get(w) == "t1"} <= _SEQUENCES:
        return {"t1c"}
    if found == {"flair", "t2"} and not _RELATIONS & set(words):
        return {"flair"}
    return found


def _contrast(words: list[str]) -> tuple[bool, bool, bool]:
    """Whether words say that agent was given, that it was not, and ``post`` something else."""
    given = not_given = otherwise = False
    for place, word in enumerate(words):
        before = words[place - 1] if place else ""
        after = words[place + 1] if place + 1 < len(words) else ""
        if word in ("post", "pre") and after in _NOT_CONTRAST:
            otherwise = otherwise or word == "post"
        elif word in NOT_GIVEN and after in GIVEN - {"post"}:
            not_given = True
        elif word in GIVEN:
            negated = before in _WITHOUT or (before == "pre" and word != "post")
            not_given, given = not_given or negated, given or not negated
        elif word in NOT_GIVEN or (word in ("wo", "without") and not after):
            not_given = True
    return given, not_given, otherwise


def _known(word: str) -> bool:
    tables = (GIVEN, NOT_GIVEN, _MASK, _NEVER, _RELATIONS, _WITHOUT, _NOT_CONTRAST)
    return word in MODALITY_OF or word == "map" or any(word in table for table in tables)
