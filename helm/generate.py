"""Write what the chart says from what it is: the table of values, and the settings it may pass on.

    python helm/generate.py

Called by ``make docs``. README.md is the comments of values.yaml as a table; the part ``settings``
of values.schema.json is the settings' own schema, so that a misspelt one is refused at install.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from brainmvp_server.settings.table import entries, groups

CHART = Path(__file__).parent / "brainmvp"
OURS = frozenset({
    "auth", "drain_s", "executor", "grace_s", "host", "jobs_database", "jobs_storage", "keys_file",
    "models", "port", "role", "scratch", "tls_cert", "tls_key", "tls_key_password",
})  # fmt: skip
"""Settings that the chart makes of its own values."""

_ABOUT = """\
# The chart brainmvp
<!-- Written by `make docs` from values.yaml; do not edit. -->

How to install it, step by step: [docs/kubernetes.md](../../docs/kubernetes.md). What is not in this
table is refused.

| value | default | |
| --- | --- | --- |
"""


@dataclass(frozen=True)
class Value:
    """One value: its path, its default as JSON, and what it is for."""

    path: str
    default: str
    help: str


def described(text: str) -> Iterator[Value]:
    """The values that a comment ``# -- …`` stands above, in order."""
    values = yaml.safe_load(text)
    path: list[str] = []
    comment: list[str] = []
    for line in text.splitlines():
        found = re.match(r"( *)(# ?(-- )?|[A-Za-z]\w*:)(.*)", line)
        if found is None:
            comment = []
            continue
        indent, mark, begins, rest = len(found[1]) // 2, found[2], found[3], found[4]
        if mark.startswith("#"):
            comment = [rest] if begins else [*comment, rest] if comment else []
            continue
        path = [*path[:indent], mark[:-1]]
        if comment:
            yield Value(".".join(path), _default(values, path), " ".join(comment))
        comment = []


def readme() -> str:
    """README.md."""
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    return _ABOUT + "".join(
        f"| `{value.path}` | `{value.default}` | {value.help.replace('|', '&#124;')} |\n"
        for value in described(text)
    )


def schema() -> str:
    """values.schema.json with the settings as they are."""
    path = CHART / "values.schema.json"
    whole = json.loads(path.read_text(encoding="utf-8"))
    whole["properties"]["settings"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": settings(),
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def settings() -> dict[str, Any]:
    """The schema of each setting that the chart passes on, by name."""
    known = {name: kind.model_json_schema()["properties"] for name, kind in groups()}
    return {
        entry.name: _plain(known[entry.group][entry.name])
        for entry in entries()
        if entry.name not in OURS and not entry.secret
    }


def _plain(field: dict[str, Any]) -> dict[str, Any]:
    """A setting's schema without None, which Helm takes for 'not given', and its default."""
    kinds = [kind for kind in field.get("anyOf", [{}]) if kind.get("type") != "null"]
    kept = {k: v for k, v in field.items() if k not in {"anyOf", "title", "default", "format"}}
    return kept | {k: v for k, v in kinds[0].items() if k != "format"}


def _default(values: Any, path: list[str]) -> str:
    for step in path:
        values = values[step]
    return json.dumps(values, ensure_ascii=False)


def main() -> None:
    """Write both files."""
    (CHART / "README.md").write_text(readme(), encoding="utf-8")
    (CHART / "values.schema.json").write_text(schema(), encoding="utf-8")


if __name__ == "__main__":
    main()
