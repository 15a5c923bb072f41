"""Whether a study looks like those that a model was trained on, and what about it does not."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from brainmvp_models.modality import Modality
from brainmvp_models.training_distribution import (
    FigureRange,
    KindContrast,
    TrainingDistribution,
)
from brainmvp_server.inference.figures import AXES, SHARPNESS, Array, StudyFigures
from brainmvp_server.inference.measure import Structure

OutsideKind = Literal[
    "same-image", "exchanged", "wrong-kind", "volume", "extent", "intensity", "lesion-load"
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
    return (*found, *_beyond_ranges(figures, training.ranges, told))


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


def towards(contrast: KindContrast, pattern: Array) -> float:
    """How far a pattern is from ``one``, at -1, towards ``other``, at 1."""
    weights = np.frombuffer(contrast.weights, np.int8).astype(np.float32)
    return contrast.offset + contrast.scale * float(weights @ pattern)


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
            seen = f"{look.given} and {look.like} look as if they were exchanged"
            yield OutsideTraining("exchanged", seen, "check which series is which")
        else:
            told.add(look.given)
            seen = f"the series given as {look.given} looks like {look.like}"
            yield OutsideTraining("wrong-kind", seen, _remedy(look))


def _remedy(look: _Looks) -> str:
    if (look.given, look.like) == (Modality.T1, Modality.T1C):
        return "check its name, and whether contrast agent was given before it"
    if (look.given, look.like) == (Modality.T1C, Modality.T1):
        return "check its name, and whether contrast agent was given"
    return "check its name"


def _looks(figures: StudyFigures, training: TrainingDistribution) -> list[_Looks]:
    """What looks like another kind, exchanged pairs first, the furthest first."""
    patterns = {m: one.pattern for m, one in figures.series.items() if one.pattern is not None}
    scores = kind_scores(patterns, training.contrasts)
    found = []
    for limit in training.limits:
        given, like = limit.given, limit.looks_like
        here, there = scores.get((given, given, like)), scores.get((like, given, like))
        most = limit.alone if len(figures.series) == 1 else limit.among
        if here is not None and here > most:
            found.append(_Looks(given, like, False, here - most))
        if here is not None and there is not None and here - there > limit.exchanged:
            found.append(_Looks(given, like, True, here - there - limit.exchanged))
    return sorted(found, key=lambda one: (not one.exchanged, -one.beyond))


def kind_scores(
    patterns: Mapping[Modality, Array], contrasts: Collection[KindContrast]
) -> dict[tuple[Modality, Modality, Modality], float]:
    """How far a series is from one kind towards another, by (series, one kind, other kind)."""
    scores = {}
    for contrast in contrasts:
        one, other = contrast.one, contrast.other
        for series in {one, other} & set(patterns):
            score = towards(contrast, patterns[series])
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
