"""One study, ours against the published pipeline, in one run: a table of ratios.

    python benchmarks/study.py [--write]

The two sides run in turn, each in a process of its own; figures are medians. ``--write`` keeps the
table in ``docs/performance.md``.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from inputs import write_bundle, write_checkpoint, write_study
from numpy.typing import NDArray
from tables import keep

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"


@dataclass(frozen=True)
class Row:
    """One comparison; ``ratio`` is how many times less ours takes."""

    what: str
    published: str
    ours: str
    ratio: float
    target: float

    def __str__(self) -> str:
        met = "yes" if self.ratio >= self.target else "**no**"
        return (
            f"| {self.what} | {self.published} | {self.ours} | {self.ratio:.2f} × "
            f"| {self.target:g} × | {met} |"
        )


@dataclass(frozen=True)
class Run:
    """What one process measured."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    stages: dict[str, float]


def run(script: str, *arguments: object, limit_s: float | None = None) -> Run:
    """Run one side in a process of its own; the median of its repetitions but the first.

    Raises:
        CalledProcessError: it failed; ``stderr`` says how.
        TimeoutExpired: it took longer than it may.
    """
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=limit_s)
    report: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    clock, cpu = (
        statistics.median(report[what][1:] or report[what]) for what in ("seconds", "cpu_seconds")
    )
    return Run(clock, cpu, report["peak_mb"], report["stages"])


def in_turn(times: int, one: list[object], two: list[object]) -> tuple[list[Run], list[Run]]:
    """A B A B …: noise of the machine hits both."""
    first, second = [], []
    for _ in range(times):
        first.append(run(*one))  # type: ignore[arg-type]
        second.append(run(*two))  # type: ignore[arg-type]
    return first, second


def median(runs: list[Run]) -> float:
    return statistics.median(entry.seconds for entry in runs)


def window_rows(checkpoint: Path, network: Path, times: int) -> list[Row]:
    """One window: PyTorch eager against each engine."""
    import torch

    from brainmvp_models.task import load_task
    from brainmvp_server.inference.engines import load_engine
    from brainmvp_training.checkpoint import load_network, read_checkpoint

    eager = load_network(read_checkpoint(checkpoint), load_task("upenn-gbm"))
    window = np.random.default_rng(0).random((1, 4, 96, 96, 96), dtype=np.float32)
    targets = {"openvino": 2.5, "onnxruntime": 1.0}
    engines = {name: load_engine(network, name) for name in targets}
    taken: dict[str, list[float]] = {name: [] for name in ("eager", *engines)}
    for _ in range(times + 1):
        with torch.inference_mode():
            start = time.perf_counter()
            eager(torch.from_numpy(window))
            taken["eager"].append(time.perf_counter() - start)
        for name, engine in engines.items():
            start = time.perf_counter()
            engine.infer(window)
            taken[name].append(time.perf_counter() - start)
    typical = {name: statistics.median(values[1:]) for name, values in taken.items()}
    return [
        Row(
            f"network, one window, {name}",
            f"{typical['eager']:.2f} s",
            f"{typical[name]:.2f} s",
            typical["eager"] / typical[name],
            targets[name],
        )
        for name in engines
    ]


def pipeline_row(
    what: str, study: Path, out: Path, bundle: Path, times: int
) -> tuple[Row, dict[str, float]]:
    """Everything but the network."""
    theirs, ours = in_turn(
        times,
        ["published.py", study, out, "--repeat", 5],
        ["ours.py", study, out, bundle, "--no-network", "--repeat", 5],
    )
    one, two = median(theirs), median(ours)
    return Row(what, f"{one:.2f} s", f"{two:.2f} s", one / two, 3.0), ours[-1].stages


def whole_rows(study: Path, out: Path, checkpoint: Path, bundle: Path, times: int) -> list[Row]:
    """The whole way with the network: time, memory, and whether the masks agree."""
    theirs, ours = in_turn(
        times,
        ["published.py", study, out, "--network", checkpoint],
        ["ours.py", study, out, bundle],
    )
    masks = [np.asarray(nib.load(path).dataobj) for path in sorted(out.glob("*.nii.gz"))]
    agree = agreement(masks[0], masks[1])
    one, two = median(theirs), median(ours)
    peaks = [max(entry.peak_mb for entry in runs) for runs in (theirs, ours)]
    return [
        Row(f"end to end, crop, masks agree to {agree:.5f}", f"{one:.1f} s", f"{two:.1f} s",
            one / two, 2.3),
        Row("peak memory of that", f"{peaks[0]:.0f} MB", f"{peaks[1]:.0f} MB",
            peaks[0] / peaks[1], 1.0),
    ]  # fmt: skip


def agreement(one: NDArray[np.uint8], two: NDArray[np.uint8]) -> float:
    """Dice of the voxels that have the same label; 1 where neither has any."""
    both = np.count_nonzero(one) + np.count_nonzero(two)
    return 2 * np.count_nonzero((one == two) & (one > 0)) / both if both else 1.0


def start_row(models: Path, times: int) -> Row:
    """``brainmvp serve`` until ready, against ``import monai``."""
    monai, ready = [], []
    for _ in range(times):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import monai"], check=True)
        monai.append(time.perf_counter() - start)
        ready.append(seconds_until_ready(models))
    one, two = statistics.median(monai), statistics.median(ready)
    what = "server ready, the demo network in memory, against `import monai`"
    return Row(what, f"{one:.2f} s", f"{two:.2f} s", one / two, 1.0)


def seconds_until_ready(models: Path) -> float:
    """Start the server, ask until it is ready, stop it."""
    import httpx

    command = [sys.executable, "-m", "brainmvp_clients.cli", "serve", "--models", str(models)]
    start = time.perf_counter()
    with subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("listening on "):
                break
        with httpx.Client(base_url=line.split()[-1]) as http:
            while not http.get("/health/ready").is_success:
                time.sleep(0.01)
        taken = time.perf_counter() - start
        process.terminate()
    return taken


def measure(size: str, crop: tuple[int, int, int], times: int, scratch: Path) -> list[str]:
    """Every row, and where our own time goes."""
    checkpoint, out = scratch / "checkpoint.pt", scratch / "out"
    out.mkdir()
    write_checkpoint(size, checkpoint)
    bundle = write_bundle(checkpoint, scratch / "bundles")
    for name, box, oblique in (
        ("full", None, False),
        ("turned", None, True),
        ("crop", crop, False),
    ):
        (scratch / name).mkdir()
        write_study(scratch / name, box, oblique=oblique)
    say("network")
    rows = window_rows(checkpoint, bundle.network, times)
    say("everything but the network")
    grid = "4 × 240 × 240 × 155"
    row, stages = pipeline_row(
        f"all but the network, {grid}", scratch / "full", out, bundle.root, times
    )
    turned, _ = pipeline_row(
        "the same, oblique and anisotropic", scratch / "turned", out, bundle.root, times
    )
    say("end to end")
    for old in out.iterdir():
        old.unlink()
    rows += [row, turned, *whole_rows(scratch / "crop", out, checkpoint, bundle.root, times)]
    say("start-up")
    rows.append(start_row(HERE.parent / "examples" / "bundles", times))
    spent = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in stages.items())
    return [
        f"Network size {size}; the crop is 4 × {' × '.join(map(str, crop))}; median of {times}.",
        "",
        "| what | published pipeline | ours | ratio | target | met |",
        "| --- | --- | --- | --- | --- | --- |",
        *map(str, rows),
        "",
        f"Our seconds by stage, {grid}, network replaced by a copy: {spent}.",
        "",
        machine(),
    ]


def machine() -> str:
    """What it ran on."""
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    names = ("torch", "monai", "openvino", "onnxruntime", "numpy")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    return f"{date.today()}, {cpu}, Python {platform.python_version()}, {versions}."


def say(text: str) -> None:
    print(f"measuring: {text}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="released", choices=("released", "tiny"))
    parser.add_argument("--crop", type=int, nargs=3, default=(160, 144, 96))
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="keep the table in the docs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        table = measure(options.size, tuple(options.crop), options.times, Path(scratch))
    print("\n".join(table))
    if options.write:
        keep(table, PAGE, "table")


if __name__ == "__main__":
    main()
