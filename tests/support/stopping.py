"""A training that is stopped half-way, as by Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable

from brainmvp_training.loop import TrainingProgress


def stopped_at(step: int) -> Callable[[TrainingProgress], None]:
    """What to call after each step, so that one of them is the last."""

    def look(progress: TrainingProgress) -> None:
        if progress.step == step:
            raise KeyboardInterrupt

    return look
