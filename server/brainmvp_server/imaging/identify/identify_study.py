"""A whole study: every series with its answer, and the best series of each modality."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from brainmvp_models.errors import NothingIdentified
from brainmvp_models.modality import Modality, printable
from brainmvp_server.imaging.dicom.header import SeriesHeader
from brainmvp_server.imaging.dicom.series import SetAside, Sorted, Stack
from brainmvp_server.imaging.identify.decide import Answer, Confidence, decide
from brainmvp_server.imaging.identify.rules import Rules

NOT_USED = "none"
"""What a user assigns to a series that is to be left out."""

_BY_USER = ("assigned by the user",)
_FINER_MM = 0.1
_SAME_MS = 0.5
_TRAINED_ON = "its model was trained on such series"


@dataclass(frozen=True)
class Identified:
    """One volume of the study with what it was found to be.

    Attributes:
        stack: None where it is no regular volume.
        reason: why it is used, or why not.
        missed: it would be its modality, were it whole, or a volume that can be used.
        incomplete: what is missing of it may still be in the archive.
    """

    label: str
    header: SeriesHeader
    answer: Answer
    stack: Stack | None
    used: bool
    reason: str
    missed: bool = False
    incomplete: bool = False

    @property
    def remedy(self) -> str:
        """How to have it used after all."""
        if self.incomplete:
            return "Send it again, whole"
        return "Send a volume made of it as NIfTI, for example by dcm2niix"


@dataclass(frozen=True)
class IdentifiedStudy:
    """All volumes of a study.

    Attributes:
        series: in the order of their series numbers.
        chosen: the best volume of each modality.
    """

    series: tuple[Identified, ...]
    chosen: dict[Modality, Stack] = field(default_factory=dict)

    @property
    def unnamed(self) -> tuple[Identified, ...]:
        """Whole volumes of which nobody can tell what they are."""
        return tuple(one for one in self.series if one.stack is not None and one.answer.unknown)

    def missed(self, modality: Modality) -> tuple[Identified, ...]:
        """What would be this modality, were it a volume that can be used."""
        return tuple(
            one
            for one in self.series
            if one.missed and modality in (one.answer.modality, one.answer.would_be)
        )


def identify_study(
    study: Sorted,
    rules: Rules,
    *,
    assigned: Mapping[str, Modality | None] | None = None,
    b_value: float = 1000.0,
    stand_ins: Collection[Modality] = (),
) -> IdentifiedStudy:
    """Tell every series' modality and choose the best of each.

    Args:
        assigned: by series number, volume label or Series Instance UID: what the user says it is;
            None leaves it out.
        b_value: the diffusion weighting that is wanted, s/mm².
        stand_ins: modalities for which a series that otherwise is never used may stand, such as
            steady-state images for T2.

    Raises:
        NothingIdentified: an assignment names no series, several, or one that cannot be used.
    """
    parts: list[Stack | SetAside] = [*study.stacks, *study.set_aside]
    parts.sort(key=lambda one: (one.header.number or 0, one.header.uid, one.label))
    given = _assignments(parts, assigned or {})
    answers = [
        _standing_in(decide(replace(part.header, beside=_beside(part, parts)), rules), stand_ins)
        for part in parts
    ]
    answers = _by_order(parts, answers)
    answers = [
        _assigned(given[part.label + part.header.uid]) if part.label + part.header.uid in given
        else answer
        for part, answer in zip(parts, answers, strict=True)
    ]  # fmt: skip
    best = _best(parts, answers, b_value)
    entries = tuple(
        _entry(part, answer, best.get(answer.modality) if answer.modality else None, b_value)
        for part, answer in zip(parts, answers, strict=True)
    )
    return IdentifiedStudy(entries, {modality: stack for modality, (stack, _) in best.items()})


def _beside(part: Stack | SetAside, parts: Sequence[Stack | SetAside]) -> tuple[SeriesHeader, ...]:
    """The other volumes of the same scan: of its series, or of its protocol and timing.

    Vendors put what one scan gives, such as the magnitudes and phases of a field map, into one
    series or into several.
    """
    own = part.header
    return tuple(
        other.header
        for other in parts
        if other is not part
        and (
            (own.uid and other.header.uid == own.uid)
            or (
                own.protocol
                and own.repetition_time is not None
                and (other.header.protocol, other.header.repetition_time)
                == (own.protocol, own.repetition_time)
            )
        )
    )


def _standing_in(answer: Answer, stand_ins: Collection[Modality]) -> Answer:
    if answer.stands_for is None or answer.stands_for not in stand_ins:
        return answer
    evidence = (*answer.evidence, f"{answer.reason}: {_TRAINED_ON}")
    return Answer(answer.stands_for, Confidence.MEDIUM, evidence, stands_for=answer.stands_for)


def _assigned(modality: Modality | None) -> Answer:
    if modality is None:
        return Answer(None, Confidence.NONE, (), "left out by the user")
    return Answer(modality, Confidence.HIGH, _BY_USER)


def _assignments(
    parts: Sequence[Stack | SetAside], assigned: Mapping[str, Modality | None]
) -> dict[str, Modality | None]:
    """What the user says, by label and UID of the volumes meant."""
    given: dict[str, Modality | None] = {}
    for name, modality in assigned.items():
        meant = [part for part in parts if name in _names(part)]
        if not meant:
            labels = ", ".join(part.label for part in parts) or "none"
            raise NothingIdentified(
                f"no series is called '{printable(name)}'", remedy=f"The series are: {labels}"
            )
        series = {part.header.uid: part.label.partition(".")[0] for part in meant}
        if modality is not None and len(series) > 1 and len(set(series.values())) > 1:
            raise NothingIdentified(
                f"{len(series)} series are called '{printable(name)}'",
                remedy=f"Assign one of them: {', '.join(series.values())}",
                subject=modality.value,
            )
        if modality is not None and all(isinstance(part, SetAside) for part in meant):
            raise NothingIdentified(
                f"series {meant[0].label} cannot be used as {modality}: {_reason(meant[0])}",
                remedy="Send a volume made of it as NIfTI, or assign another series",
                subject=modality.value,
            )
        given.update({part.label + part.header.uid: modality for part in meant})
    return given


def _names(part: Stack | SetAside) -> tuple[str, ...]:
    """What a user may call it: by volume, series or number, or by UID."""
    number = "" if part.header.number is None else str(part.header.number)
    names = (part.label, part.label.partition(".")[0], number, part.header.uid, *part.also)
    return tuple(name for name in names if name)


def _reason(part: Stack | SetAside) -> str:
    return part.reason if isinstance(part, SetAside) else ""


def _by_order(parts: Sequence[Stack | SetAside], answers: Sequence[Answer]) -> list[Answer]:
    """T1 and T1c told apart by when they were acquired, where the header alone leaves it open."""
    sure = [
        _doubted(part, answer, parts, answers) or answer
        for part, answer in zip(parts, answers, strict=True)
    ]
    first, known = (min(_times_of_t1c(parts, some), default="") for some in (answers, sure))
    decided = []
    for part, answer in zip(parts, sure, strict=True):
        open_question = answer.modality == Modality.T1 and answer.without_contrast is not None
        if open_question and known and part.header.time > known:
            answer = Answer(
                Modality.T1C,
                Confidence.MEDIUM,
                (*answer.evidence, "acquired after contrast agent was given"),
            )
        elif open_question and part.header.time and part.header.time < first:
            answer = replace(
                answer,
                confidence=answer.without_contrast or answer.confidence,
                evidence=(*answer.evidence, "acquired before contrast agent was given"),
            )
        decided.append(answer)
    return decided


def _times_of_t1c(parts: Sequence[Stack | SetAside], answers: Sequence[Answer]) -> list[str]:
    return [
        part.header.time
        for part, answer in zip(parts, answers, strict=True)
        if answer.modality == Modality.T1C and part.header.time
    ]


def _doubted(
    part: Stack | SetAside,
    answer: Answer,
    parts: Sequence[Stack | SetAside],
    answers: Sequence[Answer],
) -> Answer | None:
    """No answer for a T1c by its agent alone that a later one repeats; None where there is none.

    Some scanners record the agent of the whole examination with every series, also with those
    from before it was given. Where times are silent, neither of the two is known.
    """
    if not answer.agent_alone:
        return None
    for other, others in zip(parts, answers, strict=True):
        if other is part or others.modality != Modality.T1C or not _repeats(part, other):
            continue
        mine, theirs = part.header.time, other.header.time
        if mine < theirs or not (mine and theirs):
            evidence = (*answer.evidence, f"series {other.label} repeats it")
            reason = "it may be from before contrast agent was given, though the agent is recorded"
            return Answer(None, Confidence.NONE, evidence, reason, unknown=True)
    return None


def _repeats(one: Stack | SetAside, other: Stack | SetAside) -> bool:
    """Whether two series were acquired alike."""

    def kind(header: SeriesHeader) -> tuple[object, ...]:
        times = (header.echo_time, header.repetition_time, header.inversion_time)
        rounded = tuple(None if t is None else round(t / _SAME_MS) for t in times)
        return (header.sequence, header.acquisition, header.flip_angle, header.plane, *rounded)

    return kind(one.header) == kind(other.header)


def _best(
    parts: Sequence[Stack | SetAside], answers: Sequence[Answer], b_value: float
) -> dict[Modality, tuple[Stack, Answer]]:
    best: dict[Modality, tuple[Stack, Answer]] = {}
    for part, answer in zip(parts, answers, strict=True):
        if answer.modality is None or isinstance(part, SetAside):
            continue
        rival = best.get(answer.modality)
        if rival is None or _better(part, answer, *rival, b_value):
            best[answer.modality] = part, answer
    return best


def _better(part: Stack, answer: Answer, rival: Stack, rivals: Answer, b_value: float) -> str:
    """Why a volume is better than its rival; empty where it is not."""
    mine, theirs = part.header, rival.header
    if answer.evidence != rivals.evidence and _BY_USER in (answer.evidence, rivals.evidence):
        return _BY_USER[0] if answer.evidence == _BY_USER else ""
    if answer.modality == Modality.DWI and mine.b_value != theirs.b_value:
        off, others = (abs((h.b_value or 0) - b_value) for h in (mine, theirs))
        return f"its b-value is nearer to {b_value:g}" if off < others else ""
    ranks = (
        (_TRAINED_ON, answer.stands_for is not None, rivals.stands_for is not None),
        ("its identification is surer", _sure(answer), _sure(rivals)),
        ("3-D before 2-D", mine.acquisition == "3D", theirs.acquisition == "3D"),
        ("its slices are finer", -_thickness(mine), -_thickness(theirs)),
        ("axial before other planes", mine.plane == "axial", theirs.plane == "axial"),
        ("it has more slices", mine.slices, theirs.slices),
    )
    for why, own, other in ranks:
        if own != other:
            return why if own > other else ""
    return ""


def _sure(answer: Answer) -> int:
    return (Confidence.NONE, Confidence.MEDIUM, Confidence.HIGH).index(answer.confidence)


def _thickness(header: SeriesHeader) -> float:
    return round(max(header.spacing) / _FINER_MM) * _FINER_MM


def _entry(
    part: Stack | SetAside, answer: Answer, best: tuple[Stack, Answer] | None, b_value: float
) -> Identified:
    stack = part if isinstance(part, Stack) else None
    if isinstance(part, SetAside):
        # What a series is comes before why it is no volume: a localizer is not damaged.
        reason = answer.reason if answer.modality is None and answer.evidence else part.reason
        missed = answer.modality is not None and not part.no_volume
        return Identified(
            part.label, part.header, answer, None, False, reason, missed, part.incomplete
        )
    if answer.modality is None:
        missed = answer.would_be is not None
        reason = f"it is not used: {answer.reason}" if missed else answer.reason
        return Identified(
            part.label, part.header, answer, stack, False, reason, missed, incomplete=missed
        )
    assert best is not None
    winner, surer = best
    if part is winner:
        return Identified(part.label, part.header, answer, stack, True, "the best of its modality")
    why = _better(winner, surer, part, answer, b_value) or "it comes first"
    reason = f"series {winner.label} is used: {why}"
    return Identified(part.label, part.header, answer, stack, False, reason)
