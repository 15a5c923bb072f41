"""What users and their scripts rely on, read from outside: commands, settings, errors, metrics."""

from __future__ import annotations

import re
import sys
from itertools import takewhile
from typing import Any, TypeAlias

import pytest
from prometheus_client.parser import text_string_to_metric_families

from command_line import brainmvp

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Values: TypeAlias = dict[str, dict[str, Any]]
"""Settings by group and name; None where one is not set."""

HIDDEN = "**********"
"""What is shown of a secret."""


def commands() -> dict[str, dict[str, bool]]:
    """Every command with its flags and arguments, and whether each must be given."""
    names = [row[1][0] for row in _rows() if not row[1][0].startswith("-")]
    return {name: _parameters(name) for name in names}


def _parameters(command: str) -> dict[str, bool]:
    found: dict[str, bool] = {}
    for needed, cells in _rows(command):
        flags = [flag.strip() for cell in takewhile(_is_flag, cells) for flag in cell.split(",")]
        for name in flags or cells[:1]:
            found[name] = needed
    return found


def _is_flag(cell: str) -> bool:
    return cell.startswith("-")


def _rows(*command: str) -> list[tuple[bool, list[str]]]:
    """The rows of the tables of ``--help``: is it needed, and its cells."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "400")
        text = brainmvp(*command, "--help").stdout
    lines = (line.strip("│ ") for line in text.splitlines() if line.startswith("│"))
    return [(line.startswith("*"), re.split(r"\s{2,}", line.lstrip("* "))) for line in lines]


def settings_in_force(*words: object) -> tuple[Values, dict[str, str]]:
    """The settings that ``brainmvp serve`` would run with, and where each comes from."""
    done = brainmvp("serve", *words, "--print-config")
    assert done.returncode == 0, done.stderr
    values: Values = tomllib.loads(done.stdout)
    origins: dict[str, str] = {}
    group = ""
    for line in done.stdout.splitlines():
        if line.startswith("["):
            group = line.strip("[]")
        elif unset := re.fullmatch(r"# (\w+) is not set", line):
            values[group][unset[1]] = None
        elif " = " in line:
            origins[line.split(" = ")[0]] = line.rsplit("  # ", 1)[1]
    return values, origins


def error_codes(page: str) -> dict[str, int | None]:
    """Every error's code with its HTTP status, by ``docs/errors.md``, which is made of the code."""
    parts = re.split(r"^## ", page, flags=re.MULTILINE)[1:]
    found: dict[str, int | None] = {}
    for part in parts:
        status = re.search(r"HTTP (\d{3})", part)
        found[part.split()[0]] = int(status[1]) if status else None
    return found


def metric_names(text: str) -> dict[str, list[str]]:
    """Every metric of ours with its kind and its labels, by what ``/metrics`` answers."""
    found: dict[str, list[str]] = {}
    for family in text_string_to_metric_families(text):
        if family.name.startswith("brainmvp_"):
            labels = {label for sample in family.samples for label in sample.labels}
            found[family.name] = [family.type, *sorted(labels - {"le"})]
    return found
