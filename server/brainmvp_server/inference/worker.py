"""One device's worker: windows from all running studies, one batch at a time."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.errors import BrainMVPError, EngineFailed, OutOfMemory, ServiceClosing
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.inference.engines.guarded import Pending
from brainmvp_server.inference.network_cache import Network, NetworkCache
from brainmvp_server.inference.turns import Turns, weight
from brainmvp_server.inference.windows import Stitching, WindowPlan, WindowSlices
from brainmvp_server.observability.logs import kind_and_place

log = logging.getLogger(__name__)

Array = NDArray[np.float32]
_LOOK = 0.25
"""Seconds between two looks of a waiting study at whether it may go on."""
_SPARE = 0.005
"""Seconds between the next batch's last cut and the engine's expected return."""
_SMALL = 16
"""A study stops a window of one whose :func:`weight` is more than so many times its own."""
_YIELDS = 2
"""How often one window may be stopped or put back."""


@dataclass(frozen=True)
class Batching:
    """How windows are gathered.

    Attributes:
        wait_s: how long an idle engine waits for a batch to fill.
    """

    wait_s: float = 0.0


class WorkerObserver(Protocol):
    """Told what the worker does, for metrics; must return at once."""

    def batch_done(self, model: str, windows: int, capacity: int, seconds: float) -> None:
        """A batch came back from the engine."""
        ...

    def engine_replaced(self, model: str) -> None:
        """An engine failed, and a fresh one took its place."""
        ...

    def study_done(self, model: str, seconds: Mapping[str, float]) -> None:
        """A study was brought through all stages, which took so many seconds."""
        ...


@dataclass(eq=False)
class StudyRun:
    """A study on its way through the engine.

    Attributes:
        padded: (C, X, Y, Z) voxels, large enough for the plan's windows.
        stitching: takes each window's logits.
        turn: when it was served last.
        came: when it came, on the monotonic clock.
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
    _places: list[WindowSlices] = field(init=False)
    _taken: int = 0
    _back: list[WindowSlices] = field(default_factory=list)
    _yielded: list[WindowSlices] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._places = list(self.plan.slices())

    @property
    def left(self) -> int:
        """Windows that nobody has taken yet."""
        if self.gone:
            return 0
        return self.windows - self._taken + len(self._back)

    @property
    def windows(self) -> int:
        """How many it has in all."""
        return len(self._places)

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.error is not None or self.done == self.windows

    @property
    def gone(self) -> bool:
        """Whether nobody waits for its windows any more."""
        return self.over or self.cancel.reason is not None

    def take(self) -> WindowSlices:
        """The next window's place."""
        if self._back:
            return self._back.pop(0)
        self._taken += 1
        return self._places[self._taken - 1]

    def put_back(self, place: WindowSlices) -> None:
        """The window that was taken last is the next one again."""
        self._back.insert(0, place)

    def yielded(self, place: WindowSlices) -> None:
        """Count that a window made way for another study."""
        self._yielded.append(place)

    def is_spared(self, place: WindowSlices) -> bool:
        """Whether a window made way as often as it has to."""
        return self._yielded.count(place) >= _YIELDS


_Entry = tuple[StudyRun, WindowSlices]


@dataclass(frozen=True, eq=False)
class _Batch:
    network: Network
    entries: tuple[_Entry, ...]
    windows: Array
    cut: float  # when the first one was, on the monotonic clock


class Worker:
    """Takes windows from all running studies, in turn, and brings their logits back.

    Shortly before the engine is through with one batch, the next one is cut: early enough that the
    engine need not wait, late enough for a small study that has just come. One that comes later
    still goes before it, as long as the engine has not begun; one that comes in the first half of a
    large study's window stops it, and the window is done after. A window makes way twice at most. A
    batch that fails is given one more try, window by window, in a fresh engine; what fails again
    fails its study.
    """

    def __init__(
        self,
        networks: NetworkCache,
        batching: Batching = Batching(),
        observer: WorkerObserver | None = None,
    ) -> None:
        self.networks = networks
        self._batching = batching
        self._observer = observer
        self._turns = Turns()
        self._passages: list[StudyRun] = []
        self._changed = threading.Condition()
        self._closing = False
        self._next: StudyRun | None = None  # whose turn it is, whatever the order
        self._cut_s = 0.0  # what cutting the last batch took
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Windows that wait for their turn."""
        with self._changed:
            return sum(passage.left for passage in self._passages)

    def run(self, passage: StudyRun) -> Iterator[int]:
        """Bring a study through; yields how many of its windows are done, as it grows.

        Raises:
            EngineFailed: the engine failed twice on it.
            BrainMVPError: the reason of its ``cancel``.
        """
        with self._changed:
            passage.turn, passage.came = self._turns.now(), time.monotonic()
            self._passages.append(passage)
            self._changed.notify_all()
        try:
            seen = 0
            while seen < len(passage.plan):
                with self._changed:
                    if passage.done == seen:
                        self._changed.wait(_LOOK)
                if passage.error is not None:
                    raise passage.error
                passage.cancel.check()
                if self._closing:
                    raise ServiceClosing("the service is closing", remedy="Send the study again")
                if passage.done > seen:
                    seen = passage.done
                    yield seen
        finally:
            with self._changed:
                self._passages.remove(passage)

    def study_done(self, model: str, seconds: Mapping[str, float]) -> None:
        """Tell the observer, if there is one."""
        if self._observer is not None:
            self._observer.study_done(model, seconds)

    def close(self) -> None:
        """End, and free the networks; studies under way end with :class:`ServiceClosing`."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout=5)
        self.networks.close()

    def _run(self) -> None:
        coming: _Batch | None = None
        while not self._closing:
            batch, coming = coming or self._gather(None), None
            if batch is None:
                continue
            try:
                coming = self._bring(batch)
            except Exception as error:  # every study waits for this thread: nothing may end it
                log.error("a batch could not be worked on: %s", kind_and_place(error))
                self._fail(batch.entries, _unforeseen(error))
            finally:
                self.networks.release(batch.network)

    def _bring(self, batch: _Batch) -> _Batch | None:
        """Bring a batch through the engine; gives the next one, where it was cut meanwhile."""
        start = time.monotonic()
        pending = batch.network.engine.start(batch.windows)
        pending.answer.add_done_callback(self._wake)
        if self._stop_overtaken(batch, pending, start):
            # Before the next one is picked: a study's windows are summed in their order.
            if self._finish(batch, pending, stopped=True):
                self._tell(batch, time.monotonic() - start)
            return None
        coming = self._gather(pending)
        try:
            if not self._closing and self._finish(batch, pending):
                self._tell(batch, time.monotonic() - start)
        except BaseException:
            if coming is not None:
                self._forget(coming, yielded=False)
            raise
        if coming is not None and self._may_go(coming):
            return coming
        return None

    def _tell(self, batch: _Batch, seconds: float) -> None:
        """Note, and tell the observer, what a batch took."""
        network = batch.network
        network.usual_s = seconds
        if self._observer is not None:
            name = network.bundle.manifest.name
            self._observer.batch_done(name, len(batch.entries), network.batch, seconds)

    def _stop_overtaken(self, batch: _Batch, pending: Pending, start: float) -> bool:
        """Wait till the next batch is to be cut, or the engine is through or late before.

        Returns:
            Whether the batch was told to stop, for a small study that came meanwhile and has the
            next turn.
        """
        usual_s = batch.network.usual_s
        # One cut that was held up says little of the next: half the time is always waited.
        until = start + usual_s - min(self._cut_s, usual_s / 2) - _SPARE
        patience = min(until - time.monotonic(), pending.seconds_left)

        def over() -> bool:
            return self._closing or pending.answer.done()

        def overtaken() -> bool:
            half_done = time.monotonic() > start + usual_s / 2
            self._next = None if half_done else self._overtaking(batch, _SMALL)
            return self._next is not None

        with self._changed:
            early = self._changed.wait_for(lambda: over() or overtaken(), max(patience, 0))
        return early and not over() and batch.network.engine.stop(pending)

    def _overtaking(self, batch: _Batch, times: int) -> StudyRun | None:
        """The lightest study that came after the cut and is so many times lighter, if one did."""
        taken = Counter(passage for passage, _ in batch.entries)
        with self._changed:
            if any(passage.is_spared(place) for passage, place in batch.entries):
                return None
            lightest = min(weight(passage, count) for passage, count in taken.items())
            lighter = [
                passage
                for passage in self._able(None)
                if passage not in taken
                and passage.interactive
                and passage.came > batch.cut
                and times * weight(passage) < lightest
            ]
        return min(lighter, key=weight, default=None)

    def _may_go(self, coming: _Batch) -> bool:
        """Whether a batch that was cut ahead still is the next one; else it is forgotten.

        It is not where a lighter study came, which then has the next turn, nor where a study of it
        ended.
        """
        self._next = self._overtaking(coming, 1)
        overtaken = self._next is not None
        if not overtaken and not any(passage.gone for passage, _ in coming.entries):
            return True
        self._forget(coming, yielded=overtaken)
        return False

    def _forget(self, coming: _Batch, *, yielded: bool) -> None:
        """Give up a batch that no engine has begun."""
        self._put_back(coming, yielded=yielded)
        self.networks.release(coming.network)

    def _put_back(self, batch: _Batch, *, yielded: bool) -> None:
        """Make a batch's windows the next ones again."""
        with self._changed:
            for passage, place in reversed(batch.entries):
                passage.put_back(place)
                if yielded:
                    passage.yielded(place)

    def _wake(self, _: object) -> None:
        with self._changed:
            self._changed.notify_all()

    def _gather(self, busy: Pending | None) -> _Batch | None:
        """Cut the next batch; it stays open while the engine is ``busy`` with the one before.

        Its network is held until the batch is through. Without ``busy`` it waits for a first
        window, and then as long as the batching says; None means that the worker closes, or that
        there is none after all.
        """
        picked = self._pick(None, busy)
        if picked is None:
            return None
        network, cut = picked[0].network, time.monotonic()
        entries = [picked]
        cut_s = 0.0
        try:
            windows = network.room()
            while True:
                start = time.monotonic()
                passage, place = entries[-1]
                windows[len(entries) - 1] = passage.padded[(slice(None), *place)]
                cut_s += time.monotonic() - start
                if len(entries) == network.batch or (picked := self._pick(network, busy)) is None:
                    break
                entries.append(picked)
        except Exception as error:  # no memory, as a rule
            log.error("a batch could not be cut: %s", kind_and_place(error))
            self._fail(tuple(entries), _unforeseen(error))
            self.networks.release(network)
            return None
        self._cut_s = cut_s
        return _Batch(network, tuple(entries), windows[: len(entries)], cut)

    def _pick(self, network: Network | None, busy: Pending | None) -> _Entry | None:
        """The next window, of ``network`` where a batch of it is open."""
        patience = None if network is None else self._batching.wait_s
        if busy is not None:
            patience = busy.seconds_left

        def ready() -> bool:
            return (
                self._closing
                or (busy is not None and busy.answer.done())
                or bool(self._able(network))
            )

        with self._changed:
            self._changed.wait_for(ready, patience)
            able = self._able(network)
            if self._closing or not able:
                return None
            if network is None:
                passage, self._next = self._first(able), None
                # Its study holds the network as long as it is in the queue, but no longer.
                self.networks.hold(passage.network)
            else:
                passage = self._turns.pick(able)
            return passage, passage.take()

    def _first(self, able: list[StudyRun]) -> StudyRun:
        """The study that gives a batch's first window."""
        if self._next is None or self._next not in able:
            return self._turns.pick(able)
        self._turns.give(self._next)
        return self._next

    def _able(self, network: Network | None) -> list[StudyRun]:
        return [
            passage
            for passage in self._passages
            if passage.left and network in (None, passage.network)
        ]

    def _finish(self, batch: _Batch, pending: Pending, *, stopped: bool = False) -> bool:
        """Deliver a batch's logits; whether it came through at once."""
        try:
            self._deliver(batch.entries, batch.network.engine.finish(pending))
            return True
        except EngineFailed as error:
            if stopped and pending.answer.done():
                self._put_back(batch, yielded=True)
            else:
                self._again(batch, error)
        except Exception as error:  # one study's fault must not end the others
            log.error("a batch could not be delivered: %s", kind_and_place(error))
            self._fail(batch.entries, _unforeseen(error))
        return False

    def _again(self, batch: _Batch, error: EngineFailed) -> None:
        """Give each window of a failed batch one more try, alone, in a fresh engine.

        A study has one such try; a batch that it shared does not count as its own failure.
        """
        engine = batch.network.engine
        first = batch.entries[0][0]
        if all(passage is first for passage, _ in batch.entries):
            first.failed += 1
        try:
            self._replace(batch.network, error)
            for index, entry in enumerate(batch.entries):
                if entry[0].gone:
                    continue
                if entry[0].failed > 1:
                    self._fail((entry,), error)
                    continue
                try:
                    alone = engine.start(batch.windows[index : index + 1])
                    self._deliver((entry,), engine.finish(alone))
                except EngineFailed as again:
                    self._fail((entry,), again)
                    self._replace(batch.network, again)
        except BrainMVPError as unavailable:
            self._fail(batch.entries, unavailable)

    def _replace(self, network: Network, error: EngineFailed) -> None:
        name = network.bundle.manifest.name
        cause = f" ({kind_and_place(error.__cause__)})" if error.__cause__ else ""
        log.warning("%s: %s%s; a fresh engine takes its place", name, error.problem, cause)
        if self._observer is not None:
            self._observer.engine_replaced(name)
        try:
            network.engine.restart()
        except BrainMVPError:
            self.networks.discard(network)
            raise

    def _deliver(self, entries: tuple[_Entry, ...], logits: Array) -> None:
        for (passage, place), part in zip(entries, logits, strict=True):
            passage.stitching.add(place, part)
        with self._changed:
            for passage, _ in entries:
                passage.done += 1
            self._changed.notify_all()

    def _fail(self, entries: tuple[_Entry, ...], error: BrainMVPError) -> None:
        with self._changed:
            for passage, _ in entries:
                if not passage.over:
                    passage.error = error
            self._changed.notify_all()


def _unforeseen(error: Exception) -> BrainMVPError:
    if isinstance(error, MemoryError):
        return OutOfMemory.for_study()
    return EngineFailed(
        f"the windows could not be worked on ({type(error).__name__})", remedy="Send it again"
    )
