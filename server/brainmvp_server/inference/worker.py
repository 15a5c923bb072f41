"""One device's worker: windows from all running studies, one batch at a time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.errors import BrainMVPError, EngineFailed, ServiceClosing
from brainmvp_server.inference.engines.guarded import Pending
from brainmvp_server.inference.networks import Network, Networks
from brainmvp_server.inference.stop import Stop
from brainmvp_server.inference.turns import Turns, weight
from brainmvp_server.inference.windows import Place, Stitching, WindowPlan

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
class Passage:
    """A study on its way through the engine.

    Attributes:
        padded: (C, X, Y, Z) voxels, large enough for the plan's windows.
        stitching: takes each window's logits.
        turn: when it was served last.
        came: when it came, on the monotonic clock.
        done: windows whose logits have come.
        failed: batches with a window of it that went wrong.
        error: why it ended early.
    """

    network: Network
    plan: WindowPlan
    padded: Array
    stitching: Stitching
    stop: Stop
    interactive: bool = True
    turn: int = 0
    came: float = 0.0
    done: int = 0
    failed: int = 0
    error: BrainMVPError | None = None
    _places: list[Place] = field(init=False)
    _taken: int = 0
    _back: list[Place] = field(default_factory=list)
    _yielded: list[Place] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._places = list(self.plan.slices())

    @property
    def left(self) -> int:
        """Windows that nobody has taken yet."""
        if self.error or self.stop.reason:
            return 0
        return len(self._places) - self._taken + len(self._back)

    @property
    def windows(self) -> int:
        """How many it has in all."""
        return len(self._places)

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.error is not None or self.done == len(self._places)

    def take(self) -> Place:
        """The next window's place."""
        if self._back:
            return self._back.pop(0)
        self._taken += 1
        return self._places[self._taken - 1]

    def put_back(self, place: Place) -> None:
        """The window that was taken last is the next one again: it made way for another study."""
        self._back.insert(0, place)
        self._yielded.append(place)

    def spared(self, place: Place) -> bool:
        """Whether a window made way as often as it has to."""
        return self._yielded.count(place) >= _YIELDS


_Entry = tuple[Passage, Place]


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
        networks: Networks,
        batching: Batching = Batching(),
        observer: WorkerObserver | None = None,
    ) -> None:
        self.networks = networks
        self._batching = batching
        self._observer = observer
        self._turns = Turns()
        self._passages: list[Passage] = []
        self._changed = threading.Condition()
        self._closing = False
        self._usual_s = 0.0  # what the last batch took
        self._cut_s = 0.0  # what cutting it took
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Windows that wait for their turn."""
        with self._changed:
            return sum(passage.left for passage in self._passages)

    def run(self, passage: Passage) -> Iterator[int]:
        """Bring a study through; yields how many of its windows are done, as it grows.

        Raises:
            EngineFailed: the engine failed twice on it.
            BrainMVPError: the reason of its ``stop``.
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
                passage.stop.check()
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
        batch = self._gather(None)
        while batch is not None:
            start = time.monotonic()
            pending = batch.network.engine.start(batch.windows)
            pending.answer.add_done_callback(self._wake)
            if self._stop_overtaken(batch, pending, start):
                # Before the next one is picked: a study's windows are summed in their order.
                self._finish(batch, pending, stopped=True)
                batch = self._gather(None)
                continue
            coming = self._gather(pending)
            if self._closing:
                return
            self._finish(batch, pending)
            self._usual_s = time.monotonic() - start
            if self._observer is not None:
                self._observer.batch_done(
                    batch.network.bundle.manifest.name,
                    len(batch.entries),
                    batch.network.batch,
                    self._usual_s,
                )
            if coming is not None and self._overtaken(coming, 1):
                self._put_back(coming)
                coming = None
            batch = coming or self._gather(None)

    def _stop_overtaken(self, batch: _Batch, pending: Pending, start: float) -> bool:
        """Wait till the next batch is to be cut, or the engine is through or late before.

        Returns:
            Whether the batch was told to stop, for a small study that came meanwhile.
        """
        until = start + self._usual_s - self._cut_s - _SPARE
        patience = min(until - time.monotonic(), pending.seconds_left)

        def over() -> bool:
            return self._closing or pending.answer.done()

        half = start + self._usual_s / 2

        def overtaken() -> bool:
            return time.monotonic() < half and self._overtaken(batch, _SMALL)

        with self._changed:
            early = self._changed.wait_for(lambda: over() or overtaken(), max(patience, 0))
        return early and not over() and batch.network.engine.stop()

    def _overtaken(self, batch: _Batch, times: int) -> bool:
        """Whether a study so many times lighter came after the cut, and may go first."""
        if any(passage.spared(place) for passage, place in batch.entries):
            return False
        lightest = min(weight(passage, taken=1) for passage, _ in batch.entries)
        return any(
            passage.interactive and passage.came > batch.cut and times * weight(passage) < lightest
            for passage in self._able(None)
        )

    def _put_back(self, batch: _Batch) -> None:
        """Forget a batch that no engine has brought through; its windows are the next ones."""
        with self._changed:
            for passage, place in reversed(batch.entries):
                passage.put_back(place)

    def _wake(self, _: object) -> None:
        with self._changed:
            self._changed.notify_all()

    def _gather(self, busy: Pending | None) -> _Batch | None:
        """Cut the next batch; it stays open while the engine is ``busy`` with the one before.

        Without ``busy`` it waits for a first window, and then as long as the batching says; None
        means that the worker closes, or that nothing came while the engine was busy.
        """
        entries: list[_Entry] = []
        windows: Array | None = None
        network: Network | None = None
        cut = 0.0
        cut_s = 0.0
        while network is None or len(entries) < network.batch:
            picked = self._pick(network, busy, first=not entries)
            if picked is None:
                break
            start = time.monotonic()
            passage, place = picked
            if windows is None:
                network = passage.network
                windows = network.room()
                cut = start
            windows[len(entries)] = passage.padded[(slice(None), *place)]
            entries.append((passage, place))
            cut_s += time.monotonic() - start
        if network is None or windows is None:
            return None
        self._cut_s = cut_s
        return _Batch(network, tuple(entries), windows[: len(entries)], cut)

    def _pick(self, network: Network | None, busy: Pending | None, *, first: bool) -> _Entry | None:
        patience = None if first else self._batching.wait_s
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
            passage = self._turns.pick(able)
            return passage, passage.take()

    def _able(self, network: Network | None) -> list[Passage]:
        return [
            passage
            for passage in self._passages
            if passage.left and network in (None, passage.network)
        ]

    def _finish(self, batch: _Batch, pending: Pending, *, stopped: bool = False) -> None:
        try:
            self._deliver(batch.entries, batch.network.engine.finish(pending))
        except EngineFailed as error:
            if stopped and pending.answer.done():
                self._put_back(batch)
            else:
                self._again(batch, error)
        except Exception as error:  # one study's fault must not end the others
            log.error("a batch could not be delivered (%s)", type(error).__name__)
            self._fail(batch.entries, _unforeseen(error))

    def _again(self, batch: _Batch, error: EngineFailed) -> None:
        """Give each window of a failed batch one more try, alone, in a fresh engine."""
        engine = batch.network.engine
        wanted = {passage for passage, _ in batch.entries if not passage.over}
        if not wanted:
            return
        for passage in wanted:
            passage.failed += 1
        try:
            self._replace(batch.network, error)
            for index, entry in enumerate(batch.entries):
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
        log.warning("%s: %s; a fresh engine takes its place", name, error.problem)
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


def _unforeseen(error: Exception) -> EngineFailed:
    return EngineFailed(
        f"the windows could not be worked on ({type(error).__name__})", remedy="Send it again"
    )
