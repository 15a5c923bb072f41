"""The service under a path of a proxy, and HEAD for whatever GET answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from brainmvp_server.api.app import create_app
from brainmvp_server.settings import Settings

from .conftest import running

PATHS = ("/", "/docs", "/openapi.json", "/health/live", "/health/ready", "/metrics", "/v1/models",
         "/v1/models/demo-glioma", "/v1/jobs", "/page/licences.txt")  # fmt: skip


@pytest.fixture(scope="module", params=["", "/a/brainmvp"])
def root(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def proxied(
    bundles: Path, tmp_path_factory: pytest.TempPathFactory, root: str
) -> Iterator[httpx.Client]:
    jobs = tmp_path_factory.mktemp("jobs")
    settings = Settings.of(
        models=bundles, root_path=root, warm_up=False, jobs_storage=str(jobs), role="api"
    )
    with running(create_app(settings)) as http:
        yield http


@pytest.mark.parametrize("path", PATHS)
def test_a_proxy_may_keep_the_path_or_take_it_off(
    proxied: httpx.Client, root: str, path: str
) -> None:
    for given in {path, root + path}:
        assert proxied.get(given).status_code == 200, given


@pytest.mark.parametrize("path", [*PATHS, "/v1/models/nobody", "/nothing", "/v1/studies/identify"])
def test_head_is_get_without_a_body(proxied: httpx.Client, path: str) -> None:
    got, head = proxied.get(path), proxied.head(path)
    assert head.status_code == got.status_code
    assert head.content == b""
    varying = {"date", "x-request-id", "content-length" if path == "/metrics" else ""}
    assert {k: v for k, v in head.headers.items() if k not in varying} == {
        k: v for k, v in got.headers.items() if k not in varying
    }


def test_the_page_and_the_document_name_addresses_under_the_path(
    proxied: httpx.Client, root: str
) -> None:
    for page in ("/", "/docs"):
        at = httpx.URL(f"http://x{root}{page}")
        html = proxied.get(root + page).text
        linked = re.findall(r'(?:src|href)="(?!data:|#|https?:)([^"]+)"', html)
        assert linked
        for address in linked:
            assert at.join(address).path.startswith(f"{root}/")
            assert proxied.get(at.join(address).path).status_code == 200
    servers = proxied.get(f"{root}/openapi.json").json().get("servers", [])
    assert [entry["url"] for entry in servers] == ([root] if root else [])


def test_the_paths_own_name_leads_to_the_page(proxied: httpx.Client, root: str) -> None:
    if root:
        assert proxied.get(root).headers["location"] == f"{root}/"
    assert proxied.get(root or "/", follow_redirects=True).status_code == 200


def test_a_path_that_only_begins_alike_is_not_the_services(
    proxied: httpx.Client, root: str
) -> None:
    assert proxied.get(f"{root}x/v1/models").status_code == 404
