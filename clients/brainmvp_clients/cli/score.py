"""``brainmvp score``: many studies, from where they are to where their results belong."""

from __future__ import annotations

import json
import logging
import os
from contextlib import ExitStack
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from brainmvp_clients import wire
from brainmvp_clients.cli import options as o
from brainmvp_clients.cli.endpoints import Goals, Wanted, Ways, places
from brainmvp_clients.cli.progress import progress
from brainmvp_clients.cli.show_score import show_dry_run, show_report
from brainmvp_clients.client import Client
from brainmvp_clients.pacs.limits import MAX_IMAGE_MB
from brainmvp_clients.score.batch import Batch, stopped_by_signals
from brainmvp_clients.score.dry_run import dry_run as dry_run_entries
from brainmvp_clients.score.ledger import StudyState
from brainmvp_clients.score.retry import Backoff
from brainmvp_clients.score.run import RunPolicy
from brainmvp_clients.score.study_files import Study

FROM, SOME_FAILED, INTERRUPTED = "Studies", 1, 130
_DAY = ["%Y-%m-%d"]


def score(
    model: o.Model,
    out: o.Out,
    folder: Annotated[Path | None, o.option("DIR", "A folder a study.", FROM)] = None,
    bids: Annotated[Path | None, o.option("DIR", "A BIDS data set.", FROM)] = None,
    worklist: Annotated[
        Path | None, o.option("FILE", "CSV or JSONL; with a PACS, its study UIDs.", FROM)
    ] = None,
    dicomweb: Annotated[str | None, o.option("URL", "A PACS's DICOMweb service.", FROM)] = None,
    dimse: Annotated[
        str | None, o.option("TITLE@HOST:PORT", "A PACS's application entity.", FROM)
    ] = None,
    retrieve: Annotated[str, o.option("get|move", "How DIMSE fetches.", FROM)] = "get",
    scp_port: Annotated[int, o.option("PORT", "Our port for C-MOVE.", FROM)] = 11112,
    since: Annotated[
        datetime | None, typer.Option(formats=_DAY, help="Study date.", rich_help_panel=FROM)
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(formats=_DAY, help="Study date.", rich_help_panel=FROM)
    ] = None,
    match: Annotated[
        list[str] | None, o.option("KEYWORD=VALUE", "A PACS's attribute; repeatable.", FROM)
    ] = None,
    only: Annotated[str, o.option("PATTERN", "Studies on disk by their names.", FROM)] = "*",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Studies at most.", rich_help_panel=FROM)
    ] = None,
    send_dicomweb: o.SendDicomweb = None,
    send_dimse: o.SendDimse = None,
    deidentify: o.Deidentify = False,
    server: o.Server = wire.DEFAULT_SERVER,
    version: o.Version = None,
    fill: o.Fill = None,
    resample: o.Resample = False,
    form: o.Form = None,
    probabilities: o.Probabilities = False,
    assign: o.Assign = None,
    b_value: o.BValue = None,
    seg: o.Seg = None,
    seg_frames: o.SegFrames = None,
    overlay: o.Overlay = False,
    resume: Annotated[bool, o.option(None, "Go on with an earlier run.", o.RUN)] = False,
    retry_refused: Annotated[
        bool, o.option(None, "Try again what was refused for good.", o.RUN)
    ] = False,
    dry_run: Annotated[bool, o.option(None, "Say what would be used and filled.", o.RUN)] = False,
    concurrency: o.Concurrency = 2,
    rate: o.Rate = None,
    attempts: o.Attempts = 6,
    aet: o.Aet = "BRAINMVP",
    credentials: o.File = None,
    ca: o.Ca = None,
    cert: o.Cert = None,
    key: o.Key = None,
    dimse_tls: o.DimseTls = False,
    image_mb: o.ImageMb = MAX_IMAGE_MB,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Score many studies: from folders, a worklist or a PACS, to disk and back to a PACS.

    A run that is stopped or killed goes on by --resume; what is done is not done again. Exit
    codes: 0 all done, 1 some studies have no result, 2 bad usage or nothing could be begun.
    """
    ways = Ways(aet, credentials, ca, cert, key, dimse_tls)
    wanted = Wanted(
        folder, bids, worklist, dicomweb, dimse, retrieve, scp_port,
        since, until, tuple(match or ()), only, limit, image_mb,
    )  # fmt: skip
    goals = Goals(tuple(send_dicomweb or ()), tuple(send_dimse or ()), deidentify)
    dicom = o.dicom_options(assign, b_value, seg, seg_frames, overlay)
    with ExitStack() as stack:
        source, sinks, pseudonyms = places(wanted, goals, ways, stack)
        policy = RunPolicy(concurrency, rate, Backoff(attempts), retry_refused)
        batch = Batch(
            model,
            version,
            source,
            sinks,
            out,
            policy,
            fill,
            probabilities,
            pseudonyms,
            resume,
            dicom,
            resample=resample,
            form=form,
        )
        client = stack.enter_context(ways.client(server))
        if dry_run:
            show_dry_run(dry_run_entries(batch, client), as_json=as_json)
            return
        code = run(batch, client, limit, as_json=as_json, quiet=quiet)
    raise typer.Exit(code)


def run(batch: Batch, client: Client, limit: int | None, *, as_json: bool, quiet: bool) -> int:
    """Score what the source has now; the exit code."""
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
    studies = list(batch.source.studies())[:limit]
    ended = 0
    with (
        progress(shown=not (quiet or as_json)) as bars,
        stopped_by_signals(batch.stop, lambda: os._exit(INTERRUPTED)),
    ):

        def count(_: Study, __: StudyState) -> None:
            nonlocal ended
            ended += 1
            bars.studies(ended, len(studies))

        bars.studies(0, len(studies))
        report = batch.run(client, studies, count)
    if as_json:
        typer.echo(json.dumps(asdict(report)))
    elif not quiet:
        show_report(report, batch.out)
    return 0 if report.clean else SOME_FAILED
