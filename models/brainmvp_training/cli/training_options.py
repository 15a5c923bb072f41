"""Options that pre-training and fine-tuning share.

A command takes frozen dataclasses, whose fields are its options: ``brainmvp`` expands them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.progress import Progress as Bar

from brainmvp_models.errors import InvalidTask
from brainmvp_models.modality import Modality
from brainmvp_models.task import WINDOW_STEP, Task
from brainmvp_training.case import Case
from brainmvp_training.datalist import read_datalist
from brainmvp_training.dry_run import check_cases, refuse
from brainmvp_training.loop import TrainingProgress
from brainmvp_training.networks.build import SIZES, NetworkSize


def _whole_tokens(window: int) -> int:
    if window % WINDOW_STEP:
        raise typer.BadParameter(
            f"a window of {window} voxels is no multiple of {WINDOW_STEP}: take "
            f"{window - window % WINDOW_STEP} or {window + WINDOW_STEP - window % WINDOW_STEP}"
        )
    return window


Datalist = Annotated[Path, typer.Argument(help="A datalist (JSON) or a BIDS folder.", exists=True)]
Out = Annotated[Path, typer.Option(help="Folder of this run: checkpoint, log, resume file.")]
Root = Annotated[
    Path | None, typer.Option(help="Where the datalist's paths start; by default its own folder.")
]
Cache = Annotated[
    Path | None, typer.Option(help="Where prepared studies are kept; by default OUT/cache.")
]
Size = Annotated[str, typer.Option(help="Network size: released or tiny.")]
Window = Annotated[
    int,
    typer.Option(
        min=WINDOW_STEP,
        callback=_whole_tokens,
        help=f"Voxels of a training window's edge, a multiple of {WINDOW_STEP}.",
    ),
]
Epochs = Annotated[int, typer.Option(min=1)]
Batch = Annotated[int, typer.Option(min=1, help="Windows a batch and process.")]
PerStudy = Annotated[int, typer.Option(min=1, help="Windows an epoch takes of each study.")]
Rate = Annotated[float, typer.Option(min=0, help="Learning rate of AdamW.")]
Decay = Annotated[float, typer.Option(min=0, help="Weight decay of AdamW.")]
Warmup = Annotated[int, typer.Option(min=0, help="Steps of linear warm-up before the cosine.")]
Accumulate = Annotated[int, typer.Option(min=1, help="Batches a step of the optimiser.")]
Clip = Annotated[float, typer.Option(min=0, help="Largest norm of the gradient; 0 for none.")]


@dataclass(frozen=True)
class RunOptions:
    """How a run computes, and how it goes on."""

    precision: Annotated[
        Literal["auto", "32", "bf16", "16"],
        typer.Option(help="auto: half on a GPU, 32 on a CPU; bf16 is fast on CPUs that have it."),
    ] = "auto"
    accelerator: Annotated[Literal["auto", "cpu", "cuda"], typer.Option()] = "auto"
    threads: Annotated[int, typer.Option(min=1, help="Threads that make batches ahead.")] = 1
    save_seconds: Annotated[
        float, typer.Option(min=0, help="How often the resume file is written.")
    ] = 120.0
    seed: Annotated[int, typer.Option(min=0)] = 0
    resume: Annotated[bool, typer.Option(help="Go on from OUT's resume file, if there is one.")] = (
        False
    )
    dry_run: Annotated[
        bool, typer.Option(help="Check every file of the datalist, train nothing.")
    ] = False


def named_size(name: str) -> NetworkSize:
    """The network size of that name.

    Raises:
        InvalidTask: there is none.
    """
    for size in SIZES:
        if size.name == name:
            return size
    raise InvalidTask(
        f"there is no size '{name}'",
        remedy=f"Choose one of: {', '.join(size.name for size in SIZES)}",
    )


def read_checked(
    path: Path, section: str, task: Task | None, root: Path | None, bar: Bar
) -> tuple[Case, ...]:
    """A section's cases, all their files looked at.

    Raises:
        InvalidDatalist: with the first fault.
    """
    cases = read_datalist(path, section, channels=_channels(task), root=root)
    line = bar.add_task(f"checking {section}", total=len(cases))
    faults = check_cases(cases, task, progress=lambda done, _: bar.update(line, completed=done))
    refuse(faults, path)
    return cases


def dry_run(path: Path, sections: tuple[str, ...], task: Task | None, root: Path | None) -> None:
    """Print every fault of the sections; exit code 2 if there are any."""
    faults = 0
    for section in sections:
        cases = read_datalist(path, section, channels=_channels(task), root=root)
        found = check_cases(cases, task)
        faults += len(found)
        for fault in found:
            typer.echo(f"{section}: {fault}", err=True)
        typer.echo(f"{section}: {len(cases)} cases, {len(found)} faults")
    if faults:
        raise typer.Exit(2)


def _channels(task: Task | None) -> tuple[Modality, ...] | None:
    return task.modalities if task else None


def reporter(bar: Bar) -> Callable[[TrainingProgress], None]:
    """Shows each step on the bar; without a terminal, a line now and then."""
    line = bar.add_task("training", total=None)

    def report(progress: TrainingProgress) -> None:
        terms = ", ".join(f"{k} {v:.4f}" for k, v in progress.terms.items())
        bar.update(
            line,
            completed=progress.step,
            total=progress.steps,
            description=f"epoch {progress.epoch + 1}: {terms}",
        )
        if bar.disable and (progress.step % 50 == 0 or progress.step == progress.steps):
            typer.echo(f"step {progress.step}/{progress.steps} epoch {progress.epoch + 1}: {terms}")

    return report
