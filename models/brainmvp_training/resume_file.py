"""The file from which a killed run goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch.optim.lr_scheduler import LambdaLR

from brainmvp_models.errors import InvalidCheckpoint
from brainmvp_training.running_mean import RunningMean

RESUME_FILE = "last.ckpt"


def save(fabric: Fabric, run: Path, state: dict[str, Any]) -> None:
    """Write the file, whole or not at all."""
    aside = run / f".{RESUME_FILE}.part"
    state["precision"] = fabric.strategy.precision.state_dict()
    fabric.save(aside, state)
    fabric.barrier()
    if fabric.is_global_zero:
        aside.replace(run / RESUME_FILE)


def load(fabric: Fabric, run: Path, state: dict[str, Any], average: RunningMean) -> None:
    """Bring ``state`` and ``average`` to where the file was written.

    Raises:
        InvalidCheckpoint: it is not of this training.
    """
    try:
        fabric.load(run / RESUME_FILE, state)
        average.load(dict(state["average"]))
        if state["precision"]:  # of fp16; a run may go on in another precision
            fabric.strategy.precision.load_state_dict(state["precision"])
    except (RuntimeError, KeyError, ValueError, EOFError) as error:
        raise InvalidCheckpoint(
            f"is not of this training ({type(error).__name__})",
            remedy="Resume with the options the run began with, or begin in another folder",
            subject=RESUME_FILE,
        ) from error


def check_material(before: str, now: str) -> None:
    """Return if a run goes on with the batches it began with.

    Raises:
        InvalidCheckpoint: it does not.
    """
    if before != now:
        raise InvalidCheckpoint(
            "is of a run on other batches",
            remedy="Resume with the same studies, --fold, --batch, --per-study, --accumulate and "
            "number of processes",
            subject=RESUME_FILE,
        )


def set_rates(
    optimiser: torch.optim.Optimizer, schedule: LambdaLR, asked: list[tuple[float, float]]
) -> None:
    """Go on with the rates that this call asks for, where the resume file has others."""
    schedule.base_lrs = [rate for rate, _ in asked]
    for group, factor, (rate, decay) in zip(
        optimiser.param_groups, schedule.lr_lambdas, asked, strict=True
    ):
        now = rate * factor(schedule.last_epoch)
        group.update(initial_lr=rate, lr=now, weight_decay=decay)
