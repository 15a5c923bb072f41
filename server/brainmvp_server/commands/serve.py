"""``brainmvp serve``."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from brainmvp_models.errors import BrainMVPError
from brainmvp_server.settings.sources import CONFIG, load
from brainmvp_server.settings.table import Entry, entries


def _with_flags(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` with a flag for every setting, handed to it by keyword."""
    own = inspect.signature(command, eval_str=True)
    kept = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
    flags = [_flag(entry) for entry in entries()]
    command.__signature__ = own.replace(parameters=[*flags, *kept])  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in (*flags, *kept)}
    return command


def _flag(entry: Entry) -> inspect.Parameter:
    names = f"{entry.flag}/--no-{entry.flag[2:]}" if entry.switch else entry.flag
    about = f"File that holds: {entry.help}" if entry.secret else entry.help
    default = "" if entry.default is None else f" Default: {entry.default}."
    option = typer.Option(
        names,
        help=about + default,
        metavar=None if entry.switch else _metavar(entry),
        show_default=False,
        rich_help_panel=entry.group.capitalize(),
    )
    return inspect.Parameter(
        f"{entry.name}_file" if entry.secret else entry.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[bool | None if entry.switch else str | None, option],
    )


def _metavar(entry: Entry) -> str:
    names = {int: "<int>", float: "<float>", Path: "<path>"}
    return "<path>" if entry.secret else names.get(entry.kinds[0], "<text>")


@_with_flags
def serve(
    *,
    config: Annotated[
        Path | None, typer.Option(help=f"TOML file with settings; else {CONFIG} names it.")
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Show the settings in force, and exit.")
    ] = False,
    **flags: Any,
) -> None:
    """Serve the bundles of a folder over HTTP.

    The flag --upload-mb is also BRAINMVP_UPLOAD_MB, and upload_mb in the TOML file.

    A flag goes before a variable, a variable before the file.
    """
    from brainmvp_server.commands.run import run
    from brainmvp_server.settings.shown import as_toml

    try:
        effective = load(flags, os.environ, config)
        if print_config:
            typer.echo(as_toml(effective))
            return
        run(effective.settings)
    except BrainMVPError as error:
        typer.echo(f"brainmvp: {error}", err=True)
        raise typer.Exit(2) from None
