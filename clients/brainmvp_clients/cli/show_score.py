"""A run and a dry run as text for people."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from brainmvp_clients.errors import one_line
from brainmvp_clients.score.dry_run import DryRunEntry
from brainmvp_clients.score.run import RunReport
from brainmvp_clients.score.table_files import CSV


def show_report(report: RunReport, out: Path, *, sharded: bool = False) -> None:
    """How a run ended, and where its table is; one of several shards may well have no study."""
    parts = [
        f"{report.done} done",
        f"{report.skipped} done before" if report.skipped else "",
        f"{report.refused} refused" if report.refused else "",
        f"{report.failed} failed" if report.failed else "",
    ]
    console = Console()
    line = f"{report.model} {report.version}: {', '.join(filter(None, parts))}"
    console.print(Text(f"{line} in {report.seconds:.0f} s"), soft_wrap=True)
    if report.not_determinable:
        text = Text(f"{report.not_determinable} with an output that is not determinable.", "yellow")
        console.print(text, soft_wrap=True)
    if not (report.done or report.skipped or report.refused or report.failed or report.stopped):
        text = Text("No study was found; check the source and what it was asked for.", "yellow")
        if sharded:
            text = Text("None of the studies found falls to this shard.")
        console.print(text, soft_wrap=True)
    if report.stopped:
        console.print(Text("Stopped early; --resume goes on.", style="yellow"), soft_wrap=True)
    console.print(Text(f"Results: {out / CSV}"), soft_wrap=True)


def show_dry_run(entries: Iterable[DryRunEntry], *, as_json: bool) -> None:
    """What a run would do, a study at a time; as JSON a line each."""
    if as_json:
        for entry in entries:
            typer.echo(entry.model_dump_json())
        return
    table = Table("Study", "Modality", "Taken from", "Why")
    for entry in entries:
        first = entry.study
        for use in entry.uses:
            table.add_row(*map(_text, (first, use.modality, use.source, use.reason)))
            first = ""
        for modality in entry.filled:
            table.add_row(*map(_text, (first, modality, "filled", "")))
            first = ""
        if entry.problem or first:
            table.add_row(*map(_text, (first, "", entry.state, entry.problem)))
    Console().print(table)


def _text(value: str) -> Text:
    return Text(one_line(value, 200))
