"""The commands by name. A command is imported when it is run, not when it is listed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from brainmvp_clients.cli import plugins
from brainmvp_clients.version import DISTRIBUTION, version

PROGRAM = "brainmvp"


@dataclass(frozen=True)
class Listed:
    """A command as ``--help`` shows it; ``extras`` are what a command of another package needs."""

    name: str
    help: str
    extras: str = ""


OWN = (
    Listed("predict", "Segment or classify one study, here or on a server."),
    Listed("identify", "Tell which series of a study is which modality, here or on a server."),
    Listed("models", "List the models of a server or of a folder of bundles."),
    Listed("dicom-listen", "Take studies that a PACS sends, score them, send results on."),
    Listed("score", "Score many studies from folders, a worklist or a PACS, resumable."),
)
KNOWN = (
    Listed("serve", "Serve a folder of bundles over HTTP.", "server,cpu"),
    Listed("keys", "Make, list and revoke API keys of a server.", "server"),
    Listed("fetch", "Fetch bundles from an archive, checked by its digest.", "server"),
    Listed("doctor", "Say which engines can run here, and what is missing.", "server"),
    Listed("export", "Turn a checkpoint into a bundle.", "export"),
    Listed("build-engines", "Build what a GPU needs to run bundles, and prove it.", "server,gpu"),
    Listed("synthesize", "Make synthetic studies with gliomas from a real anatomy.", "train"),
    Listed("pretrain", "Learn an encoder and templates from studies without labels.", "train"),
    Listed("finetune", "Fine-tune a network for a task.", "train"),
    Listed("evaluate", "Measure a bundle on a list of cases.", "train,cpu"),
)


class Commands(TyperGroup):
    """Lists every command by its table entry and loads the one that is run."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command to run, imported only now; the listing's stand-in tells which."""
        name, stand_in, rest = super().resolve_command(ctx, args)
        return name, stand_in and load(str(stand_in.name)), rest


def build() -> TyperGroup:
    """The whole command line."""
    app = typer.Typer(cls=Commands, add_completion=False, rich_markup_mode="rich")
    app.callback(invoke_without_command=True)(start)
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    for entry in listed():
        group.add_command(TyperCommand(entry.name, help=entry.help))
    return group


def start(
    context: typer.Context,
    show_version: bool = typer.Option(False, "--version", help="Show the version and exit."),
) -> None:
    """Serve BrainMVP models and use them."""
    if show_version:
        typer.echo(f"{DISTRIBUTION} {version()}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def listed() -> tuple[Listed, ...]:
    """Every command there is: our own, the known ones, and what else is installed."""
    table = (*OWN, *KNOWN)
    known = {entry.name for entry in table}
    others = (name for name in plugins.names(plugins.COMMANDS) if name not in known)
    return (*table, *(Listed(name, f"See '{PROGRAM} {name} --help'.") for name in others))


def load(name: str) -> TyperCommand:
    """The command of that name, ready to run.

    Raises:
        ClientError: its packages are not installed.
    """
    if name in {entry.name for entry in OWN}:
        word = name.replace("-", "_")
        function: Callable[..., Any] = getattr(import_module(f"{__package__}.{word}"), word)
    else:
        extras = next((entry.extras for entry in KNOWN if entry.name == name), "")
        function = plugins.load(
            plugins.COMMANDS, name, needed_for=f"{PROGRAM} {name}", extras=extras
        )
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    app.command(name)(function)
    command = get_command(app)
    assert isinstance(command, TyperCommand)
    return command
