"""``brainmvp score`` with a real server: killed at any moment, it ends with the same set."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

STUDIES = 4


def _command(out: Path, server: str, *arguments: object) -> list[str]:
    command = [
        sys.executable, "-m", "brainmvp_clients.cli", "score", "tiny", "--out", out,
        "--server", server, "--json", "--resume", "--fill", "zeros", "--prepare", "none",
        *arguments,
    ]  # fmt: skip
    return list(map(str, command))


@pytest.fixture(scope="module")
def cohort(colin27: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small studies, each another part of a brain."""
    root = tmp_path_factory.mktemp("cohort")
    image = nib.load(colin27)
    for number in range(STUDIES):
        part = image.slicer[40 + 4 * number : 88 + 4 * number, 70:118, 60:108]
        (root / f"study-{number}").mkdir()
        voxels = np.asarray(part.dataobj)
        nib.save(nib.Nifti1Image(voxels, part.affine), root / f"study-{number}" / "t1.nii.gz")
    return root


def masks(out: Path) -> dict[str, bytes]:
    """Every study's mask, by its folder."""
    root = out / "studies"
    return {
        p.parent.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("mask.nii.gz")
    }


def rows(out: Path) -> list[str]:
    """The studies of the table, line by line."""
    lines = (out / "results.jsonl").read_text().splitlines()
    return [json.loads(line)["study"] for line in lines]


def killed_and_resumed(
    command: Callable[[Path], list[str]], out: Path, moment: float
) -> dict[str, object]:
    """Start, kill -9 after ``moment`` seconds, start again; the last report."""
    process = subprocess.Popen(command(out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(moment)
    process.kill()
    process.wait()
    done = subprocess.run(command(out), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    report: dict[str, object] = json.loads(done.stdout)
    return report


@pytest.fixture(scope="module")
def undisturbed(
    cohort: Path, tiny_server: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, bytes], float]:
    """The masks of a run that nobody kills, and its seconds."""
    out, start = tmp_path_factory.mktemp("undisturbed") / "out", time.monotonic()
    command = _command(out, tiny_server, "--folder", cohort)
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    seconds = time.monotonic() - start
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["done"] == STUDIES
    return masks(out), seconds


@pytest.mark.parametrize(
    "trial", [*range(2), *(pytest.param(trial, marks=pytest.mark.slow) for trial in range(2, 20))]
)
def test_a_run_killed_at_a_random_point_and_resumed_ends_with_the_same_set(
    cohort: Path, tiny_server: str, undisturbed: tuple[dict[str, bytes], float],
    tmp_path: Path, trial: int,
) -> None:  # fmt: skip
    expected, seconds = undisturbed
    moment = random.uniform(0.2, 1.0) * seconds
    out = tmp_path / "out"
    report = killed_and_resumed(
        lambda out: _command(out, tiny_server, "--folder", cohort), out, moment
    )
    assert report["failed"] == report["refused"] == 0
    assert masks(out) == expected
    assert sorted(rows(out)) == sorted(expected)
    assert not list(out.rglob(".brainmvp-*")) and not list((out / ".work").iterdir())
    again = _command(out, tiny_server, "--folder", cohort)
    done = subprocess.run(again, capture_output=True, text=True, timeout=300)
    assert json.loads(done.stdout)["skipped"] == STUDIES
