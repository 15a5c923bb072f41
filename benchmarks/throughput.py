"""Small studies at once: ours against the plain way and LitServe, in turn, on one machine.

    pip install litserve
    python benchmarks/throughput.py [--size tiny] [--seconds 60] [--times 2] [--write]

Each side is a process of its own and gets the same studies of one window; the sides take turns, so
that noise of the machine hits all. Also measured on ours: a small study behind a large one.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from inputs import write_bundle, write_checkpoint
from load import quantile, served
from studies import LARGE, MODALITIES, SMALL, Study, write_study
from study import machine, say

from brainmvp_models.bundle import Bundle

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"
BEGIN, END = "<!-- throughput: begin -->", "<!-- throughput: end -->"
LEVELS = (1, 4, 16)


@dataclass(frozen=True)
class Side:
    """One way to serve: its name and the model's name there."""

    name: str
    model: str


@dataclass(frozen=True)
class Measured:
    """What one side did at one number of clients."""

    per_minute: float
    seconds: tuple[float, ...]

    def __str__(self) -> str:
        p50, p95, p99 = (quantile(list(self.seconds), q) for q in (0.5, 0.95, 0.99))
        return f"{self.per_minute:.1f} / min; {p50:.2f}, {p95:.2f}, {p99:.2f} s"


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


def ask(http: httpx.Client, model: str, study: Study) -> float:
    """Seconds of one prediction."""
    start = time.perf_counter()
    http.post(
        f"/v1/models/{model}/predict",
        files=study.parts(),
        params={"fill": "zeros"},
        headers={"accept": "application/x-nifti"},
    ).raise_for_status()
    return time.perf_counter() - start


def warm(url: str, model: str, study: Study) -> None:
    """The first answer, however long the side takes to start."""
    deadline = time.monotonic() + 120
    with httpx.Client(base_url=url, timeout=600) as http:
        while True:
            try:
                ask(http, model, study)
                return
            except httpx.HTTPError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)


def loaded(url: str, model: str, studies: list[Study], clients: int, seconds: float) -> Measured:
    """So many clients, each one study after another."""
    taken: list[float] = []
    until = time.monotonic() + seconds

    def work(number: int) -> None:
        with httpx.Client(base_url=url, timeout=600) as http:
            while time.monotonic() < until:
                taken.append(ask(http, model, studies[number % len(studies)]))

    start = time.monotonic()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Measured(60 * len(taken) / (time.monotonic() - start), tuple(taken))


def behind(url: str, model: str, small: Study, large: Study, times: int) -> tuple[float, float]:
    """Seconds of a small study alone (median), and behind large ones (95th percentile)."""
    over = threading.Event()

    def keep_busy() -> None:
        with httpx.Client(base_url=url, timeout=1200) as http:
            while not over.is_set():
                ask(http, model, large)

    with httpx.Client(base_url=url, timeout=600) as http:
        alone = [ask(http, model, small) for _ in range(times)]
        busy = threading.Thread(target=keep_busy)
        busy.start()
        time.sleep(2)
        among = [ask(http, model, small) for _ in range(times)]
    over.set()
    busy.join()
    return statistics.median(alone), quantile(among, 0.95)


def merged(parts: list[Measured]) -> Measured:
    return Measured(
        statistics.mean(part.per_minute for part in parts),
        tuple(second for part in parts for second in part.seconds),
    )


def measure(options: argparse.Namespace, scratch: Path) -> list[str]:
    """The table."""
    checkpoint = scratch / "checkpoint.pt"
    write_checkpoint(options.size, checkpoint)
    bundle = write_bundle(checkpoint, scratch / "bundles")
    studies = [
        write_study(scratch, f"small{n}", SMALL, MODALITIES[: 1 + n % 4], n) for n in range(8)
    ]
    large = write_study(scratch, "large", LARGE, ("t1", "flair"), 99)
    ours = Side("ours", bundle.manifest.name)
    sides = [ours, Side("plain", "any"), Side("LitServe", "any")]
    taken: dict[tuple[str, int], list[Measured]] = {}
    waits: list[tuple[float, float]] = []
    for turn in range(options.times):
        for side in sides:
            say(f"turn {turn + 1}: {side.name}")
            with starting(side, checkpoint, bundle) as url:
                warm(url, side.model, studies[0])
                for clients in LEVELS:
                    result = loaded(url, side.model, studies, clients, options.seconds)
                    taken.setdefault((side.name, clients), []).append(result)
                if side is ours:
                    waits.append(behind(url, side.model, studies[0], large, 10))
    rows = []
    for clients in LEVELS:
        ours_now, *rest = (merged(taken[side.name, clients]) for side in sides)
        ratios = [ours_now.per_minute / theirs.per_minute for theirs in rest]
        cells = [f"{ratio:.2f} ×" for ratio in ratios]
        rows.append(f"| {clients} | {' | '.join(map(str, [ours_now, *rest]))} "
                    f"| {' | '.join(cells)} |")  # fmt: skip
    alone, among = (statistics.mean(values) for values in zip(*waits, strict=True))
    return [
        f"Studies of one window, network size {options.size}; {options.times} turns of "
        f"{options.seconds:g} s each; studies a minute; p50, p95, p99.",
        "",
        "| clients | ours | plain | LitServe, ONNX | ours / plain | ours / LitServe |",
        "| --- | --- | --- | --- | --- | --- |",
        *rows,
        "",
        f"A small study takes {alone:.2f} s alone (median) and {among:.2f} s behind whole heads "
        f"(95th percentile): {among / alone:.2f} ×.",
        "",
        machine(),
    ]


@contextmanager
def starting(side: Side, checkpoint: Path, bundle: Bundle) -> Iterator[str]:
    """One side, running."""
    if side.name == "ours":
        with served(bundle.root.parent.parent) as (url, _):
            yield url
        return
    if side.name == "LitServe":
        command = ["lit.py", str(bundle.root)]
    else:
        command = ["plain.py", str(checkpoint), str(bundle.root)]
    with other(*command) as url:
        yield url


def keep(table: list[str]) -> None:
    """Put the table into the page, between its marks."""
    page = PAGE.read_text(encoding="utf-8")
    head, rest = page.split(BEGIN)
    _, tail = rest.split(END)
    PAGE.write_text("\n".join([head + BEGIN, *table, END + tail]), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="tiny", choices=("released", "tiny"))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--times", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="keep the table in the docs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        table = measure(options, Path(scratch))
    print("\n".join(table))
    if options.write:
        keep(table)


if __name__ == "__main__":
    main()
