"""What the makers and the readers of ``tests/compatibility/fixtures`` share."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

MODEL = "past"
"""The name of the kept bundle."""
WAIT_S = 120
_TIME_NS = 1_700_000_000 * 10**9


def at_fixed_times(folder: Path) -> None:
    """Give every file the same time: ``score`` tells studies by their files' times, git does not
    keep them."""
    for path in folder.rglob("*"):
        os.utime(path, ns=(_TIME_NS, _TIME_NS))


def until(true: Callable[[], bool], seconds: float = WAIT_S) -> None:
    """Wait until something holds.

    Raises:
        AssertionError: it does not in that time.
    """
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)


@contextmanager
def process(*words: object) -> Iterator[subprocess.Popen[str]]:
    """``brainmvp`` as a process of its own for the time of the block; killed if it is left over."""
    command = [sys.executable, "-m", "brainmvp_clients.cli", *map(str, words)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as running:
        try:
            yield running
        finally:
            if running.poll() is None:
                running.kill()
