"""Which pages may reach the service through a browser, and by which names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from brainmvp_server.api.app import create_app
from brainmvp_server.settings import Settings

from ..conftest import running
from ..test_bad_input import refused

VIEWER = "https://viewer.example.org"
FORM = {"content-type": "multipart/form-data; boundary=b"}


@pytest.fixture(scope="module")
def open_service(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Without keys, on loopback, as on a clinician's own machine."""
    jobs = tmp_path_factory.mktemp("jobs")
    settings = Settings.of(
        models=bundles, warm_up=False, jobs_storage=str(jobs), role="api", allowed_origins=[VIEWER]
    )
    with running(create_app(settings)) as http:
        yield http


@pytest.mark.parametrize(
    ("host", "answered"),
    [
        ("127.0.0.1:8000", True),
        ("127.8.8.8", True),
        ("localhost", True),
        ("LOCALHOST:8000", True),
        ("localhost.", True),
        ("[::1]:8000", True),
        ("10.1.2.3:8000", True),  # no name leads to it
        ("evil.example", False),
        ("evil.example:8000", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("[::1].evil.example", True),  # no browser sends it: it is no host
        ("x", False),
    ],
)
def test_without_keys_only_loopback_names_and_addresses_are_answered_to(
    open_service: httpx.Client, host: str, answered: bool
) -> None:
    for path in ("/v1/models", "/v1/jobs", "/", "/openapi.json", "/nothing"):
        answer = open_service.get(path, headers={"host": host})
        if answered:
            assert answer.status_code in (200, 404)
        else:
            refused(answer, 421, "wrong-host", "allowed-hosts")
    assert open_service.get("/health/live", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    ("settings", "host", "status"),
    [
        ({}, "evil.example", 401),  # a page that is led here has no key
        ({"allowed_hosts": ["brainmvp.example.org"]}, "evil.example", 421),
        ({"allowed_hosts": ["brainmvp.example.org"]}, "brainmvp.example.org:8000", 401),
        ({"allowed_hosts": ["*.example.org"]}, "a.b.example.org", 401),
        ({"allowed_hosts": ["*.example.org"]}, "example.org", 421),
        ({"allowed_hosts": ["*"]}, "evil.example", 401),
    ],
)
def test_names_are_those_that_the_settings_say(
    bundles: Path, tmp_path: Path, settings: dict[str, object], host: str, status: int
) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text('{"keys": []}')
    app = create_app(Settings.of(models=bundles, warm_up=False, keys_file=keys, **settings))
    with running(app) as http:
        assert http.get("/v1/models", headers={"host": host}).status_code == status
        # The kubelet asks by the pod's address; others by whatever name.
        assert http.get("/health/ready", headers={"host": host}).status_code == 200


NAVIGATION = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


@pytest.mark.parametrize(
    ("headers", "posts", "gets"),
    [
        ({}, True, True),  # no browser
        ({"origin": "http://localhost:8000", "host": "localhost:8000"}, True, True),
        ({"origin": "http://localhost", "host": "localhost:80"}, True, True),
        ({"origin": "https://a.example", "host": "localhost", "x-forwarded-host": "a.example"},
         True, True),
        ({"origin": VIEWER}, True, True),
        ({"origin": VIEWER, "sec-fetch-site": "cross-site"}, True, True),
        ({"sec-fetch-site": "same-origin", "origin": "https://proxied.example"}, True, True),
        ({"sec-fetch-site": "none", **NAVIGATION}, True, True),
        ({"sec-fetch-site": "cross-site", **NAVIGATION}, False, True),  # a link
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate",
          "sec-fetch-dest": "iframe"}, False, False),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, False, False),
        ({"sec-fetch-site": "same-site", "origin": "http://localhost:3000"}, False, False),
        ({"sec-fetch-site": "cross-site", "origin": "https://evil.example", **NAVIGATION},
         False, False),
        ({"origin": "https://evil.example"}, False, False),
        ({"origin": "https://viewer.example.org.evil.example"}, False, False),
        ({"origin": "http://viewer.example.org"}, False, False),
        ({"origin": "http://localhost:3000", "host": "localhost:8000"}, False, False),
        ({"origin": "null"}, False, False),
        ({"origin": "http://[broken"}, False, False),
    ],
)  # fmt: skip
def test_pages_of_other_origins_are_refused_whatever_they_ask(
    open_service: httpx.Client, headers: dict[str, str], posts: bool, gets: bool
) -> None:
    paths = (
        "/v1/models/demo-glioma/jobs",
        "/v1/models/demo-glioma/predict",
        "/v1/studies/identify",
    )
    for path in paths:
        answer = open_service.post(path, content=b"--b--", headers={**headers, **FORM})
        if posts:
            assert answer.status_code == 400
        else:
            refused(answer, 403, "foreign-origin", "allowed-origins")
    for path in ("/v1/jobs", "/v1/models", "/"):
        assert open_service.get(path, headers=headers).status_code == (200 if gets else 403)


def test_a_listed_viewer_is_told_by_cors_and_nobody_else_is(open_service: httpx.Client) -> None:
    asked = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, idempotency-key",
    }
    answer = open_service.options("/v1/studies/identify", headers={"origin": VIEWER, **asked})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == VIEWER
    assert "authorization" in answer.headers["access-control-allow-headers"].lower()
    assert "access-control-allow-credentials" not in answer.headers
    read = open_service.get("/v1/models", headers={"origin": VIEWER})
    assert read.headers["access-control-allow-origin"] == VIEWER
    for headers in ({"origin": "https://evil.example"}, {}):
        for other in (
            open_service.options("/v1/studies/identify", headers={**headers, **asked}),
            open_service.get("/v1/models", headers=headers),
        ):
            assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("allowed_origins", "*"),
        ("allowed_origins", "viewer.example.org"),
        ("allowed_origins", "https://viewer.example.org/"),
        ("allowed_hosts", "brainmvp.example.org:8000"),
        ("allowed_hosts", "https://brainmvp.example.org"),
        ("root_path", "brainmvp"),
        ("root_path", "/brainmvp/"),
    ],
)
def test_a_setting_that_would_not_do_what_it_seems_is_refused(
    bundles: Path, setting: str, value: str
) -> None:
    with pytest.raises(ValueError, match=setting.split("_")[1].rstrip("s")):
        Settings.of(models=bundles, **{setting: value})
