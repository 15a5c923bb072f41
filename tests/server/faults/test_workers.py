"""Workers that die, and services that are told to end."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path

import httpx

from ..conftest import Serving, Start

TRIALS = int(os.environ.get("BRAINMVP_FAULT_TRIALS", "3"))


def files_of(service: Serving, job: str) -> list[str]:
    return list(service.job(job)["results"])


def test_jobs_survive_a_worker_killed_at_any_window(
    serve: Start, steady_models: Path, tmp_path: Path, small_study: Path, large_study: Path
) -> None:
    """``make faults`` kills twenty times."""
    settings = {"jobs_storage": tmp_path / "jobs", "executor": "one", "studies": 2}
    service = serve(steady_models, **settings)
    expected = {study: service.predicted(study) for study in (small_study, large_study)}
    random.seed(1)
    jobs: dict[str, Path] = {}
    for _ in range(TRIALS):
        posted = {service.post(study): study for study in (large_study, small_study)}
        jobs |= posted
        service.until(next(iter(posted)), "running", "done")
        time.sleep(random.uniform(0, 3))
        service.stop(signal.SIGKILL)
        service = serve(steady_models, **settings)
    for job, study in jobs.items():
        assert service.until(job, "done", "failed")["state"] == "done"
        assert service.mask(job) == expected[study]
    everything = service.http.get("/v1/jobs").json()["jobs"]
    assert sorted(entry["id"] for entry in everything) == sorted(jobs)


def test_told_to_end_it_answers_what_runs_takes_nothing_new_and_leaves_jobs_to_the_next_start(
    serve: Start, steady_models: Path, tmp_path: Path, small_study: Path, large_study: Path
) -> None:
    settings = {"jobs_storage": tmp_path / "jobs", "executor": "one"}
    service = serve(steady_models, **settings, drain_s=8, grace_s=180, studies=1)
    expected = service.predicted(large_study)
    running, queued = service.post(small_study), service.post(large_study)
    answers: list[bytes] = []
    asking = threading.Thread(target=lambda: answers.append(service.predicted(large_study)))
    with httpx.Client(base_url=service.http.base_url, timeout=60) as other:
        asking.start()
        service.until_metric("brainmvp_admitted", 1)
        service.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 60
        while other.get("/health/ready").status_code != 503:
            assert time.monotonic() < deadline
        assert other.get("/health/live").status_code == 200
        with small_study.open("rb") as file:
            refused = other.post("/v1/models/swift/predict", files={"t1": file})
        assert refused.status_code == 503 and "retry-after" in refused.headers
    service.process.wait(240)
    asking.join()
    assert answers == [expected]
    again = serve(steady_models, **settings)
    assert again.until(running, "done") and again.until(queued, "done")
    assert again.mask(queued) == expected


def test_what_does_not_end_in_the_grace_time_is_answered_503_and_the_process_ends(
    serve: Start, steady_models: Path, tmp_path: Path, large_study: Path
) -> None:
    settings = {"jobs_storage": tmp_path / "jobs", "executor": "one"}
    service = serve(steady_models, **settings, grace_s=0.5, studies=1)
    job = service.post(large_study)
    service.until(job, "running")
    answers: list[httpx.Response] = []

    def ask() -> None:
        with large_study.open("rb") as file:
            answers.append(service.http.post("/v1/models/swift/predict", files={"t1": file}))

    asking = [threading.Thread(target=ask) for _ in range(6)]
    for thread in asking:
        thread.start()
    service.until_metric("brainmvp_admitted", 6)
    service.stop(within_s=120)
    for thread in asking:
        thread.join()
    late = [answer for answer in answers if answer.status_code != 200]
    assert late and len(answers) == 6
    for answer in late:
        assert answer.status_code == 503
        assert answer.json()["type"] == "urn:brainmvp:problem:service-closing"
    assert serve(steady_models, **settings).until(job, "done")


def test_ctrl_c_ends_a_service_whose_job_runs(
    serve: Start, steady_models: Path, tmp_path: Path, large_study: Path
) -> None:
    service = serve(steady_models, jobs_storage=tmp_path / "jobs", grace_s=0.5)
    service.until(service.post(large_study), "running")
    service.stop(signal.SIGINT, within_s=120)
