"""The training loop: it learns, resumes after a kill with the same losses, runs in parallel."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from torch import nn

import toy_training
from brainmvp_models.errors import InvalidCheckpoint
from brainmvp_training.loop import (
    make_fabric,
    train,
)
from brainmvp_training.loss_log import LOSSES_FILE
from brainmvp_training.resume_file import RESUME_FILE
from stopping import stopped_at
from toy_training import PLAN, ToyObjective, ToySampler

PROGRAM = Path(toy_training.__file__)


def losses(run: Path) -> list[float]:
    lines = (run / LOSSES_FILE).read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def start(run: Path, *options: str, processes: int = 1) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(PROGRAM), str(run), *options]
    if processes > 1:
        launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        command = [sys.executable, *launch, *command[1:]]
    temporary = run / "temporary"  # what is killed leaves something in it
    temporary.mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(temporary)}
    return subprocess.Popen(command, env=environment)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """The losses of a run that nothing disturbed."""
    run = tmp_path_factory.mktemp("whole")
    train(cpu(), ToyObjective(), ToySampler(), PLAN, run)
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


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped in its first epoch."""
    run = tmp_path_factory.mktemp("cut")
    with pytest.raises(KeyboardInterrupt):
        train(cpu(), ToyObjective(), ToySampler(), PLAN, run, on_step=stopped_at(3))
    return run


def cpu() -> Fabric:
    return make_fabric("32", "cpu")


def half(scale: float) -> Fabric:
    """Half precision on a CPU, which Fabric has for GPUs alone, with its scale to begin with."""
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)  # type: ignore[attr-defined]
    return Fabric(accelerator="cpu", plugins=MixedPrecision("16-mixed", "cpu", scaler))


def test_a_run_resumes_at_the_rate_that_is_asked_for(
    whole: list[float], cut: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(cut, tmp_path / "run")
    objective = ToyObjective()
    train(cpu(), objective, ToySampler(), replace(PLAN, learning_rate=0), run, resume=True)
    rates = [json.loads(line)["rate"] for line in (run / LOSSES_FILE).read_text().splitlines()]
    assert len(rates) == 12 and rates[0] > 0 and not any(rates[2:])
    weights = torch.load(run / RESUME_FILE, weights_only=False)["objective"]
    before = torch.load(cut / RESUME_FILE, weights_only=False)["objective"]
    assert all(torch.equal(weights[key], value) for key, value in before.items())
    assert losses(run)[:2] == pytest.approx(whole[:2], rel=1e-6)


@pytest.mark.parametrize(
    ("count", "accumulate", "material"), [(6, 2, ""), (8, 4, ""), (8, 2, "fold 1")]
)
def test_a_run_of_other_batches_is_not_gone_on_with(
    cut: Path, count: int, accumulate: int, material: str
) -> None:
    plan, sampler = replace(PLAN, accumulate=accumulate), ToySampler(count=count)
    with pytest.raises(InvalidCheckpoint, match=r"last.ckpt: is of a run on other batches"):
        train(cpu(), ToyObjective(), sampler, plan, cut, material=material, resume=True)


def test_in_fp16_the_gradients_true_norm_is_clipped_and_the_scale_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms: dict[str, list[float]] = {"32": [], "16": []}
    measure = nn.utils.clip_grad_norm_
    for precision, found in norms.items():
        fabric = half(1024) if precision == "16" else cpu()
        monkeypatch.setattr(
            nn.utils, "clip_grad_norm_", lambda *a, f=found: f.append(float(measure(*a)))
        )
        plan = replace(PLAN, clip=1.0)
        train(fabric, ToyObjective(), ToySampler(), plan, tmp_path / precision)
    assert norms["16"][:3] == pytest.approx(norms["32"][:3], rel=0.05)
    again = half(65536)
    # What began in one precision goes on in it, and in another.
    for fabric, run in ((again, "16"), (cpu(), "16"), (half(65536), "32")):
        train(fabric, ToyObjective(), ToySampler(), plan, tmp_path / run, resume=True)
    assert again.strategy.precision.state_dict()["scale"] == 1024
    state = torch.load(tmp_path / "16" / RESUME_FILE, weights_only=False)
    assert state["precision"]["scale"] == 1024


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
    with pytest.raises(InvalidCheckpoint, match=r"last\.ckpt: is not of this training"):
        train(cpu(), ToyObjective(), ToySampler(), PLAN, tmp_path, resume=True)
