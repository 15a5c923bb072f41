"""An engine that may throw, hang or give nonsense, behind a door that can be shut on it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.errors import EngineFailed, EngineUnavailable
from brainmvp_server.inference.engines.protocol import Engine, EngineInfo, Stoppable

Array = NDArray[np.float32]
_LOAD_S = 3600
"""Building a plan for a GPU takes minutes."""
_TRY_AGAIN = "Send the study again; if it stays so, choose another engine or export the bundle anew"


class LeftBehind:
    """Engines that hang: each keeps its thread and its network's memory until it answers after all.

    Args:
        most: how many there may be; with that many no fresh one is loaded, as it would hang too.
    """

    def __init__(self, most: int = 3) -> None:
        self._most = most
        self._hung: dict[threading.Thread, int] = {}
        self._lock = threading.Lock()

    def add(self, thread: threading.Thread, bytes: int) -> None:
        """An engine does not answer; its network is counted as so much."""
        with self._lock:
            self._hung[thread] = bytes

    @property
    def count(self) -> int:
        """How many hang now."""
        return len(self._now())

    @property
    def bytes(self) -> int:
        """What their networks are counted as."""
        return sum(self._now().values())

    @property
    def full(self) -> bool:
        """Are there as many as there may be?"""
        return self.count >= self._most

    def check(self) -> None:
        """See that a fresh engine may be loaded.

        Raises:
            EngineUnavailable: too many hang.
        """
        if self.full:
            raise EngineUnavailable(
                f"{self.count} engines hang, and another would too",
                remedy="Start the service again, and look at the machine and its driver",
            )

    def _now(self) -> dict[threading.Thread, int]:
        with self._lock:
            self._hung = {thread: size for thread, size in self._hung.items() if thread.is_alive()}
            return self._hung


@dataclass(frozen=True)
class Pending:
    """A batch in the engine; ``deadline`` on the monotonic clock."""

    answer: Future[Array]
    deadline: float

    @property
    def seconds_left(self) -> float:
        """How long its answer may still take."""
        return max(self.deadline - time.monotonic(), 0.0)


class GuardedEngine:
    """Runs an engine in a thread of its own, which is left behind when it does not answer.

    Args:
        load: loads the engine; called in that thread, and again by :meth:`restart`.
        timeout_s: how long one batch may take.
        left: where those are noted that are left behind and hang.
        bytes: what the network is counted as.

    Raises:
        EngineUnavailable: the engine cannot be loaded.
    """

    def __init__(
        self,
        load: Callable[[], Engine],
        timeout_s: float,
        left: LeftBehind | None = None,
        bytes: int = 0,
    ) -> None:
        self._load = load
        self._timeout_s = timeout_s
        self._left = left or LeftBehind()
        self._bytes = bytes
        self.info: EngineInfo = self._fresh()

    def start(self, windows: Array) -> Pending:
        """Begin with a batch of windows (N, C, h, w, d)."""
        return Pending(self._thread.infer(windows), time.monotonic() + self._timeout_s)

    def finish(self, pending: Pending) -> Array:
        """The batch's logits, valid until the next batch.

        Raises:
            EngineFailed: it threw, did not answer in time, or gave a value that is not finite.
        """
        try:
            logits = pending.answer.result(pending.seconds_left)
        except Late:
            raise EngineFailed(
                f"the engine did not answer within {self._timeout_s:g} s", remedy=_TRY_AGAIN
            ) from None
        except Exception as error:  # each runtime raises kinds of its own
            raise EngineFailed(
                f"the engine failed ({type(error).__name__})", remedy=_TRY_AGAIN
            ) from error
        if not (np.isfinite(logits.min()) and np.isfinite(logits.max())):
            raise EngineFailed("the engine gave values that are not finite", remedy=_TRY_AGAIN)
        return logits

    def stop(self, pending: Pending) -> bool:
        """Let a batch fail at once; whether it does.

        A batch that has not begun always can; of those under way only a CPU's, because a GPU would
        be through with its batch before it looked.
        """
        return pending.answer.cancel() or (not self.info.on_gpu and self._thread.stop())

    def restart(self) -> None:
        """Leave the engine and its thread behind, and load a fresh one.

        Raises:
            EngineUnavailable: it cannot be loaded again.
        """
        self.close()
        self._fresh()

    def close(self) -> None:
        """Free the network once the batch under way is through."""
        self._thread.leave()
        if self._thread.busy:
            self._left.add(self._thread.thread, self._bytes)

    def wait(self, seconds: float) -> None:
        """Wait until a closed engine's memory is free, at most so long; never for one at work."""
        if not self._thread.busy:
            self._thread.thread.join(max(seconds, 0.0))

    def _fresh(self) -> EngineInfo:
        self._left.check()
        self._thread = _EngineThread(self._load)
        try:
            return self._thread.opened()
        except BaseException:
            self.close()
            raise


class _EngineThread:
    """One engine from loading to closing. A daemon: one that hangs does not keep the process."""

    def __init__(self, load: Callable[[], Engine]) -> None:
        self._work: queue.SimpleQueue[tuple[Array, Future[Array]] | None] = queue.SimpleQueue()
        self._opened: Future[EngineInfo] = Future()
        self._engine: Engine | None = None
        self._answer: Future[Array] | None = None
        self._ended = False
        self.thread = threading.Thread(target=self._run, args=(load,), name="engine", daemon=True)
        self.thread.start()

    @property
    def busy(self) -> bool:
        """Does it load, or work on a batch?"""
        return not self._opened.done() or (self._answer is not None and not self._answer.done())

    def opened(self) -> EngineInfo:
        try:
            return self._opened.result(_LOAD_S)
        except Late:
            raise EngineUnavailable(
                f"the engine did not load within {_LOAD_S} s", remedy="Look at the machine"
            ) from None

    def infer(self, windows: Array) -> Future[Array]:
        answer: Future[Array] = Future()
        self._answer = answer
        if self._ended:
            answer.set_exception(RuntimeError("the engine was left"))
        elif self._opened.done() and (error := self._opened.exception()) is not None:
            answer.set_exception(error)
        else:
            self._work.put((windows, answer))
        return answer

    def stop(self) -> bool:
        engine = self._engine  # the thread forgets it when it is left
        if not isinstance(engine, Stoppable):
            return False
        engine.stop()
        return True

    def leave(self) -> None:
        self._ended = True
        self._work.put(None)

    def _run(self, load: Callable[[], Engine]) -> None:
        try:
            engine = load()
        except BaseException as error:
            self._opened.set_exception(error)
            return
        self._engine = engine
        self._opened.set_result(engine.info)
        while (item := self._work.get()) is not None:
            windows, answer = item
            if not answer.set_running_or_notify_cancel():
                continue
            try:
                answer.set_result(engine.infer(windows))
            except BaseException as error:
                answer.set_exception(error)
        self._engine = None
        engine.close()
