"""What a log line holds, and what it must not."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from brainmvp_server.observability.logs import (
    WITHHELD,
    JsonFormatter,
    TextFormatter,
    configure,
    request_id,
)


def record(name: str, message: str, *, error: bool = False, **fields: object) -> logging.LogRecord:
    info = None
    if error:
        try:
            raise ValueError("Doe^Jane")
        except ValueError:
            info = sys.exc_info()
    made = logging.LogRecord(name, logging.WARNING, "/x/reader.py", 7, message, (), info)
    if fields:
        made.fields = fields
    return made


def test_a_line_is_json_with_time_level_request_and_fields() -> None:
    token = request_id.set("0123456789abcdef")
    try:
        text = JsonFormatter().format(record("brainmvp.access", "access", status=200, model=None))
    finally:
        request_id.reset(token)
    line = json.loads(text)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "warning",
        "logger": "brainmvp.access",
        "message": "access",
        "request_id": "0123456789abcdef",
        "status": 200,
    }


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
def test_words_of_other_libraries_and_messages_of_exceptions_are_withheld(
    formatter: logging.Formatter,
) -> None:
    foreign = formatter.format(record("pydicom", "Invalid value 'Doe^Jane'"))
    assert "Doe" not in foreign and WITHHELD in foreign and "reader.py:7" in foreign
    ours = formatter.format(record("brainmvp_server.x", "it failed", error=True))
    assert "Doe" not in ours and "ValueError at test_logs.py" in ours and "it failed" in ours


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
def test_a_line_stays_one_line_whatever_it_holds(formatter: logging.Formatter) -> None:
    text = formatter.format(record("brainmvp", 'a\n{"level": "forged"}\r\n', caller="x\ny"))
    assert len(text.splitlines()) == 1


def test_warnings_of_other_libraries_go_to_the_log_without_their_words(
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in ("brainmvp", "brainmvp_server")}
    try:
        configure("json", "info")
        logging.getLogger("py.warnings").warning("x.py:1: UserWarning: Doe^Jane")
        logging.getLogger("httpx").info("GET http://x/Doe^Jane")
        logging.getLogger("brainmvp.access").info("access")
    finally:
        logging.captureWarnings(False)
        root.handlers, root.level = handlers, level
        for name, old in levels.items():
            logging.getLogger(name).setLevel(old)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["message"] for line in lines] == [WITHHELD, "access"]
