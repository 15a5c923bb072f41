"""``brainmvp dicom-listen``: a PACS sends studies, their results go on."""

from __future__ import annotations

import logging
import os
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated

import typer

from brainmvp_clients.cli import batch_options as o
from brainmvp_clients.cli.endpoints import endpoints_of
from brainmvp_clients.cli.problems import UsageProblem
from brainmvp_clients.score.batch import Batch, stopped_by_signals
from brainmvp_clients.score.output_folder import SPOOL

_PANEL, INTERRUPTED = "Listening", 130


@dataclass(frozen=True)
class ListenOptions:
    """Where we listen, to whom, and when a study is complete.

    Raises:
        UsageProblem: nobody may send.
    """

    allow: Annotated[
        list[str] | None, o.option("TITLE", "Who may send, by title; repeatable.", _PANEL)
    ] = None
    anyone: Annotated[bool, o.option(None, "Let every title send.", _PANEL, "--anyone")] = False
    host: Annotated[str, o.option("ADDRESS", "Address to listen on.", _PANEL)] = "127.0.0.1"
    port: Annotated[int, o.option("PORT", "Port to listen on; 0 takes one.", _PANEL)] = 11112
    quiet_for: Annotated[
        float, o.option("SECONDS", "A study is complete when no image came for so long.", _PANEL)
    ] = 60.0
    keep: Annotated[
        float, o.option("HOURS", "How long images stay, for late ones to join.", _PANEL)
    ] = 24.0

    def __post_init__(self) -> None:
        if not (self.allow or self.anyone):
            raise UsageProblem(
                "nobody may send", remedy="Name senders with --allow TITLE, or give --anyone"
            )

    @property
    def titles(self) -> tuple[str, ...]:
        """Who may send, by title; none for everybody."""
        return () if self.anyone else tuple(self.allow or ())


def dicom_listen(
    model: o.ModelName,
    out: o.Out,
    listen: ListenOptions,
    destinations: o.DestinationOptions,
    prediction: o.PredictionOptions,
    dicom: o.DicomStudyOptions,
    pace: o.PaceOptions,
    connection: o.ConnectionOptions,
) -> None:
    """Take studies that a PACS sends, score them, send results on.

    Every image is on disk before it is confirmed; after a kill, the same command goes on. SIGTERM
    ends it when the studies at work are done.
    """
    with o.needs_pacs("brainmvp dicom-listen"):
        from brainmvp_clients.pacs.library_logging import silence_libraries
        from brainmvp_clients.pacs.spool import Spool
        from brainmvp_clients.pacs.storage_scp import start_gate, storage_entity
    silence_libraries()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    stop = threading.Event()
    with ExitStack() as stack:
        stack.enter_context(stopped_by_signals(stop, lambda: os._exit(INTERRUPTED)))
        spool = Spool(out / SPOOL, stop, quiet=listen.quiet_for, keep=listen.keep)
        endpoints = endpoints_of(spool, destinations, connection, stack)
        batch = Batch(
            model,
            prediction.version,
            endpoints.source,
            endpoints.sinks,
            out,
            endpoints.settings(prediction, dicom),
            pace.policy(),
            resume=True,
            bucket=endpoints.open_bucket(),
            stop=stop,
        )
        client = stack.enter_context(connection.client(prediction.server))
        batch.served(client)
        tls = connection.pacs().caller.tls
        entity = storage_entity(connection.aet, listen.titles)
        gate = start_gate(entity, listen.host, listen.port, tls, spool.store, connection.image_mb)
        stack.callback(gate.close)
        typer.echo(f"listening as {connection.aet} on {listen.host}:{gate.port}")
        batch.run(client, batch.source.studies(), spool.ended)
