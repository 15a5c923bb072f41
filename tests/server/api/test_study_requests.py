"""Requests that bring a study: one set of rules for all calls that take one."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from brainmvp_models.bundle import Bundle
from brainmvp_server.api.app import create_app
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.runtime.service import Service
from brainmvp_server.settings import Settings

from ..conftest import rewrite_network
from .conftest import running
from .test_bad_input import refused

CALLS = ("/v1/models/swift/predict", "/v1/studies/identify", "/v1/models/swift/jobs")


@pytest.fixture
def models(swift_models: Path, tmp_path: Path) -> Path:
    """A model folder of our own."""
    return Path(shutil.copytree(swift_models, tmp_path / "models"))


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def app_of(models: Path, scratch: Path, **settings: Any) -> FastAPI:
    return create_app(
        Settings.of(
            models=models,
            scratch=scratch,
            jobs_storage=str(scratch.parent / "jobs"),
            role="api",
            watch_s=0,
            **settings,
        )
    )


def service_of(app: FastAPI) -> Service:
    service: Service = app.state.lifecycle.service
    return service


def study(scan: Path, pause: threading.Event | None = None) -> Iterator[bytes]:
    """A multipart body of one T1, which comes to its end when ``pause`` is set."""
    content = scan.read_bytes()
    yield b'--b\r\ncontent-disposition: form-data; name="files"; filename="a_t1.nii.gz"\r\n\r\n'
    yield content[:1000]
    assert pause is None or pause.wait(60)
    yield content[1000:] + b"\r\n--b--\r\n"


def post(http: httpx.Client, call: str, body: Iterator[bytes], **query: str) -> httpx.Response:
    kind = {"content-type": "multipart/form-data; boundary=b"}
    params = {"fill": "zeros", **query} if "models" in call else query
    return http.post(call, content=body, params=params, headers=kind)


@pytest.mark.parametrize("call", CALLS)
def test_nothing_is_taken_while_the_service_drains(
    models: Path, scratch: Path, scan: Path, call: str
) -> None:
    app = app_of(models, scratch)
    with running(app) as http:
        service_of(app).drain()
        answer = post(http, call, study(scan))
    refused(answer, 503, "service-closing")
    assert "retry-after" in answer.headers
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("call", CALLS)
def test_a_study_ends_with_its_time(models: Path, scratch: Path, scan: Path, call: str) -> None:
    app = app_of(models, scratch, study_s=0.001)
    with running(app) as http:
        refused(post(http, call, study(scan)), 504, "study-timed-out")
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("call", CALLS[:2])
def test_no_more_studies_are_worked_on_than_there_are_places(
    models: Path, scratch: Path, scan: Path, call: str
) -> None:
    app = app_of(models, scratch, studies=1)
    admission = service_of(app).admission
    with running(app) as http:
        with admission.place(CancelToken()):
            asking = threading.Thread(target=post, args=(http, call, study(scan)))
            asking.start()
            _until(lambda: admission.queued == 1)
        asking.join()
        assert admission.studies == 0


def test_an_identification_whose_client_leaves_gives_its_place_back(
    models: Path, scratch: Path, scan: Path
) -> None:
    app = app_of(models, scratch, studies=1)
    admission = service_of(app).admission
    with running(app) as http, admission.place(CancelToken()):
        with (
            httpx.Client(base_url=http.base_url, timeout=1) as leaving,
            pytest.raises(httpx.ReadTimeout),
        ):
            post(leaving, CALLS[1], study(scan))
        _until(lambda: admission.queued == 0 and admission.requests == 0)


@pytest.mark.parametrize("call", [CALLS[0], CALLS[2]])
def test_checks_audit_line_and_result_are_of_the_version_that_the_request_began_with(
    models: Path, scratch: Path, scan: Path, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = app_of(models, scratch)
    repository, rest = service_of(app).repository, threading.Event()
    began = repository.bundle("swift").digest
    answers: list[httpx.Response] = []
    with caplog.at_level(logging.INFO, "brainmvp.access"), running(app) as http:
        asking = threading.Thread(
            target=lambda: answers.append(post(http, call, study(scan, rest)))
        )
        asking.start()
        _until(lambda: any(scratch.glob("*/*")))
        appear(models, "2")
        assert repository.refresh() and repository.bundle("swift").manifest.version == "2"
        rest.set()
        asking.join()
        told = answers[0].json()
        assert told["version"] == "1"
        assert told.get("bundle", began) == began
    (line,) = lines(caplog)
    assert (line["version"], line["bundle"]) == ("1", began)


def test_a_bundle_replaced_before_its_network_was_loaded_is_checked_and_noted_anew(
    models: Path, scratch: Path, scan: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = app_of(models, scratch, warm_up=False)
    rest, answers = threading.Event(), list[httpx.Response]()
    with caplog.at_level(logging.INFO, "brainmvp.access"), running(app) as http:
        asking = threading.Thread(
            target=lambda: answers.append(post(http, CALLS[0], study(scan, rest)))
        )
        asking.start()
        _until(lambda: any(scratch.glob("*/*")))
        now = rewrite_network(models / "swift" / "1", seed=3)
        rest.set()
        asking.join()
        assert answers[0].json()["bundle"] == now
    (line,) = lines(caplog)
    assert line["bundle"] == now


def test_uploads_are_written_and_removed_beside_the_event_loop(
    models: Path, scratch: Path, scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, loop, at_work = app_of(models, scratch), set[int](), set[int]()

    @app.get("/v1/which")
    async def which() -> None:
        loop.add(threading.get_ident())

    def noting(usual: Any) -> Any:
        def noted(path: Any, *given: Any, **named: Any) -> Any:
            if Path(path).is_relative_to(scratch):
                at_work.add(threading.get_ident())
            return usual(path, *given, **named)

        return noted

    monkeypatch.setattr(Path, "open", noting(Path.open))
    monkeypatch.setattr(Path, "mkdir", noting(Path.mkdir))
    monkeypatch.setattr(shutil, "rmtree", noting(shutil.rmtree))
    with running(app) as http:
        http.get("/v1/which")
        for call in CALLS:
            assert post(http, call, study(scan)).status_code in (200, 202)
    assert at_work and loop and not at_work & loop


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The audit lines of a service that has ended."""
    return [record.fields for record in caplog.records if record.name == "brainmvp.access"]  # type: ignore[attr-defined]


def appear(models: Path, version: str) -> None:
    """Another version of the bundle, put there at once."""
    aside = models / ".aside"
    bundle = Bundle.open(models / "swift" / "1")
    shutil.copytree(bundle.root, aside)
    manifest = bundle.manifest.model_copy(update={"version": version})
    (aside / "manifest.json").write_text(manifest.model_dump_json())
    aside.rename(models / "swift" / version)


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
