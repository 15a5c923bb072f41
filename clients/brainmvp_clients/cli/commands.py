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
from brainmvp_clients.cli.option_groups import expanded
from brainmvp_clients.version import DISTRIBUTION, version

PROGRAM = "brainmvp"


@dataclass(frozen=True)
class Command:
    """A command as ``--help`` shows it; ``extras`` are what a command of another package needs."""

    name: str
    help: str
    extras: str = ""


OWN = (
    Command("predict", "Segment or classify one study, here or on a server."),
    Command("identify", "Tell which series of a study is which modality, here or on a server."),
    Command("models", "List the models of a server or of a folder of bundles."),
    Command("dicom-listen", "Take studies that a PACS sends, score them, send results on."),
    Command("score", "Score many studies from folders, a worklist or a PACS, resumable."),
    Command("score merge", "Put the shards of a run together: one table, what is missing."),
)
KNOWN = (
    Command("serve", "Serve a folder of bundles over HTTP.", "server,cpu"),
    Command("keys", "Make, list and revoke API keys of a server.", "server"),
    Command("fetch", "Fetch bundles from an archive or image, checked by its digest.", "server"),
    Command("pack", "Pack bundles as an image for a registry, with a digest.", "server"),
    Command("prepare", "Prepare a raw study, without running a model.", "server,cpu"),
    Command("compare", "Tell what changed between two studies of a patient.", "server,cpu"),
    Command("doctor", "Say which engines can run here, and what is missing.", "server"),
    Command("export", "Turn a checkpoint into a bundle.", "export"),
    Command("build-engines", "Build what a GPU needs to run bundles, and prove it.", "server,gpu"),
    Command("prove", "Prove that this kind of CPU may run a bundle in bfloat16.", "server,cpu"),
    Command("synthesize", "Make synthetic studies with gliomas from a real anatomy.", "train"),
    Command("pretrain", "Learn an encoder and templates from studies without labels.", "train"),
    Command("finetune", "Fine-tune a network for a task.", "train"),
    Command("evaluate", "Measure a bundle on a list of cases.", "train,cpu"),
)


class LazyGroup(TyperGroup):
    """Lists every command by its table entry and loads the one that is run."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command to run, imported only now; the listing's stand-in tells which.

        A command's name may be two words.
        """
        if (two := " ".join(args[:2])) in self.commands:
            args = [two, *args[2:]]
        name, stand_in, rest = super().resolve_command(ctx, args)
        return name, stand_in and load(str(stand_in.name)), rest


def build() -> TyperGroup:
    """The whole command line."""
    app = typer.Typer(cls=LazyGroup, add_completion=False, rich_markup_mode="rich")
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


def listed() -> tuple[Command, ...]:
    """Every command there is: our own, the known ones, and what else is installed."""
    table = (*OWN, *KNOWN)
    known = {entry.name for entry in table}
    others = (name for name in plugins.names(plugins.COMMANDS) if name not in known)
    return (*table, *(Command(name, f"See '{PROGRAM} {name} --help'.") for name in others))


def load(name: str) -> TyperCommand:
    """The command of that name, ready to run.

    Raises:
        ClientError: its packages are not installed.
    """
    if name in {entry.name for entry in OWN}:
        word = name.replace("-", "_").replace(" ", "_")
        function: Callable[..., Any] = getattr(import_module(f"{__package__}.{word}"), word)
    else:
        extras = next((entry.extras for entry in KNOWN if entry.name == name), "")
        function = plugins.load(
            plugins.COMMANDS, name, needed_for=f"{PROGRAM} {name}", extras=extras
        )
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    app.command(name)(expanded(function))
    command = get_command(app)
    assert isinstance(command, TyperCommand)
    return command
