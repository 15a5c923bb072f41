"""``brainmvp dicom-listen``: a PACS sends studies, their results go on."""

from __future__ import annotations

import logging
import os
import threading
from contextlib import ExitStack
from typing import Annotated

import typer

from brainmvp_clients import wire
from brainmvp_clients.cli import options as o
from brainmvp_clients.cli.endpoints import Goals, Ways, delivered
from brainmvp_clients.cli.problems import UsageProblem
from brainmvp_clients.pacs.limits import MAX_IMAGE_MB
from brainmvp_clients.score.batch import SPOOL, Batch, stopped_by_signals
from brainmvp_clients.score.retry import Backoff
from brainmvp_clients.score.run import RunPolicy

LISTEN, INTERRUPTED = "Listening", 130


def dicom_listen(
    model: o.Model,
    out: o.Out,
    allow: Annotated[
        list[str] | None, o.option("TITLE", "Who may send, by title; repeatable.", LISTEN)
    ] = None,
    anyone: Annotated[bool, o.option(None, "Let every title send.", LISTEN, "--anyone")] = False,
    host: Annotated[str, o.option("ADDRESS", "Address to listen on.", LISTEN)] = "127.0.0.1",
    port: Annotated[int, o.option("PORT", "Port to listen on; 0 takes one.", LISTEN)] = 11112,
    quiet_for: Annotated[
        float, o.option("SECONDS", "A study is complete when no image came for so long.", LISTEN)
    ] = 60.0,
    keep: Annotated[
        float, o.option("HOURS", "How long images stay, for late ones to join.", LISTEN)
    ] = 24.0,
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
) -> None:
    """Take studies that a PACS sends, score them, send results on.

    Every image is on disk before it is confirmed; after a kill, the same command goes on. SIGTERM
    ends it when the studies at work are done.
    """
    if not (allow or anyone):
        raise UsageProblem(
            "nobody may send", remedy="Name senders with --allow TITLE, or give --anyone"
        )
    with o.needs_pacs("brainmvp dicom-listen"):
        from brainmvp_clients.pacs.library_logging import silence_libraries
        from brainmvp_clients.pacs.spool import Spool
        from brainmvp_clients.pacs.storage_scp import opened, storage_entity
    silence_libraries()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    ways = Ways(aet, credentials, ca, cert, key, dimse_tls)
    goals = Goals(tuple(send_dicomweb or ()), tuple(send_dimse or ()), deidentify)
    policy = RunPolicy(concurrency, rate, Backoff(attempts))
    dicom = o.dicom_options(assign, b_value, seg, seg_frames, overlay)
    stop = threading.Event()
    with ExitStack() as stack:
        stack.enter_context(stopped_by_signals(stop, lambda: os._exit(INTERRUPTED)))
        spool = Spool(out / SPOOL, stop, quiet=quiet_for, keep=keep)
        source, sinks, pseudonyms = delivered(spool, goals, ways, stack)
        batch = Batch(
            model, version, source, sinks, out, policy, fill, probabilities, pseudonyms,
            resume=True, dicom=dicom, stop=stop, resample=resample, form=form,
        )  # fmt: skip
        client = stack.enter_context(ways.client(server))
        batch.served(client)
        tls = ways.access().caller.tls
        titles = () if anyone else tuple(allow or ())
        gate = opened(storage_entity(aet, titles), host, port, tls, spool.store, image_mb)
        stack.callback(gate.close)
        typer.echo(f"listening as {aet} on {host}:{gate.port}")
        batch.run(client, batch.source.studies(), spool.ended)
