"""What a study's modalities cannot decide, by the task and by what was measured.

An output is not determinable where the task says that it needs a modality that the study lacks, or
where its interval in the subset card does not lie above chance: balanced accuracy of 1/n for n
classes, or the Dice that the task sets as its limit. Where nothing was measured, the card decides
nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import combinations
from typing import get_args, overload

from brainmvp_models.calibration import WHOLE
from brainmvp_models.manifest import Manifest, Metric, SubsetQuality
from brainmvp_models.modality import Modality
from brainmvp_models.population import measured_on
from brainmvp_models.task import (
    ClassOutputs,
    FillPolicy,
    Label,
    Needs,
    Outputs,
    Region,
    RegionOutputs,
    ScoreOutputs,
    SegmentationOutputs,
)


@dataclass(frozen=True)
class NotDeterminable:
    """An output that these modalities cannot decide.

    Attributes:
        output: a region's or class's name; :data:`WHOLE` for the class of a study.
        reason: a clause for a sentence about it.
        missing: the modalities with which it would be determinable; none where no others help.
    """

    output: str
    title: str
    reason: str
    missing: tuple[Modality, ...]

    @property
    def sentence(self) -> str:
        """``enhancing tumour is not determinable: it needs t1c, which the study lacks``."""
        return f"{self.title} is not determinable: {self.reason}"


@dataclass(frozen=True)
class OpenSubset:
    """Modalities with which a study would leave something open.

    Attributes:
        fills: where the others are filled in one of these ways.
    """

    real: tuple[Modality, ...]
    fills: tuple[FillPolicy, ...]
    outputs: tuple[NotDeterminable, ...]


@dataclass(frozen=True)
class _Question:
    """One output as it is judged: at or below ``limit`` its figure is worth nothing."""

    output: str
    title: str
    needs: Needs
    metric: Metric
    limit: float | None
    limit_is: str


def not_determinable(
    manifest: Manifest, real: Collection[Modality], fill: FillPolicy
) -> tuple[NotDeterminable, ...]:
    """The outputs that a study of the modalities ``real`` leaves open, in the task's order.

    Args:
        fill: how the other modalities are filled.
    """
    found = (_judged(manifest, one, real, fill) for one in _questions(manifest.task.outputs))
    return tuple(one for one in found if one is not None)


def open_subsets(manifest: Manifest) -> tuple[OpenSubset, ...]:
    """Every subset of modalities that leaves something open, the largest first.

    Subsets that the model cannot be given, for lack of a required modality, are not among them.
    """
    channels = manifest.task.channels
    fills = [fill for fill in get_args(FillPolicy) if fill != "none"]
    found = []
    for size in range(len(channels), 0, -1):
        for chosen in combinations(channels, size):
            if any(one.required and one not in chosen for one in channels):
                continue
            real = tuple(one.modality for one in chosen)
            alike: dict[tuple[NotDeterminable, ...], list[FillPolicy]] = {}
            for fill in fills:
                alike.setdefault(not_determinable(manifest, real, fill), []).append(fill)
            found += [OpenSubset(real, tuple(by), what) for what, by in alike.items() if what]
    return tuple(found)


@overload
def without(outputs: SegmentationOutputs, left_out: Collection[str]) -> SegmentationOutputs: ...
@overload
def without(outputs: Outputs, left_out: Collection[str]) -> Outputs: ...
def without(outputs: Outputs, left_out: Collection[str]) -> Outputs:
    """The task's outputs without some: what the mask of a result shows.

    What a left out region alone would show belongs to the smallest region around it, whose label
    then stands for the region itself. A left out class is background. The scores of a
    classification are one answer, and stay.
    """
    if isinstance(outputs, RegionOutputs):
        return _without_regions(outputs, left_out)
    if isinstance(outputs, ClassOutputs):
        background, *others = outputs.classes
        kept = [entry for entry in others if entry.name not in left_out]
        return outputs.model_copy(update={"classes": (background, *kept)})
    return outputs


def needs_of(outputs: Outputs) -> tuple[tuple[str, Needs], ...]:
    """Each output by its name, with the modalities that it needs."""
    return tuple((one.output, one.needs) for one in _questions(outputs))


def _questions(outputs: Outputs) -> tuple[_Question, ...]:
    if isinstance(outputs, ScoreOutputs):
        chance = 1 / outputs.count
        words = f"chance is {chance:.2g}"
        return (_Question(WHOLE, "class", outputs.needs, "balanced_accuracy", chance, words),)
    entries: tuple[Region | Label, ...] = (
        outputs.regions if isinstance(outputs, RegionOutputs) else outputs.classes[1:]
    )
    limit = outputs.lowest_dice
    return tuple(
        _Question(e.name, e.title or e.name, e.needs, "dice", limit, f"the limit is {limit}")
        for e in entries
    )


def _judged(
    manifest: Manifest, question: _Question, real: Collection[Modality], fill: FillPolicy
) -> NotDeterminable | None:
    lacking = tuple(modality for modality in question.needs if modality not in real)
    if lacking:
        names = ", ".join(modality.value for modality in lacking)
        reason = f"it needs {names}, which the study lacks"
        return NotDeterminable(question.output, question.title, reason, lacking)
    line = _line(manifest.expected(real, fill), question)
    if line is None or not _is_chance(line, question):
        return None
    population = manifest.evaluated.population if manifest.evaluated else None
    between = "" if line.low is None else f" ({line.low:.2f} to {line.high:.2f})"
    reason = (
        f"with {', '.join(m.value for m in line.real)} its {line.metric.replace('_', ' ')} is "
        f"{line.value:.2f}{between}, measured on {measured_on(line.studies, population)}, "
        f"and {question.limit_is}"
    )
    missing = _remedy(manifest, question, real, fill)
    return NotDeterminable(question.output, question.title, reason, missing)


def _line(lines: Collection[SubsetQuality], question: _Question) -> SubsetQuality | None:
    of = (q for q in lines if q.output == question.output and q.metric == question.metric)
    return next(of, None)


def _is_chance(line: SubsetQuality, question: _Question) -> bool:
    lowest = line.value if line.low is None else line.low
    return question.limit is not None and lowest <= question.limit


def _remedy(
    manifest: Manifest, question: _Question, real: Collection[Modality], fill: FillPolicy
) -> tuple[Modality, ...]:
    """The fewest more modalities with which the card has the output above chance, the best."""
    lines = (
        _line(manifest.expected(quality.real, fill), question)
        for quality in manifest.subset_card
        if set(quality.real) > set(real)
    )
    helpful = [line for line in lines if line is not None and not _is_chance(line, question)]
    if not helpful:
        return ()
    best = min(helpful, key=lambda line: (len(line.real), -line.value))
    return tuple(modality for modality in best.real if modality not in real)


def _without_regions(outputs: RegionOutputs, left_out: Collection[str]) -> RegionOutputs:
    own = {outputs.regions[index].name: value for index, value in outputs.painting}
    kept = [region for region in outputs.regions if region.name not in left_out]
    gone = [region for region in outputs.regions if region.name in left_out]
    wider = {_around(region, kept) for region in gone}
    labels = {label.value: label for label in outputs.labels}
    regions, shown = [], []
    for region in kept:
        inside = tuple(own[one.name] for one in kept if set(one.labels) <= set(region.labels))
        regions.append(region.model_copy(update={"labels": tuple(sorted(inside))}))
        label = labels[own[region.name]]
        if region.name in wider:
            # As far as the mask tells, all of the region: not what the label alone would mean.
            label = label.model_copy(
                update={"name": region.name, "title": region.title, "code": region.code}
            )
        shown.append(label)
    shown.sort(key=lambda label: label.value)
    return outputs.model_copy(update={"regions": tuple(regions), "labels": tuple(shown)})


def _around(region: Region, kept: Collection[Region]) -> str | None:
    """The smallest of the regions ``kept`` that holds another."""
    holders = [one for one in kept if set(region.labels) < set(one.labels)]
    return min(holders, key=lambda one: len(one.labels)).name if holders else None
