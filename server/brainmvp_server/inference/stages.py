"""How long each stage of a study took, and how far it has come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.inference.low_priority import run_low_priority
from brainmvp_server.observability.traces import tracing

ProgressCallback = Callable[[str, int, int], None]
"""Called with the stage's name, how much of it is done and how much there is."""

Returned = TypeVar("Returned")


@dataclass
class Stages:
    """A stopwatch with one hand a stage; no stage begins once the study was told to stop.

    Attributes:
        gives_way: whether the engine comes first where both want a core.
        seconds: what each stage took.
    """

    progress: ProgressCallback | None = None
    cancel: CancelToken = field(default_factory=CancelToken)
    gives_way: bool = False
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside, and report its begin and end."""
        self.cancel.check()
        self.report(name, 0, 1)
        start = time.perf_counter()
        with tracing.span(name):
            yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        self.report(name, 1, 1)

    def work(self, name: str, work: Callable[[], Returned]) -> Returned:
        """Do a whole stage."""
        with self.stage(name):
            return self.part(work)

    def part(self, work: Callable[[], Returned]) -> Returned:
        """Do a part of the stage that is open, with the study's priority."""
        return run_low_priority(work) if self.gives_way else work()

    def report(self, name: str, done: int, total: int) -> None:
        """Tell whoever watches."""
        if self.progress is not None:
            self.progress(name, done, total)
