"""Small studies at once: ours against the plain way and LitServe, in turn, on one machine.

    pip install litserve
    python benchmarks/throughput.py [--size tiny] [--seconds 60] [--times 2] [--write]

Each side is a process of its own and gets the same studies of one window; before anything is
timed, each answers all of them, and its masks are held against ours. The sides take turns, so that
noise of the machine hits all. Also measured on ours: a small study behind a large one.
"""

from __future__ import annotations

import argparse
import gzip
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path

import httpx
import nibabel as nib
import numpy as np
from inputs import write_bundle, write_checkpoint
from load import quantile, served
from numpy.typing import NDArray
from studies import LARGE, MODALITIES, SMALL, Study, predicted, write_study
from study import HERE, PAGE, machine, say
from tables import keep

from brainmvp_models.bundle import Bundle

PLOT = PAGE.with_name("throughput.png")
OURS = "ours"
SIDES = (OURS, "plain", "LitServe")
LEVELS = (1, 4, 16)
ALIKE = 0.999
"""Least share of voxels with the same label on two sides."""

Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class Measured:
    """What one side did at one number of clients."""

    per_minute: float
    seconds: tuple[float, ...]

    def __str__(self) -> str:
        p50, p95, p99 = (quantile(list(self.seconds), q) for q in (0.5, 0.95, 0.99))
        return f"{self.per_minute:.1f} / min; {p50:.2f}, {p95:.2f}, {p99:.2f} s"


@dataclass
class Run:
    """What came of all turns.

    Attributes:
        taken: by side and number of clients, one entry a turn.
        alone: seconds of a small study alone.
        among: the same behind large ones, coming at random moments.
        chased: the same, each one right after the answer to the one before.
        masks: what the first side answered.
        alike: least share of voxels with the same label on two sides.
        load: of the machine, when it began.
    """

    taken: dict[tuple[str, int], list[Measured]] = field(default_factory=dict)
    alone: list[float] = field(default_factory=list)
    among: list[float] = field(default_factory=list)
    chased: list[float] = field(default_factory=list)
    masks: list[Mask] = field(default_factory=list)
    alike: float = 1.0
    load: float = field(default_factory=lambda: os.getloadavg()[0])

    def compare(self, masks: list[Mask]) -> None:
        """Hold a side's masks against the first side's; ends the run where they differ."""
        self.masks = self.masks or masks
        for one, two in zip(self.masks, masks, strict=True):
            self.alike = min(self.alike, float((one == two).mean()))
        if self.alike < ALIKE:
            sys.exit(f"the sides do not answer alike: {self.alike:.5f} of the voxels")


@contextmanager
def other(script: str, *arguments: str) -> Iterator[str]:
    """The plain way or LitServe, in a process group of its own: LitServe has workers."""
    command = [sys.executable, str(HERE / script), *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        try:
            yield url
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def ask(http: httpx.Client, model: str, study: Study) -> bytes:
    """One prediction's mask."""
    return predicted(http, model, study, "zeros").raise_for_status().content


def timed(http: httpx.Client, model: str, study: Study) -> float:
    """Seconds of one prediction."""
    start = time.perf_counter()
    ask(http, model, study)
    return time.perf_counter() - start


def opened(content: bytes) -> Mask:
    """A mask's voxels, from ``.nii`` or ``.nii.gz``."""
    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    return np.asarray(nib.Nifti1Image.from_bytes(content).dataobj)


def warm(url: str, model: str, studies: list[Study]) -> list[Mask]:
    """Every study's mask; waits for the first one, however long the side takes to start."""
    deadline = time.monotonic() + 120
    with httpx.Client(base_url=url, timeout=600) as http:
        while True:
            try:
                ask(http, model, studies[0])
                break
            except httpx.ConnectError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
        return [opened(ask(http, model, study)) for study in studies]


def loaded(url: str, model: str, studies: list[Study], clients: int, seconds: float) -> Measured:
    """So many clients, each one study after another."""
    until = time.monotonic() + seconds

    def work(number: int) -> list[float]:
        taken = []
        with httpx.Client(base_url=url, timeout=600) as http:
            while time.monotonic() < until:
                taken.append(timed(http, model, studies[(number + len(taken)) % len(studies)]))
        return taken

    start = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        taken = [second for one in pool.map(work, range(clients)) for second in one]
    return Measured(60 * len(taken) / (time.monotonic() - start), tuple(taken))


def keep_busy(url: str, model: str, study: Study, over: Event) -> None:
    """One client that sends a study again and again."""
    with httpx.Client(base_url=url, timeout=1200) as http:
        while not over.is_set():
            ask(http, model, study)


def behind(run: Run, url: str, model: str, small: Study, large: Study, times: int) -> None:
    """A small study alone, and beside a client that sends large ones all the time.

    That client is a process of its own: its packing and unpacking are not the service's time.
    """
    fresh, chance = get_context("spawn"), random.Random(0)
    over = fresh.Event()
    busy = fresh.Process(target=keep_busy, args=(url, model, large, over))
    with httpx.Client(base_url=url, timeout=600) as http:
        run.alone += [timed(http, model, small) for _ in range(times)]
        busy.start()
        try:
            time.sleep(5)
            for _ in range(2 * times):
                time.sleep(chance.uniform(0, 2))
                run.among.append(timed(http, model, small))
            run.chased += [timed(http, model, small) for _ in range(times)]
        finally:
            over.set()
            busy.join()


def merged(parts: list[Measured]) -> Measured:
    return Measured(
        statistics.mean(part.per_minute for part in parts),
        tuple(second for part in parts for second in part.seconds),
    )


def measure(options: argparse.Namespace, scratch: Path) -> Run:
    """All sides, in turn."""
    checkpoint = scratch / "checkpoint.pt"
    write_checkpoint(options.size, checkpoint)
    bundle = write_bundle(checkpoint, scratch / "bundles")
    studies = [
        write_study(scratch, f"small{n}", SMALL, MODALITIES[: 1 + n % 4], n) for n in range(8)
    ]
    large = write_study(scratch, "large", LARGE, ("t1", "flair"), 99)
    run = Run()
    for turn in range(options.times):
        for name in SIDES:
            say(f"turn {turn + 1}: {name}")
            model = bundle.manifest.name if name == OURS else "any"
            with starting(name, checkpoint, bundle) as url:
                run.compare(warm(url, model, studies))
                for clients in LEVELS:
                    result = loaded(url, model, studies, clients, options.seconds)
                    run.taken.setdefault((name, clients), []).append(result)
                    say(f"  {clients}: {result}")
                if name == OURS:
                    behind(run, url, model, studies[0], large, 20)
    return run


def table(run: Run, options: argparse.Namespace) -> list[str]:
    """The lines of the page."""
    rows = []
    for clients in LEVELS:
        ours, *rest = (merged(run.taken[name, clients]) for name in SIDES)
        ratios = [f"{ours.per_minute / theirs.per_minute:.2f} ×" for theirs in rest]
        rows.append(f"| {' | '.join(map(str, [clients, ours, *rest, *ratios]))} |")
    return [
        f"Studies of one window, network size {options.size}; {options.times} turns of "
        f"{options.seconds:g} s each; studies a minute; p50, p95, p99 of the seconds a study "
        f"takes. Masks of the three agree to {run.alike:.5f}.",
        "",
        "| clients | ours | plain | LitServe, ONNX | ours / plain | ours / LitServe |",
        "| --- | --- | --- | --- | --- | --- |",
        *rows,
        "",
        waiting(run),
        "",
        f"{machine()[:-1]}; {os.cpu_count()} cores, load before the run {run.load:.1f}.",
    ]


def waiting(run: Run) -> str:
    """What a small study takes alone, and behind large ones."""
    usual = statistics.median(run.alone)
    late, chased = quantile(run.among, 0.95), quantile(run.chased, 0.95)
    return (
        f"A small study takes {usual:.2f} s alone (median). Behind whole heads it takes "
        f"{statistics.median(run.among):.2f} s (median) and {late:.2f} s (95th percentile of "
        f"{len(run.among)} at random moments): {late / usual:.2f} ×. Where each one comes "
        f"right after the answer to the one before, {chased:.2f} s: {chased / usual:.2f} ×."
    )


def plot(run: Run) -> None:
    """Studies a minute and the 95th percentile of their seconds, by clients, as a picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    rate, wait = figure.subplots(1, 2)
    for side in SIDES:
        taken = [merged(run.taken[side, clients]) for clients in LEVELS]
        rate.plot(LEVELS, [one.per_minute for one in taken], marker="o", label=side)
        wait.plot(LEVELS, [quantile(list(one.seconds), 0.95) for one in taken], marker="o")
    for axes, title in ((rate, "studies a minute"), (wait, "seconds a study takes, 95 %")):
        axes.set(title=title, xlabel="clients at once", xticks=LEVELS, ylim=(0, None))
        axes.grid(alpha=0.3)
    rate.legend()
    figure.savefig(PLOT, dpi=120)


@contextmanager
def starting(name: str, checkpoint: Path, bundle: Bundle) -> Iterator[str]:
    """One side, running."""
    if name == OURS:
        with served(bundle.root.parent.parent, "--log-level", "warning") as (url, _):
            yield url
        return
    if name == "LitServe":
        command = ["lit.py", str(bundle.root)]
    else:
        command = ["plain.py", str(checkpoint), str(bundle.root)]
    with other(*command) as url:
        yield url


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="tiny", choices=("released", "tiny"))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--times", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="keep the table in the docs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        run = measure(options, Path(scratch))
    lines = table(run, options)
    print("\n".join(lines))
    if options.write:
        plot(run)
        keep([*lines, "", f"![Studies a minute by clients]({PLOT.name})"], PAGE, "throughput")


if __name__ == "__main__":
    main()
