"""Tables as Parquet: the lines of the CSV files, with types."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

Command = Callable[..., tuple[int, str, str]]


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_parquet_holds_the_lines_of_the_csv_with_numbers_and_lists(
    score: Command, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert score("--quiet", "--parquet")[0] == 0
    lines: list[dict[str, Any]] = pq.read_table(out / "results.parquet").to_pylist()
    expected = _csv(out / "results.csv")
    assert [line["study"] for line in lines] == [line["study"] for line in expected]
    assert list(lines[0]) == list(expected[0])
    assert (lines[0]["core_ml"], lines[0]["real"], lines[0]["state"]) == (12.345, ["t1"], "done")
    measured: list[dict[str, Any]] = pq.read_table(out / "measurements.parquet").to_pylist()
    assert list(measured[0]) == list(_csv(out / "measurements.csv")[0])
    assert [one["part"] for one in measured[:3]] == [None, 1, 2]
    assert measured[2]["diameter_mm"] == 31.4 and measured[2]["side"] == "left"
    for path in out.glob("*.parquet"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_refused_studies_have_no_volume_rather_than_none_of_their_line(
    score: Command, scoring: Any, reply: Any, tmp_path: Path
) -> None:
    assert score("--quiet", "--only", "*[01]")[0] == 0
    scoring.says("application/zip", reply(422, "application/problem+json", b'{"status": 422}'))
    assert score("--quiet", "--parquet", "--resume")[0] == 1
    lines = pq.read_table(tmp_path / "out" / "results.parquet").to_pylist()
    assert [line["core_ml"] for line in lines] == [12.345, 12.345, None, None, None]


def test_merged_shards_are_parquet_too(score: Command, brainmvp: Command, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for number in range(2):
        assert score("--quiet", "--shard", f"{number}/2")[0] == 0
    assert brainmvp("score", "merge", out, "--parquet", "--quiet")[0] == 0
    assert pq.read_table(out / "results.parquet").num_rows == 5


def test_without_the_extra_it_is_refused_before_a_study_is_sent(
    score: Command, predicted: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "brainmvp_clients.score.parquet", raising=False)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code, _, err = score("--parquet")
    assert code == 2 and "brainmvp[parquet]" in err and predicted() == 0
