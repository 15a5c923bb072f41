"""Durable jobs through a real service: posted, watched, fetched, cancelled, gone."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread

from brainmvp_clients import AsyncClient, Client, DicomOptions, Refused
from dicom_studies import write_study
from drawn_head import draw_head

from ..conftest import WAIT_S, Serving, Start, services

RESULTS = ["mask.nii.gz", "preview.png", "report.html", "summary.json"]


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """Where a service of the test's own keeps its jobs."""
    return tmp_path / "jobs"


@dataclass(frozen=True)
class Shared:
    """A service that the tests of this file have one after another, and where it keeps its jobs."""

    service: Serving
    storage: Path


def _shared(models: Path, folder: Path) -> Iterator[Shared]:
    with services(folder) as start:
        storage = folder / "jobs"
        yield Shared(start(models, jobs_storage=storage, studies=1), storage)


@pytest.fixture(scope="module")
def quick(swift_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    yield from _shared(swift_models, tmp_path_factory.mktemp("quick"))


@pytest.fixture(scope="module")
def slow(steady_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    yield from _shared(steady_models, tmp_path_factory.mktemp("slow"))


def _emptied(shared: Shared) -> Iterator[Serving]:
    """The service without a job, and without one after the test, however it went."""
    assert _jobs(shared.service) == []
    yield shared.service
    deadline = time.monotonic() + WAIT_S
    while jobs := _jobs(shared.service):
        assert time.monotonic() < deadline, jobs
        for job in jobs:  # the first call ends one that is not over, the next removes it
            shared.service.http.delete(f"/v1/jobs/{job['id']}")
    while kept(shared.storage):
        assert time.monotonic() < deadline, kept(shared.storage)
        time.sleep(0.05)


def _jobs(service: Serving) -> list[dict[str, Any]]:
    return list(service.http.get("/v1/jobs").json()["jobs"])


@pytest.fixture
def service(quick: Shared) -> Iterator[Serving]:
    """A quick service without a job."""
    yield from _emptied(quick)


@pytest.fixture
def steady(slow: Shared) -> Iterator[Serving]:
    """One whose jobs can be caught on their way."""
    yield from _emptied(slow)


def events(service: Serving, job: str) -> list[tuple[str, dict[str, Any]]]:
    """Every event of a job until it is over."""
    seen = []
    with service.http.stream("GET", f"/v1/jobs/{job}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            if line.startswith("data: "):
                seen.append((name, json.loads(line.removeprefix("data: "))))
    return seen


def kept(storage: Path) -> list[str]:
    """What the storage holds besides the database."""
    return sorted(p.name for p in storage.rglob("*") if p.is_file() and "sqlite" not in p.name)


def test_a_job_gives_what_a_prediction_gives_and_its_study_is_gone_when_it_is_done(
    service: Serving, quick: Shared, large_study: Path
) -> None:
    job = service.post(large_study)
    seen = events(service, job)
    assert seen[-1][0] == "done" and {name for name, _ in seen[:-1]} <= {"progress"}
    told = [event["progress"] for _, event in seen if event["progress"]]
    counts = [p["windows_done"] for p in told if p["windows"]]
    # However quick it was, its end tells all windows.
    assert counts == sorted(counts) and counts[-1] == told[-1]["windows"] > 1
    assert service.job(job)["results"] == RESULTS
    assert service.mask(job) == service.predicted(large_study)
    summary = service.http.get(f"/v1/jobs/{job}/results/summary.json")
    assert summary.headers["content-type"] == "application/json"
    assert summary.json()["model"] == "swift"
    assert kept(quick.storage) == RESULTS
    assert [j["id"] for j in service.http.get("/v1/jobs").json()["jobs"]] == [job]
    assert service.http.delete(f"/v1/jobs/{job}").status_code == 204
    assert service.http.get(f"/v1/jobs/{job}").status_code == 404
    assert kept(quick.storage) == []


def test_a_jobs_channels_are_the_study_and_the_templates_on_its_grid(
    service: Serving, small_study: Path
) -> None:
    job = service.post(small_study, fill="center", channels="true")
    found = service.until(job, "done", "failed")
    names = [name for name in found["results"] if name.startswith("channels/")]
    summary = service.http.get(f"/v1/jobs/{job}/results/summary.json").json()
    given = {one["modality"] for one in [*summary["real"], *summary["filled"]]}
    assert {name.split("/")[1].split(".")[0] for name in names} == given
    study = nib.load(small_study)
    for name in names:
        content = service.http.get(f"/v1/jobs/{job}/results/{name}").content
        image = nib.Nifti1Image.from_bytes(gzip.decompress(content))
        np.testing.assert_allclose(image.affine, study.affine, atol=1e-4)
        voxels, own = np.asarray(image.dataobj), np.asarray(study.dataobj)
        assert voxels.shape == own.shape and voxels.any()
        assert np.array_equal(voxels, own) is (name == "channels/t1.nii.gz")


def test_a_job_takes_its_senders_own_brain_mask(service: Serving, tmp_path: Path) -> None:
    drawn = draw_head(tmp_path)
    with Client(str(service.http.base_url)) as client:
        job = client.submit("swift", {"t1": drawn.series}, fill="zeros", brain=drawn.brain)
        assert service.until(job.id, "done", "failed")["state"] == "done"
        summary = client.job_results(job.id, tmp_path / "results")
    told = json.loads((tmp_path / "results" / "summary.json").read_text())["preparation"]
    assert told["brain_ml"] == pytest.approx(drawn.ml) and told["brain_series"] == []
    assert summary.model == "swift"


def test_a_key_gives_the_same_job_again_and_refuses_another_study(
    service: Serving, small_study: Path, large_study: Path
) -> None:
    def post(study: Path, **query: str) -> httpx.Response:
        with study.open("rb") as file:
            return service.http.post(
                "/v1/models/swift/jobs",
                files={"t1": file},
                params={"fill": "zeros", **query},
                headers={"idempotency-key": "morning round, bed 4"},
            )

    first, second = post(small_study), post(small_study)
    assert first.status_code == second.status_code == 202
    assert first.json()["id"] == second.json()["id"]
    assert first.headers["location"] == f"/v1/jobs/{first.json()['id']}"
    for other in (post(large_study), post(small_study, probabilities="true")):
        assert other.status_code == 422
        assert other.json()["type"] == "urn:brainmvp:problem:duplicate-job"
    assert len(service.http.get("/v1/jobs").json()["jobs"]) == 1
    assert service.until(first.json()["id"], "done")


def test_a_cancelled_job_stops_and_leaves_nothing_and_the_next_one_is_done(
    steady: Serving, slow: Shared, large_study: Path, small_study: Path
) -> None:
    service = steady
    running, queued, last = (
        service.post(study) for study in (large_study, large_study, small_study)
    )
    service.until(running, "running")
    for job in (running, queued):
        answer = service.http.delete(f"/v1/jobs/{job}")
        assert answer.status_code == 200 and answer.json()["state"] == "cancelled"
    assert service.until(last, "done")
    assert kept(slow.storage) == RESULTS
    assert events(service, running)[-1][0] == "cancelled"


def test_an_interactive_job_comes_before_batch_ones_that_wait(
    steady: Serving, large_study: Path, small_study: Path
) -> None:
    service = steady
    first = service.post(large_study)
    service.until(first, "running")
    batch = service.post(small_study)
    interactive = service.post(small_study, priority="interactive")
    assert service.http.delete(f"/v1/jobs/{first}").json()["state"] == "cancelled"
    service.until(batch, "done")
    assert service.job(interactive)["finished"] <= service.job(batch)["finished"]


def test_a_study_that_cannot_be_used_fails_with_its_reason(
    service: Serving, quick: Shared, tmp_path: Path
) -> None:
    empty = tmp_path / "t1.nii"
    nib.save(nib.Nifti1Image(np.zeros((60, 60, 60), np.int16), np.eye(4)), empty)
    job = service.until(service.post(empty), "failed")
    assert job["error"]["code"] == "invalid-volume"
    assert "t1" in job["error"]["detail"] and job["error"]["remedy"]
    assert kept(quick.storage) == []


def test_a_job_of_a_dicom_study_has_the_objects_asked_for_and_says_what_was_identified(
    service: Serving, tmp_path: Path
) -> None:
    study = write_study(tmp_path / "study", "ge", ("t1", "flair", "localizer"), part=True)
    archive = tmp_path / "study.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for path in study.files:
            zipped.write(path, path.name)
    wanted = DicomOptions(assign=("2:t2",), seg="labelmap", seg_frames="all", overlay=True)
    with Client(str(service.http.base_url)) as client:
        job = client.submit("swift", {"files": archive}, fill="zeros", dicom=wanted)
        assert service.until(job.id, "done", "failed")["state"] == "done"
        summary = client.job_results(job.id, tmp_path / "result")
    assert {one.modality for one in summary.real} == {"t1", "t2"}
    found = [(one.label, one.modality, one.used) for one in summary.identified]
    assert found == [("1", "t1", True), ("2", "t2", True), ("3", None, False)]
    assert summary.identified[1].evidence == ("assigned by the user",)
    assert summary.identified[2].reason == "a localizer"
    names = {path.name for path in (tmp_path / "result").iterdir()}
    assert {"segmentation.dcm", "report.dcm", "overlay-0001.dcm"} <= names
    assert dcmread(tmp_path / "result" / "segmentation.dcm").SegmentationType == "LABELMAP"


def test_a_job_resamples_nifti_files_on_request(service: Serving, small_study: Path) -> None:
    image = nib.load(small_study)
    coarse = np.asarray(image.dataobj)[::2, ::2, ::2]
    other = nib.Nifti1Image(coarse, image.affine @ np.diag((2, 2, 2, 1))).to_bytes()
    states = {}
    for resample in ("false", "true"):
        answer = service.http.post(
            "/v1/models/swift/jobs",
            files={"t1": small_study.read_bytes(), "flair": other},
            params={"fill": "zeros", "resample": resample},
        )
        states[resample] = service.until(answer.json()["id"], "done", "failed")["state"]
    assert states == {"false": "failed", "true": "done"}


def test_what_can_be_refused_at_once_is_no_job(service: Serving, small_study: Path) -> None:
    post = "/v1/models/swift/jobs"
    with small_study.open("rb") as file:
        assert service.http.post(post, files={"ct": file}).status_code == 422
    assert service.http.post(post, files={"t1": b"no volume"}).status_code == 422
    assert service.http.post(post, content=b"x").status_code == 415
    assert service.http.get("/v1/jobs").json()["jobs"] == []
    for path in ("/v1/jobs/none", "/v1/jobs/none/events", "/v1/jobs/none/results/mask.nii.gz"):
        answer = service.http.get(path)
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


def test_results_are_really_gone_after_their_time(
    serve: Start, swift_models: Path, storage: Path, small_study: Path
) -> None:
    first = serve(swift_models, jobs_storage=storage, executor="one")
    job = first.post(small_study)
    seen = events(first, job)
    assert seen[-1][0] == "done" and seen[-1][1]["expires"]
    first.stop()
    service = serve(swift_models, jobs_storage=storage, executor="one", jobs_keep_h=1 / 3600)
    deadline = time.monotonic() + 120
    while service.http.get(f"/v1/jobs/{job}").status_code != 404:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert kept(storage) == []


def test_as_many_jobs_wait_as_may(
    serve: Start, steady_models: Path, storage: Path, large_study: Path
) -> None:
    service = serve(steady_models, jobs_storage=storage, studies=1, jobs_queue=1)
    service.until(service.post(large_study), "running")
    service.post(large_study)
    with large_study.open("rb") as file:
        answer = service.http.post("/v1/models/swift/jobs", files={"t1": file})
    assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0


def test_the_client_posts_watches_and_fetches_a_job(
    service: Serving, small_study: Path, tmp_path: Path
) -> None:
    with Client(str(service.http.base_url)) as client:
        posted = client.submit("swift", {"t1": small_study}, fill="zeros", key="one")
        again = client.submit("swift", {"t1": small_study}, fill="zeros", key="one")
        assert posted.id == again.id
        states = [job.state for job in client.watch(posted.id)]
        assert states[-1] == "done" and set(states[:-1]) <= {"queued", "running"}
        job = client.job(posted.id)
        assert job.over and job.state == "done" and [j.id for j in client.jobs()] == [job.id]
        summary = client.job_results(job.id, tmp_path / "result")
        assert summary.model == "swift"
        assert {path.name for path in (tmp_path / "result").iterdir()} == set(job.results)
        client.end_job(job.id)
        with pytest.raises(Refused, match="no job"):
            client.job(job.id)


def test_the_async_client_watches_a_job_until_it_is_over(
    service: Serving, small_study: Path
) -> None:
    async def states() -> list[str]:
        async with AsyncClient(str(service.http.base_url)) as client:
            posted = await client.submit("swift", {"t1": small_study}, fill="zeros")
            return [job.state async for job in client.watch(posted.id)]

    assert anyio.run(states)[-1] == "done"


def predict(service: Serving, study: Path, out: Path) -> list[str]:
    """``brainmvp predict --job``."""
    return [
        sys.executable, "-m", "brainmvp_clients.cli", "predict", "swift", "--job", "--t1",
        str(study), "--server", str(service.http.base_url), "--fill", "zeros",
        "--out", str(out), "--json",
    ]  # fmt: skip


def test_the_command_posts_a_job_and_fetches_it_and_ctrl_c_cancels_it(
    steady: Serving, small_study: Path, large_study: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        predict(steady, small_study, tmp_path / "out"), capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 3, done.stderr  # of a T1 alone nobody can tell what enhances
    assert json.loads(done.stdout)["model"] == "swift"
    assert (tmp_path / "out" / "mask.nii.gz").exists()
    again = subprocess.run(
        predict(steady, small_study, tmp_path / "out"), capture_output=True, text=True, timeout=180
    )
    assert again.returncode == 2 and "overwrite" in again.stderr
    assert len(steady.http.get("/v1/jobs").json()["jobs"]) == 1
    with subprocess.Popen(predict(steady, large_study, tmp_path / "other")) as process:
        deadline = time.monotonic() + 180
        while len(found := steady.http.get("/v1/jobs").json()["jobs"]) < 2:
            assert time.monotonic() < deadline
        steady.until(found[0]["id"], "running")
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130
    assert steady.job(found[0]["id"])["state"] == "cancelled"
    assert not (tmp_path / "other").exists()


def test_a_job_that_fails_is_one_line_with_its_reason(service: Serving, tmp_path: Path) -> None:
    empty = tmp_path / "t1.nii"
    nib.save(nib.Nifti1Image(np.zeros((60, 60, 60), np.int16), np.eye(4)), empty)
    done = subprocess.run(
        predict(service, empty, tmp_path / "out"), capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "t1" in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_document_says_of_every_refusal_that_it_is_a_problem(service: Serving) -> None:
    paths = service.http.get("/openapi.json").json()["paths"]
    for path, calls in paths.items():
        for method, call in calls.items():
            for code, answer in call["responses"].items():
                if int(code) >= 400:
                    assert "application/problem+json" in answer["content"], (method, path, code)
