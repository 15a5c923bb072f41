"""``brainmvp finetune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brainmvp_training.cli import options as o
from brainmvp_training.cli.guard import bar, plain_errors


def finetune(
    datalist: o.Datalist,
    out: o.Out,
    task: Annotated[str, typer.Option(help="A preset, or the path of a task file.")],
    pretrained: Annotated[
        Path | None, typer.Option(help="A pre-trained file; without one, from scratch.")
    ] = None,
    templates: Annotated[
        Path | None,
        typer.Option(help="Folder of NIfTI templates; by default those of the pre-trained file."),
    ] = None,
    section: Annotated[str, typer.Option()] = "training",
    validation: Annotated[
        str, typer.Option(help="Section to choose the best checkpoint by; '' for none.")
    ] = "validation",
    fold: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Train on the section's cases of other folds, validate on this one's, "
            "not on --validation. For lists in JSON.",
        ),
    ] = None,
    root: o.Root = None,
    cache: o.Cache = None,
    size: o.Size = "released",
    window: o.Window = 96,
    mix: Annotated[
        int | None,
        typer.Option(min=0, help="Most modalities hidden in a view; by default all but one."),
    ] = None,
    missing: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODALITIES=SHARE",
            help="What studies often lack, and the share of views that lack just that: flair=0.3 "
            "or t1c+flair=0.1. May be repeated; the other views hide as --mix says.",
        ),
    ] = None,
    consistency: Annotated[float, typer.Option(min=0)] = 0.1,
    on_label: Annotated[
        float, typer.Option(min=0, max=1, help="Chance that a window is centred on a label.")
    ] = 0.5,
    augment: Annotated[bool, typer.Option(help="Flips, brightness, noise.")] = True,
    epochs: o.Epochs = 300,
    batch: o.Batch = 2,
    per_study: o.PerStudy = 1,
    rate: o.Rate = 3e-4,
    decay: o.Decay = 1e-5,
    warmup: o.Warmup = 0,
    accumulate: o.Accumulate = 1,
    clip: o.Clip = 1.0,
    average: Annotated[
        float, typer.Option(min=0, max=0.9999, help="Decay of the weights' running mean; 0: none.")
    ] = 0.0,
    validate_every: Annotated[int, typer.Option(min=1, help="In epochs.")] = 10,
    precision: o.Precision = "auto",
    accelerator: o.Accelerator = "auto",
    threads: o.Threads = 1,
    save_seconds: o.SaveSeconds = 120.0,
    seed: o.Seed = 0,
    resume: o.Resume = False,
    dry_run: o.DryRun = False,
) -> None:
    """Fine-tune a network for a task; the best checkpoint by validation is kept.

    Under torchrun it trains on all its processes.
    """
    from brainmvp_models.task import load_task
    from brainmvp_models.templates import TemplateBank
    from brainmvp_training.checkpoint import read_checkpoint
    from brainmvp_training.datalist import read_datalist, split_fold
    from brainmvp_training.finetune import FinetuneOptions, run_finetuning
    from brainmvp_training.finetuning import Tuning
    from brainmvp_training.loop import TrainingPlan
    from brainmvp_training.mixing import OftenMissing, check_missing

    with plain_errors():
        chosen = load_task(task)
        most_hidden = len(chosen.channels) - 1 if mix is None else mix
        often = tuple(map(OftenMissing.parse, missing or ()))
        check_missing(often, chosen, most_hidden)
        sections = (section, validation) if validation and fold is None else (section,)
        if fold is not None:
            listed = read_datalist(datalist, section, channels=chosen.modalities, root=root)
            split_fold(listed, fold, datalist.name)
        if dry_run:
            return o.dry_run(datalist, sections, chosen, root)
        with bar() as progress:
            cases = [o.read_checked(datalist, s, chosen, root, progress) for s in sections]
            if fold is not None:
                cases = list(split_fold(cases[0], fold, datalist.name))
            line = progress.add_task("preparing", total=sum(map(len, cases)))
            weights = read_checkpoint(pretrained) if pretrained else None
            bank = weights.templates if weights and weights.templates else TemplateBank({})
            options = FinetuneOptions(
                cases=cases[0],
                validation=cases[1] if len(cases) > 1 else (),
                task=chosen,
                bank=TemplateBank.from_folder(templates) if templates else bank,
                pretrained=weights,
                run=out,
                cache=cache or out / "cache",
                size=o.named_size(size),
                tuning=Tuning(window, most_hidden, consistency, on_label, augment, often),
                plan=TrainingPlan(
                    epochs, rate, decay, warmup, accumulate, clip, average, save_seconds, threads
                ),
                batch=batch,
                per_study=per_study,
                validate_every=validate_every,
                precision=precision,
                accelerator=accelerator,
                seed=seed,
                resume=resume,
            )
            run_finetuning(
                options,
                on_study=lambda: progress.advance(line),
                on_step=o.reporter(progress),
                say=typer.echo,
            )
