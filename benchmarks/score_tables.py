"""Lists and tables of a million studies: what one shard takes to find its part, and merging all.

    python benchmarks/score_tables.py [--studies 1000000] [--write]

The worklist and the shards' tables are written here, with a line as a study with three structures
of three parts each leaves it; no study is scored. Then, each in a process of its own: one shard
reads the list, one opens and closes its table as a run that is gone on with does, and all are
merged and held against the list. It takes some 20 GB in the temporary folder for a million.
``--write`` keeps the figures in ``docs/scoring.md``.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from tables import keep

from brainmvp_clients.score.ledger import RunKey, StudyState
from brainmvp_clients.score.measurements import Measured
from brainmvp_clients.score.output_folder import OutputFolder
from brainmvp_clients.score.row import Row
from brainmvp_clients.score.run import RunReport
from brainmvp_clients.score.run_record import RunRecord
from brainmvp_clients.score.shard import Shard
from brainmvp_clients.score.table import Table
from brainmvp_clients.score.table_files import JSONL
from brainmvp_clients.score.worklist import WorklistSource

PAGE = Path(__file__).parents[1] / "docs" / "scoring.md"
SHARDS = 64
STRUCTURES = ("edema", "core", "enhancing")


@dataclass(frozen=True)
class Cost:
    """Seconds, and peak memory in MB, of a process from its start to its end."""

    what: str
    seconds: float
    memory: float

    def row(self) -> str:
        """A line of the table."""
        return f"| {self.what} | {self.seconds:.0f} s | {self.memory:.0f} MB |"


def main() -> None:
    """Measure, print, keep; or be one of the processes that are measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1_000_000)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        be(options.part[0], Path(options.part[1]))
        return
    with tempfile.TemporaryDirectory(prefix="brainmvp-bench-") as name:
        text = shown(options.studies, measured(Path(name), options.studies))
    print(text)
    if options.write:
        keep([text], PAGE, "tables")


def be(part: str, folder: Path) -> None:
    """Do what one process of a run does."""
    if part == "list":
        source = WorklistSource(folder / "list.csv", takes=Shard(0, SHARDS).takes)
        print(sum(1 for _ in source.studies()))
    else:
        Table(OutputFolder(folder / "out", Shard(0, SHARDS)).own).close()


def measured(folder: Path, studies: int) -> tuple[Cost, ...]:
    """The cost of each part."""
    write(folder, studies)
    merging = [sys.executable, "-m", "brainmvp_clients.cli", "score", "merge", "--tables-only"]
    merging += [str(folder / "out"), "--worklist", str(folder / "list.csv"), "--quiet"]
    return (
        cost("one shard finds its studies in the list", part("list", folder)),
        cost("one shard opens and closes its table", part("table", folder)),
        cost("all are merged, and held against the list", merging),
    )


def part(name: str, folder: Path) -> list[str]:
    """The command of a part."""
    return [sys.executable, __file__, "--part", name, str(folder)]


def write(folder: Path, studies: int) -> None:
    """The worklist and the tables."""
    (folder / "t1.nii").write_bytes(b"voxels")
    files = []
    for number in range(SHARDS):
        own = OutputFolder(folder / "out", Shard(number, SHARDS)).own
        own.mkdir(parents=True)
        record = RunRecord.begun(RunKey("bundle", "settings"), "brats", "1", in_bucket=False)
        record.of(RunReport("brats", "1")).write(own)
        files.append((own / JSONL).open("w", encoding="utf-8"))
    line, shards = row().line(), [Shard(number, SHARDS) for number in range(SHARDS)]
    with (folder / "list.csv").open("w", encoding="utf-8") as listed:
        listed.write("study,t1\n")
        for number in range(studies):
            name = f"1.2.826.0.1.3680043.{number}"
            listed.write(f"{name},t1.nii\n")
            shard = next(shard.number for shard in shards if shard.takes(name))
            files[shard].write(line.replace("NAME", name, 1))
    for file in files:
        file.close()


def row() -> Row:
    """What a study leaves."""
    measured = tuple(
        Measured(
            structure=name, part=number, voxels=12345, volume_ml=12.345, plane="axial",
            diameter_mm=31.4, across_mm=22.7, product_mm2=712.78, diameter_3d_mm=35.1,
            centroid_r_mm=-20.1, centroid_a_mm=2.5, centroid_s_mm=6.7, side="left",
            to_surface_mm=4.25,
        )
        for name in STRUCTURES
        for number in (None, 1, 2, 3)
    )  # fmt: skip
    return Row(
        study="NAME", token="0123456789abcdef", state=StudyState.DONE, model="brats", version="1",
        real=("t1", "flair"), filled=("t1c", "t2"), seconds=12.345, measured=measured,
        volumes_ml=dict.fromkeys(STRUCTURES, 12.345),
    )  # fmt: skip


def cost(what: str, command: list[str]) -> Cost:
    """Run a command."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{what}: ended with {process.returncode}")
    return Cost(what, time.monotonic() - start, peak_mb(usage))


def peak_mb(usage: resource.struct_rusage) -> float:
    """Linux counts in kB."""
    return usage.ru_maxrss / 1e3


def shown(studies: int, costs: tuple[Cost, ...]) -> str:
    """The figures as a table."""
    return "\n".join(
        (
            f"{studies} studies in {SHARDS} tables; nothing is scored.",
            "",
            "| | time | memory |",
            "| --- | --- | --- |",
            *(one.row() for one in costs),
            "",
            f"{date.today().isoformat()}, {platform.processor() or platform.machine()}, "
            f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}, "
            f"Python {platform.python_version()}.",
        )
    )


if __name__ == "__main__":
    main()
