"""``brainmvp finetune``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress as Bar

from brainmvp_models.task import Task, load_task
from brainmvp_models.templates import TemplateBank
from brainmvp_training.case import Case
from brainmvp_training.checkpoint import Checkpoint, read_checkpoint
from brainmvp_training.cli import training_options as o
from brainmvp_training.cli.terminal import bar, plain_errors
from brainmvp_training.datalist import read_datalist, split_fold
from brainmvp_training.loop import TrainingPlan

if TYPE_CHECKING:
    from brainmvp_training.finetuning import Tuning


@dataclass(frozen=True)
class InputOptions:
    """What is trained, on what it starts from, and where the run goes."""

    datalist: o.Datalist
    out: o.Out
    task: Annotated[str, typer.Option(help="A preset, or the path of a task file.")]
    pretrained: Annotated[
        Path | None, typer.Option(help="A pre-trained file; without one, from scratch.")
    ] = None
    templates: Annotated[
        Path | None,
        typer.Option(help="Folder of NIfTI templates; by default those of the pre-trained file."),
    ] = None
    section: Annotated[str, typer.Option()] = "training"
    validation: Annotated[
        str, typer.Option(help="Section to choose the best checkpoint by; '' for none.")
    ] = "validation"
    fold: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Train on the section's cases of other folds, validate on this one's, "
            "not on --validation. For lists in JSON.",
        ),
    ] = None
    root: o.Root = None
    cache: o.Cache = None

    @property
    def sections(self) -> tuple[str, ...]:
        """What is read of the datalist; a fold's cases are part of the first section."""
        if self.validation and self.fold is None:
            return self.section, self.validation
        return (self.section,)

    def check_fold(self, task: Task) -> None:
        """See that the datalist has the fold, before its files are looked at.

        Raises:
            InvalidDatalist: it has not.
        """
        if self.fold is not None:
            listed = read_datalist(
                self.datalist, self.section, channels=task.modalities, root=self.root
            )
            split_fold(listed, self.fold, self.datalist.name)

    def cases(self, task: Task, progress: Bar) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
        """The cases to train on and those to validate on, all their files looked at.

        Raises:
            InvalidDatalist: with the first fault.
        """
        training, *others = (
            o.read_checked(self.datalist, section, task, self.root, progress)
            for section in self.sections
        )
        if self.fold is not None:
            return split_fold(training, self.fold, self.datalist.name)
        return training, others[0] if others else ()

    def bank(self, weights: Checkpoint | None) -> TemplateBank:
        """The templates: of the folder, else of the pre-trained file, else none.

        Raises:
            BrainMVPError: a template of the folder cannot be used.
        """
        if self.templates:
            return TemplateBank.from_folder(self.templates)
        return weights.templates if weights and weights.templates else TemplateBank({})


@dataclass(frozen=True)
class TuningOptions:
    """The network, and how its training is posed."""

    size: o.Size = "released"
    window: o.Window = 96
    mix: Annotated[
        int | None,
        typer.Option(min=0, help="Most modalities hidden in a view; by default all but one."),
    ] = None
    missing: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODALITIES=SHARE",
            help="What studies often lack, and the share of views that lack just that: flair=0.3 "
            "or t1c+flair=0.1. May be repeated; the other views hide as --mix says.",
        ),
    ] = None
    consistency: Annotated[float, typer.Option(min=0)] = 0.1
    on_label: Annotated[
        float, typer.Option(min=0, max=1, help="Chance that a window is centred on a label.")
    ] = 0.5
    augment: Annotated[bool, typer.Option(help="Flips, brightness, noise.")] = True

    def tuning(self, task: Task) -> Tuning:
        """The same for a task.

        Raises:
            InvalidTask: what is to be missing often cannot be missing.
        """
        from brainmvp_training.finetuning import Tuning
        from brainmvp_training.mixing import OftenMissing, check_missing

        mix = len(task.channels) - 1 if self.mix is None else self.mix
        often = tuple(map(OftenMissing.parse, self.missing or ()))
        check_missing(often, task, mix)
        return Tuning(self.window, mix, self.consistency, self.on_label, self.augment, often)


@dataclass(frozen=True)
class ScheduleOptions:
    """How long to train, in which steps, and when to look at the validation studies."""

    epochs: o.Epochs = 300
    batch: o.Batch = 2
    per_study: o.PerStudy = 1
    rate: o.Rate = 3e-4
    decay: o.Decay = 1e-5
    warmup: o.Warmup = 0
    accumulate: o.Accumulate = 1
    clip: o.Clip = 1.0
    average: Annotated[
        float, typer.Option(min=0, max=0.9999, help="Decay of the weights' running mean; 0: none.")
    ] = 0.0
    validate_every: Annotated[int, typer.Option(min=1, help="In epochs.")] = 10

    def plan(self, run: o.RunOptions) -> TrainingPlan:
        """The same for the training loop."""
        return TrainingPlan(
            self.epochs,
            self.rate,
            self.decay,
            self.warmup,
            self.accumulate,
            self.clip,
            self.average,
            run.save_seconds,
            run.threads,
        )


def finetune(
    inputs: InputOptions, method: TuningOptions, schedule: ScheduleOptions, run: o.RunOptions
) -> None:
    """Fine-tune a network for a task; the best checkpoint by validation is kept.

    Under torchrun it trains on all its processes.
    """
    from brainmvp_training.finetune import FinetuneOptions, run_finetuning

    with plain_errors():
        task = load_task(inputs.task)
        tuning = method.tuning(task)
        inputs.check_fold(task)
        if run.dry_run:
            return o.dry_run(inputs.datalist, inputs.sections, task, inputs.root)
        with bar() as progress:
            training, validation = inputs.cases(task, progress)
            line = progress.add_task("preparing", total=len(training) + len(validation))
            weights = read_checkpoint(inputs.pretrained) if inputs.pretrained else None
            options = FinetuneOptions(
                cases=training,
                validation=validation,
                task=task,
                bank=inputs.bank(weights),
                pretrained=weights,
                run=inputs.out,
                cache=inputs.cache or inputs.out / "cache",
                size=o.named_size(method.size),
                tuning=tuning,
                plan=schedule.plan(run),
                batch=schedule.batch,
                per_study=schedule.per_study,
                validate_every=schedule.validate_every,
                precision=run.precision,
                accelerator=run.accelerator,
                seed=run.seed,
                resume=run.resume,
            )
            run_finetuning(
                options,
                on_study=lambda: progress.advance(line),
                on_step=o.reporter(progress),
                say=typer.echo,
            )
