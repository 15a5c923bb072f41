"""Pre-training: the pretext tasks as published, and a file that interchanges with the published."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from brainmvp_models.modality import BANK_ORDER, Modality
from brainmvp_models.task import Preprocessing, load_task
from brainmvp_models.templates import TEMPLATE_SHAPE, TemplateBank, minmax_scaled
from brainmvp_training.case import Case
from brainmvp_training.checkpoint import read_checkpoint
from brainmvp_training.datalist import read_datalist
from brainmvp_training.finetuning import build_network
from brainmvp_training.loop import TrainingPlan, lay_out
from brainmvp_training.loss_log import LOSSES_FILE
from brainmvp_training.networks import RELEASED, TINY
from brainmvp_training.prepared import PreparedStudy, prepare_studies
from brainmvp_training.pretrain import PretrainOptions, run_pretraining
from brainmvp_training.pretraining import (
    Pretext,
    PretextBatch,
    PretextSampler,
    Pretraining,
    Reconstruction,
)
from brainmvp_training.published import write_pretrained, write_templates
from stopping import stopped_at

BANK = (Modality.T1, Modality.T2)
PLACE = (70, 80, 40)


@pytest.fixture(scope="module")
def studies(
    small_studies: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[PreparedStudy, ...]:
    return prepare_studies(cases(small_studies), Preprocessing(), tmp_path_factory.mktemp("cache"))


def cases(datalist: Path) -> tuple[Case, ...]:
    """Its cases with the modalities of ``BANK`` alone: a template has nine million voxels."""
    return tuple(case.limited_to(BANK) for case in read_datalist(datalist))


def batch(seed: int = 0, alone: bool = False) -> PretextBatch:
    torch.manual_seed(seed)
    hidden = torch.rand(2, 1, 2, 2, 2) < 0.8
    for axis in (2, 3, 4):
        hidden = hidden.repeat_interleave(16, dim=axis)
    return PretextBatch(
        torch.rand(2, 1, 32, 32, 32),
        torch.rand(2, 1, 32, 32, 32),
        hidden,
        torch.tensor([0, 1]),
        torch.tensor([PLACE, PLACE]),
        torch.tensor([alone, alone]),
    )


def test_a_template_learns_only_through_the_voxels_it_filled() -> None:
    objective = Pretraining(TINY, BANK, Pretext(window=32, template_epochs=9, contrast_from=0))
    with torch.no_grad():
        objective.rep_template.uniform_()
    given = batch()
    objective(given)[0].backward()
    gradient = objective.rep_template.grad
    assert gradient is not None
    x, y, z = (slice(a, a + 32) for a in PLACE)
    learned = torch.zeros_like(gradient, dtype=torch.bool)
    learned[:, x, y, z] = given.hidden[:, 0]
    assert bool((gradient[learned] != 0).float().mean() > 0.9)
    assert not gradient[~learned].any()


def test_a_zero_bank_gives_finite_losses_and_starts_to_learn() -> None:
    objective = Pretraining(TINY, BANK, Pretext(window=32))
    optimiser = torch.optim.AdamW(objective.parameters(), lr=1e-3)
    for seed in range(3):
        optimiser.zero_grad()
        terms = objective(batch(seed))
        assert torch.isfinite(terms).all()
        terms[0].backward()
        optimiser.step()
    assert torch.isfinite(objective.rep_template).all()
    assert objective.rep_template.abs().max() > 0


def test_steps_lower_every_loss_and_change_a_template_only_where_it_was_used(
    studies: tuple[PreparedStudy, ...],
) -> None:
    bank = [m for m in BANK_ORDER if m in studies[0].modalities]
    pretext = Pretext(window=32, template_epochs=0, contrast_from=0)
    given = PretextSampler(studies, bank, pretext, batch=2, per_study=1, seed=0).batch(0, 0)
    torch.manual_seed(0)
    objective = Pretraining(TINY, bank, pretext)
    optimiser = torch.optim.AdamW(objective.parameters(), lr=4e-3, fused=True)
    seen = []
    for _ in range(40):
        optimiser.zero_grad()
        terms = objective(given)
        terms[0].backward()
        optimiser.step()
        seen.append(terms.detach())
    first, last = torch.stack(seen[:3]).mean(0), torch.stack(seen[-3:]).mean(0)
    assert (last < 0.9 * first).all(), (first, last)
    used = torch.zeros_like(objective.rep_template, dtype=torch.bool)
    for index, start, hidden in zip(given.modality, given.place, given.hidden[:, 0], strict=True):
        x, y, z = (slice(int(a), int(a) + 32) for a in start)
        used[index, x, y, z] |= hidden
    changed = objective.rep_template.detach() != 0
    assert changed[used].float().mean() > 0.9 and not changed[~used].any()


def test_the_second_view_is_filled_from_another_modality_only_after_the_template_epochs() -> None:
    objective = Pretraining(TINY, BANK, Pretext(window=32, template_epochs=5, contrast_from=99))
    objective.eval()
    given = batch()
    changed = given._replace(other=1 - given.other)
    for epoch, differs in ((4, False), (5, True)):
        objective.epoch = epoch
        before, after = objective(given), objective(changed)
        assert torch.equal(before[1], after[1])
        assert torch.equal(before[2], after[2]) is not differs
    lonely, changed = batch(alone=True), batch(alone=True)._replace(other=given.target)
    assert torch.equal(objective(lonely)[2], objective(changed)[2])


def test_contrast_joins_at_its_epoch_and_the_loss_has_the_published_weights() -> None:
    objective = Pretraining(TINY, BANK, Pretext(window=32, contrast_from=7))
    objective.epoch = 6
    loss, one, other, contrast = objective(batch())
    assert contrast == 0
    assert loss.item() == pytest.approx(10 * one.item() + other.item(), rel=1e-5)
    objective.epoch = 7
    loss, one, other, contrast = objective(batch())
    assert contrast > 0
    assert loss.item() == pytest.approx((10 * one + other + contrast).item(), rel=1e-5)


def test_a_run_that_was_stopped_goes_on_with_the_same_losses_and_templates(
    small_studies: Path, tmp_path: Path
) -> None:
    options = PretrainOptions(
        cases=cases(small_studies),
        run=tmp_path / "whole",
        cache=tmp_path / "cache",
        size=TINY,
        pretext=Pretext(window=32, template_epochs=1, contrast_from=1),
        plan=TrainingPlan(2, learning_rate=1e-3, accumulate=2, save_seconds=0),
        per_study=2,
        template_rate=1e-2,
        precision="32",
        accelerator="cpu",
    )
    path = run_pretraining(options)

    again = replace(options, run=tmp_path / "again")
    with pytest.raises(KeyboardInterrupt):
        run_pretraining(again, on_step=stopped_at(3))
    run_pretraining(replace(again, resume=True))
    logs = [(run.run / LOSSES_FILE).read_text() for run in (options, again)]
    assert logs[0] == logs[1] and logs[0].count("\n") == 4
    one, two = (
        torch.load(run.run / path.name, weights_only=True)["state_dict"] for run in (options, again)
    )
    assert all(torch.equal(value, two[key]) for key, value in one.items())


def test_a_window_beyond_the_template_grid_is_filled_with_the_templates_lowest_value() -> None:
    objective = Pretraining(TINY, BANK, Pretext(window=32))
    with torch.no_grad():
        objective.rep_template.uniform_()
    given = batch()._replace(place=torch.tensor([[-16, 0, 0], [0, 0, 140]]))
    parts = objective.templates_at(given)
    assert parts.shape == (2, 1, 32, 32, 32)
    assert not parts[0, 0, :16].any() and parts[0, 0, 16:].mean() > 0.4
    assert not parts[1, 0, :, :, 15:].any() and parts[1, 0, :, :, :15].mean() > 0.4


def test_batches_are_a_function_of_their_place_and_differ_between_ranks(
    studies: tuple[PreparedStudy, ...],
) -> None:
    bank = [m for m in BANK_ORDER if m in studies[0].modalities]
    made = [
        PretextSampler(
            studies, bank, Pretext(window=32), batch=2, per_study=1, seed=1, rank=rank, ranks=2
        )
        for rank in (0, 0, 1)
    ]
    one, same, other = (sampler.batch(3, 0) for sampler in made)
    for a, b in zip(one, same, strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.target, other.target)
    assert not torch.equal(one.target, made[0].batch(4, 0).target)
    assert one.target.min() >= 0 and one.target.max() <= 1
    assert not torch.equal(one.target, one.other)


@pytest.mark.parametrize("size", [TINY, RELEASED], ids=lambda size: size.name)
def test_a_pre_trained_file_has_the_published_keys_and_shapes(size: object, tmp_path: Path) -> None:
    network = Reconstruction(size)  # type: ignore[arg-type]
    lay_out(network)
    bank = torch.zeros(2, *TEMPLATE_SHAPE)
    bank[1] = 1
    path = tmp_path / "pretrained.pt"
    write_pretrained(path, network.state_dict(), bank, BANK, 3)
    state = torch.load(path, weights_only=True)["state_dict"]
    assert all(key.startswith("module.") for key in state)
    encoder = {key for key in state if "encoder." in key and "decoder." not in key}
    published = size.encoder(1).state_dict()  # type: ignore[attr-defined]
    assert encoder == {f"module.encoder.uniformer.{key}" for key in published}
    assert all(value.stride() == torch.empty(value.shape).stride() for value in state.values())
    assert state["module.rep_template"].shape == (8, 240, 240, 155)
    first = state["module.encoder.uniformer.patch_embed1.proj.weight"]
    assert first.shape == (size.widths[0], 1, 2, 2, 2)  # type: ignore[attr-defined]
    assert state["module.decoder.out_1.conv.conv.weight"].shape[0] == 1
    for key in (
        "module.decoder.decoder5.transp_conv.conv.weight",
        "module.decoder.decoder2.conv_block.conv1.conv.weight",
        "module.decoder.proj1.proj.weight",
        "module.encoder.uniformer.blocks3.0.attn.qkv.weight",
        "module.encoder.uniformer.norm.running_var",
    ):
        assert key in state
    assert state["module.rep_template"][BANK_ORDER.index(Modality.T2)].min() == 1
    assert list(tmp_path.iterdir()) == [path], "nothing half-written is left"


def test_a_file_in_the_published_form_loads_into_fine_tuning_and_says_what_it_drops(
    tmp_path: Path,
) -> None:
    network = Reconstruction(TINY)
    path = tmp_path / "pretrained.pt"
    write_pretrained(path, network.state_dict(), torch.rand(2, *TEMPLATE_SHAPE), BANK, 1)
    found = read_checkpoint(path)
    assert found.kind == "pre-trained" and found.channels == 1 and found.templates is not None
    tuned, notes = build_network(load_task("upenn-gbm"), TINY, found)
    assert "first convolution starts from scratch" in notes[-1]
    state, pretrained = tuned.state_dict(), network.state_dict()
    assert torch.equal(
        state["encoder.blocks3.0.attn.qkv.weight"], pretrained["encoder.blocks3.0.attn.qkv.weight"]
    )
    single, notes = build_network(load_task("vsseg"), TINY, found)
    assert len(notes) == 1
    assert torch.equal(
        single.state_dict()["encoder.patch_embed1.proj.weight"],
        pretrained["encoder.patch_embed1.proj.weight"],
    )


def test_templates_are_written_scaled_with_a_true_affine_and_a_picture(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    bank = rng.standard_normal((2, *TEMPLATE_SHAPE), dtype=np.float32)
    write_templates(tmp_path, bank, BANK)
    image = nib.load(tmp_path / "T2.nii.gz")
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    np.testing.assert_allclose(image.affine @ [119.5, 119.5, 77, 1], [0, 0, 0, 1])
    read = TemplateBank.from_folder(tmp_path).volumes[Modality.T2]
    np.testing.assert_allclose(read, minmax_scaled(bank[1]), atol=1e-6)
    assert (tmp_path / "T2.png").stat().st_size > 10_000
