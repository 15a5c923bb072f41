"""Prove an exported network equal to its checkpoint, on real windows, in every engine here."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from brainmvp_models.errors import ParityFailed
from brainmvp_models.manifest import Parity
from brainmvp_models.modality import Modality
from brainmvp_models.task import RegionOutputs, Task
from brainmvp_models.templates import TemplateBank
from brainmvp_server.imaging.nifti import read_nifti
from brainmvp_server.imaging.study import Study, read_study
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.inference.engines import installed_engines, load_engine
from brainmvp_server.inference.fill import fill_channels
from brainmvp_server.inference.preprocess import prepare
from brainmvp_server.inference.windows import WindowPlan

Precision = Literal["fp32", "fp16"]
Array = NDArray[np.float32]

TOLERANCE: dict[Precision, float] = {"fp32": 1e-3, "fp16": 5e-2}
"""Largest allowed difference of a logit, over the standard deviation of all logits."""

AGREEMENT = 0.999
"""Smallest allowed Dice of the thresholded outputs, or share of equal classes."""

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


def real_windows(
    task: Task, bank: TemplateBank, files: Mapping[Modality, Path] | None, count: int = 2
) -> Array:
    """Windows (N, C, h, w, d) as the served pipeline cuts them, spread over a real scan.

    Args:
        files: the study to cut; without one, :func:`packaged_study`.
    """
    study = read_study(files) if files else packaged_study(task)
    policy = task.filling.policy if bank.volumes else "zeros"
    if policy == "grid":  # whatever grid the scan has, a window needs only realistic content
        policy = "center"
    channels = fill_channels(prepare(study, task.preprocessing), task, bank, policy)
    plan = WindowPlan.of(channels.image.shape[1:], task.window)
    places = list(plan.slices())
    chosen = np.linspace(0, len(places) - 1, min(count, len(places))).astype(int)
    padded = plan.pad(channels.image)
    return np.stack([padded[(slice(None), *places[index])] for index in chosen])


def logits_of(network: nn.Module, windows: Array) -> Array:
    """The network's logits in PyTorch, one window at a time."""
    with torch.inference_mode():
        parts = [network(torch.from_numpy(window[np.newaxis])) for window in windows]
    return torch.cat(parts).numpy()


def check_parity(
    expected: Array, onnx_file: Path, windows: Array, task: Task, precision: Precision
) -> tuple[Parity, ...]:
    """Compare every installed engine with the checkpoint's own logits.

    Raises:
        ParityFailed: an engine misses the tolerance, or none is installed to check with.
    """
    engines = installed_engines()
    if not engines:
        raise ParityFailed(
            "no engine is installed to check with",
            remedy="Install one: pip install 'brainmvp[cpu]'",
        )
    reports = tuple(
        _compared(name, _engine_logits(name, onnx_file, windows), expected, task, precision)
        for name in engines
    )
    failed = [r for r in reports if not _holds(r)]
    if failed:
        what = "; ".join(
            f"{r.engine}: error {r.max_error:.2e} of a deviation, agreement {r.agreement:.4f}"
            for r in failed
        )
        raise ParityFailed(
            f"{what}, where at most {TOLERANCE[precision]:g} and at least {AGREEMENT} are allowed",
            remedy="Nothing was written; try --precision fp32, and report it if that fails too",
        )
    return reports


def _holds(report: Parity) -> bool:
    return report.max_error <= report.tolerance and report.agreement >= AGREEMENT


def _engine_logits(name: str, onnx_file: Path, windows: Array) -> Array:
    engine = load_engine(onnx_file, name)
    try:
        return np.concatenate([engine.infer(window[np.newaxis]).copy() for window in windows])
    finally:
        engine.close()


def _compared(
    engine: str, actual: Array, expected: Array, task: Task, precision: Precision
) -> Parity:
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
        tolerance=TOLERANCE[precision],
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
