"""A run over a cluster, simulated on one machine: shards that are killed at random, and merged.

    python benchmarks/score_cluster.py [--studies 20000] [--rate 10] [--write]
    python benchmarks/score_cluster.py --studies 1000000 --rate 160    # two hours, 20 GB of disk

Real: every process of ``brainmvp score``, told its part as Kubernetes tells it; lists, uploads,
ledgers, tables, folders of results, all written to the disk; kills (SIGKILL) at random moments,
whereupon the shard is begun again; ``brainmvp score merge``. Simulated: the server
(``cluster_stub.py``), which draws times from a measured law, refuses 2 % of the studies and is
busy to 1 % of the requests; and the cluster, whose pods are processes of this machine,
``--parallel`` at a time. Images are a few bytes: no network is measured.

Then the tables are counted without our code: a study lost or doubled ends the run. ``--write``
keeps the figures in ``docs/scoring.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import httpx
import psutil
from cluster_stub import REFUSED
from tables import keep

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "scoring.md"
REFUSED_EVERY = 50
TICK_S = 0.25


@dataclass(frozen=True)
class Plan:
    """What is simulated; ``kills`` a shard on average, ``rate`` studies a second of the stub."""

    studies: int
    shards: int
    parallel: int
    concurrency: int
    places: int
    rate: float
    kills: float
    seed: int

    @property
    def hazard(self) -> float:
        """The chance of a process to be killed in a tick."""
        process_ticks = self.parallel * self.studies / self.rate / TICK_S
        return self.kills * self.shards / process_ticks


@dataclass
class Process:
    """One pod, the memory that it was seen to have, in MB, and its seconds of CPU so far."""

    shard: int
    running: subprocess.Popen[bytes]
    memory: list[float] = field(default_factory=list)
    cpu_s: float = 0.0

    def look(self) -> None:
        """See what it uses now, if it is still there."""
        try:
            seen = psutil.Process(self.running.pid)
            self.memory.append(seen.memory_info().rss / 1e6)
            self.cpu_s = sum(seen.cpu_times()[:2])
        except psutil.Error:
            pass


@dataclass(frozen=True)
class Figures:
    """What was measured."""

    seconds: float
    kills: int
    stub: dict[str, float]
    done: int
    refused: int
    top_mb: float
    growth: float
    cpu_s: float
    merge_s: float
    merge_mb: float
    load: float

    def share(self, plan: Plan) -> float:
        """Studies done a second, of what the stub's places could have done in their held time."""
        possible = plan.places * self.stub["done"] / self.stub["held_s"]
        return self.done / self.seconds / possible


def main() -> None:
    """Simulate, check, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=20_000)
    parser.add_argument("--shards", type=int, default=64)
    parser.add_argument("--parallel", type=int, default=16)
    parser.add_argument("--concurrency", type=int, default=6)
    parser.add_argument("--places", type=int, default=16)
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--kills", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true")
    options = vars(parser.parse_args())
    write = options.pop("write")
    plan = Plan(**options)
    with tempfile.TemporaryDirectory(prefix="brainmvp-bench-") as name:
        text = shown(plan, simulated(plan, Path(name)))
    print(text)
    if write:
        keep([text], PAGE, "cluster")


def simulated(plan: Plan, folder: Path) -> Figures:
    """The figures of one run."""
    worklist, out = write_worklist(folder, plan.studies), folder / "out"
    with stub(plan) as url:
        start = time.monotonic()
        processes, kills, load = run_shards(plan, url, worklist, out)
        seconds = time.monotonic() - start
        answered = httpx.get(f"{url}/figures").json()
    merge_s, merge_mb, merged = merge(out, worklist)
    states = check(out, plan.studies)
    if merged["done"] != states["done"] or merged["refused"] != states["refused"]:
        raise SystemExit(f"the merged table says {merged}, the shards' {dict(states)}")
    return Figures(
        seconds, kills, answered, states["done"], states["refused"],
        max(max(process.memory, default=0.0) for process in processes), growth(processes),
        sum(process.cpu_s for process in processes), merge_s, merge_mb, load,
    )  # fmt: skip


def write_worklist(folder: Path, studies: int) -> Path:
    """A list of studies, every fiftieth of which the stub refuses."""
    (folder / "good.nii").write_bytes(b"voxels")
    (folder / "bad.nii").write_bytes(REFUSED)
    path = folder / "list.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("study,t1\n")
        for number in range(studies):
            image = "good.nii" if number % REFUSED_EVERY else "bad.nii"
            file.write(f"1.2.826.0.1.3680043.{number},{image}\n")
    return path


@contextmanager
def stub(plan: Plan) -> Iterator[str]:
    """The server, in a process of its own."""
    command = [sys.executable, HERE / "cluster_stub.py", "--places", plan.places]
    command += ["--rate", plan.rate, "--seed", plan.seed]
    server = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.kill()
        server.communicate()


def run_shards(plan: Plan, url: str, worklist: Path, out: Path) -> tuple[list[Process], int, float]:
    """Every shard to its end, as an Indexed Job does it; processes, kills and the mean load."""
    chance = random.Random(plan.seed)
    waiting, running, ended = list(range(plan.shards)), list[Process](), list[Process]()
    kills, looks, load, next_look = 0, 0, 0.0, 0.0
    while waiting or running:
        while waiting and len(running) < plan.parallel:
            running.append(begin(plan, waiting.pop(0), url, worklist, out))
        time.sleep(TICK_S)
        look = time.monotonic() >= next_look
        if look:
            next_look, looks, load = time.monotonic() + 2.0, looks + 1, load + os.getloadavg()[0]
        for process in list(running):
            if look:
                process.look()
            if chance.random() < plan.hazard and process.running.poll() is None:
                process.running.kill()
                kills += 1
            if process.running.poll() is None:
                continue
            running.remove(process)
            ended.append(process)
            if process.running.returncode == -9:
                waiting.insert(0, process.shard)
            elif process.running.returncode:
                raise SystemExit(f"shard {process.shard} ended with {process.running.returncode}")
    return ended, kills, load / max(looks, 1)


def begin(plan: Plan, shard: int, url: str, worklist: Path, out: Path) -> Process:
    """A pod of the Job."""
    command = [
        sys.executable, "-m", "brainmvp_clients.cli", "score", "stub", "--server", url,
        "--out", out, "--worklist", worklist, "--concurrency", plan.concurrency, "--resume",
        "--quiet", "--allow-refused",
    ]  # fmt: skip
    told = {"JOB_COMPLETION_INDEX": str(shard), "BRAINMVP_SHARDS": str(plan.shards)}
    log = subprocess.DEVNULL  # a warning for each study that is refused or tried again
    running = subprocess.Popen(list(map(str, command)), env={**os.environ, **told}, stderr=log)
    return Process(shard, running)


def growth(processes: list[Process]) -> float:
    """The median, over processes seen often enough, of memory in the last fifth over the second."""
    ratios = []
    for process in processes:
        fifth = len(process.memory) // 5
        if fifth >= 4:
            second, last = process.memory[fifth : 2 * fifth], process.memory[-fifth:]
            ratios.append(sorted(last)[fifth // 2] / sorted(second)[fifth // 2] - 1)
    return sorted(ratios)[len(ratios) // 2] if ratios else float("nan")


def merge(out: Path, worklist: Path) -> tuple[float, float, dict[str, int]]:
    """Seconds and memory of ``brainmvp score merge``, and what it says."""
    command = [sys.executable, "-m", "brainmvp_clients.cli", "score", "merge", str(out)]
    command += ["--worklist", str(worklist), "--json"]
    start = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
        merging = Process(0, running)
        while running.poll() is None:
            merging.look()
            time.sleep(0.05)
        seconds = time.monotonic() - start
        assert running.stdout is not None
        said = running.stdout.read()
    if running.returncode:
        raise SystemExit(f"merging ended with {running.returncode}: {said!r}")
    merged: dict[str, int] = json.loads(said)
    return seconds, max(merging.memory), merged


def check(out: Path, studies: int) -> Counter[str]:
    """Every study has one line, that of its fate, and its result if there is to be one."""
    states: Counter[str] = Counter()
    seen: set[str] = set()
    for table in sorted((out / "shards").glob("*/results.jsonl")):
        for line in table.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            number = int(row["study"].rpartition(".")[2])
            expected = "done" if number % REFUSED_EVERY else "refused"
            if row["study"] in seen or row["state"] != expected:
                raise SystemExit(f"doubled, or not {expected}: {row}")
            seen.add(row["study"])
            states[row["state"]] += 1
    folders = {path.parent.name for path in (out / "studies").glob("*/*/*/mask.nii.gz")}
    if len(seen) != studies or len(folders) != states["done"]:
        raise SystemExit(f"lost: {len(seen)} lines, {len(folders)} results of {studies} studies")
    return states


def shown(plan: Plan, figures: Figures) -> str:
    """The figures as a table."""
    again = figures.stub["done"] - figures.done
    rate, busy = figures.done / figures.seconds, figures.stub["busy"]
    possible = plan.places * figures.stub["done"] / figures.stub["held_s"]
    cpu_ms = 1000 * figures.cpu_s / figures.done
    rows = (
        ("studies, shards, at a time", f"{plan.studies}, {plan.shards}, {plan.parallel}"),
        ("kills", f"{figures.kills}"),
        ("done, refused, busy answers", f"{figures.done}, {figures.refused}, {busy}"),
        ("lost, doubled", "0, 0"),
        ("answers that were lost to kills and computed again", f"{again}"),
        ("studies done a second; what the stub could do", f"{rate:.2f}; {possible:.2f}"),
        ("share", f"{100 * figures.share(plan):.1f} %"),
        ("CPU of the shards a study, starts and kills included", f"{cpu_ms:.0f} ms"),
        ("memory of a shard, at most", f"{figures.top_mb:.0f} MB"),
        ("its growth over a process's life, median", f"{100 * figures.growth:+.1f} %"),
        ("merging: seconds, memory", f"{figures.merge_s:.0f} s, {figures.merge_mb:.0f} MB"),
    )
    return "\n".join(
        (
            "| | |",
            "| --- | --- |",
            *(f"| {name} | {value} |" for name, value in rows),
            "",
            f"{date.today().isoformat()}, {platform.processor() or platform.machine()}, "
            f"{os.cpu_count()} cores, mean load {figures.load:.0f}, "
            f"Python {platform.python_version()}.",
        )
    )


if __name__ == "__main__":
    main()
