"""One study with the network run in every usual way on a CPU: seconds, agreement, cost.

    python benchmarks/peers.py [--write]

Each way is a process of its own and they take turns. A peer is the published pipeline with its
network run otherwise; "plain export" is the same network as ONNX, as PyTorch writes it. Seconds
are of a study whose network is loaded and warm; a way that fails is named with its error.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from inputs import write_bundle, write_checkpoint, write_study
from numpy.typing import NDArray
from study import PAGE, Run, agreement, machine, run, say
from tables import keep

from brainmvp_export.onnx import write_onnx
from brainmvp_models.task import load_task
from brainmvp_server.inference.cpu_precision import cpu_kind
from brainmvp_training.checkpoint import load_network, read_checkpoint

WITHOUT = "AVX512_CORE_VNNI"
"""What oneDNN is told that the CPU has at most, where it is to do without bfloat16."""
LIMIT_S = 300.0
"""The most that one way may take, loading and compiling as well."""
ALIKE = 0.99
"""Least agreement with eager float32; less is another answer, however fast."""


@dataclass
class Way:
    """One way to run the network, and what came of it.

    Attributes:
        command: script and arguments; the folder for the mask is put in.
        isa: the most that oneDNN may use of the CPU; all by default.
        failed: what it said where it did not work.
    """

    name: str
    command: tuple[object, ...]
    isa: str = "DEFAULT"
    runs: list[Run] = field(default_factory=list)
    failed: str = ""
    mask: NDArray[np.uint8] | None = None

    def take(self, study: Path, out: Path) -> None:
        """Segment a study once more."""
        script, *rest = self.command
        out.mkdir()
        os.environ["ONEDNN_MAX_CPU_ISA"] = self.isa
        try:
            self.runs.append(run(str(script), study, out, *rest, limit_s=LIMIT_S))
        except subprocess.CalledProcessError as error:
            self.failed = f"failed: {error.stderr.strip().splitlines()[-1]}"
            return
        except subprocess.TimeoutExpired:
            self.failed = f"not done after {LIMIT_S:g} s"
            return
        (written,) = out.glob("*.nii.gz")
        self.mask = np.asarray(nib.load(written).dataobj)


def ways(checkpoint: Path, plain: Path, bundle: Path) -> list[Way]:
    """What is compared; the reference first."""

    def peer(name: str, way: str, file: Path, isa: str = "DEFAULT") -> Way:
        return Way(name, ("published.py", "--way", way, "--network", file), isa)

    without = "without its instructions"
    return [
        peer("PyTorch, float32", "eager", checkpoint),
        peer("`torch.compile`, float32", "compile", checkpoint),
        peer("ONNX Runtime, plain export, float32", "onnxruntime", plain),
        peer("OpenVINO, plain export, float32", "openvino", plain),
        Way("**ours, float32**", ("ours.py", bundle)),
        peer("PyTorch, bfloat16 (autocast)", "autocast", checkpoint),
        peer("the same, channels last", "autocast-channels-last", checkpoint),
        peer("`torch.compile`, bfloat16 (autocast)", "compile-autocast", checkpoint),
        peer("OpenVINO, plain export, bfloat16", "openvino-bf16", plain),
        Way("**ours, bfloat16**", ("ours.py", bundle, "--bfloat16")),
        peer(f"PyTorch, bfloat16 (autocast) {without}", "autocast", checkpoint, WITHOUT),
        Way(f"ours, bfloat16 {without}", ("ours.py", bundle, "--bfloat16"), WITHOUT),
    ]


def row(way: Way, first: Way) -> str:
    """One way against the reference, round by round."""
    if way.failed or way.mask is None or first.mask is None:
        return f"| {way.name} | {way.failed} | | | | | |"
    pairs = list(zip(first.runs, way.runs, strict=True))
    clock = statistics.median(one.seconds / other.seconds for one, other in pairs)
    cpu = statistics.median(one.cpu_seconds / other.cpu_seconds for one, other in pairs)
    spent = statistics.median(one.cpu_seconds for one in way.runs)
    alike = agreement(first.mask, way.mask)
    verdict = "" if alike >= ALIKE else ", too little"
    return (
        f"| {way.name} | {statistics.median(one.seconds for one in way.runs):.1f} s "
        f"| {spent:.1f} s | {clock:.2f} × | {cpu:.2f} × | {alike:.4f}{verdict} "
        f"| {3600 / spent:.0f} |"
    )


def measure(size: str, crop: tuple[int, int, int], times: int, scratch: Path) -> list[Way]:
    """All ways, in turn."""
    task, checkpoint, plain = load_task("upenn-gbm"), scratch / "one.pt", scratch / "plain.onnx"
    write_checkpoint(size, checkpoint)
    network = load_network(read_checkpoint(checkpoint), task)
    write_onnx(network, len(task.channels), task.window, plain)
    bundle = write_bundle(checkpoint, scratch / "bundles")
    study = scratch / "study"
    study.mkdir()
    write_study(study, crop, oblique=False)
    compared = ways(checkpoint, plain, bundle.root)
    for turn in range(times):
        for number, way in enumerate(compared):
            if not way.failed:
                say(f"turn {turn + 1}: {way.name}")
                way.take(study, scratch / f"{turn}-{number}")
                say(f"  {way.failed or way.runs[-1]}")
    return compared


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="released", choices=("released", "tiny"))
    parser.add_argument("--crop", type=int, nargs=3, default=(160, 144, 96))
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="keep the table in the docs")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        found = measure(options.size, tuple(options.crop), options.times, Path(scratch))
    table = [
        f"Network size {options.size}; a crop of 4 × {' × '.join(map(str, options.crop))}; "
        f"medians, turns: {options.times}; {os.cpu_count()} cores, load before the run {load:.1f}. "
        f"Instructions for bfloat16: {cpu_kind() or 'none'}.",
        "",
        "| network in | a study | CPU time | faster, clock | faster, CPU time | masks agree "
        "| studies an hour and core |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(row(way, found[0]) for way in found),
        "",
        machine(),
    ]
    print("\n".join(table))
    if options.write:
        keep(table, PAGE, "peers")


if __name__ == "__main__":
    main()
