"""``brainmvp pretrain``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from brainmvp_training.cli import training_options as o
from brainmvp_training.cli.terminal import bar, plain_errors
from brainmvp_training.loop import TrainingPlan

if TYPE_CHECKING:
    from brainmvp_training.pretraining import Pretext


@dataclass(frozen=True)
class InputOptions:
    """What is trained on, and where the run goes."""

    datalist: o.Datalist
    out: o.Out
    section: Annotated[str, typer.Option(help="'all' for every section.")] = "training"
    root: o.Root = None
    cache: o.Cache = None


@dataclass(frozen=True)
class MaskingOptions:
    """The network, and what is hidden from it.

    Raises:
        BadParameter: the window does not divide into blocks.
    """

    size: o.Size = "released"
    window: o.Window = 96
    block: Annotated[int, typer.Option(min=1, help="Voxels of a hidden block's edge.")] = 8
    mask_rate: Annotated[float, typer.Option(min=0, max=1, help="Share hidden.")] = 0.8

    def __post_init__(self) -> None:
        if self.window % self.block:
            raise typer.BadParameter(
                f"a window of {self.window} does not divide into blocks of {self.block}"
            )


@dataclass(frozen=True)
class ScheduleOptions:
    """How long to train, in which steps, and when each pretext task begins or ends."""

    epochs: o.Epochs = 1500
    template_epochs: Annotated[
        int, typer.Option(min=0, help="Epochs in which both views are filled from the template.")
    ] = 300
    contrast_from: Annotated[
        int, typer.Option(min=0, help="First epoch of contrastive learning.")
    ] = 1000
    batch: o.Batch = 2
    per_study: o.PerStudy = 1
    rate: o.Rate = 3e-4
    template_rate: Annotated[
        float | None, typer.Option(min=0, help="Learning rate of the templates; by default --rate.")
    ] = None
    decay: o.Decay = 1e-5
    warmup: o.Warmup = 0
    accumulate: o.Accumulate = 2
    clip: o.Clip = 0.0

    def plan(self, run: o.RunOptions) -> TrainingPlan:
        """The same for the training loop."""
        return TrainingPlan(
            self.epochs,
            self.rate,
            self.decay,
            self.warmup,
            self.accumulate,
            self.clip,
            save_seconds=run.save_seconds,
            threads=run.threads,
        )

    def pretext(self, masking: MaskingOptions) -> Pretext:
        """How the pretext tasks are posed."""
        from brainmvp_training.pretraining import Pretext

        return Pretext(
            masking.window,
            masking.block,
            masking.mask_rate,
            self.template_epochs,
            self.contrast_from,
        )


def pretrain(
    inputs: InputOptions, masking: MaskingOptions, schedule: ScheduleOptions, run: o.RunOptions
) -> None:
    """Learn an encoder and a template of every modality from studies without labels.

    Under torchrun it trains on all its processes.
    """
    from brainmvp_training.pretrain import PretrainOptions, run_pretraining

    with plain_errors():
        if run.dry_run:
            return o.dry_run(inputs.datalist, (inputs.section,), None, inputs.root)
        with bar() as progress:
            cases = o.read_checked(inputs.datalist, inputs.section, None, inputs.root, progress)
            line = progress.add_task("preparing", total=len(cases))
            options = PretrainOptions(
                cases=cases,
                run=inputs.out,
                cache=inputs.cache or inputs.out / "cache",
                size=o.named_size(masking.size),
                pretext=schedule.pretext(masking),
                plan=schedule.plan(run),
                batch=schedule.batch,
                per_study=schedule.per_study,
                template_rate=schedule.template_rate,
                precision=run.precision,
                accelerator=run.accelerator,
                seed=run.seed,
                resume=run.resume,
            )
            run_pretraining(
                options,
                on_study=lambda: progress.advance(line),
                on_step=o.reporter(progress),
                say=typer.echo,
            )
