"""``brainmvp models``: what a server serves, or what a folder holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brainmvp_clients.answers import parse
from brainmvp_clients.cli import plugins
from brainmvp_clients.cli.connection import connected
from brainmvp_clients.cli.problems import UsageProblem
from brainmvp_clients.cli.show import show_models
from brainmvp_clients.served_models import Catalogue
from brainmvp_clients.wire import DEFAULT_SERVER


def models(
    server: Annotated[
        str | None,
        typer.Option(metavar="URL", help=f"Ask this server; by default {DEFAULT_SERVER}."),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--models", metavar="DIR", help="Look into this folder of bundles instead."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models of a server or of a folder of bundles."""
    if folder is not None and server is not None:
        raise UsageProblem(
            "cannot go together", remedy="Give one of them", subject="--server and --models"
        )
    text, catalogue = _of_folder(folder) if folder else _of_server(server or DEFAULT_SERVER)
    if as_json:
        typer.echo(text)
    else:
        show_models(catalogue)


def _of_server(server: str) -> tuple[str, Catalogue]:
    with connected(server) as client:
        catalogue = Catalogue(models=client.models())
    return catalogue.model_dump_json(indent=2, exclude={"refused"}), catalogue


def _of_folder(folder: Path) -> tuple[str, Catalogue]:
    find = plugins.load(
        plugins.LOCAL,
        "models",
        needed_for="brainmvp models --models",
        extras=plugins.LOCAL_EXTRAS,
    )
    text = find(folder)
    return text.rstrip(), parse(Catalogue, text, subject=str(folder))
