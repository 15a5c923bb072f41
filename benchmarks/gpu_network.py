"""The network alone on a device: golden values, the engines' contract, milliseconds a window."""

from __future__ import annotations

import importlib.util
import inspect
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from gpu_bundles import DEMO, ROOT, Made
from gpu_report import Report
from torch import nn

from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import EngineUnavailable
from brainmvp_models.manifest import Precision
from brainmvp_server.inference.engines import ENGINES, EngineOptions, check_engine, load_engine
from golden_networks import golden_image

GOLDEN = ROOT / "tests" / "training" / "networks" / "golden" / "segmentation_c4_o3.npz"
CONTRACT = ROOT / "tests" / "server" / "inference" / "engines" / "test_contract.py"
_COMPILES_S = 60
LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last_3d}


def golden_values(report: Report, made: Made, bundle: Bundle, engine: str) -> None:
    """The released size against the published network's values; another against PyTorch's own."""
    loaded = load_engine(bundle.forms, engine)
    image = golden_image()
    actual = loaded.infer(image.numpy()).copy()
    loaded.close()
    if made.size == "released":
        with np.load(GOLDEN) as file:
            expected = file["logits"]
        actual = actual[0, :, ::8, ::8, ::8]
    else:
        with torch.inference_mode():
            expected = made.network(image).numpy()
    error = float(np.abs(actual - expected).max() / expected.std())
    report.add(f"golden values, {made.size}, fp32", error, "of a deviation", "largest difference")


def contract(report: Report, bundle: Bundle, engine: str) -> None:
    """The tests of the contract suite that ask nothing but an engine and windows."""
    spec = importlib.util.spec_from_file_location("test_contract", CONTRACT)
    assert spec is not None and spec.loader is not None
    suite = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(suite)
    given = {
        "engine": load_engine(bundle.forms, engine, EngineOptions(windows=2)),
        "windows": np.random.default_rng(0).random((2, *suite.WINDOW), dtype=np.float32),
    }
    passed = 0
    for name, test in vars(suite).items():
        if name.startswith("test_") and {"engine"} <= set(inspect.signature(test).parameters):
            wanted = inspect.signature(test).parameters
            if set(wanted) <= set(given):
                with report.part(name):
                    test(**{key: given[key] for key in wanted})
                    passed += 1
    given["engine"].close()
    report.add(f"tests of the contract passed by {engine}", passed)


def eager(
    report: Report, made: Made, precision: Precision, device: str, batches: tuple[int, ...]
) -> None:
    """PyTorch without anything of ours, in both layouts."""
    for layout, form in LAYOUTS.items():
        network = _placed(made.in_precision(precision), device, form)
        _milliseconds(report, f"eager {precision}, {layout}", network, device, batches, form)
    _placed(made.network, "cpu", torch.contiguous_format)


def compiled(
    report: Report, made: Made, precision: Precision, device: str, batches: tuple[int, ...]
) -> None:
    """``torch.compile`` in channels last, and what its first calls cost."""
    form = torch.channels_last_3d
    network = torch.compile(_placed(made.in_precision(precision), device, form))
    for count in batches:
        if report.seconds_left < _COMPILES_S:
            report.add(f"torch.compile {precision}, batch {count}", None, note="left out: no time")
            return
        start = time.monotonic()
        with torch.inference_mode():
            network(_image(made, count).to(device, memory_format=form))
        _settle(device)
        report.add(
            f"torch.compile {precision}, batch {count}, start-up", time.monotonic() - start, "s"
        )
        _milliseconds(report, f"torch.compile {precision}", network, device, (count,), form)
    _placed(made.network, "cpu", torch.contiguous_format)


def our_engine(
    report: Report, bundle: Bundle, name: str, batches: tuple[int, ...], what: str = ""
) -> None:
    """An engine of ours, copies to the device and back included."""
    network = bundle.manifest.network
    task = bundle.task
    _reset(name)
    start = time.monotonic()
    options = EngineOptions(windows=max(batches), precision=network.precision)
    engine = load_engine(bundle.forms, name, options)
    label = what or f"engine {name}, {network.size}, {network.precision}"
    report.add(f"{label}: loaded", time.monotonic() - start, "s")
    try:
        for count in batches:
            windows = np.random.default_rng(0).random(
                (count, len(task.channels), *task.window.size), dtype=np.float32
            )
            start = time.monotonic()
            engine.infer(windows)
            first = time.monotonic() - start
            taken = _median(lambda: engine.infer(windows), lambda: None)  # noqa: B023
            note = f"first call {first:.2f} s"
            report.add(f"{label}, batch {count}", 1000 * taken / count, "ms", note)
        if torch.cuda.is_available():
            report.add(f"{label}: peak memory", torch.cuda.max_memory_reserved() / 2**20, "MB")
    finally:
        engine.close()


def other_engines(report: Report, cache: Path, batches: tuple[int, ...]) -> None:
    """Each engine that there is on the ONNX file of ``demo-glioma``; or why it does not load."""
    bundle = Bundle.open(DEMO)
    for name, known in ENGINES.items():
        if ".onnx" not in known.reads:
            continue
        try:
            check_engine(name)
        except EngineUnavailable as error:
            report.add(f"engine {name}", None, note=error.problem)
            continue
        with report.part(f"engine {name}"):
            load_engine(bundle.forms, name, EngineOptions(cache=cache, windows=1)).close()
            our_engine(report, bundle, name, batches)


def _milliseconds(
    report: Report,
    what: str,
    network: Callable[[torch.Tensor], torch.Tensor],
    device: str,
    batches: tuple[int, ...],
    form: torch.memory_format,
) -> None:
    for count in batches:
        _reset(device)
        image = torch.rand(count, 4, 96, 96, 96).to(device, memory_format=form)
        flags = torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False)
        with report.part(f"{what}, batch {count}"), torch.inference_mode(), flags:
            taken = _median(lambda: network(image), lambda: _settle(device))  # noqa: B023
            peak = torch.cuda.max_memory_reserved() / 2**20 if device == "cuda" else 0
            note = f"peak {peak:.0f} MB" if peak else ""
            report.add(f"{what}, batch {count}", 1000 * taken / count, "ms", note)


def _median(call: Callable[[], object], settle: Callable[[], None], seconds: float = 1.0) -> float:
    """Seconds a call takes: the median of at least three, after one to warm up."""
    taken: list[float] = []
    call()
    settle()
    while len(taken) < 3 or (sum(taken) < seconds and len(taken) < 30):
        start = time.monotonic()
        call()
        settle()
        taken.append(time.monotonic() - start)
    return statistics.median(taken)


def _placed(network: nn.Module, device: str, form: torch.memory_format) -> nn.Module:
    """The network itself on a device, the weights of its convolutions in a layout."""
    for weight in network.to(device).parameters():
        if weight.ndim == 5:
            weight.data = weight.data.contiguous(memory_format=form)
    return network


def _image(made: Made, count: int) -> torch.Tensor:
    return torch.rand(count, len(made.task.channels), *made.task.window.size)


def _settle(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _reset(device: str) -> None:
    if device in ("cuda", "torch"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
