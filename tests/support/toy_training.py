"""A small training for test_loop.py: a line is fitted. A program, so that it can be killed."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from brainmvp_training.loop import TrainingPlan, make_fabric, train

PLAN = TrainingPlan(3, learning_rate=0.3, warmup=2, accumulate=2, average=0.5, save_seconds=0)


class ToyBatch(NamedTuple):
    x: Tensor
    y: Tensor


class ToyObjective(nn.Module):
    terms = ("loss",)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.line = nn.Linear(3, 1)
        self.epoch = 0

    def forward(self, batch: ToyBatch) -> Tensor:
        return (self.line(batch.x) - batch.y).square().mean().reshape(1)


class ToySampler:
    def __init__(self, share: int = 1, rank: int = 0, seconds: float = 0, count: int = 8) -> None:
        self.share, self.rank, self.seconds, self.count = share, rank, seconds, count

    def __len__(self) -> int:
        return self.count

    def batch(self, epoch: int, index: int) -> ToyBatch:
        time.sleep(self.seconds)
        rng = torch.Generator().manual_seed(100 * epoch + index)
        x = torch.randn(16, 3, generator=rng)
        y = x @ torch.tensor([[1.0], [2.0], [-1.0]])
        size = 16 // self.share
        rows = slice(self.rank * size, (self.rank + 1) * size)
        return ToyBatch(x[rows], y[rows])


def main() -> None:
    run, options = Path(sys.argv[1]), sys.argv[2:]
    fabric = make_fabric("32", "cpu")
    share = fabric.world_size if "--share" in options else 1
    sampler = ToySampler(share, fabric.global_rank, 0.15 if "--slow" in options else 0)
    objective = ToyObjective()
    train(fabric, objective, sampler, PLAN, run, resume="--resume" in options)
    torch.save(objective.state_dict(), run / f"weights-{fabric.global_rank}.pt")


if __name__ == "__main__":
    main()
