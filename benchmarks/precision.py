"""One window in each precision on this CPU, in turn, of a network with reproducible weights."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from inputs import write_checkpoint
from study import PAGE, machine
from tables import keep

from brainmvp_export.onnx import write_onnx
from brainmvp_export.rewrite import HalfPrecision, rewritten
from brainmvp_models.task import load_task
from brainmvp_server.inference.cpu_precision import cpu_kind
from brainmvp_server.inference.engines import EngineOptions, load_engine
from brainmvp_training.checkpoint import load_network, read_checkpoint


def write_networks(size: str, folder: Path) -> dict[str, Path]:
    """The same network in each precision; bf16, where this CPU has it, is computed from fp32's."""
    task = load_task("upenn-gbm")
    write_checkpoint(size, folder / "checkpoint.pt")
    network = rewritten(load_network(read_checkpoint(folder / "checkpoint.pt"), task))
    files = {name: folder / f"{name}.onnx" for name in ("fp32", "fp16")}
    write_onnx(network, len(task.channels), task.window, files["fp32"])
    write_onnx(HalfPrecision(network).eval(), len(task.channels), task.window, files["fp16"])
    return {**files, "bf16": files["fp32"]} if cpu_kind() else files


def seconds(files: dict[str, Path], times: int) -> dict[str, list[float]]:
    """What a window takes in each, one after the other, the first round left out."""
    engines = {
        name: load_engine(path, "openvino", EngineOptions(bfloat16=name == "bf16"))
        for name, path in files.items()
    }
    window = np.random.default_rng(0).random((1, 4, 96, 96, 96), dtype=np.float32)
    taken: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(times + 1):
        for name, engine in engines.items():
            start = time.perf_counter()
            engine.infer(window)
            taken[name].append(time.perf_counter() - start)
    return {name: values[1:] for name, values in taken.items()}


def speed_rows(size: str, times: int, folder: Path) -> list[str]:
    """Medians, sizes and the ratio of each round, whose noise both sides share."""
    files = write_networks(size, folder)
    taken = seconds(files, times)
    rows = []
    for name, path in files.items():
        ratios = [one / other for one, other in zip(taken["fp32"], taken[name], strict=True)]
        spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
        held = path.stat().st_size
        rows.append(
            f"| {name} | {statistics.median(taken[name]):.2f} s "
            f"| {statistics.median(ratios):.2f} × {spread} | {held / 1e6:.0f} MB |"
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="released", choices=("released", "tiny"))
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument("--write", action="store_true", help="keep the table in the docs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rows = speed_rows(options.size, options.times, Path(scratch))
    table = [
        f"OpenVINO, network size {options.size}, one window; medians of {options.times} rounds. "
        f"Instructions for bfloat16: {cpu_kind() or 'none'}.",
        "",
        "| precision | one window | against fp32, round by round | network |",
        "| --- | --- | --- | --- |",
        *rows,
        "",
        machine(),
    ]
    print("\n".join(table))
    if options.write:
        keep(table, PAGE, "precision")


if __name__ == "__main__":
    main()
