"""Whether a study looks like those that a model was trained on, and what about it does not."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from brainmvp_models.modality import Modality
from brainmvp_models.training_distribution import (
    AgentContrast,
    FigureRange,
    KindContrast,
    TrainingDistribution,
)
from brainmvp_server.inference.agent_figures import AgentFigures
from brainmvp_server.inference.agent_scores import AgentScores, agent_scores, scored
from brainmvp_server.inference.figures import AXES, SHARPNESS, Array, StudyFigures
from brainmvp_server.inference.measure import Structure

OutsideKind = Literal[
    "same-image",
    "exchanged",
    "wrong-kind",
    "contrast-agent",
    "volume",
    "extent",
    "intensity",
    "lesion-load",
]
FOREGROUND = "foreground_ml"
EXTENT = "extent_mm"


@dataclass(frozen=True)
class OutsideTraining:
    """What about a study lies outside of what the model was trained on.

    Attributes:
        kind: for counting.
        seen: a clause that says what is unlike.
        remedy: what to check.
    """

    kind: OutsideKind
    seen: str
    remedy: str

    @property
    def sentence(self) -> str:
        """``unlike the model's training: the series given as flair looks like a t2; check …``."""
        return f"unlike the model's training: {self.seen}; {self.remedy}"


@dataclass(frozen=True)
class _Looks:
    """A series that is further towards another kind than the limit, by so much."""

    given: Modality
    like: Modality
    exchanged: bool
    beyond: float


def outside_training(
    figures: StudyFigures, training: TrainingDistribution
) -> tuple[OutsideTraining, ...]:
    """What of a study's figures lies outside; about each series one thing, the plainest."""
    told: set[Modality] = set()
    found = [*_same(figures, told), *_other_kinds(figures, training, told)]
    if training.agent is not None:
        found += _agent(figures.agent, training.agent, told)
    return (*found, *_beyond_ranges(figures, training.ranges, told))


def looks_at_agent(series: Collection[Modality], training: TrainingDistribution) -> bool:
    """Whether these series' figures of contrast agent are compared with anything."""
    return training.agent is not None and Modality.T1C in series


def outside_lesion_load(
    structures: Collection[Structure], training: TrainingDistribution
) -> tuple[OutsideTraining, ...]:
    """The structures that are larger than any in training."""
    most = {load.output: load.most_ml for load in training.lesion_load}
    return tuple(
        OutsideTraining(
            "lesion-load",
            f"{one.title or one.name} has {one.volume_ml:.0f} mL, the largest in training "
            f"{most[one.name]:.0f} mL",
            "look at the mask before its volume is used",
        )
        for one in structures
        if one.name in most and one.volume_ml > most[one.name]
    )


def named_figures(figures: StudyFigures) -> dict[str, float]:
    """All figures but the patterns, by the names that ranges have them under."""
    named = {FOREGROUND: figures.foreground_ml}
    named |= {f"{EXTENT}.{i}": mm for i, mm in enumerate(figures.extent_mm)}
    for modality, one in figures.series.items():
        named |= {f"{modality}.{name}": value for name, value in one.values.items()}
    return named


def _same(figures: StudyFigures, told: set[Modality]) -> Iterator[OutsideTraining]:
    for one, other in figures.same:
        told |= {one, other}
        yield OutsideTraining(
            "same-image",
            f"{one} and {other} are the same image",
            "send each series once, under its own name",
        )


def _other_kinds(
    figures: StudyFigures, training: TrainingDistribution, told: set[Modality]
) -> Iterator[OutsideTraining]:
    for look in _looks(figures, training):
        if told & ({look.given, look.like} if look.exchanged else {look.given}):
            continue
        if look.exchanged:
            told |= {look.given, look.like}
            yield _exchanged(look.given, look.like)
        else:
            told.add(look.given)
            yield _wrong_kind(look.given, look.like)


def _agent(
    figures: AgentFigures, agent: AgentContrast, told: set[Modality]
) -> Iterator[OutsideTraining]:
    """What looks wrong about T1 and T1c, which differ by contrast agent alone."""
    t1, t1c = Modality.T1, Modality.T1C
    if scores := agent_scores(figures, agent.alone, agent.between):
        if not told & {t1, t1c} and (scores.both > agent.both or scores.neither > agent.neither):
            told |= {t1, t1c}
            yield _agent_between(scores)
        return
    alone = figures.alone.get(t1c)
    if alone is not None and t1c not in told and scored(agent.alone, alone) < agent.t1c_at_least:
        told.add(t1c)
        yield _wrong_kind(t1c, t1)


def _agent_between(scores: AgentScores) -> OutsideTraining:
    if scores.exchanged:
        return _exchanged(Modality.T1, Modality.T1C)
    if scores.both > scores.neither:
        seen, when = "t1 and t1c both look as if contrast agent had been given", "t1"
    else:
        seen, when = "neither t1 nor t1c looks as if contrast agent had been given", "t1c"
    remedy = f"check their names, and whether it was given before the {when}"
    return OutsideTraining("contrast-agent", seen, remedy)


def _exchanged(one: Modality, other: Modality) -> OutsideTraining:
    seen = f"{one} and {other} look as if they were exchanged"
    return OutsideTraining("exchanged", seen, "check which series is which")


def _wrong_kind(given: Modality, like: Modality) -> OutsideTraining:
    remedy = "check its name"
    if {given, like} == {Modality.T1, Modality.T1C}:
        remedy += ", and whether contrast agent was given"
        remedy += " before it" * (given is Modality.T1)
    return OutsideTraining("wrong-kind", f"the series given as {given} looks like {like}", remedy)


def _looks(figures: StudyFigures, training: TrainingDistribution) -> list[_Looks]:
    """What looks like another kind, exchanged pairs first, the furthest first."""
    patterns = {m: one.pattern for m, one in figures.series.items() if one.pattern is not None}
    scores = kind_scores(patterns, training.contrasts)
    found = []
    for limit in training.limits:
        given, like = limit.given, limit.looks_like
        if training.agent is not None and _by_agent(given, like, figures.agent):
            continue
        here, there = scores.get((given, given, like)), scores.get((like, given, like))
        most = limit.alone if len(figures.series) == 1 else limit.among
        if here is not None and here > most:
            found.append(_Looks(given, like, False, here - most))
        if here is not None and there is not None and here - there > limit.exchanged:
            found.append(_Looks(given, like, True, here - there - limit.exchanged))
    return sorted(found, key=lambda one: (not one.exchanged, -one.beyond))


def _by_agent(given: Modality, like: Modality, figures: AgentFigures) -> bool:
    """Whether contrast agent's own figures tell these two apart: not of a T1 that came without T1c.

    Of that the patterns of brightness catch fewer, and say less of real T1s in error.
    """
    if {given, like} != {Modality.T1, Modality.T1C}:
        return False
    return given is Modality.T1C or figures.between is not None


def kind_scores(
    patterns: Mapping[Modality, Array], contrasts: Collection[KindContrast]
) -> dict[tuple[Modality, Modality, Modality], float]:
    """How far a series is from one kind towards another, by (series, one kind, other kind)."""
    scores = {}
    for contrast in contrasts:
        one, other = contrast.one, contrast.other
        for series in {one, other} & set(patterns):
            score = scored(contrast, patterns[series])
            scores[series, one, other] = score
            scores[series, other, one] = -score
    return scores


def _beyond_ranges(
    figures: StudyFigures, ranges: Collection[FigureRange], told: set[Modality]
) -> Iterator[OutsideTraining]:
    named = named_figures(figures)
    for one in ranges:
        value = named.get(one.figure)
        if value is None or one.low <= value <= one.high:
            continue
        training = f"in training {one.low:.3g} to {one.high:.3g}"
        what, _, detail = one.figure.partition(".")
        if what == FOREGROUND:
            small = value < one.low
            yield OutsideTraining(
                "volume", f"the brain has {value:.3g} mL, {training}", _size_remedy(small)
            )
        elif what == EXTENT:
            seen = f"the brain has {value:.3g} mm from {AXES[int(detail)]}, {training}"
            yield OutsideTraining("extent", seen, _size_remedy(value < one.low))
        elif (modality := Modality(what)) not in told:
            told.add(modality)
            yield OutsideTraining(
                "intensity",
                f"the {detail} of {what} is {value:.3g}, {training}",
                "check whether its slices are too thick"
                if detail == SHARPNESS
                else "check that it is a plain MR image of a brain without its skull",
            )


def _size_remedy(small: bool) -> str:
    if small:
        return "check that it is the whole brain of an adult, and its spacing"
    return "check that the skull is taken off, and the spacing"
