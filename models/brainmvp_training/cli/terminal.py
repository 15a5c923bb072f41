"""What the training commands show on a terminal: errors as one line, and a progress bar."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as TimeLeft

from brainmvp_models.errors import BrainMVPError


@contextmanager
def plain_errors() -> Iterator[None]:
    """An error of ours ends the command with one line on stderr and exit code 2."""
    try:
        yield
    except BrainMVPError as error:
        typer.echo(f"brainmvp: {error}", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo("brainmvp: interrupted; the same command with --resume goes on", err=True)
        raise typer.Exit(130) from None


@contextmanager
def bar(*, shown: bool = True) -> Iterator[Progress]:
    """A progress bar on stderr; silent where that is no terminal."""
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeLeft(),
        console=Console(stderr=True),
        disable=not (shown and sys.stderr.isatty()),
    ) as progress:
        yield progress
