"""The service itself on a device: REST, jobs, eight clients, killed and started again."""

from __future__ import annotations

import contextlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from gpu_bundles import STUDY
from gpu_report import Report

from brainmvp_clients import Client

CLIENTS = 8
STARTS_S = 240
SCANS = {modality.value: path for modality, path in STUDY.items()}


@dataclass(frozen=True)
class Asked:
    """What the service is asked for.

    Attributes:
        small: the demonstration, in the precision that is to serve.
        reference: the same in float32.
        large: the other network.
        repeats: studies a client sends.
        device: ``cuda`` or ``cpu``.
        engine: the engine's name.
    """

    models: Path
    small: str
    reference: str
    large: str
    repeats: int
    device: str
    engine: str


@dataclass(frozen=True)
class Served:
    """A service of its own process."""

    address: str
    process: subprocess.Popen[str]


@contextlib.contextmanager
def served(asked: Asked, jobs: Path) -> Iterator[Served]:
    """Start it on a free port of 127.0.0.1, and end it.

    Raises:
        RuntimeError: it does not come up, with the last of what it said.
    """
    command = [
        sys.executable, "-m", "brainmvp_clients.cli", "serve", "--models", str(asked.models),
        "--port", "0", "--engine", asked.engine, "--jobs-storage", str(jobs), "--executor", "gpu",
        "--log-level", "warning",
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        killer = threading.Timer(STARTS_S, process.kill)
        killer.start()
        said: list[str] = []
        try:
            for line in process.stdout:
                said.append(line.rstrip())
                if line.startswith("listening on "):
                    break
            else:
                raise RuntimeError(f"the service did not start: {' / '.join(said[-3:])}")
            killer.cancel()
            threading.Thread(target=process.stdout.read, daemon=True).start()
            yield Served(line.split()[-1], process)
        finally:
            killer.cancel()
            process.terminate()


def service(report: Report, asked: Asked) -> None:
    """All of it. Each part that fails is told, and the next one tried."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        start = time.monotonic()
        with served(asked, folder / "jobs") as running, Client(running.address) as client:
            _ready(client, start)
            report.add("start until ready", time.monotonic() - start, "s")
            with report.part("one client"):
                _one_client(report, asked, client, folder)
            with report.part(f"{CLIENTS} clients"):
                _many_clients(report, asked, running.address, folder)
            with report.part("a job"):
                _job(report, asked, client, folder)
            _memory(report, asked, running)
            with report.part("killed"):
                jobs = [client.submit(asked.small, SCANS).id for _ in range(4)]
                next(job for job in client.watch(jobs[0]) if job.state != "queued")
                running.process.send_signal(signal.SIGKILL)
                running.process.wait(60)
        with report.part("started again"):
            _again(report, asked, folder, jobs)


def _one_client(report: Report, asked: Asked, client: Client, folder: Path) -> None:
    for model in (asked.reference, asked.small, asked.large):
        fill = "zeros" if model == asked.large else None
        start = time.monotonic()
        told = client.predict(model, SCANS, fill=fill)
        first = time.monotonic() - start
        taken = [first]
        for _ in range(asked.repeats):
            start = time.monotonic()
            client.mask(model, SCANS, folder / f"{model}.nii.gz", fill=fill, overwrite=True)
            taken.append(time.monotonic() - start)
        note = (
            f"{told.windows} windows; first {first:.2f} s; {told.engine.name} on "
            f"{told.engine.device} in {told.engine.precision}"
        )
        report.add(f"{model}: a study", statistics.median(taken[1:]), "s", note)
    agreement = _dice(folder / f"{asked.reference}.nii.gz", folder / f"{asked.small}.nii.gz")
    report.add(f"{asked.small} against {asked.reference}, labels", agreement, "Dice")


def _many_clients(report: Report, asked: Asked, address: str, folder: Path) -> None:
    def send(place: int) -> list[tuple[float, float]]:
        told = []
        with Client(address) as client:
            for _ in range(asked.repeats):
                mask = folder / f"client{place}.nii.gz"
                start = time.monotonic()
                client.mask(asked.small, SCANS, mask, overwrite=True)
                taken = time.monotonic() - start
                told.append((taken, _dice(folder / f"{asked.small}.nii.gz", mask)))
        return told

    start = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        told = [one for part in pool.map(send, range(CLIENTS)) for one in part]
    rate = 60 * len(told) / (time.monotonic() - start)
    slowest, worst = max(taken for taken, _ in told), min(dice for _, dice in told)
    note = f"the slowest {slowest:.2f} s; against the study alone, Dice at least {worst:.5f}"
    report.add(f"{CLIENTS} clients, {asked.small}", rate, "studies / min", note)


def _job(report: Report, asked: Asked, client: Client, folder: Path) -> None:
    start = time.monotonic()
    job = client.submit(asked.small, SCANS)
    *_, last = client.watch(job.id)
    taken = time.monotonic() - start
    if last.state != "done":
        raise RuntimeError(f"the job ended as {last.state}")
    client.job_results(job.id, folder / "job")
    agreement = _dice(folder / f"{asked.small}.nii.gz", folder / "job" / "mask.nii.gz")
    report.add("a job", taken, "s", f"its mask against the answer's: Dice {agreement:.5f}")


def _again(report: Report, asked: Asked, folder: Path, jobs: list[str]) -> None:
    start = time.monotonic()
    with served(asked, folder / "jobs") as running, Client(running.address) as client:
        _ready(client, start)
        report.add("killed with 4 jobs; start until ready", time.monotonic() - start, "s")
        ends = [[*client.watch(job)][-1].state for job in jobs]
        report.add("of these jobs, done", ends.count("done"), note=f"of {len(ends)}")
        if ends.count("done") != len(ends):
            raise RuntimeError(f"jobs ended as {ends}")


def _memory(report: Report, asked: Asked, running: Served) -> None:
    status = Path(f"/proc/{running.process.pid}/status").read_text(encoding="utf-8")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    report.add("the service's peak memory", int(found[1]) / 1024 if found else None, "MB")
    if asked.device == "cuda":
        free, whole = torch.cuda.mem_get_info()
        note = "all processes of the GPU, this one among them"
        report.add("GPU memory taken", (whole - free) / 2**20, "MB", note)


def _ready(client: Client, start: float) -> None:
    while not client.ready():
        if time.monotonic() - start > STARTS_S:
            raise RuntimeError(f"the service is not ready after {STARTS_S} s")
        time.sleep(0.1)


def _dice(one: Path, other: Path) -> float:
    """Share of the labelled voxels, twice counted, that have the same label in both masks."""
    first, second = (np.asarray(nib.load(path).dataobj) for path in (one, other))
    labelled = np.count_nonzero(first) + np.count_nonzero(second)
    return (
        float(2 * np.count_nonzero((first == second) & (first > 0)) / labelled) if labelled else 1.0
    )
