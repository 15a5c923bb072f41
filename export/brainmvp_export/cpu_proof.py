"""Prove that a CPU may compute a bundle's network in bfloat16, by serving both ways.

Every study goes through the pipeline that serves, in float32 and in bfloat16 in turn: with all its
modalities, without each of them, and with each alone.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from itertools import chain

import numpy as np

from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import EngineUnavailable, ParityFailed
from brainmvp_models.manifest import CpuKind, CpuProof, OutputAgreement
from brainmvp_models.modality import Modality
from brainmvp_models.task import FillPolicy, Task
from brainmvp_server.imaging.study import Study
from brainmvp_server.inference.engines import Engine, EngineOptions, load_engine
from brainmvp_server.inference.network_cache import NetworkCache
from brainmvp_server.inference.result import Result
from brainmvp_server.inference.worker import Worker
from brainmvp_server.preparation.predictor import Predictor

ENGINE = "openvino"
LEAST_DICE, MOST_VOLUME_ERROR, MOST_SCORE_ERROR = 0.995, 0.01, 0.01
LEAST_ML = 1.0
"""Of an output in one of the two masks; in a smaller one a single voxel weighs too much."""

Subset = tuple[Modality, ...]


@dataclass
class Comparison:
    """Results in float32 and bfloat16, as they come.

    Attributes:
        windows_s: seconds of a window in float32 and in bfloat16, a pair a result.
    """

    windows_s: list[tuple[float, float]] = field(default_factory=list)
    _found: dict[tuple[Subset, str], list[OutputAgreement]] = field(default_factory=dict)

    def add(self, real: Subset, expected: Result, actual: Result) -> None:
        """One study with these modalities, in float32 and in bfloat16."""
        self.windows_s.append((_window_s(expected), _window_s(actual)))
        for one in chain(_masks(real, expected, actual), _scores(real, expected, actual)):
            self._found.setdefault((one.real, one.output), []).append(one)

    @property
    def agreement(self) -> tuple[OutputAgreement, ...]:
        """The worst of all studies for each subset and output, as they came."""
        return tuple(_worst(found) for found in self._found.values())


def prove_on_cpu(
    bundle: Bundle,
    studies: Iterable[Study],
    kind: CpuKind,
    say: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Compare a network in bfloat16 with float32 on this CPU.

    Args:
        studies: brains on one grid each, at least one.
        kind: of this CPU.
        say: told in a few words what is being done.

    Raises:
        EngineUnavailable: the network is in INT8, the bundle no model, or OpenVINO not installed.
        InvalidInput: a study that the task cannot be run on.
        ParityFailed: no study has all of the task's modalities.
    """
    manifest = bundle.manifest
    if manifest.kind != "model" or manifest.network.precision == "int8":
        raise EngineUnavailable(
            "only a model whose network is not in INT8 is computed in bfloat16",
            remedy="Give the bundle of such a model",
            subject=manifest.name,
        )
    found, complete = Comparison(), False
    fill: FillPolicy | None = None if manifest.templates else "zeros"
    with served_in(bundle, bfloat16=False) as exact, served_in(bundle, bfloat16=True) as rounded:
        both = exact, rounded
        for number, study in enumerate(studies, start=1):
            complete |= all(study.volume(m) is not None for m in bundle.task.modalities)
            for real in subsets_of(study, bundle.task):
                say(f"study {number}, {', '.join(real)}, on {kind}")
                part = Study.of([v for v in study.volumes if v.modality in real])
                served = (predictor.predict_study(part, fill=fill) for predictor in both)
                found.add(real, *served)
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


def check_agreement(agreement: Sequence[OutputAgreement]) -> None:
    """See that what was compared is near enough, and enough.

    Raises:
        ParityFailed: an output differs by more than is allowed, or no study shows it.
    """
    failed = [one for one in agreement if not _holds(one)]
    if failed:
        raise ParityFailed(
            "; ".join(map(as_text, failed)) + f"; allowed are a Dice of {LEAST_DICE}, "
            f"{MOST_VOLUME_ERROR:.0%} of the volume and {MOST_SCORE_ERROR} of a score",
            remedy="Nothing was written; serve this bundle in fp32",
        )
    judged = {one.output for one in agreement if one.studies}
    unseen = sorted({one.output for one in agreement} - judged)
    if unseen:
        raise ParityFailed(
            f"no study shows {LEAST_ML:g} mL of {', '.join(unseen)}, which cannot be judged",
            remedy="Give studies that show all that the model looks for",
        )


def proof_of(
    found: Comparison, kind: CpuKind, studies: int, *, packaged: bool, command: str
) -> CpuProof:
    """The proof that a comparison is, once it is near enough.

    Raises:
        ParityFailed: it is not; see :func:`check_agreement`.
    """
    check_agreement(found.agreement)
    exact, rounded = (statistics.median(side) for side in zip(*found.windows_s, strict=True))
    return CpuProof(
        cpu=kind,
        runtime=f"{ENGINE} {metadata.version(ENGINE)}",
        scans="packaged" if packaged else "given",
        studies=studies,
        agreement=found.agreement,
        fp32_window_s=round(exact, 4),
        window_s=round(rounded, 4),
        command=command,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def as_text(one: OutputAgreement) -> str:
    """One output with some modalities real, in a line."""
    start = f"{one.output} of {', '.join(one.real)}:"
    if one.score_error is not None:
        return f"{start} score {one.score_error:.4f} off"
    if one.dice is None or one.volume_error is None:
        return f"{start} under {LEAST_ML:g} mL, not judged"
    return f"{start} Dice {one.dice:.4f}, volume {one.volume_error:.2%} off"


def _holds(one: OutputAgreement) -> bool:
    if one.score_error is not None:
        return one.score_error <= MOST_SCORE_ERROR
    if one.dice is None or one.volume_error is None:
        return True
    return one.dice >= LEAST_DICE and one.volume_error <= MOST_VOLUME_ERROR


def _masks(real: Subset, expected: Result, actual: Result) -> Iterator[OutputAgreement]:
    if expected.segmentation is None or actual.segmentation is None:
        return
    masks = zip(expected.segmentation.outputs, actual.segmentation.outputs, strict=True)
    measured = zip(expected.structures, actual.structures, strict=True)
    for (mask, other), (exact, rounded) in zip(masks, measured, strict=True):
        if max(exact.volume_ml, rounded.volume_ml) < LEAST_ML:
            yield OutputAgreement(real=real, output=exact.name, studies=0)
            continue
        both = exact.voxels + rounded.voxels
        off = abs(rounded.volume_ml - exact.volume_ml)
        yield OutputAgreement(
            real=real,
            output=exact.name,
            studies=1,
            dice=2 * int(np.count_nonzero(mask & other)) / both,
            volume_error=off / exact.volume_ml if exact.volume_ml else 1.0,
        )


def _scores(real: Subset, expected: Result, actual: Result) -> Iterator[OutputAgreement]:
    for exact, rounded in zip(expected.scores, actual.scores, strict=True):
        off = abs(rounded.score - exact.score)
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
