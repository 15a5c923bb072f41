"""The index of lines: which of several lines of a study counts, in tables of any number."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from brainmvp_clients.score import row_index
from brainmvp_clients.score.ledger import StudyState
from brainmvp_clients.score.row import Row
from brainmvp_clients.score.row_index import Columns, RowIndex


def _row(study: str, state: StudyState = StudyState.DONE, **values: float) -> Row:
    return Row(study=study, token="", state=state, model="m", version="1", volumes_ml=values)


def _table(path: Path, *rows: Row, tail: str = "") -> Path:
    path.write_text("".join(row.line() for row in rows) + tail)
    return path


def test_the_latest_line_of_a_study_counts_and_a_line_cut_short_does_not(tmp_path: Path) -> None:
    refused = _row("b", StudyState.REFUSED)
    rows = (_row("b", core=1.0), _row("a", core=2.0), refused)
    table = _table(tmp_path / "t", *rows, tail=_row("a", core=3.0).line()[:-9])
    with closing(RowIndex()) as index:
        index.add(table)
        assert list(index.rows()) == [rows[1], refused]
        assert index.columns() == Columns(("core",), (), False)
        assert not list(index.doubled()) and index.has("a") and not index.has("c")


def test_of_several_tables_a_result_goes_before_a_failure_and_the_last_before_the_first(
    tmp_path: Path,
) -> None:
    first = _table(tmp_path / "1", _row("a", core=1.0), _row("b", core=1.0))
    second = _table(tmp_path / "2", _row("a", StudyState.FAILED), _row("b", core=2.0))
    with closing(RowIndex()) as index:
        index.add(first)
        index.add(second)
        assert list(index.located()) == [
            (_row("a", core=1.0), first),
            (_row("b", core=2.0), second),
        ]
        assert list(index.doubled()) == [("a", (first, second)), ("b", (first, second))]


def test_more_tables_than_may_be_open_are_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_index, "_OPEN", 2)
    names = [f"{number:02d}" for number in range(20)]
    with closing(RowIndex()) as index:
        for table in range(5):
            index.add(_table(tmp_path / f"{table}", *map(_row, names[table::5])))
        assert [row.study for row in index.rows()] == names
        assert len(index._files) == 2
