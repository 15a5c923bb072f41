"""What a service that is killed leaves of its patients."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from ..conftest import WAIT_S, Serving, Start


def ask(service: Serving, study: Path) -> threading.Thread:
    """Ask for a prediction without waiting for it; the service may die over it."""

    def post() -> None:
        with contextlib.suppress(httpx.HTTPError, AssertionError):
            service.predicted(study)

    thread = threading.Thread(target=post)
    thread.start()
    return thread


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_volumes_of_a_killed_service_are_removed_by_the_next_and_a_living_ones_are_not(
    serve: Start, steady_models: Path, tmp_path: Path, large_study: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    first, second = (serve(steady_models, scratch=scratch) for _ in range(2))
    asking = [ask(service, large_study) for service in (first, second)]
    until(lambda: len(list(scratch.glob("*/t1"))) == 2)
    before = set(scratch.glob("*/t1"))
    first.stop(signal.SIGKILL)
    assert set(scratch.glob("*/t1")) == before
    serve(steady_models, scratch=scratch)
    assert len(set(scratch.glob("*/t1")) & before) == 1
    second.stop(signal.SIGTERM)
    for thread in asking:
        thread.join()
    assert list(scratch.iterdir()) == []
