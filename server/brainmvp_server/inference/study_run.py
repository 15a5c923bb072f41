"""A study on its way through the engine: which of its windows are left, under way and done."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.errors import BrainMVPError
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.inference.network_cache import Network
from brainmvp_server.inference.windows import Stitching, WindowPlan, WindowSlices

Array = NDArray[np.float32]

_YIELDS = 2
"""How often one window may be stopped or put back for another study."""


@dataclass(eq=False)
class StudyRun:
    """One study and what has become of its windows.

    Attributes:
        padded: (C, X, Y, Z) voxels, large enough for the plan's windows.
        stitching: takes each window's logits.
        interactive: whether somebody waits for it now.
        turn: when it was served last, in turns.
        came: when it came, on the worker's clock.
        done: windows whose logits have come.
        failed: batches of it alone that went wrong.
        error: why it ended early.
    """

    network: Network
    plan: WindowPlan
    padded: Array
    stitching: Stitching
    cancel: CancelToken
    interactive: bool = True
    turn: int = 0
    came: float = 0.0
    done: int = 0
    failed: int = 0
    error: BrainMVPError | None = None
    _slices: list[WindowSlices] = field(init=False)
    _taken: int = 0
    _back: list[WindowSlices] = field(default_factory=list)
    _yielded: list[WindowSlices] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._slices = list(self.plan.slices())

    @property
    def left(self) -> int:
        """Windows that nobody has taken yet."""
        if self.gone:
            return 0
        return self.windows - self._taken + len(self._back)

    @property
    def windows(self) -> int:
        """How many it has in all."""
        return len(self._slices)

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.error is not None or self.done == self.windows

    @property
    def gone(self) -> bool:
        """Whether nobody waits for its windows any more."""
        return self.over or self.cancel.reason is not None

    def take(self) -> WindowSlices:
        """The next window."""
        if self._back:
            return self._back.pop(0)
        self._taken += 1
        return self._slices[self._taken - 1]

    def put_back(self, window: WindowSlices, *, yielded: bool) -> None:
        """Make the window that was taken last the next one again.

        Args:
            yielded: whether it makes way for another study, which counts.
        """
        self._back.insert(0, window)
        if yielded:
            self._yielded.append(window)

    def is_spared(self, window: WindowSlices) -> bool:
        """Whether a window made way as often as it has to."""
        return self._yielded.count(window) >= _YIELDS

    def fail(self, error: BrainMVPError) -> None:
        """End it, if it has not ended."""
        if not self.over:
            self.error = error
