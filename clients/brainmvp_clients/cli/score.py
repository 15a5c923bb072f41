"""``brainmvp score``: many studies, from where they are to where their results belong."""

from __future__ import annotations

import json
import logging
import os
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from typing import Annotated

import typer

from brainmvp_clients.cli import batch_options as o
from brainmvp_clients.cli.endpoints import open_endpoints
from brainmvp_clients.cli.problems import UsageProblem
from brainmvp_clients.cli.progress import progress
from brainmvp_clients.cli.show_score import show_dry_run, show_report
from brainmvp_clients.cli.source_options import SourceOptions
from brainmvp_clients.client import Client
from brainmvp_clients.score.batch import Batch, stopped_by_signals
from brainmvp_clients.score.dry_run import dry_run
from brainmvp_clients.score.ledger import StudyState
from brainmvp_clients.score.run import RunReport
from brainmvp_clients.score.study_files import Study

SOME_FAILED, INTERRUPTED = 1, 130
_KNOWN = 1000
"""Studies that are listed before the first is begun."""


@dataclass(frozen=True)
class ResumeOptions:
    """What becomes of an earlier run, and whether this one is only tried out."""

    resume: Annotated[bool, o.option(None, "Go on with an earlier run.", o.RUN)] = False
    retry_refused: Annotated[
        bool, o.option(None, "Try again what was refused for good.", o.RUN)
    ] = False
    allow_refused: Annotated[
        bool, o.option(None, "Exit with 0 although studies were refused.", o.RUN, "--allow-refused")
    ] = False
    dry_run: Annotated[bool, o.option(None, "Say what would be used and filled.", o.RUN)] = False


def score(
    model: o.ModelName,
    out: o.Out,
    studies: SourceOptions,
    destinations: o.DestinationOptions,
    prediction: o.PredictionOptions,
    dicom: o.DicomStudyOptions,
    earlier: ResumeOptions,
    pace: o.PaceOptions,
    connection: o.ConnectionOptions,
    parquet: o.Parquet = False,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Score many studies: from folders, a worklist or a PACS, to disk and back to a PACS.

    A run that is stopped or killed goes on by --resume; what is done is not done again. Exit
    codes: 0 all done, 1 some studies have no result, 2 bad usage or nothing could be begun.
    """
    if studies.brain is not None and (prediction.prepare == "none" or prediction.resample):
        raise UsageProblem(
            "is of no use where studies are taken as they are",
            remedy="Leave it out, or --prepare none and --resample",
            subject="--brain",
        )
    formats = o.table_formats("brainmvp score", parquet=parquet)
    with ExitStack() as stack:
        endpoints = open_endpoints(studies, destinations, connection, stack)
        batch = Batch(
            model,
            prediction.version,
            endpoints.source,
            endpoints.sinks,
            out,
            replace(endpoints.settings(prediction, dicom), brain=studies.brain),
            pace.policy(retry_refused=earlier.retry_refused),
            resume=earlier.resume,
            shard=studies.part,
            formats=formats,
            bucket=endpoints.open_bucket(),
        )
        client = stack.enter_context(connection.client(prediction.server))
        if earlier.dry_run:
            show_dry_run(dry_run(batch, client), as_json=as_json)
            return
        report = run(batch, client, studies.limit, as_json=as_json, quiet=quiet)
    raise typer.Exit(0 if report.clean(allow_refused=earlier.allow_refused) else SOME_FAILED)


def run(
    batch: Batch, client: Client, limit: int | None, *, as_json: bool, quiet: bool
) -> RunReport:
    """Score what the source has now."""
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
    listed = islice(batch.source.studies(), limit)
    first = list(islice(listed, _KNOWN))
    # A long list is not held; how long it is, nobody knows then.
    total, ended = len(first) if len(first) < _KNOWN else None, 0
    with (
        progress(shown=not (quiet or as_json)) as bars,
        stopped_by_signals(batch.stop, lambda: os._exit(INTERRUPTED)),
    ):

        def count(_: Study, __: StudyState) -> None:
            nonlocal ended
            ended += 1
            bars.studies(ended, total)

        bars.studies(0, total)
        report = batch.run(client, chain(first, listed), count)
    if as_json:
        typer.echo(json.dumps(asdict(report)))
    elif not quiet:
        show_report(report, batch.folder.own, sharded=batch.shard is not None)
    return report
