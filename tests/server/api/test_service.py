"""The service around its routes: health, models, OpenAPI, and what nobody foresaw."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from brainmvp_models.errors import BrainMVPError, InvalidBundle
from brainmvp_server.api.app import create_app
from brainmvp_server.api.problems import STATUS, status_of
from brainmvp_server.settings import Settings

from .conftest import Service, running


def test_models_are_described_with_card_channels_and_outputs(service: Service) -> None:
    model = service.http.get("/v1/models/tiny").json()
    assert model["kind"] == "segmentation" and model["versions"] == ["1"]
    assert [channel["modality"] for channel in model["channels"]] == ["t1", "t1c", "t2", "flair"]
    assert [output["name"] for output in model["outputs"]] == ["TC", "WT", "ET"]
    assert model["digest"].startswith("sha256:")
    assert "Parity" in model["card"]


def test_a_service_without_models_is_alive_but_not_ready(tmp_path: Path) -> None:
    with running(create_app(Settings.of(models=tmp_path))) as http:
        assert http.get("/health/live").status_code == 200
        answer = http.get("/health/ready")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_missing_model_folder_is_an_error_at_start_not_an_empty_service(tmp_path: Path) -> None:
    with pytest.raises(InvalidBundle, match="no such folder"):
        create_app(Settings.of(models=tmp_path / "nowhere"))


def test_openapi_describes_the_upload_and_every_answer(service: Service) -> None:
    document = service.http.get("/openapi.json").json()
    predict = document["paths"]["/v1/models/{name}/predict"]["post"]
    upload = predict["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert upload["properties"]["flair"]["format"] == "binary"
    forms = predict["responses"]["200"]["content"]
    assert {"application/json", "application/x-nifti", "application/zip"} <= set(forms)
    assert "application/problem+json" in predict["responses"]["422"]["content"]
    assert service.http.get("/docs").status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/models/tiny/jobs"),
        ("GET", "/v1/jobs"),
        ("GET", "/v1/jobs/1234"),
        ("HEAD", "/v1/jobs/1234"),
        ("DELETE", "/v1/jobs/1234"),
        ("GET", "/v1/jobs/1234/results/mask.nii.gz"),
    ],
)
def test_a_service_without_jobs_says_how_to_have_them(
    service: Service, method: str, path: str
) -> None:
    answer = service.http.request(method, path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    if method != "HEAD":
        assert answer.json()["type"] == "urn:brainmvp:problem:no-jobs"
        assert "--jobs-storage" in answer.json()["remedy"]


def test_a_service_without_jobs_does_not_offer_them(service: Service) -> None:
    paths = service.http.get("/openapi.json").json()["paths"]
    assert not [path for path in paths if "jobs" in path]


def test_what_nobody_foresaw_is_a_problem_and_its_message_stays_out_of_answer_and_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(Settings.of(models=tmp_path))

    @app.get("/broken")
    def broken() -> None:
        raise ValueError("Doe^Jane")

    with running(app) as http, caplog.at_level(logging.DEBUG):
        answer = http.get("/broken")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "Doe" not in answer.text and "Doe" not in caplog.text
    assert "ValueError" in caplog.text


def test_every_kind_of_error_has_a_status_of_its_own_or_of_its_family() -> None:
    def family(kind: type[BrainMVPError]) -> list[type[BrainMVPError]]:
        return [kind, *(heir for child in kind.__subclasses__() for heir in family(child))]

    offline = {
        "error",
        "invalid-task",
        "invalid-checkpoint",
        "parity-failed",
        "training-failed",
        "invalid-settings",
        "invalid-datalist",
        "invalid-population",
        "invalid-rules",
    }
    for kind in family(BrainMVPError):
        if kind.code not in offline:
            assert any(ancestor in STATUS for ancestor in kind.__mro__), kind.code
            assert 400 <= status_of(kind("x", remedy="y")) < 600


def test_a_full_memory_is_the_services_own_and_passes(tmp_path: Path) -> None:
    app = create_app(Settings.of(models=tmp_path))

    @app.get("/full")
    def full() -> None:
        raise MemoryError("Unable to allocate 8 GiB")

    with running(app) as http:
        answer = http.get("/full")
    assert answer.status_code == 503 and "retry-after" in answer.headers
    assert answer.json()["type"] == "urn:brainmvp:problem:out-of-memory"


def test_a_service_whose_engines_hang_is_not_live_until_they_come_back(bundles: Path) -> None:
    app = create_app(Settings.of(models=bundles, warm_up=False, engines_hung=2))
    left = app.state.lifecycle.service.worker.networks.left
    release = threading.Event()
    threads = [threading.Thread(target=release.wait, args=(60,), daemon=True) for _ in range(2)]
    with running(app) as http:
        for number, thread in enumerate(threads, start=1):
            assert http.get("/health/live").status_code == 200
            thread.start()
            left.add(thread, 1000)
            assert f"brainmvp_engines_hung {number}.0" in http.get("/metrics").text
        for probe in ("live", "ready"):
            answer = http.get(f"/health/{probe}")
            assert answer.status_code == 503
            assert answer.json()["type"] == "urn:brainmvp:problem:not-live"
        release.set()
        for thread in threads:
            thread.join()
        assert http.get("/health/live").status_code == 200
