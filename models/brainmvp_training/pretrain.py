"""A pre-training run: a datalist in, a published pre-trained file and a template bank out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from brainmvp_models.errors import InvalidDatalist
from brainmvp_models.modality import BANK_ORDER, Modality
from brainmvp_models.task import Preprocessing
from brainmvp_training.case import Case
from brainmvp_training.loop import TrainingPlan, TrainingProgress, check_run, make_fabric, train
from brainmvp_training.networks.build import NetworkSize
from brainmvp_training.prepared import material_of, prepare_studies
from brainmvp_training.pretraining import Pretext, PretextSampler, Pretraining
from brainmvp_training.published import write_pretrained, write_templates

CHECKPOINT = "pretrained.pt"
TEMPLATES = "templates"


@dataclass(frozen=True)
class PretrainOptions:
    """What to pre-train, on what and where to.

    Attributes:
        cases: studies with any subset of the eight modalities.
        run: the folder of the run; gets ``pretrained.pt``, ``templates/`` and the log.
        cache: where prepared studies lie.
        batch: studies a batch and process; contrast needs at least two.
        per_study: windows an epoch takes of each study.
        template_rate: learning rate of the template bank; that of the network where None.
    """

    cases: tuple[Case, ...]
    run: Path
    cache: Path
    size: NetworkSize
    pretext: Pretext
    plan: TrainingPlan
    batch: int = 2
    per_study: int = 1
    template_rate: float | None = None
    precision: str = "auto"
    accelerator: str = "auto"
    seed: int = 0
    resume: bool = False


def _silent(_: object) -> None:
    """What the other processes have to say."""


def run_pretraining(
    options: PretrainOptions,
    *,
    on_study: Callable[[], None] = lambda: None,
    on_step: Callable[[TrainingProgress], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Pre-train; returns the published file.

    Raises:
        InvalidCheckpoint: the folder holds another run.
        InvalidDatalist: contrast is wanted with one study a batch, or a study cannot be prepared.
    """
    if options.batch < 2 and options.pretext.contrast_from < options.plan.epochs:
        raise InvalidDatalist(
            "contrastive learning needs two studies a batch",
            remedy="Give --batch 2 or more, or a --contrast-from beyond the last epoch",
        )
    fabric = make_fabric(options.precision, options.accelerator)
    if not fabric.is_global_zero:  # one process speaks for all
        on_step, say = _silent, _silent
    check_run(options.run, resume=options.resume)
    options.run.mkdir(parents=True, exist_ok=True)
    modalities = _bank_of(options.cases)
    unlabelled = [replace(case, label=None) for case in options.cases]
    studies = prepare_studies(unlabelled, Preprocessing(), options.cache, on_study=on_study)
    names = ", ".join(m.value for m in modalities)
    say(f"{len(studies)} studies; templates of {names}")
    torch.manual_seed(options.seed)
    objective = Pretraining(options.size, modalities, options.pretext)
    sampler = PretextSampler(
        studies,
        modalities,
        options.pretext,
        batch=options.batch,
        per_study=options.per_study,
        seed=options.seed,
        rank=fabric.global_rank,
        ranks=fabric.world_size,
    )
    trained = train(
        fabric,
        objective,
        sampler,
        options.plan,
        options.run,
        groups=_groups(objective, options),
        material=material_of(studies, options.batch, options.per_study),
        resume=options.resume,
        on_step=on_step,
    )
    path = options.run / CHECKPOINT
    if fabric.is_global_zero:
        _write(trained, modalities, options, path)
        say(f"wrote {path} and {options.run / TEMPLATES}")
    fabric.barrier()
    return path


def _bank_of(cases: Sequence[Case]) -> tuple[Modality, ...]:
    """The modalities that any study has, in the bank's order."""
    found = {modality for case in cases for modality in case.images}
    return tuple(modality for modality in BANK_ORDER if modality in found)


def _groups(objective: Pretraining, options: PretrainOptions) -> list[dict[str, object]]:
    """The network, and the bank with a rate of its own. Its gradient is not clipped: until a
    template has a range, that gradient has no scale either."""
    network = [p for p in objective.network.parameters() if p.requires_grad]
    rate = options.plan.learning_rate if options.template_rate is None else options.template_rate
    return [
        {"params": network},
        {"params": [objective.rep_template], "lr": rate, "clipped": False},
    ]


def _write(
    trained: nn.Module, modalities: tuple[Modality, ...], options: PretrainOptions, path: Path
) -> None:
    assert isinstance(trained, Pretraining)
    bank = trained.rep_template.detach()
    state = trained.network.state_dict()
    write_pretrained(path, state, bank, modalities, options.plan.epochs)
    write_templates(options.run / TEMPLATES, bank.cpu().numpy(), modalities)
