"""Queue, scheduler and second tries together: what breaks here loses a window, or starves a study.

A line without threads and without an engine, driven as the worker drives it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from brainmvp_models.errors import BrainMVPError, EngineFailed, EngineUnavailable, StudyCancelled
from brainmvp_server.inference.scheduler import Batch, Scheduler
from brainmvp_server.inference.second_try import try_again
from brainmvp_server.inference.study_run import StudyRun
from brainmvp_server.inference.window_queue import Entry, WindowQueue
from queued_studies import network, queued

FAULT = EngineFailed("the engine failed", remedy="Send it again")


@dataclass(frozen=True)
class Round:
    """What happens while one batch is in the engine.

    Attributes:
        early, late: windows of a study that comes in its first half, or after the next cut.
        interactive: whether somebody waits for those that come.
        cancelled: the number of a study that is cancelled after the next cut.
        fault: whether the batch fails, fails for a study a second time, or finds no fresh engine.
    """

    early: int | None = None
    late: int | None = None
    interactive: bool = True
    cancelled: int | None = None
    fault: str = "none"


class Line:
    """Studies on their way through an engine that takes ``capacity`` windows at a time."""

    def __init__(self, capacity: int) -> None:
        self.now = 0.0
        self.capacity = capacity
        self.network = network(usual_s=4.0)
        self.queue = WindowQueue()
        self.scheduler = Scheduler(self.queue, lambda: self.now)
        self.runs: list[StudyRun] = []
        self.here: list[StudyRun] = []
        self.coming: Batch | None = None
        self.done: Counter[tuple[int, str]] = Counter()
        self.excused: set[StudyRun] = set()

    def comes(self, windows: int | None, interactive: bool) -> None:
        if windows is not None:
            self.runs.append(queued(windows, self.network, interactive=interactive))
            self.here.append(self.runs[-1])
            self.queue.add(self.runs[-1], self.now)

    def batch(self, round: Round = Round()) -> bool:
        """Bring one batch through the engine; whether there was one."""
        batch, self.coming = self.coming or self._cut(), None
        if batch is None:
            return False
        begun = self.now
        self.now += 1
        self.comes(round.early, round.interactive)
        if self.scheduler.is_overtaken(batch, begun):
            self.queue.put_back(batch.entries, yielded=True)
            return True
        self.now += 2
        coming = self._cut()
        self.now += 1
        self.comes(round.late, round.interactive)
        if round.cancelled is not None:
            run = self.runs[round.cancelled % len(self.runs)]
            run.cancel.request(StudyCancelled("gone", remedy="Send it again"))
            self.excused.add(run)
        self._finish(batch, round.fault)
        self._leave()
        if coming is not None and self.scheduler.may_go(coming):
            self.coming = coming
        return True

    def _leave(self) -> None:
        """Whoever is over or cancelled takes its study out of the queue."""
        for run in [run for run in self.here if run.gone]:
            self.here.remove(run)
            self.queue.remove(run)

    def _cut(self) -> Batch | None:
        entry = self.queue.take()
        if entry is None:
            return None
        entries = [entry]
        while len(entries) < self.capacity and (more := self.queue.take(self.network)) is not None:
            entries.append(more)
        voxels = np.zeros((len(entries), 1, 1, 1, 1), np.float32)
        return Batch(self.network, tuple(entries), voxels, self.now)

    def _finish(self, batch: Batch, fault: str) -> None:
        if fault == "none":
            for entry in batch.entries:
                self._deliver(entry)
            return
        if fault == "no engine":
            self.excused.update(run for run, _ in batch.entries)
        last = batch.entries[-1][0]

        def replace(_: EngineFailed) -> None:
            if fault == "no engine":
                raise EngineUnavailable("no device", remedy="Plug it in")

        def bring(entry: Entry, _: np.ndarray) -> None:
            if fault == "again" and entry[0] is last:
                self.excused.add(last)
                raise FAULT
            self._deliver(entry)

        def fail(entries: Sequence[Entry], error: BrainMVPError) -> None:
            for run, _ in entries:
                if run.failed > 1:
                    self.excused.add(run)
                run.fail(error)

        try_again(batch, FAULT, replace=replace, bring=bring, fail=fail)

    def _deliver(self, entry: Entry) -> None:
        run, window = entry
        run.done += 1
        self.done[self.runs.index(run), str(window)] += 1


rounds = st.builds(
    Round,
    early=st.none() | st.integers(1, 6),
    late=st.none() | st.integers(1, 6),
    interactive=st.booleans(),
    cancelled=st.none() | st.none() | st.integers(0, 20),
    fault=st.sampled_from(["none", "none", "none", "once", "again", "no engine"]),
)


@given(
    capacity=st.integers(1, 4),
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    script=st.lists(rounds, max_size=40),
)
def test_whatever_happens_no_window_is_lost_and_none_is_done_twice(
    capacity: int, sizes: list[int], script: list[Round]
) -> None:
    line = Line(capacity)
    for size in sizes:
        line.comes(size, interactive=True)
    for round in script:
        line.batch(round)
    while line.batch():
        pass
    assert line.queue.waiting == 0 and set(line.done.values()) <= {1}
    for number, run in enumerate(line.runs):
        if run not in line.excused:
            assert run.error is None, "it failed for another's fault"
            assert sum(1 for owner, _ in line.done if owner == number) == run.windows


arrivals = st.builds(Round, early=st.none() | st.integers(1, 4), late=st.none() | st.integers(1, 4))
# A light study that comes whenever the next turn would be the waiting one's.
WORST = [Round(), Round(early=2), Round(late=1)]


@given(
    capacity=st.integers(1, 3),
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    pattern=st.lists(arrivals, min_size=1, max_size=6),
)
@example(capacity=1, sizes=[9], pattern=WORST)
@example(capacity=1, sizes=[9], pattern=WORST[1:] + WORST[:1])
@example(capacity=1, sizes=[9], pattern=WORST[2:] + WORST[:2])
@example(capacity=1, sizes=[9], pattern=[Round(early=1, late=2)])
def test_nobody_starves_however_many_small_studies_come_and_whenever(
    capacity: int, sizes: list[int], pattern: list[Round]
) -> None:
    """A study is served again after three turns for each that waited as it was served last."""
    line = Line(capacity)
    for size in sizes:
        line.comes(size, interactive=False)
    first, endless = list(line.runs), cycle(pattern)
    served = {run: (0, len(first)) for run in first}
    for _ in range(150):
        line.batch(next(endless))
        now = max(run.turn for run in line.runs)
        waiting = len(line.queue.able())
        for run in first:
            since, others = served[run]
            if run.turn > since or not run.left:
                served[run] = (now, waiting)
            else:
                assert now - since <= 3 * (others + capacity + 1)
