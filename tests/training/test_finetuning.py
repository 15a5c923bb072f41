"""Fine-tuning: two views, deep supervision, the best checkpoint, the published file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from brainmvp_models.errors import InvalidCheckpoint, TemplateMismatch
from brainmvp_models.modality import Modality
from brainmvp_models.task import Score, ScoreOutputs, Task, load_task
from brainmvp_models.templates import TEMPLATE_SHAPE, TemplateBank
from brainmvp_training.checkpoint import load_network, read_checkpoint
from brainmvp_training.datalist import read_datalist
from brainmvp_training.finetune import SCORES_FILE, FinetuneOptions, run_finetuning
from brainmvp_training.finetuning import (
    FineTuning,
    Tuning,
    TuningBatch,
    TuningSampler,
    build_network,
    supervised_logits,
)
from brainmvp_training.loop import TrainingPlan
from brainmvp_training.loss_log import LOSSES_FILE
from brainmvp_training.mixing import ChannelFiller, OftenMissing
from brainmvp_training.networks import RELEASED, TINY, ClassificationNetwork, SegmentationNetwork
from brainmvp_training.prepared import prepare_studies
from stopping import stopped_at

MODALITIES = (Modality.T1, Modality.T1C, Modality.T2, Modality.FLAIR)


@pytest.fixture(scope="module")
def task() -> Task:
    base = load_task("upenn-gbm")
    filling = base.filling.model_copy(update={"policy": "center", "scaling": "minmax"})
    window = base.window.model_copy(update={"size": (32, 32, 32), "overlap": 0.0})
    return base.model_copy(update={"filling": filling, "window": window})


@pytest.fixture(scope="module")
def grading(task: Task) -> Task:
    classes = (Score(name="not-enhancing"), Score(name="enhancing"))
    return task.model_copy(update={"outputs": ScoreOutputs(classes=classes)})


@pytest.fixture(scope="module")
def bank() -> TemplateBank:
    ramp = np.linspace(0, 1, TEMPLATE_SHAPE[0], dtype=np.float32)[:, None, None]
    return TemplateBank({m: np.broadcast_to(ramp, TEMPLATE_SHAPE) for m in MODALITIES})


@pytest.fixture
def options(small_studies: Path, task: Task, bank: TemplateBank, tmp_path: Path) -> FinetuneOptions:
    return FinetuneOptions(
        cases=read_datalist(small_studies),
        validation=read_datalist(small_studies, "validation"),
        task=task,
        bank=bank,
        pretrained=None,
        run=tmp_path / "run",
        cache=tmp_path / "cache",
        size=TINY,
        tuning=Tuning(window=32),
        plan=TrainingPlan(2, learning_rate=1e-3),
        batch=2,
        precision="32",
        accelerator="cpu",
    )


def test_equal_views_are_consistent_and_other_views_cost_a_tenth_of_their_distance(
    task: Task,
) -> None:
    objective = FineTuning(SegmentationNetwork(TINY, 4, 3), task, Tuning(window=32)).eval()
    one, other = torch.rand(2, 1, 4, 32, 32, 32)
    label = torch.zeros(1, 32, 32, 32, dtype=torch.long)
    assert objective(TuningBatch(one, one, label))[2] == 0
    loss, truth, apart = objective(TuningBatch(one, other, label))
    assert apart > 0
    assert loss.item() == pytest.approx(truth.item() + 0.1 * apart.item(), rel=1e-5)


def test_every_head_is_supervised_and_the_finest_is_the_served_one(task: Task) -> None:
    network = SegmentationNetwork(TINY, 4, 3)
    objective = FineTuning(network, task, Tuning(window=32, mix=0))
    image = torch.rand(1, 4, 32, 32, 32)
    label = torch.randint(0, 3, (1, 32, 32, 32))
    objective(TuningBatch(image, image, label))[0].backward()
    for head in (network.ms_out[0], network.ms_out[1], network.decoder.out.conv.conv):
        assert head.weight.grad is not None and head.weight.grad.abs().sum() > 0  # type: ignore[union-attr]
    network.eval()
    with torch.no_grad():
        logits, _ = supervised_logits(network, image)
        assert torch.equal(logits[2], network(image))
    assert [x.shape[-1] for x in logits] == [8, 16, 32]


def test_without_mixing_both_views_are_the_study_itself(
    small_studies: Path, task: Task, bank: TemplateBank, tmp_path: Path
) -> None:
    studies = prepare_studies(read_datalist(small_studies), task.preprocessing, tmp_path)
    filler = ChannelFiller.of(task, bank)
    plain, mixed = (
        TuningSampler(
            studies, task, filler, Tuning(32, mix=mix, augment=False), batch=2, per_study=1, seed=0
        ).batch(0, 0)
        for mix in (0, 3)
    )
    assert torch.equal(plain.one, plain.other)
    assert not torch.equal(mixed.one, mixed.other)
    assert plain.label.shape == (2, 32, 32, 32)


def test_views_lack_what_is_always_missing_and_nothing_else(
    small_studies: Path, task: Task, bank: TemplateBank, tmp_path: Path
) -> None:
    studies = prepare_studies(read_datalist(small_studies), task.preprocessing, tmp_path)
    filler = ChannelFiller.of(task, bank)
    always = (OftenMissing.parse("flair=1"),)
    whole, lacking = (
        TuningSampler(
            studies, task, filler, tuning, batch=1, per_study=1, seed=0
        ).batch(0, 0)
        for tuning in (
            Tuning(32, mix=0, augment=False), Tuning(32, mix=3, augment=False, often=always)
        )
    )  # fmt: skip
    assert torch.equal(lacking.one, lacking.other)
    assert torch.equal(lacking.one[:, :3], whole.one[:, :3])
    assert not torch.equal(lacking.one[:, 3], whole.one[:, 3])


def test_a_flip_takes_the_label_along(
    small_studies: Path, task: Task, bank: TemplateBank, tmp_path: Path
) -> None:
    studies = prepare_studies(read_datalist(small_studies), task.preprocessing, tmp_path)
    filler = ChannelFiller.of(task, bank)
    seen = set()
    for index in range(2):
        for seed in range(6):
            still, moved = (
                TuningSampler(
                    studies, task, filler, Tuning(32, mix=0, augment=augment),
                    batch=1, per_study=1, seed=seed,
                ).batch(0, index)
                for augment in (False, True)
            )  # fmt: skip
            flipped = torch.equal(moved.label, still.label.flip(1))
            assert flipped or torch.equal(moved.label, still.label)
            near, far = (
                (still.one.flip(2), still.one) if flipped else (still.one, still.one.flip(2))
            )
            assert (moved.one - near).abs().mean() < (moved.one - far).abs().mean()
            seen.add(flipped)
    assert seen == {True, False}


def test_a_run_writes_the_published_form_and_scores_and_a_killed_one_resumes_to_the_same_end(
    options: FinetuneOptions, tmp_path: Path
) -> None:
    plan = TrainingPlan(2, learning_rate=1e-3, average=0.9, save_seconds=0)
    options = replace(options, plan=plan, validation=options.validation[:1])
    said: list[str] = []
    path = run_finetuning(options, say=said.append)
    content = torch.load(path, weights_only=True)
    assert set(content) == {"epoch", "state_dict", "optimizer", "scheduler"}
    network = load_network(read_checkpoint(path), options.task)
    assert isinstance(network, SegmentationNetwork)
    scores = [json.loads(line) for line in (options.run / SCORES_FILE).read_text().splitlines()]
    assert [row["epoch"] for row in scores] == [0, 1]
    assert all(0 <= row["score"] <= 1 for row in scores)
    assert any("from scratch" in line for line in said)
    again = replace(options, run=tmp_path / "again")
    steps = len((options.run / LOSSES_FILE).read_text().splitlines())
    assert steps > 2
    with pytest.raises(KeyboardInterrupt):
        run_finetuning(again, on_step=stopped_at(steps - 1))
    run_finetuning(replace(again, resume=True))
    for name in (SCORES_FILE, LOSSES_FILE):
        assert (again.run / name).read_text() == (options.run / name).read_text()
    same = torch.load(again.run / path.name, weights_only=True)["state_dict"]
    for key, value in content["state_dict"].items():
        assert torch.equal(value, same[key]), key
        assert value.is_contiguous(), key
        assert value.stride() == torch.empty(value.shape).stride(), key


def test_a_classification_learns_from_targets_and_keeps_its_best(
    options: FinetuneOptions, grading: Task
) -> None:
    path = run_finetuning(replace(options, task=grading, plan=TrainingPlan(1, average=0.9)))
    network = load_network(read_checkpoint(path), grading)
    assert isinstance(network, ClassificationNetwork)


def test_a_fine_tuned_file_of_the_same_form_is_taken_whole(
    task: Task, grading: Task, tiny_checkpoint: Path
) -> None:
    first = read_checkpoint(tiny_checkpoint)
    network, notes = build_network(task, TINY, first)
    assert notes == ("the whole network goes on from a fine-tuned file",)
    for key, value in network.state_dict().items():
        assert torch.equal(value, first.state[key]), key
    _, notes = build_network(grading, TINY, first)
    assert "arrays of the encoder are pre-trained" in notes[0]


def test_a_missing_template_or_a_network_of_another_size_is_refused(
    options: FinetuneOptions, bank: TemplateBank, tiny_checkpoint: Path
) -> None:
    with pytest.raises(TemplateMismatch, match="no template for flair"):
        run_finetuning(replace(options, bank=bank.only(MODALITIES[:3])))
    with pytest.raises(InvalidCheckpoint, match="--size tiny"):
        build_network(options.task, RELEASED, read_checkpoint(tiny_checkpoint))
