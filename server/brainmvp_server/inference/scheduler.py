"""When the next batch is cut, and which batch goes: decisions over the queue, by a given clock.

Shortly before the engine is through with one batch, the next one is cut: early enough that the
engine need not wait, late enough for a small study that has just come. One that comes later still
goes before it, as long as the engine has not begun; one that comes in the first half of a large
study's batch stops it, and its windows are done after. A window makes way twice at most.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmvp_server.inference.network_cache import Network
from brainmvp_server.inference.window_queue import Entry, WindowQueue

Clock = Callable[[], float]
"""Seconds that never run back, from any moment on."""

_SPARE = 0.005
"""Seconds between the next batch's last cut and the engine's expected return."""
_SMALL = 16
"""A study stops a batch of one whose weight is more than so many times its own."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Windows that go through the engine together.

    Attributes:
        windows: (N, C, h, w, d), in the order of ``entries``.
        cut: when the first one was taken, on the scheduler's clock.
        cut_s: what it took to copy them together.
    """

    network: Network
    entries: tuple[Entry, ...]
    windows: NDArray[np.float32]
    cut: float
    cut_s: float = 0.0

    @property
    def wanted(self) -> bool:
        """Whether somebody still waits for every window of it."""
        return not any(run.gone for run, _ in self.entries)


class Scheduler:
    """Decides over one queue for one engine; as little thread-safe as the queue is."""

    def __init__(self, queue: WindowQueue, clock: Clock = time.monotonic) -> None:
        self._queue = queue
        self._clock = clock

    def now(self) -> float:
        """The time of its clock."""
        return self._clock()

    def seconds_to_cut(self, batch: Batch, begun: float) -> float:
        """How long from now the next batch is left uncut, while the engine works on this one.

        The next cut is expected to take as long as this batch's own. One that was held up says
        little of the next: half the batch is always waited.
        """
        usual_s = batch.network.usual_s
        cut = begun + usual_s - min(batch.cut_s, usual_s / 2) - _SPARE
        return cut - self._clock()

    def is_overtaken(self, batch: Batch, begun: float) -> bool:
        """Whether a small study that came since stops this batch; it then has the next turn."""
        half_done = self._clock() > begun + batch.network.usual_s / 2
        over = None if half_done else self._queue.overtaking(batch.entries, batch.cut, _SMALL)
        self._queue.promote(over)
        return over is not None

    def may_go(self, coming: Batch) -> bool:
        """Whether a batch that was cut ahead still is the next one; else its windows are put back.

        It is not where a lighter study came, which then has the next turn, nor where a study of it
        ended.
        """
        lighter = self._queue.overtaking(coming.entries, coming.cut, 1)
        self._queue.promote(lighter)
        if lighter is None and coming.wanted:
            return True
        self._queue.put_back(coming.entries, yielded=lighter is not None)
        return False
