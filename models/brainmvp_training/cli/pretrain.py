"""``brainmvp pretrain``."""

from __future__ import annotations

from typing import Annotated

import typer

from brainmvp_training.cli import options as o
from brainmvp_training.cli.guard import bar, plain_errors


def pretrain(
    datalist: o.Datalist,
    out: o.Out,
    section: Annotated[str, typer.Option(help="'all' for every section.")] = "training",
    root: o.Root = None,
    cache: o.Cache = None,
    size: o.Size = "released",
    window: o.Window = 96,
    block: Annotated[int, typer.Option(min=1, help="Voxels of a hidden block's edge.")] = 8,
    mask_rate: Annotated[float, typer.Option(min=0, max=1, help="Share hidden.")] = 0.8,
    epochs: o.Epochs = 1500,
    template_epochs: Annotated[
        int, typer.Option(min=0, help="Epochs in which both views are filled from the template.")
    ] = 300,
    contrast_from: Annotated[
        int, typer.Option(min=0, help="First epoch of contrastive learning.")
    ] = 1000,
    batch: o.Batch = 2,
    per_study: o.PerStudy = 1,
    rate: o.Rate = 3e-4,
    template_rate: Annotated[
        float | None, typer.Option(min=0, help="Learning rate of the templates; by default --rate.")
    ] = None,
    decay: o.Decay = 1e-5,
    warmup: o.Warmup = 0,
    accumulate: o.Accumulate = 2,
    clip: o.Clip = 0.0,
    precision: o.Precision = "auto",
    accelerator: o.Accelerator = "auto",
    threads: o.Threads = 1,
    save_seconds: o.SaveSeconds = 120.0,
    seed: o.Seed = 0,
    resume: o.Resume = False,
    dry_run: o.DryRun = False,
) -> None:
    """Learn an encoder and a template of every modality from studies without labels.

    Under torchrun it trains on all its processes.
    """
    from brainmvp_training.loop import TrainingPlan
    from brainmvp_training.pretrain import PretrainOptions, run_pretraining
    from brainmvp_training.pretraining import Pretext

    if window % block:
        raise typer.BadParameter(f"a window of {window} does not divide into blocks of {block}")
    with plain_errors():
        if dry_run:
            return o.dry_run(datalist, (section,), None, root)
        with bar() as progress:
            cases = o.read_checked(datalist, section, None, root, progress)
            line = progress.add_task("preparing", total=len(cases))
            options = PretrainOptions(
                cases=cases,
                run=out,
                cache=cache or out / "cache",
                size=o.named_size(size),
                pretext=Pretext(window, block, mask_rate, template_epochs, contrast_from),
                plan=TrainingPlan(
                    epochs, rate, decay, warmup, accumulate, clip,
                    save_seconds=save_seconds, threads=threads,
                ),
                batch=batch,
                per_study=per_study,
                template_rate=template_rate,
                precision=precision,
                accelerator=accelerator,
                seed=seed,
                resume=resume,
            )  # fmt: skip
            run_pretraining(
                options,
                on_study=lambda: progress.advance(line),
                on_step=o.reporter(progress),
                say=typer.echo,
            )
