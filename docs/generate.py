"""Write the pages that say what the code says: commands, settings, metrics and errors.

Run by ``make docs``; a test holds the pages against the code.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path

from typer.core import TyperArgument, TyperOption

import brainmvp_server.api.app  # noqa: F401  (every error of the service is known once it is loaded)
from brainmvp_clients.cli.commands import KNOWN, OWN, load
from brainmvp_models.errors import BrainMVPError
from brainmvp_server.api.problems import STATUS, status_of
from brainmvp_server.observability.metrics import FAMILIES
from brainmvp_server.settings.table import Entry, entries, groups

FOLDER = Path(__file__).parent
Parameter = TyperArgument | TyperOption
_HOMES = ("brainmvp_models.errors", "brainmvp_server.api.")
_NOTE = "<!-- Written by `make docs` from the code; do not edit. -->\n"


def commands() -> str:
    """Every command with its arguments and options."""
    lines = [
        "# Commands",
        _NOTE,
        "What `brainmvp COMMAND --help` says. Exit codes: 0 done, 1 some studies failed, 2 bad",
        "usage or input, 3 done, but an output is [not",
        "determinable](evaluation.md#what-a-subset-cannot-decide), 130 interrupted. What is",
        "wrong is one line on stderr. The flags of `brainmvp serve` are its",
        "[settings](settings.md).",
    ]
    for entry in (*OWN, *KNOWN):
        command = load(entry.name)
        about = inspect.cleandoc(command.help or "").replace("\n\n", "\n").splitlines()
        needs = f" Needs `brainmvp[{entry.extras}]`." if entry.extras else ""
        lines += ["", f"## {entry.name}", "", " ".join(about) + needs]
        lines += ["", "| | |", "| --- | --- |"]
        lines += [
            _parameter(parameter)
            for parameter in command.params
            if not _is_setting(entry.name, parameter.name)
        ]
    return "\n".join(lines) + "\n"


def _is_setting(command: str, name: str | None) -> bool:
    """Whether it is a flag of `serve` that settings.md tells of."""
    names = {entry.name for entry in entries()} | {f"{entry.name}_file" for entry in entries()}
    return command == "serve" and name in names


def _parameter(parameter: Parameter) -> str:
    if isinstance(parameter, TyperArgument):
        names = f"`{parameter.metavar or (parameter.name or '').upper()}`"
    else:
        names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    about = " ".join((getattr(parameter, "help", "") or "").split()).replace("|", "\\|")
    return f"| {names} | {about} |"


def settings() -> str:
    """Every setting, by group."""
    lines = [
        "# Settings",
        _NOTE,
        "A setting has one name everywhere: `upload_mb` is the flag `--upload-mb`, the variable",
        "`BRAINMVP_UPLOAD_MB`, and `upload_mb` under `[limits]` in the TOML file that",
        "`--config` or `BRAINMVP_CONFIG` names. A flag goes before a variable, a variable",
        "before the file, the file before the default; `brainmvp serve --print-config` shows",
        "what is in force and where each value came from, as a file that could be used again. A",
        "name that is no setting is refused, with the nearest one that is.",
        "",
        "A secret has no flag of its own: it is read from the file that `--NAME-file`,",
        "`BRAINMVP_NAME_FILE` or `NAME_file` names, or from `BRAINMVP_NAME`.",
    ]
    for group, kind in groups():
        lines += ["", f"## `[{group}]`", "", inspect.cleandoc(kind.__doc__ or ""), ""]
        lines += ["| name | flag | default | |", "| --- | --- | --- | --- |"]
        lines += [_setting(entry) for entry in entries() if entry.group == group]
    return "\n".join(lines) + "\n"


def _setting(entry: Entry) -> str:
    value = entry.default
    shown = "**needed**" if entry.required else "" if value is None else f"`{_plain(value)}`"
    flag = f"{entry.flag}`, `--no-{entry.flag[2:]}" if entry.switch else entry.flag
    return f"| `{entry.name}` | `{flag}` | {shown} | {entry.help} |"


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(value) if isinstance(value, tuple) else str(getattr(value, "value", value))


def metrics() -> str:
    """Every metric."""
    lines = [
        "# Metrics",
        _NOTE,
        "`GET /metrics`, in Prometheus's text format; who may read it is in",
        "[security.md](security.md). No label holds anything that a client wrote. A Grafana",
        "dashboard that shows all of them is in `helm/brainmvp/dashboards/brainmvp.json`. Those",
        "of the process (`process_resident_memory_bytes`, `process_cpu_seconds_total`, …) are",
        "the Prometheus client's.",
        "",
        "| name | kind | labels | |",
        "| --- | --- | --- | --- |",
    ]
    for family in FAMILIES:
        name = family.samples[0] if family.kind != "histogram" else family.name
        labels = ", ".join(f"`{label}`" for label in family.labels)
        lines.append(f"| `{name}` | {family.kind} | {labels} | {family.help} |")
    return "\n".join(lines) + "\n"


def errors() -> str:
    """Every kind of error, by its code."""
    lines = [
        "# Errors",
        _NOTE,
        "Over HTTP an error is a problem of RFC 9457, whose `type` is",
        "`urn:brainmvp:problem:CODE` with a code of this page; `detail` says what is wrong,",
        "`remedy` what to do, `part` which part of the upload is at fault. On the command line",
        "it is one line and exit code 2.",
    ]
    for kind in sorted(_kinds(BrainMVPError), key=lambda kind: kind.code):
        where = f"HTTP {status_of(kind('', remedy=''))}" if served(kind) else "Command line only"
        about = inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        lines += ["", f"## {kind.code}", "", f"{kind.title}. {where}.", "", about]
    return "\n".join(lines) + "\n"


def served(kind: type[BrainMVPError]) -> bool:
    """Can a client of the service get it?"""
    return any(ancestor in STATUS for ancestor in kind.__mro__)


def _kinds(kind: type[BrainMVPError]) -> Iterator[type[BrainMVPError]]:
    for heir in kind.__subclasses__():
        if heir.__module__.startswith(_HOMES):
            yield heir
            yield from _kinds(heir)


PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands,
    "settings.md": settings,
    "metrics.md": metrics,
    "errors.md": errors,
}


if __name__ == "__main__":
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")
