"""One series: its modality, how sure, and on what evidence."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum

from brainmvp_models.modality import Modality
from brainmvp_server.imaging.dicom.header import SeriesHeader
from brainmvp_server.imaging.identify.rules import (
    Naming,
    Rules,
    called,
    first_match,
    is_derived,
    plain,
    said,
    said_where,
    spoken,
)


class Confidence(str, Enum):
    """``high``: the description agrees with the header or the timing. ``medium``: one is silent."""

    HIGH = "high"
    MEDIUM = "medium"
    NONE = "none"


@dataclass(frozen=True)
class Answer:
    """What a series is.

    Attributes:
        modality: None where it is UNKNOWN, or a kind of series that is never used.
        evidence: what decided, in the header's own terms.
        reason: why there is no modality; empty where there is one.
        without_contrast: of a T1 whose header is silent about contrast agent, how sure it would be
            if it were known that none had been given.
        agent_alone: whether nothing but Contrast/Bolus Agent says that this is a T1c.
        stands_for: what a series that is not used is to a model that was trained on its like.
        would_be: what a series that is not used surely would be, were it whole.
        unknown: whether it may be any modality; what is known to be none is not.
    """

    modality: Modality | None
    confidence: Confidence
    evidence: tuple[str, ...]
    reason: str = ""
    without_contrast: Confidence | None = None
    agent_alone: bool = False
    stands_for: Modality | None = None
    would_be: Modality | None = None
    unknown: bool = False


def decide(header: SeriesHeader, rules: Rules) -> Answer:
    """Which modality a series is, by its own header and the volumes beside it."""
    header = called(header, rules)
    for exclusion in rules.exclusions:
        found = first_match(exclusion.when, header)
        if found is not None:
            return replace(
                _no(exclusion.reason, found),
                unknown=False,
                stands_for=exclusion.stands_for,
                would_be=_surely(header, rules) if exclusion.incomplete else None,
            )
    return _told(header, rules)


def _surely(header: SeriesHeader, rules: Rules) -> Modality | None:
    """What a series is, where its description and its header agree."""
    answer = _told(header, rules)
    sure = Confidence.HIGH in (answer.confidence, answer.without_contrast)
    return answer.modality if sure else None


def _told(header: SeriesHeader, rules: Rules) -> Answer:
    """What a series is that nothing excludes."""
    answer = _named(header, rules)
    naming = next((n for n in rules.modalities if n.modality == answer.modality), None)
    if naming is None:
        return answer
    if is_derived(header) and not naming.derived:
        return _no("derived from another series", ("ImageType DERIVED",))
    return _with_contrast(answer, header, rules) if naming.contrast else answer


def _named(header: SeriesHeader, rules: Rules) -> Answer:
    text, where = said(header), said_where(header)
    words: dict[Modality, str] = {}
    physics: dict[Modality, tuple[str, ...]] = {}
    agrees: dict[Modality, tuple[str, ...]] = {}
    for naming in rules.modalities:
        word = spoken(naming.text, naming.without, text)
        if word is not None:
            words.setdefault(naming.modality, f"{where} says '{word}'")
        found = first_match(naming.physics, header)
        if found is not None:
            physics.setdefault(naming.modality, found)
        found = found or first_match(naming.agrees, header)
        if found is not None:
            agrees.setdefault(naming.modality, found)
    for naming in rules.modalities:
        found = first_match(naming.header, header)
        if found is not None:
            return _by_header(naming, found, words)
    both = [modality for modality in words if modality in agrees]
    if both:
        return Answer(both[0], Confidence.HIGH, (*agrees[both[0]], words[both[0]]))
    if words:
        return _by_words(header, rules, words, physics)
    if len(physics) == 1:
        modality, evidence = next(iter(physics.items()))
        return Answer(modality, Confidence.MEDIUM, evidence)
    if physics:
        names = " or ".join(modality.value for modality in physics)
        return _no(f"it could be {names}", tuple(dict.fromkeys(sum(physics.values(), ()))))
    return _no("nothing in its header tells what it is", ())


def _by_header(naming: Naming, found: tuple[str, ...], words: dict[Modality, str]) -> Answer:
    modality = naming.modality
    if modality in words:
        return Answer(modality, Confidence.HIGH, (*found, words[modality]))
    if words:
        other, word = next(iter(words.items()))
        return _no(f"its header says {modality}, its description {other}", (*found, word))
    return Answer(modality, Confidence.MEDIUM, found)


def _by_words(
    header: SeriesHeader,
    rules: Rules,
    words: dict[Modality, str],
    physics: dict[Modality, tuple[str, ...]],
) -> Answer:
    """The description names a modality that physics does not; it may still allow it."""
    silent = header.echo_time is None and header.repetition_time is None
    for naming in rules.modalities:
        if naming.modality not in words:
            continue
        allowed = first_match(naming.allows, header)
        if allowed is not None or silent:
            return Answer(
                naming.modality, Confidence.MEDIUM, (words[naming.modality], *(allowed or ()))
            )
    called, word = next(iter(words.items()))
    if physics:
        other, evidence = next(iter(physics.items()))
        return _no(f"its description says {called}, its timing {other}", (word, *evidence))
    timing = tuple(
        f"{name} {value:g}"
        for name, value in (
            ("EchoTime", header.echo_time), ("RepetitionTime", header.repetition_time),
        )
        if value is not None
    )  # fmt: skip
    return _no(f"its description says {called}, its timing does not fit", (word, *timing))


def _with_contrast(answer: Answer, header: SeriesHeader, rules: Rules) -> Answer:
    """T1 or T1c: by the agent attribute and by words; silence leaves it T1, but less sure."""
    assert rules.contrast is not None
    text, where, agent = said(header), said_where(header), plain(header.contrast_agent)
    agent = "" if re.search(rules.contrast.no_agent, agent) else agent
    without = re.search(rules.contrast.not_given, text)
    given = None if without else re.search(rules.contrast.given, text)
    flag = ("ContrastBolusAgent is given",) if agent else ()
    if without:
        says = f"{where} says '{without[0].strip()}'"
        if agent:
            return _no("its description and its contrast agent contradict", (says, *flag))
        return replace(answer, evidence=(*answer.evidence, says))
    if given:
        says = f"{where} says '{given[0].strip()}'"
        sure = answer.confidence if agent else Confidence.MEDIUM
        return Answer(Modality.T1C, sure, (*answer.evidence, says, *flag))
    if agent:
        evidence = (*answer.evidence, *flag)
        return Answer(Modality.T1C, Confidence.MEDIUM, evidence, agent_alone=True)
    return replace(
        answer,
        confidence=Confidence.MEDIUM,
        evidence=(*answer.evidence, "nothing tells of contrast agent"),
        without_contrast=answer.confidence,
    )


def _no(reason: str, evidence: tuple[str, ...]) -> Answer:
    return Answer(None, Confidence.NONE, evidence, reason, unknown=True)
