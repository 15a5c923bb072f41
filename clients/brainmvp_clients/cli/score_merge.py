"""``brainmvp score merge``: the parts of a run as one table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from brainmvp_clients.cli import batch_options as o
from brainmvp_clients.cli.problems import MissingExtra
from brainmvp_clients.score.merge import (
    DOUBLED,
    MISSING,
    InBucket,
    Merged,
    merge,
    taken_as_there,
)
from brainmvp_clients.score.table_files import CSV

NOT_WHOLE = 1


def score_merge(
    outs: Annotated[
        list[Path], typer.Argument(metavar="OUT...", help="What was --out of brainmvp score.")
    ],
    out: Annotated[
        Path | None, o.option("DIR", "Folder for the tables, not the first OUT.", o.RUN)
    ] = None,
    worklist: Annotated[
        Path | None, o.option("FILE", "CSV or JSONL of the studies that there should be.", o.RUN)
    ] = None,
    tables_only: Annotated[
        bool, o.option(None, "Do not look for the studies' files.", o.RUN, "--tables-only")
    ] = False,
    bucket: Annotated[
        str | None, o.option("URL", "Look for files there; what was --bucket.", o.RUN)
    ] = None,
    parquet: o.Parquet = False,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Put the shards of a run, or several runs, together: one table, what is missing and doubled.

    Exit codes: 0 every study has its result or its refusal, once; 1 something is missing or
    doubled; 2 bad usage or no run.
    """
    formats = o.table_formats("brainmvp score merge", parquet=parquet)
    with _results_in(None if tables_only else bucket) as in_bucket:
        merged, into = merge(
            outs,
            out,
            worklist=worklist,
            files=not tables_only,
            in_bucket=in_bucket,
            formats=formats,
        )
    if as_json:
        typer.echo(merged.model_dump_json())
    elif not quiet:
        _show(merged, into)
    if not merged.whole:
        raise typer.Exit(NOT_WHOLE)


@contextmanager
def _results_in(bucket: str | None) -> Iterator[InBucket]:
    """What tells whether a result is in the bucket; without one, it is taken as there."""
    if bucket is None:
        yield taken_as_there
        return
    try:
        from brainmvp_clients.score.bucket_results import BucketResults
    except ModuleNotFoundError as error:
        raise MissingExtra("--bucket", "s3", f"there is no {error.name}") from None
    with closing(BucketResults(bucket)) as results:
        yield results.has


def _show(merged: Merged, into: Path) -> None:
    console = Console()

    def line(text: str, style: str = "") -> None:
        console.print(Text(text, style=style), soft_wrap=True)

    line(
        f"{_counted(merged.studies, 'study', 'studies')} of {_counted(merged.parts, 'table')}: "
        f"{merged.done} done, "
        f"{merged.refused} refused, {merged.failed} failed"
    )
    if merged.runs > 1:
        line(f"The tables are of {merged.runs} bundles or settings.", "yellow")
    for shards, what in (
        (merged.missing_shards, "never begun"),
        (merged.unended_shards, "not ended"),
    ):
        if shards:
            line(f"{_counted(len(shards), 'shard')} {what}: {_some(shards)}", "yellow")
    if merged.damaged_tables:
        tables = _some(merged.damaged_tables)
        line(f"Tables that lost studies, to be scored again with --resume: {tables}", "yellow")
    if merged.without_files:
        line(f"Done, but their files are gone: {merged.without_files}", "yellow")
    if merged.without_line:
        line(f"In the worklist and in no table: {merged.without_line}", "yellow")
    if merged.failed or merged.without_files or merged.without_line:
        line(f"What is missing: {into / MISSING}", "yellow")
    if merged.doubled:
        line(f"In several tables: {merged.doubled}, see {into / DOUBLED}", "yellow")
    line(f"Results: {into / CSV}")


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def _some(shards: tuple[str, ...], most: int = 8) -> str:
    more = f" and {len(shards) - most} more" if len(shards) > most else ""
    return f"{', '.join(shards[:most])}{more}"
