"""Progress bars on stderr, for people: nothing where stderr is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as Bars

from brainmvp_clients.answers import Job
from brainmvp_clients.errors import one_line

_MEGABYTE = 1 << 20
UPLOADING = "upload (MB)"
WAITING = "waiting for the server"
STUDIES = "studies"
WINDOWS = "windows"


class ProgressDisplay:
    """What long work reports to; without bars it shows nothing."""

    def __init__(self, bars: Bars | None = None) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def upload(self, done: int, total: int) -> None:
        """Bytes sent and bytes to send."""
        self.stage(UPLOADING, -(-done // _MEGABYTE), -(-total // _MEGABYTE))
        if done >= total:
            self.stage(WAITING, 0, 0)

    def job(self, job: Job) -> None:
        """How a job on a server is."""
        at = job.progress
        if at is None:
            self.stage(job.state, 0, 0)
        elif at.windows:
            self.stage(WINDOWS, at.windows_done, at.windows)
        else:
            self.stage(at.stage, 0, 0)

    def studies(self, done: int, total: int | None) -> None:
        """Studies ended and studies in all, where that is known."""
        self.stage(STUDIES, done, total or 0)

    def stage(self, stage: str, done: int, total: int) -> None:
        """Steps of a stage done, and how many there are; 0 where nobody knows."""
        if self._bars is None:
            return
        if stage not in self._tasks:
            title = one_line(stage, 40)
            self._tasks[stage] = self._bars.add_task(title, total=total or None)
        self._bars.update(self._tasks[stage], completed=done, total=total or None)


@contextmanager
def progress(*, shown: bool) -> Iterator[ProgressDisplay]:
    """Bars for the time of the block."""
    if not (shown and sys.stderr.isatty()):
        yield ProgressDisplay()
        return
    with Bars(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bars:
        yield ProgressDisplay(bars)
