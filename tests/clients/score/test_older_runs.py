"""Output folders that earlier versions wrote are gone on with, in their own layout."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from brainmvp_clients.score.folders import FolderSource
from brainmvp_clients.score.served_model import ResultSettings

Score = Callable[..., tuple[int, str, str]]
KEY = bytes(range(32))
LEDGER_0_1 = """
CREATE TABLE ledger (schema INTEGER NOT NULL, key BLOB NOT NULL);
CREATE TABLE study (
    token TEXT NOT NULL, bundle TEXT NOT NULL, settings TEXT NOT NULL,
    state TEXT NOT NULL, attempts INTEGER NOT NULL, reason TEXT NOT NULL, at TEXT NOT NULL,
    PRIMARY KEY (token, bundle, settings)
) WITHOUT ROWID;
"""


def _write_run_of_0_1(out: Path, cohort: Path) -> list[str]:
    """A folder as version 0.1 left it, with three of five studies done; their names."""
    out.mkdir()
    done = list(FolderSource(cohort).studies())[:3]
    tokens = [
        hashlib.blake2b(study.key.encode(), key=KEY, digest_size=8).hexdigest() for study in done
    ]
    with closing(sqlite3.connect(out / "ledger.sqlite")) as ledger, ledger:
        ledger.executescript(LEDGER_0_1)
        ledger.execute("INSERT INTO ledger VALUES (1, ?)", (KEY,))
        for token in tokens:
            run = "sha256:" + "0" * 64, ResultSettings().digest
            line = (token, *run, "done", 1, "", "2026-11-01T00:00:00+00:00")
            ledger.execute("INSERT INTO study VALUES (?, ?, ?, ?, ?, ?, ?)", line)
    rows = [
        {
            "study": study.name, "token": token, "state": "done", "model": "tumour",
            "version": "2", "real": ["t1"], "filled": [], "volumes_ml": {"core": 1.5},
            "scores": {}, "warnings": [], "reason": "", "seconds": 1.0,
        }
        for study, token in zip(done, tokens, strict=True)
    ]  # fmt: skip
    lines = [json.dumps(row) + "\n" for row in rows]
    (out / "results.jsonl").write_text("".join(lines) + lines[0][:40])
    for study in done:
        (out / "studies" / study.name).mkdir(parents=True)
        (out / "studies" / study.name / "mask.nii.gz").write_bytes(b"as it was")
    (out / "ledger.lock").touch()
    return [study.name for study in done]


def test_a_run_of_an_earlier_version_is_gone_on_with_where_its_results_lie(
    score: Score, cohort: Path, tmp_path: Path, predicted: Callable[[], int]
) -> None:
    out = tmp_path / "out"
    before = _write_run_of_0_1(out, cohort)
    code, said, _ = score("--json", "--resume")
    assert (code, json.loads(said)["skipped"], json.loads(said)["done"]) == (0, 3, 2)
    assert predicted() == 2
    names = [f"DOE^JANE_{number}" for number in range(5)]
    assert sorted(path.name for path in (out / "studies").iterdir()) == names
    assert all(
        (out / "studies" / name / "mask.nii.gz").read_bytes() == b"as it was" for name in before
    )
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [row["study"] for row in rows] == names
    assert [row["volumes_ml"]["core"] for row in rows] == [1.5, 1.5, 1.5, 12.345, 12.345]


def test_a_run_of_an_earlier_version_can_be_merged(
    cohort: Path, tmp_path: Path, brainmvp: Callable[..., tuple[int, str, str]]
) -> None:
    _write_run_of_0_1(tmp_path / "out", cohort)
    code, said, _ = brainmvp("score", "merge", tmp_path / "out", "--out", tmp_path / "m", "--json")
    assert (code, json.loads(said)["done"]) == (0, 3)


def test_a_run_killed_before_it_had_a_ledger_is_begun_again(score: Score, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "ledger.lock").touch()
    assert score("--quiet", "--resume")[0] == 0
