"""What other parts of the distribution offer the command, through entry points."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from importlib import metadata
from typing import Any

from brainmvp_clients.cli.problems import MissingExtra
from brainmvp_clients.errors import ClientError

COMMANDS = "brainmvp.commands"
LOCAL = "brainmvp.local"

LOCAL_EXTRAS = "server,cpu"


def names(group: str) -> tuple[str, ...]:
    """The names in a group, without importing anything."""
    return tuple(sorted({entry.name for entry in metadata.entry_points(group=group)}))


def load(group: str, name: str, *, needed_for: str, extras: str) -> Callable[..., Any]:
    """The function behind an entry point; ``extras`` are what it is known to need.

    Raises:
        ClientError: it is not there, or a package that it imports is not.
    """
    found = tuple(metadata.entry_points(group=group, name=name))
    if not found:
        raise _absent("it is not installed", needed_for, extras)
    try:
        function: Callable[..., Any] = found[0].load()
    except ImportError as error:
        raise _absent(_missing(error), needed_for, extras) from error
    return _guarded(function, needed_for, extras)


def _guarded(function: Callable[..., Any], needed_for: str, extras: str) -> Callable[..., Any]:
    """``function``, which may import what it needs only when it is called."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("brainmvp_"):
                raise
            raise _absent(_missing(error), needed_for, extras) from error

    return call


def _absent(missing: str, needed_for: str, extras: str) -> ClientError:
    if extras:
        return MissingExtra(needed_for, extras, missing)
    return ClientError(
        f"cannot start ({missing})", remedy="Install what it needs", subject=needed_for
    )


def _missing(error: ImportError) -> str:
    return f"there is no {error.name}" if error.name else str(error)
