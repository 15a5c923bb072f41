"""The effective settings as text, secrets hidden."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from brainmvp_server.settings.sources import Effective
from brainmvp_server.settings.table import entries

HIDDEN = "**********"


def as_toml(effective: Effective) -> str:
    """A TOML file that sets what is in force, each value with where it came from.

    A value that is not set is a comment, as TOML has no word for it.
    """
    lines: list[str] = []
    group = ""
    for entry in entries():
        if entry.group != group:
            group = entry.group
            lines += ["", f"[{group}]"] if lines else [f"[{group}]"]
        value = getattr(getattr(effective.settings, group), entry.name)
        origin = effective.origins[entry.name]
        if value is None:
            lines.append(f"# {entry.name} is not set")
        elif entry.secret:
            lines.append(f'{entry.name} = "{HIDDEN}"  # {origin}')
        else:
            lines.append(f"{entry.name} = {_literal(value)}  # {origin}")
    return "\n".join(lines)


def _literal(value: Any) -> str:
    """A TOML value; JSON's strings, numbers and lists are TOML's too."""
    if isinstance(value, Path):
        return json.dumps(str(value), ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False)
