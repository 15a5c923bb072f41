"""Memory against the size of the study and of the network, ours against the published pipeline.

    python benchmarks/sizes.py [--edges 128 192 256 384 512] [--write]

Every figure is the peak of a process of its own. Studies are cubes of four modalities without
background, the worst that can come, with a stand-in for the network on both sides; then the
networks alone, in each engine and at several batches. Beside ours stands what the service reckons
with before it reads a voxel. A side that would need more than the machine has free is said so.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
from inputs import MODALITIES, write_bundle, write_checkpoint
from memory import peak_mb
from study import HERE, PAGE, machine, say
from tables import keep

from brainmvp_models.bundle import Bundle
from brainmvp_models.modality import Modality
from brainmvp_server.inference.checked_study import check_study
from brainmvp_server.inference.engines import ENGINES, installed_engines, load_engine
from brainmvp_server.inference.network_cache import network_bytes

BATCHES = (1, 2, 4)
SMALLEST = 32
MB = 1 << 20


@dataclass(frozen=True)
class Cube:
    """A study's edge in voxels and what it took, in MB; None where the machine had too little."""

    edge: int
    published: float | None
    ours: float | None
    reckoned: float


def write_cube(folder: Path, edge: int) -> None:
    """Four int16 files of that edge, 1 mm, filled to the border."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in MODALITIES:
        voxels = rng.integers(1, 999, (edge,) * 3, dtype=np.int16)
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), folder / f"{name}.nii.gz")


def peak_of(free: int, *command: object) -> float | None:
    """Peak MB of a process that may take ``free`` bytes; None if they were too few."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (free, free))

    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, preexec_fn=limited
    )
    if done.returncode:
        say(f"  ended with {done.returncode}: {(done.stderr.splitlines() or [''])[-1][:100]}")
        return None
    return float(json.loads(done.stdout.strip().splitlines()[-1])["peak_mb"])


def cube(edge: int, bundle: Bundle, scratch: Path) -> Cube:
    """Both sides on a study of that edge."""
    say(f"{edge}³")
    study = scratch / str(edge)
    write_cube(study, edge)
    files = {Modality(name): study / f"{name}.nii.gz" for name in MODALITIES}
    reckoned = check_study(files, bundle.task).memory / MB
    free = psutil.virtual_memory().available
    theirs = peak_of(free, HERE / "published.py", study, scratch)
    ours = peak_of(free, HERE / "ours.py", study, scratch, bundle.root, "--no-network")
    for file in study.iterdir():
        file.unlink()
    return Cube(edge, theirs, ours, reckoned)


def network_rows(size: str, bundle: Bundle) -> list[str]:
    """A network at work in each engine, against what it is counted as."""
    rows = []
    for engine in (name for name in installed_engines() if not ENGINES[name].on_gpu):
        for windows in BATCHES:
            say(f"network {size}, {engine}, {windows} windows")
            free = psutil.virtual_memory().available
            taken = peak_of(free, __file__, "--network", bundle.root, engine, windows)
            counted = network_bytes(bundle, windows, engine) / MB
            shown = "more than was free" if taken is None else f"{taken:.0f} MB"
            share = "" if taken is None else f"{taken / counted:.2f}"
            rows.append(f"| {size} | {engine} | {windows} | {shown} | {counted:.0f} MB | {share} |")
    return rows


def measure_network(root: Path, engine_name: str, windows: int) -> None:
    """What loading and running a network adds to this process; one JSON line."""
    bundle = Bundle.open(root)
    load_engine(bundle.forms, engine_name).close()  # the runtime itself is not the network's
    before = peak_mb()
    engine = load_engine(bundle.forms, engine_name)
    task = bundle.task
    image = np.random.default_rng(0).random(
        (windows, len(task.channels), *task.window.size), dtype=np.float32
    )
    for _ in range(2):
        engine.infer(image)
    print(json.dumps({"peak_mb": peak_mb() - before}))


def cube_rows(cubes: list[Cube], base: float) -> list[str]:
    """The table's lines; ``base`` is a process of ours that has worked on hardly anything."""
    rows = []
    for one in cubes:
        theirs = "more than was free" if one.published is None else f"{one.published:.0f} MB"
        ours = "more than was free" if one.ours is None else f"{one.ours:.0f} MB"
        ratio = f"{one.published / one.ours:.2f} ×" if one.published and one.ours else ""
        share = f"{(one.ours - base) / one.reckoned:.2f}" if one.ours else ""
        rows.append(
            f"| {one.edge}³ | {theirs} | {ours} | {ratio} | {one.reckoned:.0f} MB | {share} |"
        )
    return rows


def measure(edges: list[int], sizes: list[str], scratch: Path) -> list[str]:
    """The lines of the page."""
    bundles = {}
    for size in sizes:
        checkpoint = scratch / f"{size}.pt"
        write_checkpoint(size, checkpoint)
        bundles[size] = write_bundle(checkpoint, scratch / size)
    first = next(iter(bundles.values()))
    smallest = cube(SMALLEST, first, scratch)
    assert smallest.ours is not None
    base = smallest.ours
    cubes = [cube(edge, first, scratch) for edge in edges]
    networks = [row for size, bundle in bundles.items() for row in network_rows(size, bundle)]
    return [
        "| four volumes of | published pipeline | ours | ratio | reckoned with | really, of it |",
        "| --- | --- | --- | --- | --- | --- |",
        *cube_rows(cubes, base),
        "",
        f"Peak memory without the network. {base:.0f} MB of ours are the process itself, which the "
        "last column leaves out.",
        "",
        "| network | engine | windows at once | takes | counted as | really, of it |",
        "| --- | --- | --- | --- | --- | --- |",
        *networks,
        "",
        machine(),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edges", type=int, nargs="+", default=[128, 192, 256, 384, 512])
    parser.add_argument("--sizes", nargs="+", default=["tiny", "released"])
    parser.add_argument("--write", action="store_true", help="keep the tables in the docs")
    parser.add_argument("--network", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.network:
        root, engine, windows = options.network
        measure_network(Path(root), engine, int(windows))
        return
    with tempfile.TemporaryDirectory() as scratch:
        lines = measure(options.edges, options.sizes, Path(scratch))
    print("\n".join(lines))
    if options.write:
        keep(lines, PAGE, "sizes")


if __name__ == "__main__":
    main()
