"""Logs on stderr, one line an event, as JSON or for people.

What other libraries have to say could quote a file that a patient sent: a DICOM reader warns with
the value it stumbled on. So only trusted loggers' words are written; of the others, where and how
bad. For the same reason an exception is its type and its place, never its message.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request that is being worked on; threads that work for it inherit it."""

Format = Literal["json", "text"]
Level = Literal["debug", "info", "warning", "error"]

OURS = ("brainmvp", "brainmvp_models", "brainmvp_server")
TRUSTED = (*OURS, "uvicorn")
WITHHELD = "a message that might quote a file is withheld"


def configure(form: Format, level: Level) -> None:
    """Send every log of the process to stderr in that form; our own from that level on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(level.upper())
    logging.captureWarnings(True)


def event(record: logging.LogRecord) -> dict[str, Any]:
    """What is written of a record, in order; empty fields are left out."""
    trusted = record.name.split(".")[0] in TRUSTED
    fields: Mapping[str, Any] = getattr(record, "fields", {}) if trusted else {}
    time = datetime.fromtimestamp(record.created, timezone.utc)
    all_fields = {
        "time": time.isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": record.getMessage() if trusted else WITHHELD,
        "place": None if trusted else f"{record.filename}:{record.lineno}",
        "request_id": request_id.get(),
        **fields,
        "error": _error(record),
    }
    return {name: value for name, value in all_fields.items() if value not in (None, "")}


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        return json.dumps(event(record), ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """For a terminal: time, level, message, then ``name=value``."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as text, on one line whatever it holds."""
        fields = event(record)
        head = f"{fields.pop('time')} {fields.pop('level'):7} {fields.pop('message')}"
        tail = " ".join(f"{name}={value}" for name, value in fields.items())
        return f"{head} {tail}".replace("\n", "\\n").replace("\r", "\\r")


def kind_and_place(error: BaseException) -> str:
    """What may be said of an exception whose message could quote a file: its type and its place."""
    places = places_of(error)
    return f"{type(error).__name__} at {places[-1]}" if places else type(error).__name__


def places_of(error: BaseException) -> list[str]:
    """The places in the code that an exception came through, the one that raised it last."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames]


def _error(record: logging.LogRecord) -> str | None:
    if not record.exc_info or record.exc_info[1] is None:
        return None
    return kind_and_place(record.exc_info[1])
