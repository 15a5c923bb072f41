"""``brainmvp keys``: make, list, limit and revoke API keys."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from brainmvp_models.errors import BrainMVPError, InvalidSettings
from brainmvp_server.api.caller import OwnLimits, Scope
from brainmvp_server.api.security.keys import KeyFile, KeyRecord, new_key


class Action(str, Enum):
    """What is done to the file."""

    NEW = "new"
    LIST = "list"
    LIMIT = "limit"
    REVOKE = "revoke"


def keys(
    action: Annotated[Action, typer.Argument(help="What to do.")],
    name: Annotated[str, typer.Argument(help="The key's name: who it is for.")] = "",
    *,
    keys_file: Annotated[
        Path, typer.Option(envvar="BRAINMVP_KEYS_FILE", help="The file of keys.")
    ] = Path("keys.json"),
    scope: Annotated[
        list[Scope] | None, typer.Option(help="What it may do; may be given again.")
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=36500, help="Days until it expires; else never.")
    ] = None,
    studies_per_hour: Annotated[
        int | None,
        typer.Option(min=0, help="Studies it may have done in an hour, 0 for any; else as served."),
    ] = None,
    mb_per_day: Annotated[
        int | None,
        typer.Option(min=0, help="MiB it may send in a day, 0 for any; else as served."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Make, list, limit and revoke the API keys of a server; it follows without a restart.

    A new key is shown once; the file keeps only its hash. What new or limit is not given, the
    server's settings say (key_studies_per_hour, key_mb_per_day).
    """
    limits = OwnLimits(studies_per_hour, mb_per_day)
    try:
        if action is Action.LIST:
            _list(KeyFile.read(keys_file), as_json)
        elif not name:
            raise InvalidSettings("which key?", remedy=f"brainmvp keys {action.value} NAME")
        elif action is Action.NEW:
            _new(keys_file, name, tuple(scope or (Scope.PREDICT,)), days, limits)
        elif action is Action.LIMIT:
            KeyFile.change(keys_file, lambda file: limited(file, name, limits))
        else:
            _revoke(keys_file, name)
    except BrainMVPError as error:
        typer.echo(f"brainmvp: {error}", err=True)
        raise typer.Exit(2) from None


def _new(
    path: Path, name: str, scopes: tuple[Scope, ...], days: int | None, limits: OwnLimits
) -> None:
    try:
        lifetime = timedelta(days=days) if days is not None else None
        key, record = new_key(name, scopes, lifetime, limits)
        KeyFile.change(path, lambda file: KeyFile(keys=(*file.keys, record)))
    except ValidationError as error:
        raise InvalidSettings(
            error.errors(include_input=False)[0]["msg"].removeprefix("Value error, "),
            remedy="Choose another name, of letters, digits, dots and dashes",
            subject=name[:80],
        ) from None
    typer.echo(key)


def _list(file: KeyFile, as_json: bool) -> None:
    if as_json:
        shown = [key.model_dump(mode="json", exclude={"salt", "digest"}) for key in file.keys]
        typer.echo(json.dumps(shown))
        return
    for key in file.keys:
        scopes = ",".join(scope.value for scope in key.scopes)
        line = f"{key.name}  {scopes}  made {key.created:%Y-%m-%d}  {_end(key)}"
        typer.echo("  ".join([line, *_limits(key)]))


def _end(key: KeyRecord) -> str:
    if key.expires is None:
        return "never expires"
    word = "expired" if key.expired(datetime.now(timezone.utc)) else "expires"
    return f"{word} {key.expires:%Y-%m-%d}"


def _limits(key: KeyRecord) -> list[str]:
    """The key's own quotas, in words; nothing of those that the server's settings say."""
    found = []
    for number, what in ((key.studies_per_hour, "studies an hour"), (key.mb_per_day, "MiB a day")):
        if number is not None:
            found.append(f"{number or 'any number of'} {what}")
    return found


def limited(file: KeyFile, name: str, limits: OwnLimits) -> KeyFile:
    """The keys, one of them with other quotas of its own.

    Raises:
        InvalidSettings: there is no key of that name.
    """
    _known(file, name)
    new = {"studies_per_hour": limits.studies_per_hour, "mb_per_day": limits.mb_per_day}
    changed = (key.model_copy(update=new) if key.name == name else key for key in file.keys)
    return KeyFile(keys=tuple(changed))


def _revoke(path: Path, name: str) -> None:
    def without(file: KeyFile) -> KeyFile:
        _known(file, name)
        return KeyFile(keys=tuple(key for key in file.keys if key.name != name))

    KeyFile.change(path, without)


def _known(file: KeyFile, name: str) -> None:
    """Return if there is a key of that name.

    Raises:
        InvalidSettings: there is none.
    """
    if all(key.name != name for key in file.keys):
        raise InvalidSettings(
            "there is no key of that name", remedy="See 'brainmvp keys list'", subject=name[:80]
        )
