"""The training commands from a datalist to a bundle's checkpoint, and what they refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from command_line import brainmvp

TASK = """
name: small
title: Small
channels: [{modality: t1}, {modality: t1c}, {modality: t2}, {modality: flair}]
outputs:
  kind: regions
  labels: [{value: 1, name: NCR}, {value: 2, name: ED}, {value: 4, name: ET}]
  regions: [{name: TC, labels: [1, 4]}, {name: WT, labels: [1, 2, 4]}, {name: ET, labels: [4]}]
window: {size: [32, 32, 32], overlap: 0}
filling: {policy: center, scaling: minmax}
"""


@pytest.fixture(scope="module")
def runs(small_studies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pre-training run and a task."""
    out = tmp_path_factory.mktemp("runs")
    (out / "task.yaml").write_text(TASK)
    sections = json.loads(small_studies.read_text())
    for entry in sections["training"]:
        entry["label"] = "nowhere.nii.gz"  # pre-training needs none
    unlabelled = out / "unlabelled.json"
    unlabelled.write_text(json.dumps(sections))
    done = brainmvp(
        "pretrain", unlabelled, "--root", small_studies.parent,
        "--out", out / "pretrain", "--cache", out / "cache",
        "--size", "tiny", "--window", "32", "--epochs", "2", "--template-epochs", "1",
        "--contrast-from", "1", "--accelerator", "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out


def test_pre_training_writes_a_file_templates_and_pictures(runs: Path) -> None:
    found = {path.name for path in (runs / "pretrain" / "templates").iterdir()}
    names = ("T1", "T1C", "T2", "FLAIR")
    assert found == {f"{n}.nii.gz" for n in names} | {f"{n}.png" for n in names}
    assert (runs / "pretrain" / "pretrained.pt").stat().st_size > 1 << 20
    terms = json.loads((runs / "pretrain" / "losses.jsonl").read_text().splitlines()[-1])
    assert terms["contrast"] > 0


def test_fine_tuning_starts_from_the_pre_trained_file_and_its_templates(
    runs: Path, small_studies: Path
) -> None:
    done = brainmvp(
        "finetune", small_studies, "--out", runs / "tuned", "--task", runs / "task.yaml",
        "--pretrained", runs / "pretrain" / "pretrained.pt", "--size", "tiny", "--window", "32",
        "--cache", runs / "cache", "--epochs", "1", "--accelerator", "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "first convolution starts from scratch" in done.stdout
    assert "validation score" in done.stdout
    assert (runs / "tuned" / "finetuned.pt").is_file()


def test_a_folder_that_holds_a_run_is_left_as_it_is(runs: Path, small_studies: Path) -> None:
    before = {path: path.read_bytes() for path in (runs / "pretrain").glob("*.*")}
    done = brainmvp("pretrain", small_studies, "--out", runs / "pretrain", "--size", "tiny")
    assert done.returncode == 2
    assert "last.ckpt: pretrain holds a run already. Go on with it (--resume)" in done.stderr
    assert {path: path.read_bytes() for path in before} == before


def test_folds_that_a_list_does_not_have_are_refused(
    runs: Path, small_studies: Path, tmp_path: Path
) -> None:
    done = brainmvp(
        "finetune", small_studies, "--out", tmp_path / "run", "--task", runs / "task.yaml",
        "--size", "tiny", "--fold", "0",
    )  # fmt: skip
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
    assert "'training-0000' has no fold" in done.stderr


def test_shares_of_views_that_cannot_be_are_refused_before_a_study_is_read(
    runs: Path, small_studies: Path, tmp_path: Path
) -> None:
    done = brainmvp(
        "finetune", small_studies, "--out", tmp_path / "run", "--task", runs / "task.yaml",
        "--size", "tiny", "--missing", "flair=0.8", "--missing", "t1c+flair=0.3",
    )  # fmt: skip
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
    assert "--missing: shares out more views than there are" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_dry_run_lists_every_fault_and_trains_nothing(
    small_studies: Path, tmp_path: Path
) -> None:
    sections = json.loads(small_studies.read_text())
    sections["training"][0]["image"]["t1"] = "absent.nii.gz"
    sections["training"][1]["label"] = "absent-too.nii.gz"
    broken = tmp_path / "datalist.json"
    broken.write_text(json.dumps(sections))
    (tmp_path / "task.yaml").write_text(TASK)
    words = (
        "finetune", broken, "--root", small_studies.parent, "--out", tmp_path / "run",
        "--task", tmp_path / "task.yaml", "--size", "tiny",
    )  # fmt: skip
    done = brainmvp(*words, "--dry-run")
    assert done.returncode == 2
    assert "absent.nii.gz" in done.stderr and "absent-too.nii.gz" in done.stderr
    assert "training: 4 cases, 2 faults" in done.stdout
    assert not (tmp_path / "run").exists()
    done = brainmvp(*words)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1 and "2 faults" in done.stderr
    sound = brainmvp("pretrain", small_studies, "--out", tmp_path / "run", "--dry-run")
    assert sound.returncode == 0 and "4 cases, 0 faults" in sound.stdout


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--size", "huge"), "there is no size 'huge'"),
        (("--batch", "1", "--contrast-from", "0"), "needs two studies a batch"),
        (("--section", "nowhere"), "nowhere"),
        (("--window", "40"), "take 32 or 48"),
        (("--block", "7"), "does not divide into blocks of 7"),
        pytest.param(
            ("--accelerator", "cuda"),
            "accelerator 'cuda' cannot train",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_wrong_options_end_in_one_line(
    small_studies: Path, tmp_path: Path, options: tuple[str, ...], problem: str
) -> None:
    done = brainmvp("pretrain", small_studies, "--out", tmp_path, *options)
    assert done.returncode == 2
    assert problem in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--wide", "--anatomy", "t1.nii.gz"), "made of heads, not of one T1"),
        (("--heads", "."), "only wide studies"),
        (("--wide", "--heads", "."), "holds no label maps of heads"),
        (("--wide", "--brains", "."), "holds no folder with t1, t1c, t2 and flair"),
    ],
)
def test_options_of_the_other_kind_of_synthetic_studies_end_in_one_line(
    tmp_path: Path, options: tuple[str, ...], problem: str
) -> None:
    given = [str(tmp_path) if option == "." else option for option in options]
    done = brainmvp("synthesize", tmp_path / "out", *given)
    assert done.returncode == 2
    assert problem in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_process_of_its_own_prints_the_one_line_and_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "brainmvp_clients.cli", "pretrain", tmp_path / "nowhere.json"]
    done = subprocess.run(
        [*command, "--out", tmp_path], capture_output=True, text=True, timeout=200, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "nowhere.json" in done.stderr and len(done.stderr.splitlines()) == 1


def test_two_processes_fine_tune_together_and_one_of_them_speaks(
    runs: Path, small_studies: Path
) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    words = [
        "finetune", small_studies, "--out", runs / "two", "--task", runs / "task.yaml",
        "--pretrained", runs / "pretrain" / "pretrained.pt", "--size", "tiny", "--window", "32",
        "--cache", runs / "cache", "--epochs", "1", "--batch", "1", "--accelerator", "cpu",
    ]  # fmt: skip
    command = [*launch, "-m", "brainmvp_clients.cli", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("validation score") == done.stdout.count("wrote ") == 1
    assert "UserWarning" not in done.stderr
    lines = (runs / "two" / "losses.jsonl").read_text().splitlines()
    assert len(lines) == 2, "four studies, two processes, one window each"
