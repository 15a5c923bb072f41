"""Which modalities are taken to be real, and how the others are filled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from brainmvp_models.errors import MissingModality, TemplateMismatch, UnknownModality
from brainmvp_models.modality import Modality, parse_modality
from brainmvp_models.task import FillPolicy, Task
from brainmvp_training.case import Case

Subset = tuple[Modality, ...]
GIVEN = "given"


@dataclass(frozen=True)
class Setting:
    """One way to present a study to the model.

    Attributes:
        real: modalities that are used, in the task's order; a study's others are left out.
        fill: how the rest is filled; ``none`` where there is no rest.
    """

    real: Subset
    fill: FillPolicy

    def __str__(self) -> str:
        names = ", ".join(modality.value for modality in self.real)
        return names if self.fill == "none" else f"{names} ({self.fill})"


def parse_subsets(text: str, task: Task) -> tuple[Subset, ...] | None:
    """The subsets that ``full``, ``missing-one``, ``all``, ``given`` or ``t1,flair;t1`` name.

    None is ``given``: each study with the modalities it has.

    Raises:
        UnknownModality: a name that is no modality, or one that the model does not take.
        MissingModality: a subset without a modality that the model requires.
    """
    if text == GIVEN:
        return None
    every = tuple(task.modalities)
    if text == "full":
        return (every,)
    if text in ("all", "missing-one"):
        sizes = range(len(every), 0, -1) if text == "all" else (len(every), len(every) - 1)
        found = (part for size in sizes for part in combinations(every, size))
        return tuple(part for part in found if part and _required(task) <= set(part))
    return tuple(dict.fromkeys(_subset(part, task) for part in text.split(";")))


def settings_of(
    subsets: Iterable[Subset], fills: Sequence[FillPolicy], task: Task
) -> list[Setting]:
    """Every subset with every policy; where nothing is missing, once.

    Raises:
        TemplateMismatch: the policy ``none`` for a subset that lacks something.
    """
    found = []
    for subset in subsets:
        if len(subset) == len(task.channels):
            found.append(Setting(subset, "none"))
            continue
        if "none" in fills:
            raise TemplateMismatch(
                "fill policy 'none' leaves nothing to measure where a modality is missing",
                remedy="Choose center, grid, register or zeros, or --subsets full",
            )
        found += [Setting(subset, fill) for fill in fills]
    return list(dict.fromkeys(found))


def settings_for(
    case: Case, subsets: tuple[Subset, ...] | None, fills: Sequence[FillPolicy], task: Task
) -> list[Setting]:
    """The settings a case has the modalities for."""
    held = tuple(modality for modality in task.modalities if modality in case.images)
    chosen = (held,) if subsets is None else subsets
    return settings_of((part for part in chosen if set(part) <= set(held)), fills, task)


def _subset(text: str, task: Task) -> Subset:
    named = {parse_modality(name) for name in text.split(",")}
    strange = sorted(named - set(task.modalities))
    if strange:
        raise UnknownModality(
            f"the model has no channel for {', '.join(strange)}",
            remedy=f"It takes: {', '.join(task.modalities)}",
            subject="--subsets",
        )
    lacking = sorted(_required(task) - named)
    if lacking:
        raise MissingModality(
            f"'{', '.join(sorted(named))}' lacks {', '.join(lacking)}, which the model requires",
            remedy="Add it to the subset",
            subject="--subsets",
        )
    return tuple(modality for modality in task.modalities if modality in named)


def _required(task: Task) -> set[Modality]:
    return {channel.modality for channel in task.channels if channel.required}
