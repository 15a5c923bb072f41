"""How long each stage of a study took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from brainmvp_server.observability.traces import tracing


class Stopwatch:
    """A stopwatch with one hand a stage; each stage is a span of the trace too.

    Attributes:
        seconds: what each stage took.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Time what happens inside; a stage that fails has a span, and no seconds."""
        start = time.perf_counter()
        with tracing.span(stage):
            yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start
