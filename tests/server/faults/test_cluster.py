"""Several processes on one PostgreSQL: what one accepts, another finishes, and a third shows."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from ..conftest import AS_IT_IS, WAIT_S, Serving, Start
from .conftest import Postgres


def test_two_apis_and_two_workers_lose_nothing_when_a_worker_is_killed(
    serve: Start,
    steady_models: Path,
    tmp_path: Path,
    postgres: Postgres,
    small_study: Path,
    large_study: Path,
) -> None:
    secret = tmp_path / "database"
    secret.write_text(postgres.url)
    shared = {"jobs_storage": tmp_path / "jobs", "jobs_database_file": secret}
    apis = [serve(steady_models, **shared, role="api") for _ in range(2)]
    workers = [
        serve(steady_models, **shared, role="worker", executor=f"worker-{n}", studies=1)
        for n in range(2)
    ]
    assert workers[0].http.get("/v1/models").status_code == 404  # it only works
    assert workers[0].http.get("/health/ready").status_code == 200
    expected = {study: apis[0].predicted(study) for study in (small_study, large_study)}
    jobs = {apis[n % 2].post(study): study for n in range(3) for study in expected}
    apis[1].until(next(iter(jobs)), "running", "done")
    time.sleep(random.uniform(0, 1))
    workers[0].stop(signal.SIGKILL)
    serve(steady_models, **shared, role="worker", executor="worker-0", studies=1)
    for number, (job, study) in enumerate(jobs.items()):
        other = apis[(number + 1) % 2]
        with other.http.stream("GET", f"/v1/jobs/{job}/events") as events:
            assert "event: done" in list(events.iter_lines())
        assert other.mask(job) == expected[study]
    assert {entry["id"] for entry in apis[0].http.get("/v1/jobs").json()["jobs"]} == set(jobs)


def test_a_database_restarted_under_load_loses_no_job_and_is_answered_as_busy(
    serve: Start, swift_models: Path, tmp_path: Path, postgres: Postgres, small_study: Path
) -> None:
    secret = tmp_path / "database"
    secret.write_text(postgres.url)
    service = serve(
        swift_models, jobs_storage=tmp_path / "jobs", jobs_database_file=secret, executor="one"
    )
    expected = service.predicted(small_study)
    accepted: list[str] = []
    answers: set[int] = set()
    over = threading.Event()

    def post(address: httpx.URL) -> None:
        with httpx.Client(base_url=address, timeout=120) as http:
            while not over.is_set():
                answer = http.post(
                    "/v1/models/swift/jobs",
                    files={"t1": small_study.read_bytes()},
                    params=AS_IT_IS,
                )
                answers.add(answer.status_code)
                if answer.status_code == 202:
                    accepted.append(answer.json()["id"])
                time.sleep(0.2)

    load = [threading.Thread(target=post, args=(service.http.base_url,)) for _ in range(2)]
    for thread in load:
        thread.start()
    until(lambda: len(accepted) > 2)
    postgres.stop()
    until(lambda: 503 in answers)
    assert service.http.get("/health/live").status_code == 200
    assert service.http.get("/v1/models").status_code == 200
    assert service.predicted(small_study) == expected
    postgres.start()
    before = len(accepted)
    until(lambda: len(accepted) > before + 2)
    over.set()
    for thread in load:
        thread.join()
    assert answers == {202, 503}
    for job in accepted:
        assert _state(service, job) == "done"
        assert service.mask(job) == expected


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _state(service: Serving, job: str) -> str:
    return str(service.until(job, "done", "failed")["state"])


def test_jobs_of_workers_that_never_come_back_are_done_by_another_as_if_nothing_had_been(
    serve: Start, steady_models: Path, tmp_path: Path, postgres: Postgres, large_study: Path
) -> None:
    """One killed, one hung, one told to end with less time than its job needs; no name comes back.

    The hung one goes on later, and changes nothing any more.
    """
    secret = tmp_path / "database"
    secret.write_text(postgres.url)
    shared = {
        "jobs_storage": tmp_path / "jobs",
        "jobs_database_file": secret,
        "jobs_lease_s": 3,
        "grace_s": 0.5,
        "studies": 1,
    }
    ends = (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM)
    workers = [serve(steady_models, **shared, executor=end.name) for end in ends]
    jobs = []
    for worker in workers:  # the one that is free takes it
        jobs.append(worker.post(large_study))
        worker.until(jobs[-1], "running")
    for worker, end in zip(workers, ends, strict=True):
        worker.process.send_signal(end)
    survivor = serve(steady_models, **shared, executor="survivor")
    assert [survivor.until(job, "done", "failed")["state"] for job in jobs] == ["done"] * 3
    assert survivor.metric("brainmvp_jobs_given_back_total") >= 1
    hung = workers[1]
    hung.process.send_signal(signal.SIGCONT)
    until(lambda: hung.metric("brainmvp_study_memory_bytes") == 0)
    expected = survivor.predicted(large_study)
    for job in jobs:
        assert survivor.job(job)["state"] == "done"
        assert survivor.mask(job) == expected
    assert {entry["id"] for entry in survivor.http.get("/v1/jobs").json()["jobs"]} == set(jobs)
    assert not list((tmp_path / "jobs").glob("*/study/*"))
