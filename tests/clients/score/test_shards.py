"""A run divided into shards: nothing is lost or doubled, whoever is killed, and merging says so."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainmvp_clients.errors import ClientError
from brainmvp_clients.score.shard import MOST, Shard, spread
from brainmvp_clients.score.worklist import WorklistSource, read_uids

Score = Callable[..., tuple[int, str, str]]
Brainmvp = Callable[..., tuple[int, str, str]]
KILLED_OFTEN = Path(__file__).parents[2] / "support" / "killed_often.py"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def _results(out: Path) -> dict[str, dict[str, bytes]]:
    """Every study's files, by its name, wherever it lies."""
    folders = [path.parent for path in (out / "studies").rglob("mask.nii.gz")]
    return {
        folder.name: {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
        for folder in folders
        if folder.name != "probabilities"
    }


def _rows(out: Path) -> list[dict[str, Any]]:
    """The table without what differs from run to run."""
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("token", "seconds")} for row in rows]


def _merged(brainmvp: Brainmvp, *arguments: object) -> tuple[int, Any]:
    code, said, err = brainmvp("score", "merge", *arguments, "--json")
    assert not err
    return code, json.loads(said)


def test_a_study_falls_to_the_same_shard_and_folder_in_every_version() -> None:
    names = ("DOE^JANE_0", "1.2.840.113619.2.1", "sub-01/ses-02", "Ünïcode")
    assert [[s for s in range(64) if Shard(s, 64).takes(name)] for name in names] == [
        [15], [44], [55], [44],
    ]  # fmt: skip
    assert [spread(name).as_posix() for name in names] == [
        "cf/ad/DOE^JANE_0",
        "f7/a5/1.2.840.113619.2.1",
        "86/61/sub-01/ses-02",
        "00/b2/Ünïcode",
    ]


@given(name=st.text(), count=st.integers(1, 40))
def test_every_study_falls_to_exactly_one_shard(name: str, count: int) -> None:
    assert sum(Shard(number, count).takes(name) for number in range(count)) == 1


def test_shards_are_of_equal_size_and_no_folder_is_full() -> None:
    names = [f"1.2.826.0.1.{number}" for number in range(5_000)]
    shards = [sum(map(Shard(number, 8).takes, names)) for number in range(8)]
    assert min(shards) > 550 and sum(shards) == len(names)
    folders = Counter(spread(name).parent for name in names if Shard(0, 8).takes(name))
    assert max(folders.values()) <= 5


@pytest.mark.parametrize("text", ["", "1", "1/", "/4", "4/4", "-1/4", "0/0", f"0/{MOST + 1}"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ClientError):
        Shard.parse(text)


@pytest.mark.parametrize("index", [None, "", "x", "64"])
def test_a_count_of_shards_without_a_jobs_index_is_refused(
    score: Score, monkeypatch: pytest.MonkeyPatch, index: str | None
) -> None:
    monkeypatch.setenv("BRAINMVP_SHARDS", "64")
    if index is None:
        monkeypatch.delenv("JOB_COMPLETION_INDEX", raising=False)
    else:
        monkeypatch.setenv("JOB_COMPLETION_INDEX", index)
    code, _, err = score()
    assert code == 2 and err.count("\n") == 1 and "shard" in err.lower()


def test_the_pods_of_an_indexed_job_do_every_study_once_without_being_told_their_part(
    score: Score, out: Path, brainmvp: Brainmvp, predicted: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("BRAINMVP_SHARDS", "3")
    for index in range(3):
        monkeypatch.setenv("JOB_COMPLETION_INDEX", str(index))
        assert score("--quiet", "--resume")[0] == 0
        assert score("--quiet", "--resume")[0] == 0
    assert predicted() == 5
    names = [f"DOE^JANE_{number}" for number in range(5)]
    assert sorted(_results(out)) == names
    assert all((out / "studies" / spread(name) / "mask.nii.gz").is_file() for name in names)
    code, merged = _merged(brainmvp, out)
    assert (code, merged["studies"], merged["done"], merged["parts"]) == (0, 5, 5, 3)
    assert [row["study"] for row in _rows(out)] == names
    with (out / "measurements.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 5 * 3
    for path in [out, *out.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_merged_shards_are_the_table_of_one_run_over_all(
    score: Score, out: Path, tmp_path: Path, brainmvp: Brainmvp
) -> None:
    assert score("--quiet")[0] == 0
    for number in range(2):
        assert score("--quiet", "--out", tmp_path / "shards", "--shard", f"{number}/2")[0] == 0
    assert _merged(brainmvp, tmp_path / "shards", "--out", tmp_path / "merged")[0] == 0
    assert _rows(tmp_path / "merged") == _rows(out)
    assert _results(tmp_path / "shards") == _results(out)


def test_another_number_of_shards_or_none_is_refused_in_the_same_folder(
    score: Score, out: Path, tmp_path: Path, predicted: Callable[[], int]
) -> None:
    assert score("--quiet", "--shard", "0/2")[0] == 0
    before = predicted()
    code, _, err = score("--quiet", "--resume", "--shard", "0/3")
    assert code == 2 and "holds shards of 2, not of 3" in err
    code, _, err = score("--quiet", "--resume")
    assert code == 2 and "holds the shards of an earlier run" in err
    code, _, err = score("--quiet", "--shard", "0/2")
    assert code == 2 and "--resume" in err
    assert predicted() == before
    assert score("--quiet", "--out", tmp_path / "plain")[0] == 0
    code, _, err = score("--quiet", "--resume", "--out", tmp_path / "plain", "--shard", "0/2")
    assert code == 2 and "without shards" in err


def test_merging_names_the_shards_that_are_missing_and_those_that_did_not_end(
    score: Score, out: Path, brainmvp: Brainmvp, scoring: Any, reply: Any
) -> None:
    said = score("--shard", "1/4")[1]
    assert str(out / "shards" / "00001-of-00004" / "results.csv") in said
    assert score("--quiet", "--shard", "3/4")[0] == 0
    record = out / "shards" / "00003-of-00004" / "run.json"
    record.write_text(record.read_text().replace('"ended": true', '"ended": false'))
    code, merged = _merged(brainmvp, out)
    assert code == 1
    assert (merged["missing_shards"], merged["unended_shards"]) == (["0/4", "2/4"], ["3/4"])
    said = brainmvp("score", "merge", out)[1]
    assert "2 shards never begun: 0/4, 2/4" in said and "1 shard not ended: 3/4" in said


@pytest.mark.parametrize("left", [0, 500])
def test_a_table_that_lost_studies_is_named_and_mended_by_going_on(
    score: Score, out: Path, brainmvp: Brainmvp, left: int
) -> None:
    assert score("--quiet", "--shard", "0/1")[0] == 0
    table = out / "shards" / "00000-of-00001" / "results.jsonl"
    assert _merged(brainmvp, out) == (0, {**_merged(brainmvp, out)[1], "damaged_tables": []})
    whole = _rows(out)
    os.truncate(table, left)
    code, merged = _merged(brainmvp, out)
    assert (code, merged["damaged_tables"]) == (1, [str(table)])
    assert "--resume: " + str(table) in brainmvp("score", "merge", out)[1]
    assert score("--quiet", "--shard", "0/1", "--resume")[0] == 0
    assert _merged(brainmvp, out)[0] == 0 and _rows(out) == whole


def test_merging_finds_what_is_missing_doubled_or_failed(
    score: Score, out: Path, tmp_path: Path, brainmvp: Brainmvp, scoring: Any, reply: Any
) -> None:
    assert score("--quiet", "--only", "*[0123]")[0] == 0
    shutil.rmtree(out / "studies" / "DOE^JANE_2")
    scoring.says("application/zip", reply(503, "application/problem+json", b'{"status": 503}'))
    other = tmp_path / "other"
    assert score("--quiet", "--attempts", "1", "--only", "*[34]", "--out", other)[0] == 1
    listed = tmp_path / "list.csv"
    listed.write_text("study\n" + "".join(f"DOE^JANE_{number}\n" for number in range(6)))
    into = tmp_path / "merged"
    code, merged = _merged(brainmvp, out, other, "--out", into, "--worklist", listed)
    assert code == 1
    assert (merged["studies"], merged["done"], merged["failed"]) == (5, 4, 1)
    counts = merged["doubled"], merged["without_files"], merged["without_line"]
    assert counts == (1, 1, 1)
    with (into / "missing.csv").open(newline="") as file:
        missing = {row["study"]: row["why"] for row in csv.DictReader(file)}
    assert missing == {
        "DOE^JANE_2": "done, but its files are gone",
        "DOE^JANE_4": "failed",
        "DOE^JANE_5": "in no table",
    }
    with (into / "doubled.csv").open(newline="") as file:
        assert [row["study"] for row in csv.DictReader(file)] == ["DOE^JANE_3"]
    assert {row["study"]: row["state"] for row in _rows(into)}["DOE^JANE_3"] == "done"
    assert _merged(brainmvp, out, "--out", into, "--tables-only")[0] == 0


def test_merging_refuses_a_folder_without_a_run_and_to_write_over_ones_table(
    score: Score, out: Path, tmp_path: Path, brainmvp: Brainmvp
) -> None:
    code, _, err = brainmvp("score", "merge", tmp_path)
    assert code == 2 and "holds no run" in err
    assert score("--quiet")[0] == 0
    before = (out / "results.csv").read_bytes()
    code, _, err = brainmvp("score", "merge", out)
    assert code == 2 and "--out DIR" in err and (out / "results.csv").read_bytes() == before


def test_refused_studies_fail_a_run_only_where_they_are_not_allowed(
    score: Score, scoring: Any, reply: Any
) -> None:
    scoring.says("application/zip", reply(422, "application/problem+json", b'{"status": 422}'))
    assert score("--quiet")[0] == 1
    assert score("--quiet", "--resume", "--allow-refused")[0] == 0


def test_a_shard_keeps_only_its_own_lines_of_a_worklist(tmp_path: Path) -> None:
    listed, uids = tmp_path / "list.csv", tmp_path / "uids.csv"
    names = [f"1.2.{number}" for number in range(64)]
    (tmp_path / "a.nii").write_bytes(b"voxels")
    listed.write_text("study,t1\n" + "".join(f"{name},a.nii\n" for name in names))
    uids.write_text("study_instance_uid\n" + "".join(f"{name}\n" for name in names))
    found: list[str] = []
    for number in range(4):
        shard = Shard(number, 4)
        part = [study.name for study in WorklistSource(listed, takes=shard.takes).studies()]
        assert part == [name for name in names if shard.takes(name)]
        assert read_uids(uids, shard.takes) == tuple(part)
        found += part
    assert sorted(found) == sorted(names)


def test_a_shard_killed_twenty_times_and_merged_is_the_set_of_an_undisturbed_run(
    score: Score, scoring: Any, tmp_path: Path, out: Path, brainmvp: Brainmvp
) -> None:
    cohort = tmp_path / "many"
    for number in range(40):
        (cohort / f"study-{number:02d}").mkdir(parents=True)
        (cohort / f"study-{number:02d}" / "t1.nii").write_bytes(b"voxels")
    source = ("--folder", cohort)
    assert score("--quiet", source=source)[0] == 0
    sharded = tmp_path / "sharded"
    command = [
        "score", "tumour", "--server", scoring.url, "--out", sharded, "--resume", "--quiet",
        *source, "--shard", "0/2",
    ]  # fmt: skip
    moments = [random.uniform(0.01, 0.12) for _ in range(20)]
    asked = json.dumps({"arguments": list(map(str, command)), "moments": moments})
    done = subprocess.run(
        [sys.executable, KILLED_OFTEN, asked], capture_output=True, text=True, timeout=120
    )
    *killed, last = json.loads(done.stdout)
    assert last == 0, done.stderr
    assert killed.count(-9) > 0, killed
    assert score("--quiet", "--shard", "1/2", "--out", sharded, source=source)[0] == 0
    assert _merged(brainmvp, sharded)[0] == 0
    assert _rows(sharded) == _rows(out) and len(_rows(out)) == 40
    assert _results(sharded) == _results(out)
    assert not list(sharded.rglob(".brainmvp-*")) and not list(sharded.rglob("*.partial"))
