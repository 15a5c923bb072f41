"""Who gets through the door of a running service, and what is written about it."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from brainmvp_models.errors import InvalidSettings
from brainmvp_server.api.app import create_app
from brainmvp_server.api.caller import Door, Scope
from brainmvp_server.api.security.guard import is_loopback
from brainmvp_server.api.security.keys import KeyFile, new_key
from brainmvp_server.api.security.scopes import CALLS, call_of
from brainmvp_server.settings import Settings

from ..conftest import running
from ..test_bad_input import refused


@dataclass(frozen=True)
class Guarded:
    """A service that asks for keys, and a key of each scope."""

    http: httpx.Client
    keys: dict[str, str]

    def get(self, path: str, key: str | None = None, **headers: str) -> httpx.Response:
        if key is not None:
            headers["authorization"] = f"Bearer {self.keys.get(key, key)}"
        return self.http.get(path, headers=headers)


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    pairs = {scope.value: new_key(scope.value, (scope,)) for scope in Scope}
    KeyFile(keys=tuple(record for _, record in pairs.values())).write(path)
    return path, {name: key for name, (key, _) in pairs.items()}


@pytest.fixture(scope="module")
def guarded(bundles: Path, keys_file: tuple[Path, dict[str, str]]) -> Iterator[Guarded]:
    path, keys = keys_file
    with running(
        create_app(Settings.of(models=bundles, keys_file=path, warm_up=False, monailabel=True))
    ) as http:
        yield Guarded(http, keys)


def _documented(app: FastAPI) -> dict[str, Any]:
    paths: dict[str, Any] = app.openapi()["paths"]
    return paths


def test_every_call_of_the_service_stands_in_the_table_and_none_else(
    bundles: Path, tmp_path: Path
) -> None:
    app = create_app(Settings.of(models=bundles, jobs_storage=str(tmp_path), monailabel=True))
    paths = {*_documented(app), "/", "/page/{file}", "/docs", "/openapi.json"}
    assert paths == {path.replace(":path}", "}") for path in CALLS}


def test_the_document_says_which_calls_need_a_key(bundles: Path) -> None:
    app = create_app(Settings.of(models=bundles))
    for path, operations in _documented(app).items():
        for operation in operations.values():
            guarded = CALLS[path] is not Door.OPEN
            assert ("security" in operation) is guarded
            assert ("401" in operation["responses"]) is guarded
    assert app.openapi()["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


def test_each_key_opens_what_its_scope_is_for_and_nothing_else(guarded: Guarded) -> None:
    for template, need in CALLS.items():
        path = template.replace("{name}", "demo-glioma")
        path = (
            path.replace("{job}", "x")
            .replace("{file:path}", "x/y")
            .replace("{file}", "licences.txt")
        )
        assert call_of(path) == template
        nobody = guarded.get(path)
        if need is Door.OPEN:
            assert nobody.status_code in (200, 405), path  # 405: open, to another method
            continue
        refused(nobody, 401, "unauthenticated", "Bearer")
        assert nobody.headers["www-authenticate"].startswith("Bearer")
        for scope in Scope:
            answer = guarded.get(path, scope.value)
            if need in (Door.KNOWN, scope) or scope is Scope.ADMIN:
                assert answer.status_code not in (401, 403), path
            else:
                refused(answer, 403, "forbidden", need.value)
                assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer  bmvp", "Basic cHJlZGljdA==", "Bearer bmvp_x", "Bearer \xe9", "bmvp_x"],
)
def test_anything_but_a_valid_bearer_is_refused(guarded: Guarded, header: str) -> None:
    answer = guarded.http.get("/v1/models", headers=[(b"authorization", header.encode("latin-1"))])
    refused(answer, 401, "unauthenticated")


def test_a_path_that_is_no_call_is_not_found_and_tells_strangers_nothing(
    guarded: Guarded,
) -> None:
    for path in ("/v1/nothing", "/v1/models/", "//v1/models", "/v1/models/a/b/c"):
        refused(guarded.get(path), 401, "unauthenticated")
        refused(guarded.get(path, "predict"), 404, "not-found")


def test_an_upload_is_refused_before_it_has_arrived(guarded: Guarded) -> None:
    url = guarded.http.base_url
    head = (
        "POST /v1/models/demo-glioma/predict HTTP/1.1\r\nhost: x\r\n"
        "content-type: multipart/form-data; boundary=b\r\ncontent-length: 1000000000\r\n\r\n"
    )
    with socket.create_connection((url.host, url.port or 80), timeout=60) as connection:
        connection.sendall(head.encode() + bytes(1000))
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 401")


def test_a_service_that_others_could_reach_does_not_start_without_keys(
    bundles: Path, keys_file: tuple[Path, dict[str, str]]
) -> None:
    for host in ("0.0.0.0", "::", "192.168.1.5", "brainmvp.example"):
        with pytest.raises(InvalidSettings, match="brainmvp keys new") as caught:
            create_app(Settings.of(models=bundles, host=host))
        assert host in str(caught.value)
        create_app(Settings.of(models=bundles, host=host, auth=False))
        create_app(Settings.of(models=bundles, host=host, keys_file=keys_file[0]))


def test_loopback_is_known_by_every_spelling() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.org", "", "127.1.x")))


def test_keys_are_asked_for_on_loopback_too_once_there_are_any(guarded: Guarded) -> None:
    assert guarded.get("/v1/models").status_code == 401


def test_every_access_is_one_line_with_who_what_and_how_it_ended(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    number = "0123456789abcdef0123456789abcdef"
    with caplog.at_level(logging.INFO, "brainmvp.access"):
        guarded.http.post(
            "/v1/models/demo-glioma/predict?assign=Doe:none",
            headers={"authorization": f"Bearer {guarded.keys['predict']}", "x-request-id": number},
        )
        guarded.get("/v1/models")
        guarded.get("/health/live")
        deadline = time.monotonic() + 60
        while len(caplog.records) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)  # an answer may be there before its line is
    lines = [record.fields for record in caplog.records]  # type: ignore[attr-defined]
    assert len(lines) == 2
    posted, stranger = lines
    assert posted["caller"] == "predict" and posted["model"] == "demo-glioma"
    assert posted["bundle"].startswith("sha256:") and posted["version"] == "1"
    assert posted["call"] == "/v1/models/{name}/predict" and posted["method"] == "POST"
    assert posted["status"] == 415 and posted["problem"] == "unsupported-content-type"
    assert posted["seconds"] >= 0
    assert stranger["caller"] is None and stranger["problem"] == "unauthenticated"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("0123456789abcdef", True),
        ("6c84fb90-12c4-11e1-840d-7b25c5ee775a", True),
        ("Doe-Jane-19700101", False),
        ("short", False),
        ("a" * 65, False),
    ],
)
def test_a_request_id_is_kept_if_it_cannot_spell_a_name(
    guarded: Guarded, sent: str, kept: bool
) -> None:
    answer = guarded.get("/health/live", **{"x-request-id": sent})
    given = answer.headers["x-request-id"]
    assert (given == sent) is kept
    assert kept or len(given) == 32


def test_answers_are_not_stored_not_framed_and_load_nothing(guarded: Guarded) -> None:
    for path, key in (("/v1/models", "predict"), ("/v1/models", None), ("/nothing", "admin")):
        headers = guarded.get(path, key).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "strict-transport-security" not in headers
    for path in ("/", "/docs"):
        page = guarded.get(path).headers["content-security-policy"]
        assert "frame-ancestors 'none'" in page and "script-src 'self';" in page
