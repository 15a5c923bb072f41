"""Many clients at once for a quarter of an hour: nothing lost, nothing wrong, memory flat.

    python benchmarks/load.py [--models DIR] [--model NAME] [--minutes 15] [--clients 32]

Every study's mask is first predicted alone; under load each answer must be that very mask. Answers
503 and 429 are back-pressure: the client comes back when ``Retry-After`` says. Prints one JSON line
and ends with 1 if a promise is broken.
"""

from __future__ import annotations

import argparse
import contextlib
import json
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
from studies import Study, mixed

HERE = Path(__file__).parent
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


def ask(http: httpx.Client, model: str, study: Study) -> httpx.Response:
    """One prediction's answer: its mask."""
    return http.post(
        f"/v1/models/{model}/predict",
        files=study.parts(),
        params={"fill": "center"},
        headers={"accept": "application/x-nifti"},
    )


def client(url: str, model: str, work: Iterator[Study], alone: dict[str, bytes], told: Tally,
           lock: threading.Lock, until: float) -> None:  # fmt: skip
    """Send study after study until the time is over."""
    with httpx.Client(base_url=url, timeout=600) as http:
        while time.monotonic() < until:
            with lock:
                study = next(work)
            while True:
                start = time.monotonic()
                answer = ask(http, model, study)
                with lock:
                    told.codes[answer.status_code] += 1
                if answer.status_code not in (429, 503) or time.monotonic() > until:
                    break
                time.sleep(float(answer.headers["retry-after"]))
            with lock:
                told.seconds.append(time.monotonic() - start)
                if answer.status_code == 200 and answer.content != alone[study.name]:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=HERE.parent / "examples" / "bundles")
    parser.add_argument("--model", default="demo-tissue")
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--studies", type=int, default=200)
    options = parser.parse_args()
    told, lock = Tally(), threading.Lock()
    with tempfile.TemporaryDirectory() as scratch, served(options.models) as (url, process):
        studies = mixed(Path(scratch), options.studies)
        with httpx.Client(base_url=url, timeout=600) as http:
            answers = {study.name: ask(http, options.model, study) for study in studies}
            alone = {name: answer.raise_for_status().content for name, answer in answers.items()}
        until, work = time.monotonic() + 60 * options.minutes, forever(studies)
        threads = [
            threading.Thread(
                target=client, args=(url, options.model, work, alone, told, lock, until)
            )
            for _ in range(options.clients)
        ]
        threads.append(threading.Thread(target=watch, args=(url, process, told, until)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    report = {
        "clients": options.clients,
        "minutes": options.minutes,
        "answers": dict(told.codes),
        "wrong": len(told.wrong),
        "p50_s": round(quantile(told.seconds, 0.5), 2),
        "p95_s": round(quantile(told.seconds, 0.95), 2),
        "health_p99_ms": round(1000 * quantile(told.health, 0.99), 1),
        "memory_mb": round(max(rss for _, rss in told.memory)),
        "memory_growth": round(growth(told.memory), 4),
    }
    print(json.dumps(report))
    kept = not told.wrong and set(told.codes) <= {200, 429, 503}
    kept = kept and report["health_p99_ms"] < 250 and report["memory_growth"] < 0.05
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
