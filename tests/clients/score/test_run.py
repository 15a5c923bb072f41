"""A batch: what is sent, what is left on disk, what a second run does."""

from __future__ import annotations

import csv
import json
import resource
import sqlite3
import threading
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from brainmvp_clients.cli.source_options import day_of
from brainmvp_clients.score.ledger import Ledger, RunKey
from brainmvp_clients.score.rate_limit import QuotaPause

Score = Callable[..., tuple[int, str, str]]
PROBLEM = "application/problem+json"


def _rows(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _files(out: Path) -> dict[str, bytes]:
    """Every result by its path."""
    root = out / "studies"
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_every_study_gets_a_folder_of_results_and_a_line(
    score: Score, out: Path, predicted: Callable[[], int]
) -> None:
    code, said, err = score("--json", "--concurrency", "3")
    assert (code, err) == (0, "")
    report = json.loads(said)
    assert (report["done"], report["failed"], predicted()) == (5, 0, 5)
    names = {f"DOE^JANE_{number}" for number in range(5)}
    assert {path.split("/")[0] for path in _files(out)} == names
    rows = _rows(out)
    assert {row["study"] for row in rows} == names
    assert {(row["state"], row["core_ml"], row["real"]) for row in rows} == {
        ("done", "12.345", "t1")
    }
    lines = (out / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["study"] for line in lines] == sorted(names)


def test_what_cannot_be_told_has_a_column_and_the_study_is_done_all_the_same(
    score: Score, out: Path, scoring: Any, summary: dict[str, Any], mask: bytes
) -> None:
    open_outputs = [{"output": "ET", "reason": "it needs t1c"}, {"output": "TC", "reason": "x"}]
    summary["not_determinable"] = open_outputs
    members = {"mask.nii.gz": mask, "summary.json": json.dumps(summary).encode()}
    scoring.serves_results(members)
    code, said, _ = score("--json")
    report = json.loads(said)
    assert (code, report["done"], report["not_determinable"]) == (0, 5, 5)
    assert {(row["state"], row["not_determinable"]) for row in _rows(out)} == {("done", "ET TC")}


def test_tables_in_which_everything_can_be_told_are_those_of_earlier_versions(
    score: Score, out: Path
) -> None:
    assert score()[0] == 0
    assert "not_determinable" not in (out / "results.jsonl").read_text()
    assert "not_determinable" not in (out / "results.csv").read_text()


def test_every_structure_and_every_part_has_a_line_of_measurements(score: Score, out: Path) -> None:
    assert score()[0] == 0
    with (out / "measurements.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    of_one = [row for row in rows if row["study"] == "DOE^JANE_0"]
    assert len(rows) == 5 * 3 and [row["part"] for row in of_one] == ["", "1", "2"]
    assert {row["structure"] for row in of_one} == {"core"}
    assert [row["volume_ml"] for row in of_one] == ["12.345", "12.0", "0.3"]
    last = of_one[2]
    assert (last["diameter_mm"], last["across_mm"], last["product_mm2"]) == (
        "31.4", "22.7", "712.78",
    )  # fmt: skip
    assert (last["centroid_r_mm"], last["side"], last["to_surface_mm"]) == ("-20.0", "left", "4.25")


def test_nobody_but_the_owner_may_look_at_a_ledger_a_table_or_a_result(
    score: Score, out: Path
) -> None:
    assert score()[0] == 0
    paths = [out, *out.rglob("*")]
    assert {path.name for path in paths} >= {"ledger.sqlite", "results.csv", "mask.nii.gz"}
    for path in paths:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_second_run_does_nothing_and_one_without_resume_is_refused(
    score: Score, out: Path, predicted: Callable[[], int]
) -> None:
    assert score("--quiet")[0] == 0
    before = _files(out), (out / "results.jsonl").read_bytes()
    code, _, err = score("--quiet")
    assert code == 2 and "--resume" in err
    code, said, _ = score("--json", "--resume")
    assert code == 0 and json.loads(said)["skipped"] == 5
    assert predicted() == 5
    assert (_files(out), (out / "results.jsonl").read_bytes()) == before


def test_other_settings_or_another_bundle_are_another_run(
    score: Score, scoring: Any, reply: Any, model: Any, predicted: Callable[[], int]
) -> None:
    score("--quiet")
    score("--quiet", "--resume", "--fill", "zeros")
    assert predicted() == 10
    newer = {**model, "digest": ""}
    scoring.says("/v1/models/tumour", reply(body=json.dumps(newer).encode()))
    score("--quiet", "--resume")
    assert predicted() == 15


def test_a_changed_study_is_scored_again_and_its_line_is_replaced(
    score: Score, cohort: Path, out: Path, predicted: Callable[[], int]
) -> None:
    score("--quiet")
    (cohort / "DOE^JANE_3" / "doe_jane_t1.nii").write_bytes(b"another scan")
    assert score("--quiet", "--resume")[0] == 0
    assert predicted() == 6
    assert len(_rows(out)) == 5


def test_a_refused_study_leaves_a_reason_and_no_folder_and_is_not_tried_again(
    score: Score, scoring: Any, reply: Any, out: Path, predicted: Callable[[], int]
) -> None:
    body = json.dumps({"status": 422, "detail": "has four dimensions", "part": "t1"}).encode()
    scoring.says("application/zip", reply(422, PROBLEM, body))
    code, said, _ = score("--json")
    assert code == 1 and json.loads(said)["refused"] == 5
    assert predicted() == 5, "a 4xx is not tried again"
    assert not (out / "studies").exists()
    assert {row["reason"] for row in _rows(out)} == {
        "t1: has four dimensions. Change the request; the server's documentation is at /docs."
    }
    assert score("--quiet", "--resume")[0] == 1
    assert predicted() == 5
    scoring.serves_results()
    assert score("--quiet", "--resume", "--retry-refused")[0] == 0
    assert {row["state"] for row in _rows(out)} == {"done"}


@pytest.mark.parametrize("status", [500, 501])
def test_a_servers_own_fault_is_no_refusal_and_the_next_run_tries_again(
    score: Score, scoring: Any, reply: Any, out: Path, status: int
) -> None:
    body = json.dumps({"status": status, "detail": "internal error"}).encode()
    scoring.says("application/zip", reply(status, PROBLEM, body))
    code, said, _ = score("--json")
    assert (code, json.loads(said)["failed"], json.loads(said)["refused"]) == (1, 5, 0)
    assert {row["state"] for row in _rows(out)} == {"failed"}
    scoring.serves_results()
    assert json.loads(score("--json", "--resume")[1])["done"] == 5


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_no_sooner_than_it_says(
    score: Score, scoring: Any, reply: Any, status: int, predicted: Callable[[], int]
) -> None:
    busy = reply(status, PROBLEM, b'{"status": 503, "detail": "full"}', {"Retry-After": "1"})
    good = scoring.replies["application/zip"]
    answer, moments = scoring.answer, []

    def first_busy(handler: Any) -> None:
        if handler.command == "POST":
            moments.append(threading.get_ident())
            scoring.says("application/zip", busy if len(moments) == 1 else good)
        answer(handler)

    scoring.answer = first_busy
    code, said, _ = score("--json", "--concurrency", "1", "--limit", "1")
    assert code == 0 and json.loads(said)["seconds"] >= 1.0
    assert predicted() == 2


def test_a_quota_that_is_used_up_is_waited_for_and_costs_no_attempt(
    score: Score, scoring: Any, reply: Any, predicted: Callable[[], int]
) -> None:
    body = b'{"type": "urn:brainmvp:problem:quota-exceeded", "status": 429, "detail": "all used"}'
    used_up = reply(429, PROBLEM, body, {"Retry-After": "0"})
    good = scoring.replies["application/zip"]
    answer, asked = scoring.answer, []

    def used_up_at_first(handler: Any) -> None:
        if handler.command == "POST":
            asked.append(handler.path)
            scoring.says("application/zip", used_up if len(asked) <= 3 else good)
        answer(handler)

    scoring.answer = used_up_at_first
    code, said, _ = score("--json", "--attempts", "1", "--concurrency", "1", "--limit", "1")
    assert (code, json.loads(said)["done"], predicted()) == (0, 1, 4)


def test_while_a_quota_is_used_up_no_study_is_sent() -> None:
    pause, stop = QuotaPause(), threading.Event()
    pause.begin(3600)
    pause.begin(1)  # an earlier end does not shorten it
    waiting = threading.Thread(target=pause.wait, args=(stop,))
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    stop.set()
    waiting.join(10)
    assert not waiting.is_alive()


def test_a_server_that_stays_away_fails_the_study_which_resume_takes_up(
    score: Score, scoring: Any, reply: Any, out: Path, predicted: Callable[[], int]
) -> None:
    busy = reply(503, PROBLEM, b'{"status": 503, "detail": "full"}')
    scoring.says("application/zip", busy)
    code, said, _ = score("--json", "--attempts", "1", "--limit", "2")
    assert code == 1 and json.loads(said)["failed"] == 2
    scoring.serves_results()
    assert score("--quiet", "--resume")[0] == 0
    assert predicted() == 7
    assert len(_rows(out)) == 5


def test_a_rate_spreads_the_studies(score: Score) -> None:
    code, said, _ = score("--json", "--rate", "240", "--concurrency", "5")
    assert code == 0 and json.loads(said)["seconds"] >= 4 * 60 / 240


def test_two_runs_in_one_folder_at_a_time_are_refused(
    score: Score, out: Path, predicted: Callable[[], int]
) -> None:
    score("--quiet", "--limit", "1")
    ledger = Ledger(out / "ledger.sqlite", RunKey("bundle", "settings"))
    try:
        code, _, err = score("--resume", "--quiet")
    finally:
        ledger.close()
    assert code == 2 and "another run is at work" in err
    assert predicted() == 1
    assert score("--resume", "--quiet")[0] == 0


def test_a_damaged_ledger_is_a_clear_refusal(score: Score, out: Path) -> None:
    score("--quiet")
    (out / "ledger.sqlite").write_bytes(b"no database" * 1000)
    code, _, err = score("--resume")
    assert code == 2
    assert "cannot be used as a ledger" in err and "Traceback" not in err


def test_a_folder_with_other_things_is_left_alone(score: Score, out: Path) -> None:
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    code, _, err = score("--resume")
    assert code == 2 and "no earlier run" in err
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


def test_neither_ledger_nor_messages_hold_a_name(
    score: Score, scoring: Any, reply: Any, cohort: Path, out: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    (cohort / "DOE^JANE_1" / "doe_jane_t1.nii").write_bytes(b"")
    (cohort / "DOE^JANE_2" / "doe_jane_flair.nii").unlink()
    (cohort / "DOE^JANE_2" / "doe_jane_t1.nii").rename(cohort / "DOE^JANE_2" / "jane.nii")
    scoring.says("application/zip", reply(503, PROBLEM, b'{"status": 503, "detail": "full"}'))
    caplog.set_level("DEBUG")
    code, said, err = score("--attempts", "1")
    assert code == 1
    with sqlite3.connect(out / "ledger.sqlite") as db:
        dump = "\n".join(db.iterdump())
    db.close()
    assert "working" not in dump and "is empty" in dump and "tells its modality" in dump
    for text in (dump, said, err, caplog.text):
        assert "doe" not in text.lower() and "jane" not in text.lower()
    assert len(caplog.records) >= 5


def test_results_cannot_be_sent_where_a_study_points(score: Score, tmp_path: Path) -> None:
    worklist = tmp_path / "list.csv"
    worklist.write_text("study,t1\n../../escape,a.nii\n")
    code, _, err = score(source=("--worklist", worklist))
    assert code == 2 and "cannot be a folder's name" in err


def test_usage_names_what_is_missing(score: Score, cohort: Path) -> None:
    code, _, err = score("--bids", cohort)
    assert code == 2 and "one place" in err
    code, _, err = score("--since", "2024-01-01")
    assert code == 2 and "--since" in err
    days = ("--since", "2024-01-02", "--until", "2024-01-01")
    code, _, err = score(*days, source=("--dicomweb", "https://127.0.0.1:9/dicom-web"))
    assert code == 2 and "is after --until" in err


@pytest.mark.parametrize(
    ("text", "days"), [("today", 0), ("yesterday", 1), ("7d", 7), ("2024-02-29", None)]
)
def test_a_day_is_a_date_or_is_told_from_today(text: str, days: int | None) -> None:
    before = date.today()
    day = day_of(text)
    if days is None:
        assert day == date(2024, 2, 29)
    else:  # midnight may pass
        assert day in {today - timedelta(days=days) for today in (before, date.today())}


@pytest.mark.parametrize("text", ["tomorrow", "2024-13-01", "01.02.2024", "-1d", "99999999d", ""])
def test_what_is_no_day_is_refused_and_said(score: Score, text: str) -> None:
    source = ("--dicomweb", "https://127.0.0.1:9/dicom-web")
    code, _, err = score("--since", text, source=source)
    assert code == 2 and "yesterday" in err and err.count("\n") == 1


def test_dry_run_names_what_would_be_used_and_filled_and_writes_nothing(
    score: Score, cohort: Path, out: Path, predicted: Callable[[], int]
) -> None:
    (cohort / "DOE^JANE_0" / "doe_jane_flair.nii").unlink()
    (cohort / "DOE^JANE_1" / "doe_jane_t1.nii").unlink()
    code, said, _ = score("--dry-run", "--json")
    assert code == 0
    first, second, third, *_ = map(json.loads, said.splitlines())
    assert first["filled"] == ["flair"] and first["state"] == "would be scored"
    assert second["state"] == "would be refused" and "t1" in second["problem"]
    assert [use["modality"] for use in third["uses"]] == ["flair", "t1"]
    assert not out.exists() and predicted() == 0


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".mgz", ".mgh", ".nrrd", ".NRRD"])
def test_a_folder_may_hold_volumes_in_every_format_that_is_read(
    score: Score, tmp_path: Path, predicted: Callable[[], int], ending: str
) -> None:
    folder = tmp_path / "others" / "one"
    folder.mkdir(parents=True)
    for modality in ("t1", "flair"):
        (folder / f"doe_{modality}{ending}").write_bytes(b"voxels")
    code, said, err = score("--json", source=("--folder", folder.parent))
    assert (code, predicted()) == (0, 1), (said, err)


def _refusing(reply: Any, kind: str, **said: object) -> Any:
    body = {"type": f"urn:brainmvp:problem:{kind}", "status": 422, "detail": "fill: no", **said}
    return reply(422, PROBLEM, json.dumps(body).encode())


def test_what_the_server_refuses_of_every_study_ends_the_run_before_all_are_refused(
    score: Score, scoring: Any, reply: Any, predicted: Callable[[], int]
) -> None:
    scoring.says("application/zip", _refusing(reply, "invalid-query"))
    code, _, err = score("--fill", "magic", "--quiet", "--concurrency", "1")
    assert code == 2 and err.count("\n") == 1 and "fill: no" in err
    assert predicted() == 1
    scoring.serves_results()
    assert json.loads(score("--resume", "--json", "--fill", "magic")[1])["done"] == 5


def test_a_reason_names_the_part_at_fault_once(
    score: Score, scoring: Any, reply: Any, out: Path
) -> None:
    said = {"detail": "t1: it is empty", "part": "t1", "remedy": "Send a volume"}
    scoring.says("application/zip", _refusing(reply, "invalid-volume", **said))
    assert score("--quiet", "--limit", "1")[0] == 1
    assert [row["reason"] for row in _rows(out)] == ["t1: it is empty. Send a volume."]


def test_a_run_that_found_no_study_says_so(score: Score) -> None:
    code, said, _ = score("--only", "nobody*")
    assert code == 0 and "No study was found" in said


def test_what_a_full_disk_kept_from_being_written_is_done_by_the_next_run(
    score: Score, scoring: Any, out: Path, summary: Any
) -> None:
    scoring.serves_results(
        {
            "mask.nii.gz": bytes(1 << 20),
            "summary.json": json.dumps(summary).encode(),
            "preview.png": b"",
        }
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, hard))
    try:
        code, said, _ = score("--json", "--attempts", "1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    report = json.loads(said)
    assert (code, report["failed"], report["refused"]) == (1, 5, 0)
    assert all("cannot be written" in row["reason"] for row in _rows(out)) and not _files(out)
    assert json.loads(score("--json", "--resume")[1])["done"] == 5


@pytest.mark.parametrize("status", [408, 507])
def test_a_server_without_room_or_on_a_slow_line_is_asked_again(
    score: Score, scoring: Any, reply: Any, status: int
) -> None:
    body = json.dumps({"status": status}).encode()
    scoring.says("application/zip", reply(status, PROBLEM, body))
    code, said, _ = score("--json", "--attempts", "1", "--limit", "1")
    assert (code, json.loads(said)["failed"]) == (1, 1)
