"""A running mean of weights, which is judged and kept in the place of the last step's."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import nn


class RunningMean:
    """An exponential moving mean of the weights and statistics; the module itself without decay."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.count = 0
        self._mean: nn.Module | None = None
        if decay:
            self._mean = deepcopy(module).eval()

    @property
    def state(self) -> dict[str, Any]:
        """What a resume file keeps of it."""
        return {} if self._mean is None else {"count": self.count, **self._mean.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a resume file's."""
        if self._mean is not None:
            self.count = int(state.pop("count"))
            self._mean.load_state_dict(state)

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take in the weights after a step."""
        if self._mean is None:
            return
        keep = min(self.decay, self.count / (self.count + 10))
        self.count += 1
        now = module.state_dict()
        for key, mean in self._mean.state_dict().items():
            if mean.dtype.is_floating_point:
                mean.lerp_(now[key].to(mean.device), 1 - keep)
            else:
                mean.copy_(now[key])

    def module(self, module: nn.Module) -> nn.Module:
        """The mean, or ``module`` where there is none."""
        return module if self._mean is None else self._mean
