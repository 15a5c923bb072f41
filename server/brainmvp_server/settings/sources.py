"""Fill the settings: flags before environment before one TOML file before defaults."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from brainmvp_models.errors import InvalidSettings
from brainmvp_models.nearest import nearest
from brainmvp_server.settings.model import Settings
from brainmvp_server.settings.table import PREFIX, Entry, entries, groups

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CONFIG = f"{PREFIX}CONFIG"
DEFAULT = "default"
# Kubernetes gives a pod variables for every Service beside it; a Service that is called brainmvp
# would set BRAINMVP_PORT to an address.
_SERVICE_LINK = re.compile(r"\w+://")
_MAX_SECRET = 1 << 16


@dataclass(frozen=True)
class Effective:
    """The settings in force, and where each value came from: a flag, a variable, a file."""

    settings: Settings
    origins: Mapping[str, str]


def load(
    flags: Mapping[str, object], environ: Mapping[str, str], config: Path | None = None
) -> Effective:
    """The effective settings.

    Args:
        flags: values by a setting's name (``NAME_file`` for a secret); None is not given.
        environ: the environment.
        config: the TOML file; else the one that ``BRAINMVP_CONFIG`` names, else none.

    Raises:
        InvalidSettings: a name that is no setting, a value that does not fit, or a file that
            cannot be read; it names the source and the remedy.
    """
    named = environ.get(CONFIG)
    path = config or (Path(named) if named else None)
    given: dict[str, tuple[Any, str]] = {}
    if path is not None:
        given |= _from_file(path)
    given |= _from_environment(environ)
    given |= _from_flags(flags)
    return _validated(given)


def _from_flags(flags: Mapping[str, object]) -> dict[str, tuple[Any, str]]:
    given: dict[str, tuple[Any, str]] = {}
    for entry in entries():
        value = flags.get(f"{entry.name}_file" if entry.secret else entry.name)
        if value is None:
            continue
        off = entry.switch and not value
        origin = "--no-" + entry.flag.removeprefix("--") if off else entry.flag
        given[entry.name] = (_secret(str(value), origin) if entry.secret else value, origin)
    return given


def _from_environment(environ: Mapping[str, str]) -> dict[str, tuple[Any, str]]:
    given: dict[str, tuple[Any, str]] = {}
    known = {CONFIG}
    for entry in entries():
        known.add(entry.variable)
        if entry.secret:
            name = f"{entry.variable}_FILE"
            known.add(name)
            if environ.get(name):
                given[entry.name] = (_secret(environ[name], name), name)
        value = environ.get(entry.variable)
        if value and not (entry.name == "port" and _SERVICE_LINK.match(value)):
            given[entry.name] = (value, entry.variable)
    _refuse_misspelt(environ, known)
    return given


def _refuse_misspelt(environ: Mapping[str, str], known: Iterable[str]) -> None:
    """Other variables with our prefix may belong to others; one that is nearly ours does not."""
    stems = {name.removeprefix(PREFIX): name for name in known}
    for name in sorted(environ):
        stem = name.removeprefix(PREFIX)
        if name == stem or stem in stems:
            continue
        near = difflib.get_close_matches(stem, stems, n=1, cutoff=0.8)
        if near:
            raise _unknown(name, stems[near[0]], "the environment")


def _from_file(path: Path) -> dict[str, tuple[Any, str]]:
    given: dict[str, tuple[Any, str]] = {}
    table = dict(groups())
    for group, values in _parsed(path).items():
        if group not in table:
            raise _unknown(group, nearest(group, table), str(path))
        if not isinstance(values, dict):
            raise InvalidSettings(
                f"'{group}' is no table", remedy=f"Write [{group}]", subject=str(path)
            )
        given |= _from_table(path, group, values)
    return given


def _from_table(path: Path, group: str, values: dict[str, Any]) -> dict[str, tuple[Any, str]]:
    given: dict[str, tuple[Any, str]] = {}
    keys: dict[str, Entry] = {}
    for entry in entries():
        if entry.group == group:
            keys[entry.name] = entry
            if entry.secret:
                keys[f"{entry.name}_file"] = entry
    for key, value in values.items():
        if key not in keys:
            raise _unknown(key, nearest(key, keys), f"{path} [{group}]")
        entry = keys[key]
        origin = f"{path} [{group}] {key}"
        given[entry.name] = (value if key == entry.name else _secret(str(value), origin), origin)
    return given


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        problem = "is not UTF-8 text"
    except tomllib.TOMLDecodeError as error:
        problem = f"is not valid TOML: {error}"
    raise InvalidSettings(problem, remedy="Correct the settings file", subject=str(path))


def _secret(path: str, origin: str) -> str:
    """The content of a secret's file, without the line end that editors add."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_MAX_SECRET).rstrip("\r\n")
    except (OSError, UnicodeDecodeError):
        text = ""
    if not text:
        raise InvalidSettings(
            "the file of a secret cannot be read or is empty",
            remedy="Name a text file that holds the secret and nothing else",
            subject=origin,
        )
    return text


def _validated(given: Mapping[str, tuple[Any, str]]) -> Effective:
    try:
        settings = Settings.of(**{name: value for name, (value, _) in given.items()})
    except ValidationError as error:
        raise _unfit(error, given) from None
    origins = {
        entry.name: given[entry.name][1] if entry.name in given else DEFAULT for entry in entries()
    }
    return Effective(settings, origins)


def _unfit(error: ValidationError, given: Mapping[str, tuple[Any, str]]) -> InvalidSettings:
    fault = error.errors(include_url=False, include_input=False)[0]
    steps = [str(step) for step in fault["loc"]]
    entry = next((e for e in entries() if [e.group, e.name] == steps[:2]), None)
    if entry is None:
        return InvalidSettings(
            fault["msg"].removeprefix("Value error, "),
            remedy="See docs/settings.md",
            subject=steps[0] if steps else "",
        )
    if fault["type"] == "missing":
        return InvalidSettings(
            f"{entry.name} is not set",
            remedy=f"Give {entry.flag}, {entry.variable} or {entry.name} under [{entry.group}]",
        )
    return InvalidSettings(
        fault["msg"].removeprefix("Value error, "),
        remedy=f"{entry.name}: {entry.help.rstrip('.')}",
        subject=given[entry.name][1] if entry.name in given else entry.name,
    )


def _unknown(name: str, near: str | None, where: str) -> InvalidSettings:
    remedy = f"Did you mean {near}? " if near else ""
    return InvalidSettings(
        f"there is no setting '{name}'",
        remedy=f"{remedy}docs/settings.md lists all of them",
        subject=where,
    )
