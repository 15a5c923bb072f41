"""``brainmvp export`` as a user calls it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from brainmvp_models.bundle import Bundle, find_bundles
from brainmvp_models.task import Task
from brainmvp_training.networks import TINY
from command_line import brainmvp

COMMAND = [sys.executable, "-m", "brainmvp_clients.cli", "export"]


def _run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture(scope="module")
def task_file(small_task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("task") / "task.yaml"
    path.write_text(yaml.safe_dump(small_task.model_dump(mode="json")), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("checkpoint", "options", "problem"),
    [
        ("absent.pt", ["--task", "upenn-gbm"], "absent.pt: no such file"),
        ("tiny.pt", ["--task", "brats99"], "brats99: is neither a preset nor a file"),
        ("tiny.pt", ["--task", "isles22"], "does not fit task 'isles22': 3 outputs"),
        ("tiny.pt", ["--task", "upenn-gbm", "--study", "t1"], "--study t1 names no file"),
    ],
)
def test_bad_input_exits_2_with_one_line(
    tiny_checkpoint: Path, tmp_path: Path, checkpoint: str, options: list[str], problem: str
) -> None:
    done = brainmvp("export", tiny_checkpoint.parent / checkpoint, tmp_path / "out", *options)
    assert done.returncode == 2
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if not line.endswith("…")]
    assert len(lines) == 1
    assert lines[0].startswith("brainmvp: ")
    assert problem in lines[0]
    assert not (tmp_path / "out").exists()


@pytest.fixture
def pretrained_file(
    golden_weights: Callable[[torch.nn.Module], dict[str, torch.Tensor]], tmp_path: Path
) -> Path:
    """One with templates of eight modalities, each of its own number."""
    state = {
        f"module.encoder.uniformer.{key}": value
        for key, value in golden_weights(TINY.encoder(1)).items()
    }
    state["module.decoder.out_1.conv.conv.weight"] = torch.zeros(1, 16, 1, 1, 1)
    values = torch.arange(8.0).reshape(8, 1, 1, 1)
    state["module.rep_template"] = values.expand(8, 40, 48, 56).clone()
    path = tmp_path / "pretrained.pt"
    torch.save({"state_dict": state}, path)
    return path


def test_export_puts_a_bundle_in_the_place_of_another_and_says_where(
    tiny_checkpoint: Path,
    small_bundle: Bundle,
    pretrained_file: Path,
    task_file: Path,
    colin27: Path,
    tmp_path: Path,
) -> None:
    target = tmp_path / "out" / "mine" / "3"
    shutil.copytree(small_bundle.root, target)
    (target / "stale.txt").touch()
    (tmp_path / "quality.md").write_text("## Quality\n\nUnknown.\n", encoding="utf-8")
    done = _run(
        tiny_checkpoint, tmp_path / "out", "--task", task_file, "--name", "mine", "--version", "3",
        "--study", f"t1={colin27}", "--card", tmp_path / "quality.md",
        "--templates", pretrained_file, "--overwrite",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"wrote {target}"
    assert "onnxruntime: largest difference" in done.stdout
    bundle = Bundle.open(tmp_path / "out" / "mine")
    assert bundle.manifest.version == "3"
    assert bundle.manifest.provenance.command.startswith("brainmvp export tiny.pt out --task")
    assert str(tmp_path) not in (bundle.root / "manifest.json").read_text(encoding="utf-8")
    assert (bundle.root / "card.md").read_text(encoding="utf-8").endswith("Unknown.\n")
    files = {"model.onnx", "card.md", "manifest.json", "templates.nii.gz"}
    assert {path.name for path in target.iterdir()} == files
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"mine"}
    volumes = bundle.templates().volumes
    assert {m.value: int(v.max()) for m, v in volumes.items()} == {
        "t1": 1, "t1c": 2, "t2": 3, "flair": 0
    }  # fmt: skip


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_killed_export_leaves_no_bundle_to_be_served(
    tiny_checkpoint: Path, task_file: Path, tmp_path: Path
) -> None:
    command = [*COMMAND, str(tiny_checkpoint), str(tmp_path), "--task", str(task_file)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "comparing" in line:
                process.send_signal(signal.SIGKILL)
                break
        process.stderr.read()
        assert process.wait(60) == -signal.SIGKILL
    assert any(tmp_path.rglob("model.onnx"))  # it was killed on the way
    assert list(find_bundles(tmp_path)) == []
    assert not (tmp_path / "upenn-gbm").exists()
