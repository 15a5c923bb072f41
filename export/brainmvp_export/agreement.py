"""How two ways of serving a bundle agree, study by study and subset by subset.

Every study goes through the pipeline that serves, both ways: with all its modalities, without each
of them, and with each alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import ParityFailed
from brainmvp_models.manifest import OutputAgreement
from brainmvp_models.modality import Modality
from brainmvp_models.task import FillPolicy, Task
from brainmvp_server.imaging.study import Study
from brainmvp_server.inference.engines import Engine, EngineOptions, load_engine
from brainmvp_server.inference.network_cache import NetworkCache
from brainmvp_server.inference.result import Result
from brainmvp_server.inference.worker import Worker
from brainmvp_server.preparation.predictor import Predictor

ENGINE = "openvino"
LEAST_ML = 1.0
"""Of an output in one of the two masks; in a smaller one a single voxel weighs too much."""
_MOST_TOLD = 3
"""Outputs that a refusal names, the worst; every one is printed before."""

Subset = tuple[Modality, ...]


@dataclass(frozen=True)
class Gate:
    """What is asked of each output.

    Attributes:
        dice: least Dice of the masks.
        volume_error: largest difference of volumes, over the exact one; None where only Dice is
            judged.
        score_error: largest difference of a score.
        instead: how to serve a bundle that does not pass.
    """

    dice: float
    volume_error: float | None
    score_error: float
    instead: str

    def holds(self, one: OutputAgreement) -> bool:
        """Whether an output passes; one that could not be judged does."""
        if one.score_error is not None:
            return one.score_error <= self.score_error
        if one.dice is None or one.volume_error is None:
            return True
        near = self.volume_error is None or one.volume_error <= self.volume_error
        return one.dice >= self.dice and near

    def __str__(self) -> str:
        volume = "" if self.volume_error is None else f", {self.volume_error:.0%} of the volume"
        return f"a Dice of {self.dice}{volume} and {self.score_error} of a score"


@dataclass
class Comparison:
    """Results served exactly and otherwise, as they come.

    Attributes:
        windows: how many each had, a pair a result.
        windows_s: seconds of a window of each.
    """

    windows: list[tuple[int, int]] = field(default_factory=list)
    windows_s: list[tuple[float, float]] = field(default_factory=list)
    _found: dict[tuple[Subset, str], list[OutputAgreement]] = field(default_factory=dict)

    def add(self, real: Subset, expected: Result, actual: Result) -> None:
        """One study with these modalities, served exactly and otherwise."""
        self.windows.append((expected.windows, actual.windows))
        self.windows_s.append((_window_s(expected), _window_s(actual)))
        for one in chain(_masks(real, expected, actual), _scores(real, expected, actual)):
            self._found.setdefault((one.real, one.output), []).append(one)

    @property
    def agreement(self) -> tuple[OutputAgreement, ...]:
        """The worst of all studies for each subset and output, as they came."""
        return tuple(_worst(found) for found in self._found.values())


def compare(
    bundle: Bundle,
    studies: Iterable[Study],
    serve: Callable[[Study, FillPolicy | None], tuple[Result, Result]],
    say: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Compare both ways on every study, in every subset of :func:`subsets_of`.

    Args:
        studies: brains on one grid each, at least one.
        serve: a study's result served exactly, and otherwise.
        say: told in a few words what is being done.

    Raises:
        InvalidInput: a study that the task cannot be run on.
        ParityFailed: no study has all of the task's modalities.
    """
    found, complete = Comparison(), False
    fill: FillPolicy | None = None if bundle.manifest.templates else "zeros"
    for number, study in enumerate(studies, start=1):
        complete |= all(study.volume(m) is not None for m in bundle.task.modalities)
        for real in subsets_of(study, bundle.task):
            say(f"study {number}, {', '.join(real)}")
            part = Study.of([v for v in study.volumes if v.modality in real])
            found.add(real, *serve(part, fill))
    if not complete:
        raise none_complete(bundle.task)
    return found


def none_complete(task: Task) -> ParityFailed:
    """That no study has all of a task's modalities."""
    return ParityFailed(
        f"no study has all of {', '.join(task.modalities)}",
        remedy="Give one that has them, beside others",
    )


def subsets_of(study: Study, task: Task) -> tuple[Subset, ...]:
    """All modalities of a study, all but one, each alone; what the task requires always there."""
    held = tuple(m for m in task.modalities if study.volume(m) is not None)
    required = {channel.modality for channel in task.channels if channel.required}
    but_one = (tuple(m for m in held if m is not left) for left in held)
    every = (held, *but_one, *((m,) for m in held))
    return tuple(dict.fromkeys(part for part in every if part and required <= set(part)))


def check_agreement(agreement: Sequence[OutputAgreement], gate: Gate) -> None:
    """See that what was compared is near enough, and enough.

    Raises:
        ParityFailed: an output differs by more than is allowed, or no study shows it.
    """
    failed = sorted((one for one in agreement if not gate.holds(one)), key=_nearness)
    if failed:
        more = f"; and {len(failed) - _MOST_TOLD} more" if len(failed) > _MOST_TOLD else ""
        raise ParityFailed(
            "; ".join(map(as_text, failed[:_MOST_TOLD])) + f"{more}; allowed are {gate}",
            remedy=f"Nothing was written; {gate.instead}",
        )
    judged = {one.output for one in agreement if one.studies}
    unseen = sorted({one.output for one in agreement} - judged)
    if unseen:
        raise ParityFailed(
            f"no study shows {LEAST_ML:g} mL of {', '.join(unseen)}, which cannot be judged",
            remedy="Give studies that show all that the model looks for",
        )


def _nearness(one: OutputAgreement) -> float:
    """What is worst comes first."""
    return (one.dice or 0.0) - (one.score_error or 0.0)


def as_text(one: OutputAgreement) -> str:
    """One output with some modalities real, in a line."""
    start = f"{one.output} of {', '.join(one.real)}:"
    if one.score_error is not None:
        return f"{start} score {one.score_error:.4f} off"
    if one.dice is None or one.volume_error is None:
        return f"{start} under {LEAST_ML:g} mL, not judged"
    return f"{start} Dice {one.dice:.4f}, volume {one.volume_error:.2%} off"


def _masks(real: Subset, expected: Result, actual: Result) -> Iterator[OutputAgreement]:
    if expected.segmentation is None or actual.segmentation is None:
        return
    masks = zip(expected.segmentation.outputs, actual.segmentation.outputs, strict=True)
    measured = zip(expected.structures, actual.structures, strict=True)
    for (mask, other), (exact, near) in zip(masks, measured, strict=True):
        if max(exact.volume_ml, near.volume_ml) < LEAST_ML:
            yield OutputAgreement(real=real, output=exact.name, studies=0)
            continue
        both = exact.voxels + near.voxels
        off = abs(near.volume_ml - exact.volume_ml)
        yield OutputAgreement(
            real=real,
            output=exact.name,
            studies=1,
            dice=2 * int(np.count_nonzero(mask & other)) / both,
            volume_error=off / exact.volume_ml if exact.volume_ml else 1.0,
        )


def _scores(real: Subset, expected: Result, actual: Result) -> Iterator[OutputAgreement]:
    for exact, near in zip(expected.scores, actual.scores, strict=True):
        off = abs(near.score - exact.score)
        yield OutputAgreement(real=real, output=exact.name, studies=1, score_error=off)


def _worst(found: Sequence[OutputAgreement]) -> OutputAgreement:
    """Of the same subset and output in several studies."""
    return found[0].model_copy(
        update={
            "studies": sum(one.studies for one in found),
            "dice": min((one.dice for one in found if one.dice is not None), default=None),
            "volume_error": _largest(one.volume_error for one in found),
            "score_error": _largest(one.score_error for one in found),
        }
    )


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _window_s(result: Result) -> float:
    return result.seconds["infer"] / result.windows


@contextmanager
def served_in(bundle: Bundle, *, bfloat16: bool) -> Iterator[Predictor]:
    """One whose network is computed as told, proved or not, and has run a window already."""
    options = EngineOptions(precision=bundle.manifest.network.precision, bfloat16=bfloat16)

    def load(wanted: Bundle) -> Engine:
        own = options if wanted is bundle else EngineOptions()  # those that find brains
        return load_engine(wanted.forms, ENGINE, own)

    worker = Worker(NetworkCache(load, engine=ENGINE, warm_up=True))
    try:
        yield Predictor(bundle, worker)
    finally:
        worker.close()
