"""A service of today on what an earlier one left: its bundle, its jobs, its clients' folders."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from command_line import brainmvp
from kept_fixtures import MODEL, at_fixed_times, process, until
from openapi_fields import Fields, Json, bodies, calls, parameters
from public_surface import metric_names
from serving import serving


def read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def http(past: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service of today that goes on with the jobs, and whose jobs do not grow old."""
    folder = tmp_path_factory.mktemp("past")
    shutil.copytree(past / "jobs", folder / "jobs")
    shutil.copytree(past / "models", folder / "models")
    words = ("--jobs-storage", folder / "jobs", "--jobs-keep-h", 10_000_000)
    with (
        serving(folder / "models", folder, *words) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        yield client


def job(http: httpx.Client, past: Path, name: str) -> Any:
    """A job by what it was then."""
    answer = http.get(f"/v1/jobs/{read(past / 'jobs.json')[name]}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_results_of_a_job_that_was_done_are_given_out_byte_for_byte(
    http: httpx.Client, past: Path
) -> None:
    then, now = read(past / "jobs.json"), job(http, past, "done")
    assert now["state"] == "done" and now["results"] == list(then["results"])
    found = {
        name: hashlib.sha256(http.get(f"/v1/jobs/{now['id']}/results/{name}").content).hexdigest()
        for name in now["results"]
    }
    assert found == then["results"]


def test_a_job_that_waited_is_done(http: httpx.Client, past: Path) -> None:
    until(lambda: job(http, past, "waiting")["state"] not in ("queued", "running"), 60)
    now = job(http, past, "waiting")
    assert now["state"] == "done" and "mask.nii.gz" in now["results"], now


def test_jobs_that_failed_or_were_cancelled_still_say_so(http: httpx.Client, past: Path) -> None:
    then = read(past / "api" / "job-failed.json")
    now = job(http, past, "failed")
    assert {key: now[key] for key in ("state", "error", "finished")} == {
        key: then[key] for key in ("state", "error", "finished")
    }
    assert job(http, past, "cancelled")["state"] == "cancelled"
    known = {one["id"] for one in http.get("/v1/jobs").json()["jobs"]}
    ids = read(past / "jobs.json")
    assert {ids[name] for name in ("done", "waiting", "failed", "cancelled")} == known


def keys_of(value: Any, path: str = "") -> set[str]:
    """Every key of a JSON document, by its path."""
    if isinstance(value, dict):
        below = (keys_of(one, f"{path}.{key}") | {f"{path}.{key}"} for key, one in value.items())
        return set().union(*below)
    if isinstance(value, list):
        return set().union(*(keys_of(one, f"{path}[]") for one in value))
    return set()


def predicted(http: httpx.Client, past: Path) -> httpx.Response:
    """A good answer to a study of then."""
    study = past / "studies" / "a" / "t1.nii.gz"
    return http.post(
        f"/v1/models/{MODEL}/predict?fill=center", files={"t1": (study.name, study.read_bytes())}
    )


def test_a_summary_has_every_key_and_the_volumes_it_had(http: httpx.Client, past: Path) -> None:
    then, now = read(past / "api" / "summary.json"), predicted(http, past).json()
    assert keys_of(then) - keys_of(now) == set()
    volumes = {one["name"]: one["volume_ml"] for one in then["structures"]}
    found = {one["name"]: one["volume_ml"] for one in now["structures"]}
    assert found == pytest.approx(volumes, rel=0.02)


@pytest.mark.parametrize(
    ("name", "path"),
    [("models", "/v1/models"), ("model", f"/v1/models/{MODEL}"), ("jobs", "/v1/jobs")],
)
def test_an_answer_has_every_key_it_had(
    http: httpx.Client, past: Path, name: str, path: str
) -> None:
    then, now = read(past / "api" / f"{name}.json"), http.get(path).json()
    assert keys_of(then) - keys_of(now) == set()


def refused(http: httpx.Client) -> httpx.Response:
    """The answer to a modality that there is none of."""
    return http.post(f"/v1/models/{MODEL}/predict", files={"ct": ("t1.nii.gz", b"anything")})


def test_a_problem_is_told_in_the_same_words_for_programs(http: httpx.Client, past: Path) -> None:
    then, now = read(past / "api" / "problem.json"), refused(http).json()
    assert then.keys() <= now.keys()
    assert (now["type"], now["status"]) == (then["type"], then["status"])


def test_no_metric_vanishes_or_changes_its_kind(http: httpx.Client, past: Path) -> None:
    # A counter with labels is there from its first count on.
    predicted(http, past).raise_for_status()
    assert refused(http).is_client_error
    now = metric_names(http.get("/metrics").text)
    changed = {
        name: (then, now.get(name))
        for name, then in read(past / "api" / "metrics.json").items()
        if now.get(name, [""])[0] != then[0]
    }
    assert changed == {}


def lost_in_answer(then: Fields, now: Fields) -> Iterator[str]:
    """What a client of then may rely on in an answer, and no longer can."""
    for path, field in then.items():
        if path not in now:
            yield f"{path} is gone"
        elif field.types and not now[path].types <= field.types:
            yield f"{path} may be {sorted(now[path].types - field.types)}"
        elif field.needed and not now[path].needed:
            yield f"{path} may be missing"


def lost_in_request(then: Fields, now: Fields) -> Iterator[str]:
    """What a client of then sends, and is no longer taken; what it would have to send."""
    for path, field in then.items():
        if path not in now:
            yield f"{path} is gone"
        elif now[path].types and not field.types <= now[path].types:
            yield f"{path} may no longer be {sorted(field.types - now[path].types)}"
        elif now[path].values and not field.values <= now[path].values:
            yield f"{path} may no longer be {sorted(field.values - now[path].values)}"
    for path, field in now.items():
        if field.needed and path and not (path in then and then[path].needed):
            yield f"{path} is newly needed"


def broken(then: Json, now: Json) -> list[str]:
    """What clients written for one OpenAPI document cannot rely on with another."""
    present = {(path, method): operation for path, method, operation in calls(now)}
    found: list[str] = []
    for path, method, old in calls(then):
        new = present.get((path, method))
        if new is None:
            found.append(f"{method} {path} is gone")
            continue
        faults = list(lost_in_request(parameters(then, old), parameters(now, new)))
        before = bodies(then, old.get("requestBody", {}).get("content", {}))
        after = bodies(now, new.get("requestBody", {}).get("content", {}))
        for kind, fields in before.items():
            faults += lost_in_request(fields, after[kind]) if kind in after else [f"no {kind}"]
        for code, answer in old["responses"].items():
            if int(code) >= 400:
                continue
            after = bodies(now, new["responses"].get(code, {}).get("content", {}))
            for kind, fields in bodies(then, answer.get("content", {})).items():
                faults += lost_in_answer(fields, after[kind]) if kind in after else [f"no {kind}"]
        found += [f"{method} {path}: {fault}" for fault in faults]
    return found


def test_a_client_written_for_the_earlier_openapi_document_still_works(
    http: httpx.Client, past: Path
) -> None:
    then = read(past / "api" / "openapi.json")
    assert broken(then, http.get("/openapi.json").json()) == []


def test_what_breaks_a_client_is_seen(past: Path) -> None:
    then, now = (read(past / "api" / "openapi.json") for _ in range(2))
    job = now["components"]["schemas"]["Job"]
    del job["properties"]["state"]
    call = now["paths"]["/v1/models/{name}/predict"]["post"]
    call["parameters"].append(
        {"in": "query", "name": "site", "required": True, "schema": {"type": "string"}}
    )
    del now["paths"]["/v1/jobs/{job}/events"]
    assert {fault.split(": ")[-1] for fault in broken(then, now)} == {
        "state is gone",
        "jobs[].state is gone",
        "query site is newly needed",
        "get /v1/jobs/{job}/events is gone",
    }


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.*z*")}


def test_a_score_run_that_was_stopped_goes_on_with_what_is_left(
    http: httpx.Client, past: Path, tmp_path: Path
) -> None:
    out, studies = tmp_path / "out", tmp_path / "studies"
    shutil.copytree(past / "score", out)
    shutil.copytree(past / "studies", studies)
    at_fixed_times(studies)
    before, lines = contents(out / "studies"), (out / "results.jsonl").read_text().splitlines()
    words = ("--folder", studies, "--fill", "zeros", "--resume", "--json")
    done = brainmvp("score", MODEL, "--out", out, "--server", http.base_url, *words)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["done"], report["skipped"]) == (1, 2)
    rows = (out / "results.jsonl").read_text().splitlines()
    assert rows[:2] == lines and json.loads(rows[2])["study"] == "c"
    after = contents(out / "studies")
    assert before.items() <= after.items() and after.keys() - before.keys() == {"c/mask.nii.gz"}
    old = (past / "score" / "results.csv").read_text().splitlines()
    new = (out / "results.csv").read_text().splitlines()
    assert new[: len(old)] == old and len(new) == len(old) + 1


def test_a_study_that_waited_in_a_listeners_folder_is_scored(
    http: httpx.Client, past: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(past / "listen", out)
    table = out / "results.jsonl"
    words = ("--server", http.base_url, "--fill", "zeros", "--anyone", "--port", 0)
    with process("dicom-listen", MODEL, "--out", out, "--quiet-for", 0, *words) as listener:
        until(lambda: table.is_file() and table.read_text().count("\n") == 1, 60)
        listener.send_signal(signal.SIGTERM)
        listener.wait(60)
    row = json.loads(table.read_text())
    assert (row["study"], row["state"], row["real"]) == (
        read(past / "listen.json")["study"],
        "done",
        ["t1"],
    )
