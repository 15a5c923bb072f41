"""One device's worker: the thread that drives an engine with windows from all running studies."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.errors import BrainMVPError, EngineFailed, OutOfMemory, ServiceClosing
from brainmvp_server.inference.engines.guarded import Pending
from brainmvp_server.inference.network_cache import Network, NetworkCache
from brainmvp_server.inference.scheduler import Batch, Clock, Scheduler
from brainmvp_server.inference.second_try import try_again
from brainmvp_server.inference.study_run import StudyRun
from brainmvp_server.inference.window_queue import Entry, WindowQueue
from brainmvp_server.observability.logs import kind_and_place

log = logging.getLogger(__name__)

Array = NDArray[np.float32]
_LOOK = 0.25
"""Seconds between two looks of a waiting study at whether it may go on."""


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

    def study_done(
        self, model: str, seconds: Mapping[str, float], precision: str, profile: str
    ) -> None:
        """A study was brought through all stages, which took so many seconds.

        Its network was computed in ``precision``, on the windows of ``profile``.
        """
        ...

    def study_outside(self, model: str, kind: str) -> None:
        """A study is unlike those that the model was trained on, in this way."""
        ...


class Worker:
    """Takes windows from all running studies, in turn, and brings their logits back.

    Which window is next is the :class:`WindowQueue`'s to say, when a batch is cut and which one
    goes the :class:`Scheduler`'s, what becomes of one that failed :func:`try_again`'s.

    Args:
        clock: what the order of studies is told by; engines have their own.
    """

    def __init__(
        self,
        networks: NetworkCache,
        batching: Batching = Batching(),
        observer: WorkerObserver | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.networks = networks
        self._batching = batching
        self._observer = observer
        self._queue = WindowQueue()
        self._scheduler = Scheduler(self._queue, clock)
        self._changed = threading.Condition()  # guards the queue and the scheduler
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Windows that wait for their turn."""
        with self._changed:
            return self._queue.waiting

    def run(self, run: StudyRun) -> Iterator[int]:
        """Bring a study through; yields how many of its windows are done, as it grows.

        Raises:
            EngineFailed: the engine failed twice on it.
            BrainMVPError: the reason of its ``cancel``.
        """
        with self._changed:
            self._queue.add(run, self._scheduler.now())
            self._changed.notify_all()
        try:
            seen = 0
            while seen < len(run.plan):
                with self._changed:
                    if run.done == seen:
                        self._changed.wait(_LOOK)
                if run.error is not None:
                    raise run.error
                run.cancel.check()
                if self._closing:
                    raise ServiceClosing("the service is closing", remedy="Send the study again")
                if run.done > seen:
                    seen = run.done
                    yield seen
        finally:
            with self._changed:
                self._queue.remove(run)

    def study_done(
        self, model: str, seconds: Mapping[str, float], precision: str, profile: str
    ) -> None:
        """Tell the observer, if there is one."""
        if self._observer is not None:
            self._observer.study_done(model, seconds, precision, profile)

    def study_outside(self, model: str, kind: str) -> None:
        """Tell the observer, if there is one."""
        if self._observer is not None:
            self._observer.study_outside(model, kind)

    def close(self, patience_s: float = 5.0) -> None:
        """End, and free the networks; studies under way end with :class:`ServiceClosing`.

        Args:
            patience_s: how long the batch that is in the engine may take to come to its end.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(patience_s)
        self.networks.close()

    def _run(self) -> None:
        coming: Batch | None = None
        while not self._closing:
            batch, coming = coming or self._cut(None), None
            if batch is None:
                continue
            try:
                coming = self._bring(batch)
            except Exception as error:  # every study waits for this thread: nothing may end it
                log.error("a batch could not be worked on: %s", kind_and_place(error))
                self._fail(batch.entries, _unforeseen(error))
            finally:
                self.networks.release(batch.network)

    def _bring(self, batch: Batch) -> Batch | None:
        """Bring a batch through the engine; gives the next one, where it was cut meanwhile."""
        begun = self._scheduler.now()
        pending = batch.network.engine.start(batch.windows)
        pending.answer.add_done_callback(self._wake)
        if self._stop_overtaken(batch, pending, begun):
            # Before the next one is cut: a study's windows are summed in their order.
            if self._finish(batch, pending, stopped=True):
                self._tell(batch, begun)
            return None
        coming = self._cut(pending)
        try:
            if not self._closing and self._finish(batch, pending):
                self._tell(batch, begun)
        except BaseException:
            if coming is not None:
                with self._changed:
                    self._queue.put_back(coming.entries, yielded=False)
                self.networks.release(coming.network)
            raise
        if coming is None:
            return None
        with self._changed:
            goes = self._scheduler.may_go(coming)
        if goes:
            return coming
        self.networks.release(coming.network)
        return None

    def _tell(self, batch: Batch, begun: float) -> None:
        """Note, and tell the observer, what a batch took."""
        network, seconds = batch.network, self._scheduler.now() - begun
        network.usual_s = seconds
        if self._observer is not None:
            name = network.bundle.manifest.name
            self._observer.batch_done(name, len(batch.entries), network.batch, seconds)

    def _stop_overtaken(self, batch: Batch, pending: Pending, begun: float) -> bool:
        """Wait till the next batch is to be cut, or the engine is through or late before.

        Returns:
            Whether the batch was told to stop, for a small study that came meanwhile and has the
            next turn.
        """

        def over() -> bool:
            return self._closing or pending.answer.done()

        with self._changed:
            patience = min(self._scheduler.seconds_to_cut(batch, begun), pending.seconds_left)
            early = self._changed.wait_for(
                lambda: over() or self._scheduler.is_overtaken(batch, begun), max(patience, 0)
            )
        return early and not over() and batch.network.engine.stop(pending)

    def _wake(self, _: object) -> None:
        with self._changed:
            self._changed.notify_all()

    def _cut(self, busy: Pending | None) -> Batch | None:
        """Cut the next batch; it stays open while the engine is ``busy`` with the one before.

        Its network is held until the batch is through. Without ``busy`` it waits for a first
        window, and then as long as the batching says; None means that the worker closes, or that
        there is none after all.
        """
        entry = self._take(None, busy)
        if entry is None:
            return None
        now = self._scheduler.now
        network, begun, cut_s = entry[0].network, now(), 0.0
        entries = [entry]
        try:
            windows = network.room()
            while True:
                start = now()
                run, place = entries[-1]
                windows[len(entries) - 1] = run.padded[(slice(None), *place)]
                cut_s += now() - start
                if len(entries) == network.batch or (entry := self._take(network, busy)) is None:
                    break
                entries.append(entry)
        except Exception as error:  # no memory, as a rule
            log.error("a batch could not be cut: %s", kind_and_place(error))
            self._fail(tuple(entries), _unforeseen(error))
            self.networks.release(network)
            return None
        return Batch(network, tuple(entries), windows[: len(entries)], begun, cut_s)

    def _take(self, network: Network | None, busy: Pending | None) -> Entry | None:
        """The next window, of ``network`` where a batch of it is open; waits for one."""
        patience = None if network is None else self._batching.wait_s
        if busy is not None:
            patience = busy.seconds_left

        def ready() -> bool:
            return (
                self._closing
                or (busy is not None and busy.answer.done())
                or bool(self._queue.able(network))
            )

        with self._changed:
            self._changed.wait_for(ready, patience)
            entry = None if self._closing else self._queue.take(network)
            if entry is not None and network is None:
                # Its study holds the network as long as it is in the queue, but no longer.
                self.networks.hold(entry[0].network)
            return entry

    def _finish(self, batch: Batch, pending: Pending, *, stopped: bool = False) -> bool:
        """Deliver a batch's logits; whether it came through at once."""
        try:
            self._deliver(batch.entries, batch.network.engine.finish(pending))
            return True
        except EngineFailed as error:
            if stopped and pending.answer.done():
                with self._changed:
                    self._queue.put_back(batch.entries, yielded=True)
            else:
                network = batch.network
                try_again(
                    batch,
                    error,
                    replace=lambda fault: self._replace(network, fault),
                    bring=lambda entry, window: self._deliver(
                        (entry,), network.engine.finish(network.engine.start(window))
                    ),
                    fail=self._fail,
                )
        except Exception as error:  # one study's fault must not end the others
            log.error("a batch could not be delivered: %s", kind_and_place(error))
            self._fail(batch.entries, _unforeseen(error))
        return False

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

    def _deliver(self, entries: tuple[Entry, ...], logits: Array) -> None:
        for (run, place), part in zip(entries, logits, strict=True):
            run.stitching.add(place, part)
        with self._changed:
            for run, _ in entries:
                run.done += 1
            self._changed.notify_all()

    def _fail(self, entries: Sequence[Entry], error: BrainMVPError) -> None:
        with self._changed:
            for run, _ in entries:
                run.fail(error)
            self._changed.notify_all()


def _unforeseen(error: Exception) -> BrainMVPError:
    if isinstance(error, MemoryError):
        return OutOfMemory.for_study()
    return EngineFailed(
        f"the windows could not be worked on ({type(error).__name__})", remedy="Send it again"
    )
