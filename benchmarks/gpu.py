"""The first hour on a GPU, in eight minutes: everything about the engine ``torch`` in one run.

    python benchmarks/gpu.py pack wheels                       here, with the package index
    python benchmarks/gpu.py run --wheels wheels --out gpu     there, in a checkout, without network
    python benchmarks/gpu.py keep gpu.md                       here: the table into the docs

``run`` needs Python 3.12 with PyTorch, ONNX and NumPy, and brings the rest as wheels. It measures,
in this order: bundles made and proved there, golden values, the contract suite, Dice against
float32, the service (REST, jobs, eight clients, killed and started again), milliseconds a window,
``torch.compile``. ``gpu.json`` grows with each figure, ``gpu.md`` is its table; the exit code is 1
if anything failed. ``--device cpu --size tiny`` tries all of it without a GPU, and with
``--python 3.11`` or another ``pack`` makes wheels for that version. Without ``--wheels`` it runs in
the environment that it is called in.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from gpu_report import Report
from gpu_wheels import ROOT, pack, unpack
from tables import keep

SUPPORT = ROOT / "tests" / "support"
PAGE = ROOT / "docs" / "performance.md"
_GRACE_S = 25
"""For the last stage to end by itself."""


@dataclass(frozen=True)
class Plan:
    """What is measured on a device.

    Attributes:
        kinds: precisions of the bundles.
        eager: precisions of PyTorch alone; on CPUs float16 takes minutes a window.
        repeats: studies a client sends.
    """

    device: str
    size: str
    engine: str
    kinds: tuple[str, ...]
    eager: tuple[str, ...]
    batches: tuple[int, ...]
    repeats: int


def plan_for(device: str, size: str) -> Plan:
    """All of it on a GPU, a little of each on a CPU."""
    if device == "cuda":
        kinds = ("fp32", "fp16", "bf16")
        return Plan(device, size, "torch", kinds, kinds, (1, 2, 4, 8), 3)
    return Plan(device, size, "torch-cpu", ("fp32", "fp16", "bf16"), ("fp32", "bf16"), (1, 2), 1)


def measure(plan: Plan, report: Report) -> None:
    """Every stage; what fails is told and the rest goes on."""
    import gpu_bundles
    import gpu_network
    import gpu_service

    report.stage("machine")
    with report.part("machine"):
        _machine(report, plan)
    with tempfile.TemporaryDirectory() as scratch:
        models = Path(scratch) / "models"
        golden, demo = gpu_bundles.golden(plan.size), gpu_bundles.demo()
        report.stage("bundles")
        bundles = {
            f"{made.name}-{kind}": gpu_bundles.proved(report, made, kind, models, plan.engine)
            for made in (golden, demo)
            for kind in plan.kinds
        }
        if report.stage("network"):
            first = bundles["golden-fp32"]
            with report.part("golden values"):
                gpu_network.golden_values(report, golden, first, plan.engine)
            with report.part("contract"):
                gpu_network.contract(report, first, plan.engine)
        if report.stage("service"):
            names = ("demo-glioma-fp16", "demo-glioma-fp32", "golden-fp16")
            served = Path(scratch) / "served"
            for name in names:  # a service prepares all that it is given
                shutil.copytree(models / name, served / name)
            asked = gpu_service.Asked(served, *names, plan.repeats, plan.device, plan.engine)
            with report.part("service"):
                gpu_service.service(report, asked)
        if report.stage("ms a window"):
            for kind in plan.kinds:
                with report.part(f"engine {kind}"):
                    network = bundles[f"golden-{kind}"]
                    gpu_network.our_engine(report, network, plan.engine, plan.batches)
            for kind in plan.eager:
                with report.part(f"eager {kind}"):
                    gpu_network.eager(report, golden, kind, plan.device, plan.batches)
        if report.stage("other engines"):
            gpu_network.other_engines(report, Path(scratch) / "cache", plan.batches)
        if report.stage("torch.compile"):
            for kind in plan.eager[1:]:
                with report.part(f"torch.compile {kind}"):
                    gpu_network.compiled(report, golden, kind, plan.device, plan.batches)


def _machine(report: Report, plan: Plan) -> None:
    import torch

    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    report.add("versions", None, note=f"{versions}, network {plan.size}, {os.cpu_count()} cores")
    if plan.device == "cuda":
        whole = torch.cuda.get_device_properties(0).total_memory / 2**20
        report.add("GPU memory", whole, "MB", torch.cuda.get_device_name())


def _run(options: argparse.Namespace) -> int:
    """Lay the wheels on Python's path, and measure in a process that begins with it."""
    with tempfile.TemporaryDirectory() as scratch:
        paths = [str(SUPPORT)]
        if options.wheels is not None:
            unpack(options.wheels, Path(scratch) / "site")
            paths.insert(0, str(Path(scratch) / "site"))
        elif os.environ.get("PYTHONPATH"):
            paths.append(os.environ["PYTHONPATH"])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        again = [sys.executable, __file__, "measure", "--out", str(options.out)]
        again += ["--device", options.device, "--size", options.size]
        again += ["--minutes", str(options.minutes)]
        with subprocess.Popen(again, env=environment, start_new_session=True) as process:
            try:
                return process.wait(60 * options.minutes + _GRACE_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                print("cut off: what was measured is in the JSON", file=sys.stderr)
                return 1


def _measure(options: argparse.Namespace) -> int:
    report = Report(options.out.with_suffix(".json"), 60 * options.minutes)
    measure(plan_for(options.device, options.size), report)
    return 1 if report.failed else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("folder", type=Path)
    packing.add_argument("--python", default="3.12")
    commands.add_parser("keep").add_argument("table", type=Path)
    for name in ("run", "measure"):
        running = commands.add_parser(name)
        running.add_argument("--wheels", type=Path)
        running.add_argument("--out", type=Path, default=Path("gpu"))
        running.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
        running.add_argument("--size", choices=["released", "tiny"], default="released")
        running.add_argument("--minutes", type=float, default=7.5)
    options = parser.parse_args()
    if options.command == "pack":
        print(f"{pack(options.folder, options.python) / 1e6:.1f} MB of wheels in {options.folder}")
    elif options.command == "keep":
        keep(options.table.read_text(encoding="utf-8").splitlines(), PAGE, "gpu")
    else:
        sys.exit(_run(options) if options.command == "run" else _measure(options))


if __name__ == "__main__":
    main()
