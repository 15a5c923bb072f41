"""The losses of a run, on disk as they come."""

from __future__ import annotations

import json
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

LOSSES_FILE = "losses.jsonl"


class LossLog:
    """The loss of every step, as lines of JSON and for TensorBoard."""

    def __init__(self, run: Path, after: int) -> None:
        """Open the run's log; what it holds after step ``after`` will be written anew."""
        run.mkdir(parents=True, exist_ok=True)
        self._path = run / LOSSES_FILE
        lines = self._path.read_text().splitlines() if self._path.is_file() else []
        self._path.write_text("".join(f"{line}\n" for line in lines[:after]))
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=after + 1)

    def write(self, epoch: int, step: int, terms: dict[str, float], rate: float) -> None:
        """Add a step."""
        with self._path.open("a") as file:
            file.write(json.dumps({"epoch": epoch, "step": step, "rate": rate, **terms}) + "\n")
        for name, value in terms.items():
            self._board.add_scalar(f"train/{name}", value, step)

    def close(self) -> None:
        """End TensorBoard's file."""
        self._board.close()
