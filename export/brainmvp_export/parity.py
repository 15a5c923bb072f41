"""Prove an exported network equal to its checkpoint, on real windows, in every engine here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.errors import ParityFailed
from brainmvp_models.manifest import Parity, Precision
from brainmvp_models.modality import Modality
from brainmvp_models.task import RegionOutputs, Task
from brainmvp_models.templates import TemplateBank
from brainmvp_server.imaging.nifti import read_nifti
from brainmvp_server.imaging.study import Study, read_study
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.inference.engines import (
    ENGINES,
    EngineOptions,
    installed_engines,
    load_engine,
)
from brainmvp_server.inference.fill import fill_channels
from brainmvp_server.inference.preprocess import prepare
from brainmvp_server.inference.windows import WindowPlan

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Limits:
    """What an engine must keep to.

    Attributes:
        error: largest difference of a logit, over the standard deviation of all logits.
        agreement: smallest Dice of the thresholded outputs, or share of equal classes.
    """

    error: float
    agreement: float


LIMITS: dict[Precision, Limits] = {
    "fp32": Limits(error=1e-3, agreement=0.999),
    "fp16": Limits(error=5e-2, agreement=0.999),
    "bf16": Limits(error=0.5, agreement=0.999),
}

_DARK_TISSUE_BRIGHT = {Modality.T2, Modality.FLAIR, Modality.DWI, Modality.ADC}


def packaged_study(task: Task) -> Study:
    """Colin27's brain for every channel of a task.

    The T1 itself for T1-like channels; for T2-like ones with its contrast turned round, so that
    channels differ as they do in a patient.
    """
    source = resources.files("brainmvp_export") / "data" / "colin27_t1_crop.nii.gz"
    with resources.as_file(source) as path:
        scan = read_nifti(path, Modality.T1)
    return Study.of([_as_contrast(scan, modality) for modality in task.modalities])


def real_windows(task: Task, bank: TemplateBank, files: Mapping[Modality, Path] | None) -> Array:
    """First and last window of a real scan, (N, C, h, w, d), as the served pipeline cuts them.

    Args:
        files: the study to cut; without one, :func:`packaged_study`.
    """
    study = read_study(files) if files else packaged_study(task)
    policy = task.filling.policy if bank.volumes else "zeros"
    if policy in ("grid", "register"):  # wherever the scan lies, its content is realistic enough
        policy = "center"
    image, _ = fill_channels(prepare(study, task.preprocessing), task, bank, policy)
    plan = WindowPlan.of(image.shape[1:], task.window)
    places = list(plan.slices())
    padded = plan.pad(image)
    chosen = places if len(places) == 1 else (places[0], places[-1])
    return np.stack([padded[(slice(None), *place)] for place in chosen])


def check_parity(
    expected: Array, file: Path, windows: Array, task: Task, precision: Precision
) -> tuple[Parity, ...]:
    """Compare every engine on this CPU that loads ``file`` with the checkpoint's own logits.

    Raises:
        ParityFailed: an engine misses the tolerance, or none is installed to check with.
    """
    engines = [name for name in installed_engines(file, precision) if not ENGINES[name].on_gpu]
    if not engines:
        raise ParityFailed(
            "no engine is installed to check with",
            remedy="Install one: pip install 'brainmvp[cpu]'",
        )
    options = EngineOptions(precision=precision)
    reports = tuple(
        compared(name, logits_in(file, name, windows, options), expected, task, LIMITS[precision])
        for name in engines
    )
    _judge(reports, LIMITS[precision])
    return reports


def judged(name: str, actual: Array, expected: Array, task: Task, precision: Precision) -> Parity:
    """One engine's logits against others, within the limits of ``precision``.

    Raises:
        ParityFailed: they differ by more.
    """
    report = compared(name, actual, expected, task, LIMITS[precision])
    _judge((report,), LIMITS[precision])
    return report


def judged_on_gpu(
    name: str, actual: Array, expected: Array, task: Task, precision: Precision
) -> Parity:
    """The same for an engine on a GPU, which sums in another order: fp32 is allowed fp16's limits.

    Raises:
        ParityFailed: they differ by more.
    """
    return judged(name, actual, expected, task, "fp16" if precision == "fp32" else precision)


def _judge(reports: Sequence[Parity], limits: Limits) -> None:
    failed = [r for r in reports if not _holds(r, limits)]
    if not failed:
        return
    what = "; ".join(
        f"{r.engine}: error {r.max_error:.2e} of a deviation, agreement {r.agreement:.4f}"
        for r in failed
    )
    raise ParityFailed(
        f"{what}, where at most {limits.error:g} and at least {limits.agreement} are allowed",
        remedy="Nothing was written; give scans that show what the task looks for with --study, "
        "or try --precision fp32, and report it if that fails too",
    )


def _holds(report: Parity, limits: Limits) -> bool:
    return report.max_error <= limits.error and report.agreement >= limits.agreement


def logits_in(
    network: Path | Sequence[Path],
    name: str,
    windows: Array,
    options: EngineOptions = EngineOptions(),
) -> Array:
    """The logits that an engine gives, one window at a time.

    Raises:
        EngineUnavailable: it cannot load the network.
    """
    engine = load_engine(network, name, options)
    try:
        return np.concatenate([engine.infer(window[np.newaxis]).copy() for window in windows])
    finally:
        engine.close()


def compared(engine: str, actual: Array, expected: Array, task: Task, limits: Limits) -> Parity:
    """How far an engine's logits are from the expected ones.

    Raises:
        ParityFailed: their shapes differ.
    """
    if actual.shape != expected.shape:
        raise ParityFailed(
            f"{engine} gives logits of shape {actual.shape}, the checkpoint {expected.shape}",
            remedy="Nothing was written; please report it",
        )
    deviation = float(expected.std()) or 1.0
    error = float(np.abs(actual - expected).max()) / deviation
    return Parity(
        engine=engine,
        windows=len(expected),
        max_error=error if np.isfinite(error) else float(np.finfo(np.float32).max),
        tolerance=limits.error,
        agreement=_agreement(actual, expected, task),
    )


def _agreement(actual: Array, expected: Array, task: Task) -> float:
    if isinstance(task.outputs, RegionOutputs):
        one, two = actual > 0, expected > 0
        both = np.count_nonzero(one) + np.count_nonzero(two)
        return float(2 * np.count_nonzero(one & two) / both) if both else 1.0
    return float(np.mean(actual.argmax(axis=1) == expected.argmax(axis=1)))


def _as_contrast(scan: Volume, modality: Modality) -> Volume:
    stored = scan.stored
    if modality in _DARK_TISSUE_BRIGHT:
        stored = np.where(stored > 0, stored.max() + 1 - stored, 0).astype(stored.dtype, order="F")
    return Volume(
        modality=modality,
        stored=stored,
        slope=scan.slope,
        intercept=scan.intercept,
        grid=scan.grid,
        header=scan.header,
        digest=scan.digest,
    )
