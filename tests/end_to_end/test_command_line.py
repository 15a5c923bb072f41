"""`brainmvp predict` in process: what it writes, how it refuses, and what a kill leaves."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_models.bundle import Bundle

COMMAND = [sys.executable, "-m", "brainmvp_clients.cli"]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def scan(colin27: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = nib.load(colin27).slicer[50:120, 70:140, 60:120]
    path = tmp_path_factory.mktemp("scan") / "t1.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine), path)
    return path


def test_predict_writes_all_files_and_prints_json_for_scripts(
    coarse_bundle: Bundle, scan: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = run("predict", coarse_bundle.root, "--t1", scan, "--out", out, "--fill", "zeros",
               "--probabilities", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["structures"]
    assert done.stderr == ""
    names = {str(path.relative_to(out)) for path in out.rglob("*.*")}
    maps = {f"probabilities/{name}.nii.gz" for name in ("TC", "WT", "ET", "uncertainty")}
    assert names == {"mask.nii.gz", "summary.json", "preview.png", "report.html", *maps}


BAD = {
    "empty": (b"", "empty"),
    "text": (b"a letter" * 100, "not a NIfTI file"),
    "cut": (nib.Nifti1Image(np.arange(64.0).reshape(4, 4, 4), np.eye(4)).to_bytes()[:-9], "early"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_line_and_exit_code_2_and_leaves_nothing(
    coarse_bundle: Bundle, tmp_path: Path, name: str
) -> None:
    content, reason = BAD[name]
    path = tmp_path / f"{name}.nii"
    path.write_bytes(content)
    done = run("predict", coarse_bundle.root, "--t1", path, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert reason in done.stderr and path.name in done.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--t1", "nowhere.nii", "--out", "o"], "nowhere.nii"),
        (["--mra", "SCAN", "--out", "o"], "no channel for mra"),
        (["--t1", "SCAN", "--out", "o", "--fill", "none"], "missing"),
        (["--t1", "SCAN", "--out", "o", "--fill", "magic"], "no fill policy"),
        (["--t1", "SCAN", "--out", "o", "--engine", "abacus"], "no engine 'abacus'"),
        (["--out", "o"], ""),
    ],
)
def test_wrong_words_are_one_line_and_exit_code_2(
    coarse_bundle: Bundle, scan: Path, tmp_path: Path, arguments: list[str], reason: str
) -> None:
    words = [str(scan) if word == "SCAN" else word for word in arguments]
    done = subprocess.run(
        [*COMMAND, "predict", str(coarse_bundle.root), *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_whose_network_was_changed_is_refused(
    coarse_bundle: Bundle, scan: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "tiny" / "1"
    copy.mkdir(parents=True)
    for path in coarse_bundle.root.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    with (copy / "model.onnx").open("r+b") as file:
        file.seek(1000)
        file.write(b"\xff\xff")
    done = run("predict", copy, "--t1", scan, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "model.onnx" in done.stderr and "SHA-256" in done.stderr
    listed = json.loads(run("models", "--models", tmp_path, "--json").stdout)
    assert listed["models"] == [] and listed["refused"][0]["name"] == "tiny/1"


def test_a_kill_half_way_leaves_no_result_that_looks_whole(
    coarse_bundle: Bundle, colin27: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [*COMMAND, "predict", str(coarse_bundle.root), "--t1", str(colin27)]
    with subprocess.Popen(
        [*command, "--out", str(out), "--fill", "zeros", "--quiet"], stderr=subprocess.DEVNULL
    ) as process:
        while not list(tmp_path.glob(".brainmvp-*")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not out.exists()


def test_serving_a_missing_folder_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    done = run("serve", "--models", tmp_path / "nowhere")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1 and "no such folder" in done.stderr
