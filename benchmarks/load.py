"""Many clients at once for a quarter of an hour: nothing lost, nothing wrong, memory flat.

    python benchmarks/load.py [--models DIR] [--minutes 15] [--clients 32] [--write] [--curve CSV]

Studies go to the demo bundles in turn. Every study is first predicted alone; under load each answer
must be that very mask, or those very scores. Answers 503 and 429 are back-pressure: the client
comes back when ``Retry-After`` says. Ends with 1 if a promise is broken; ``--write`` keeps the
figures in ``docs/performance.md``, ``--curve`` the service's memory as it went.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
from studies import NIFTI, Study, mixed, predicted
from study import HERE, PAGE, machine, say
from tables import keep

GRADE = "demo-grade"
MODELS = ("demo-glioma", GRADE)
SETTLED_S = 60.0


@contextlib.contextmanager
def served(models: Path, *flags: str) -> Iterator[tuple[str, psutil.Process]]:
    """A service of its own process: its address and the process."""
    command = [sys.executable, "-m", "brainmvp_clients.cli", "serve", "--models", str(models)]
    with subprocess.Popen(
        [*command, "--port", "0", *flags], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("listening on "):
                break
        threading.Thread(target=process.stdout.read, daemon=True).start()
        try:
            yield line.split()[-1], psutil.Process(process.pid)
        finally:
            process.terminate()


@dataclass
class Tally:
    """What came of the load."""

    codes: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)


def ask(http: httpx.Client, study: Study) -> httpx.Response:
    """One prediction's answer. A study goes to the same model each time."""
    model = MODELS[int(study.name.removeprefix("study")) % len(MODELS)]
    form = "application/json" if model == GRADE else NIFTI
    return predicted(http, model, study, "center", form)


def outcome(answer: httpx.Response) -> object:
    """A mask's bytes or the class scores to their last digit: what is the same each time."""
    if answer.headers["content-type"] == NIFTI:
        return answer.content
    return answer.json()["scores"]


def client(
    url: str,
    work: Iterator[Study],
    alone: dict[str, object],
    told: Tally,
    lock: threading.Lock,
    until: float,
) -> None:
    """Send study after study until the time is over."""
    with httpx.Client(base_url=url, timeout=600) as http:
        while time.monotonic() < until:
            with lock:
                study = next(work)
            while True:
                start = time.monotonic()
                answer = ask(http, study)
                with lock:
                    told.codes[answer.status_code] += 1
                if answer.status_code not in (429, 503) or time.monotonic() > until:
                    break
                time.sleep(float(answer.headers["retry-after"]))
            with lock:
                told.seconds.append(time.monotonic() - start)
                if answer.status_code == 200 and outcome(answer) != alone[study.name]:
                    told.wrong.append(study.name)


def watch(url: str, process: psutil.Process, told: Tally, until: float) -> None:
    """Health four times a second, memory each second."""
    begin = time.monotonic()
    with httpx.Client(base_url=url, timeout=30) as http:
        while time.monotonic() < until:
            start = time.monotonic()
            http.get("/health/ready").raise_for_status()
            told.health.append(time.monotonic() - start)
            told.memory.append((start - begin, process.memory_info().rss / 2**20))
            time.sleep(0.25)


def forever(studies: list[Study]) -> Iterator[Study]:
    while True:
        yield from studies


def growth(memory: list[tuple[float, float]]) -> float:
    """The last quarter's median over the first settled quarter's, minus one."""
    settled = [rss for at, rss in memory if at > min(SETTLED_S, memory[-1][0] / 4)]
    quarter = max(len(settled) // 4, 1)
    first, last = sorted(settled[:quarter]), sorted(settled[-quarter:])
    return last[len(last) // 2] / first[len(first) // 2] - 1


def quantile(values: list[float], q: float) -> float:
    return sorted(values)[min(int(q * len(values)), len(values) - 1)]


def measure(options: argparse.Namespace, scratch: Path) -> Tally:
    """Each study alone, then all of them from many clients."""
    told, lock = Tally(), threading.Lock()
    studies = mixed(scratch, options.studies)
    with served(options.models, "--log-level", "warning") as (url, process):
        say(f"{len(studies)} studies alone")
        with httpx.Client(base_url=url, timeout=600) as http:
            alone = {study.name: outcome(ask(http, study).raise_for_status()) for study in studies}
        say(f"{options.clients} clients for {options.minutes:g} minutes")
        until, work = time.monotonic() + 60 * options.minutes, forever(studies)
        threads = [
            threading.Thread(target=client, args=(url, work, alone, told, lock, until))
            for _ in range(options.clients)
        ]
        threads.append(threading.Thread(target=watch, args=(url, process, told, until)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return told


def kept(told: Tally) -> bool:
    """Whether every promise was."""
    return (
        not told.wrong
        and set(told.codes) <= {200, 429, 503}
        and quantile(told.health, 0.99) < 0.25
        and growth(told.memory) < 0.05
    )


def table(told: Tally, options: argparse.Namespace) -> list[str]:
    """The lines of the page."""
    pushed = told.codes[429] + told.codes[503]
    other = told.codes.total() - told.codes[200] - pushed
    median, late = (quantile(told.seconds, q) for q in (0.5, 0.95))
    return [
        f"{options.studies} studies in turn from {options.clients} clients for {options.minutes:g} "
        f"minutes, to {' and '.join(f'`{name}`' for name in MODELS)} in one service.",
        "",
        "| what | measured | promised |",
        "| --- | --- | --- |",
        f"| studies answered | {told.codes[200]} | |",
        f"| of them not what the study gives alone, to the last bit | {len(told.wrong)} | 0 |",
        f"| answers 429 or 503, then sent again | {pushed} | |",
        f"| other answers | {other} | 0 |",
        f"| seconds a study takes, p50 and p95 | {median:.1f} and {late:.1f} | |",
        f"| `/health/ready`, p99 | {1000 * quantile(told.health, 0.99):.0f} ms | 250 ms |",
        f"| memory at most | {max(rss for _, rss in told.memory):.0f} MB | |",
        f"| its growth after the first minute | {100 * growth(told.memory):+.1f} % | 5 % |",
        "",
        f"{machine()[:-1]}; {os.cpu_count()} cores.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=HERE.parent / "examples" / "bundles")
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--write", action="store_true", help="keep the table in the docs")
    parser.add_argument("--curve", type=Path, help="CSV for seconds and MB of memory")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        told = measure(options, Path(scratch))
    lines = table(told, options)
    print("\n".join(lines))
    if options.write:
        keep(lines, PAGE, "load")
    if options.curve:
        rows = [f"{at:.1f},{rss:.1f}\n" for at, rss in told.memory]
        options.curve.write_text("seconds,mb\n" + "".join(rows))
    sys.exit(0 if kept(told) else 1)


if __name__ == "__main__":
    main()
