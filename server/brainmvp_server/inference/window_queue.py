"""The queue of windows: which studies are on their way, and whose window is next.

State alone: no threads, no clock, no engine. Whoever uses it from several threads locks it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from brainmvp_server.inference.network_cache import Network
from brainmvp_server.inference.study_run import StudyRun
from brainmvp_server.inference.turns import Turns, weight
from brainmvp_server.inference.windows import WindowSlices

Entry = tuple[StudyRun, WindowSlices]
"""A window of a study that was taken out of the queue."""


class WindowQueue:
    """Windows of all running studies, in the order of :class:`Turns`."""

    def __init__(self) -> None:
        self._turns = Turns()
        self._runs: list[StudyRun] = []
        self._promoted: StudyRun | None = None

    @property
    def waiting(self) -> int:
        """Windows that wait for their turn."""
        return sum(run.left for run in self._runs)

    def add(self, run: StudyRun, now: float) -> None:
        """Let a study in, which comes now."""
        run.turn, run.came = self._turns.now(), now
        self._runs.append(run)

    def remove(self, run: StudyRun) -> None:
        """Let a study go, with whatever it has left."""
        self._runs.remove(run)

    def able(self, network: Network | None = None) -> list[StudyRun]:
        """The studies with windows left, of one network or of any."""
        return [run for run in self._runs if run.left and network in (None, run.network)]

    def promote(self, run: StudyRun | None) -> None:
        """Let a study begin the next batch, whatever the order; None leaves it to the order.

        That is no turn: however often it happens, turns come to whoever has waited.
        """
        self._promoted = run

    def take(self, network: Network | None = None) -> Entry | None:
        """The next window, or None if there is none.

        Args:
            network: of the batch that is being filled; None begins a batch, which the promoted
                study does if it still has windows.
        """
        able = self.able(network)
        if not able:
            return None
        if network is not None:
            run = self._turns.pick(able)
        elif self._promoted in able:
            run = self._promoted
        else:
            run = self._turns.pick(able)
        if network is None:
            self._promoted = None
        return run, run.take()

    def put_back(self, entries: Sequence[Entry], *, yielded: bool) -> None:
        """Make windows that were taken the next ones of their studies again, in their order."""
        for run, window in reversed(entries):
            run.put_back(window, yielded=yielded)

    def overtaking(self, entries: Sequence[Entry], cut: float, times: int) -> StudyRun | None:
        """The lightest study that may go before a batch; None if none may.

        It came after the batch was cut, at ``cut``, somebody waits for it, and each study of the
        batch is more than ``times`` its :func:`weight`. A window that made way twice does not make
        way again.
        """
        if any(run.is_spared(window) for run, window in entries):
            return None
        taken = Counter(run for run, _ in entries)
        lightest = min(weight(run, count) for run, count in taken.items())
        lighter = [
            run
            for run in self.able()
            if run not in taken
            and run.interactive
            and run.came > cut
            and times * weight(run) < lightest
        ]
        return min(lighter, key=weight, default=None)
