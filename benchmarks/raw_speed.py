"""What a raw study costs: ``python benchmarks/raw_speed.py BUNDLE``, beside ``../shared``.

``brainmvp prepare`` and ``brainmvp predict`` of the four series of fg6692, each a process of its
own from start to end: seconds by the clock, seconds of CPU, and the most memory. The load is told
too: beside other work only the CPU's seconds say something.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import tempfile
import time
from pathlib import Path

from patients import ROOT, SERIES
from study import machine


def row(name: str, command: list[str]) -> str:
    """A line of the table: the command's costs."""
    before, begin = os.times(), time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=1800)
    clock, after = time.monotonic() - begin, os.times()
    cpu = after.children_user - before.children_user + after.children_system
    cpu -= before.children_system
    # The most of any child so far: prediction comes second and needs more.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return f"| {name} | {clock:.1f} s | {cpu:.1f} s | {peak:.2f} GiB | {os.getloadavg()[0]:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    options = parser.parse_args()
    raw = options.shared / "clinical" / "fg6692" / "raw"
    series = [word for name in SERIES for word in (f"--{name}", str(raw / f"{name}.nii.gz"))]
    print("| command | clock | CPU | at most | load |", "| --- | --- | --- | --- | --- |", sep="\n")
    with tempfile.TemporaryDirectory() as scratch:
        prepared, result = (str(Path(scratch) / name) for name in ("prepared", "result"))
        print(row("prepare", ["brainmvp", "prepare", str(raw), "--out", prepared]), flush=True)
        predict = ["brainmvp", "predict", str(options.bundle), *series, "--out", result]
        print(row("predict", predict), flush=True)
    print(machine())


if __name__ == "__main__":
    main()
