"""A fine-tuning run: a datalist, a task and a pre-trained file in, a fine-tuned file out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import nn

from brainmvp_models.task import Task
from brainmvp_models.templates import TemplateBank
from brainmvp_training.case import Case
from brainmvp_training.checkpoint import Checkpoint
from brainmvp_training.finetuning import FineTuning, Tuning, TuningSampler, build_network
from brainmvp_training.loop import TrainingPlan, TrainingProgress, check_run, make_fabric, train
from brainmvp_training.mixing import ChannelFiller, check_missing
from brainmvp_training.networks.build import NetworkSize
from brainmvp_training.prepared import PreparedStudy, material_of, prepare_studies
from brainmvp_training.published import write_finetuned
from brainmvp_training.validation import Validation

CHECKPOINT = "finetuned.pt"
SCORES_FILE = "validation.jsonl"


@dataclass(frozen=True)
class FinetuneOptions:
    """What to fine-tune, on what and where to.

    Attributes:
        validation: the studies to choose the best checkpoint by; none keeps the last one.
        bank: templates for what is missing or hidden.
        run: the folder of the run; gets ``finetuned.pt`` and the log.
        validate_every: epochs between two looks at the validation studies.
    """

    cases: tuple[Case, ...]
    validation: tuple[Case, ...]
    task: Task
    bank: TemplateBank
    pretrained: Checkpoint | None
    run: Path
    cache: Path
    size: NetworkSize
    tuning: Tuning
    plan: TrainingPlan
    batch: int = 2
    per_study: int = 1
    validate_every: int = 1
    precision: str = "auto"
    accelerator: str = "auto"
    seed: int = 0
    resume: bool = False


def _silent(_: object) -> None:
    """What the other processes have to say."""


def run_finetuning(
    options: FinetuneOptions,
    *,
    on_study: Callable[[], None] = lambda: None,
    on_step: Callable[[TrainingProgress], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Fine-tune; returns the published file.

    Raises:
        InvalidCheckpoint, TemplateMismatch, InvalidDatalist: a part does not fit the task, or the
            folder holds another run.
        InvalidTask: what is to be missing often cannot be missing.
    """
    fabric = make_fabric(options.precision, options.accelerator)
    if not fabric.is_global_zero:  # one process speaks for all
        on_step, say = _silent, _silent
    check_missing(options.tuning.often, options.task, options.tuning.mix)
    check_run(options.run, resume=options.resume)
    options.run.mkdir(parents=True, exist_ok=True)
    filler = ChannelFiller.of(options.task, options.bank)
    studies, judged = _prepared(options, filler, on_study)
    torch.manual_seed(options.seed)
    network, notes = build_network(options.task, options.size, options.pretrained)
    for note in notes:
        say(note)
    if filler.blank:
        blank = ", ".join(modality.value for modality in filler.blank)
        say(f"the templates of {blank} are the same everywhere: they fill as zeros would")
    best = _Best(options, judged, filler, fabric, say)
    sampler = TuningSampler(
        studies,
        options.task,
        filler,
        options.tuning,
        batch=options.batch,
        per_study=options.per_study,
        seed=options.seed,
        rank=fabric.global_rank,
        ranks=fabric.world_size,
    )
    train(
        fabric,
        FineTuning(network, options.task, options.tuning),
        sampler,
        options.plan,
        options.run,
        material=material_of(studies, options.batch, options.per_study),
        resume=options.resume,
        on_step=on_step,
        on_epoch=best.after,
    )
    path = options.run / CHECKPOINT
    say(f"wrote {path}")
    return path


def _prepared(
    options: FinetuneOptions, filler: ChannelFiller, on_study: Callable[[], None]
) -> tuple[tuple[PreparedStudy, ...], tuple[PreparedStudy, ...]]:
    """The studies to train and to judge on; each can be filled where it may have to be."""
    modalities = options.task.modalities
    studies, judged = (
        prepare_studies(
            [case.limited_to(modalities) for case in cases],
            options.task.preprocessing,
            options.cache,
            on_study=on_study,
        )
        for cases in (options.cases, options.validation)
    )
    optional = [channel.modality for channel in options.task.channels if not channel.required]
    for study in studies:
        filler.check(study, optional if options.tuning.mix else ())
    for study in judged:
        filler.check(study, optional)
    return studies, judged


class _Best:
    """Keeps the checkpoint with the highest validation score; its scores are a file of the run."""

    def __init__(
        self,
        options: FinetuneOptions,
        studies: tuple[PreparedStudy, ...],
        filler: ChannelFiller,
        fabric: Fabric,
        say: Callable[[str], None],
    ) -> None:
        self.options, self.fabric, self.say = options, fabric, say
        self.validation = Validation(studies, options.task, filler, fabric, seed=options.seed)
        self.scores = options.run / SCORES_FILE
        if fabric.is_global_zero and not options.resume:
            self.scores.unlink(missing_ok=True)

    def after(self, epoch: int, objective: nn.Module) -> bool:
        """Judge the network where its turn has come; true if anything was written."""
        last = epoch + 1 == self.options.plan.epochs
        if not last and (epoch + 1) % self.options.validate_every:
            return False
        assert isinstance(objective, FineTuning)
        score = self.validation.score(objective.network) if self.options.validation else None
        if self.fabric.is_global_zero:
            self._keep(epoch, score, objective.network)
        self.fabric.barrier()
        return True

    def _keep(self, epoch: int, score: float | None, network: nn.Module) -> None:
        rows = self._rows(before=epoch)
        best = max((row["score"] for row in rows), default=-1.0)
        if score is None or score > best:
            write_finetuned(self.options.run / CHECKPOINT, network.state_dict(), epoch + 1)
        if score is not None:
            rows.append({"epoch": epoch, "score": score})
            self.scores.write_text("".join(json.dumps(row) + "\n" for row in rows))
            mark = " (best)" if score > best else ""
            self.say(f"epoch {epoch + 1}: validation score {score:.4f}{mark}")

    def _rows(self, before: int) -> list[dict[str, float]]:
        if not self.scores.is_file():
            return []
        rows = [json.loads(line) for line in self.scores.read_text().splitlines()]
        return [row for row in rows if row["epoch"] < before]
