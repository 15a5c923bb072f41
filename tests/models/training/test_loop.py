"""The training loop: it learns, resumes after a kill with the same losses, runs in parallel."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from brainmvp_models.training.loop import LOSSES_FILE, RESUME_FILE

PROGRAM = Path(__file__).with_name("toy_training.py")


def losses(run: Path) -> list[float]:
    lines = (run / LOSSES_FILE).read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def start(run: Path, *options: str, processes: int = 1) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(PROGRAM), str(run), *options]
    if processes > 1:
        launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command = [sys.executable, *launch, *command[1:]]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """The losses of a run that nothing disturbed."""
    run = tmp_path_factory.mktemp("whole")
    assert start(run).wait(timeout=120) == 0
    return losses(run)


def test_the_loss_falls_and_every_step_is_logged(whole: list[float]) -> None:
    assert len(whole) == 12
    assert sum(whole[-3:]) < 0.7 * sum(whole[:3])


def test_a_killed_run_resumes_with_the_same_loss_curve(whole: list[float], tmp_path: Path) -> None:
    for steps in (3, 6):
        process = start(tmp_path, "--slow", "--resume")
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline:
            log = tmp_path / LOSSES_FILE
            if log.is_file() and len(log.read_text().splitlines()) >= steps:
                break
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(losses(tmp_path)) < 12
    assert start(tmp_path, "--resume").wait(timeout=120) == 0
    assert losses(tmp_path) == pytest.approx(whole, rel=1e-6)
    assert not list(tmp_path.glob(".*.part"))


def test_two_processes_learn_what_one_learns_from_the_same_batches(
    whole: list[float], tmp_path: Path
) -> None:
    assert start(tmp_path, "--share", processes=2).wait(timeout=200) == 0
    found = losses(tmp_path)
    assert len(found) == 12
    # Rank 0 logs the loss of its own half, so curves agree in where they go, not in each step.
    assert sum(found[-3:]) == pytest.approx(sum(whole[-3:]), rel=0.5)
    state = [torch.load(tmp_path / f"weights-{rank}.pt") for rank in (0, 1)]
    for key in state[0]:
        assert torch.equal(state[0][key], state[1][key])


def test_a_resume_file_of_another_training_is_refused_by_name(tmp_path: Path) -> None:
    torch.save({"something": "else"}, tmp_path / RESUME_FILE)
    command = [sys.executable, str(PROGRAM), str(tmp_path), "--resume"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert found.returncode != 0
    assert "last.ckpt: is not of this training" in found.stderr
