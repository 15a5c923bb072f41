"""A page of the web that attacks a service on the machine of whoever looks at it, in Chromium.

The service runs without keys on loopback, as on a clinician's own machine, and has a result.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from brainmvp_models.bundle import Bundle
from serving import serving

WAIT_S = 120
VIEWER = "viewer.test"
EVIL = "evil.test"


class Pages(BaseHTTPRequestHandler):
    """A web server that has one empty page everywhere."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>a page</title>")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[int]:
    """The port of a web server that is not ours."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Pages))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def server(
    coarse_bundle: Bundle, elsewhere: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("attacked")
    with serving(
        coarse_bundle.root.parents[1],
        folder,
        "--jobs-storage",
        folder / "jobs",
        "--allowed-origins",
        f"http://{VIEWER}:{elsewhere}",
    ) as url:
        yield url


@pytest.fixture(scope="module")
def browser(program: Callable[[str], Path]) -> Iterator[Browser]:
    """Chromium, for which every name ending in .test is this machine, as an attacker's DNS says."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program("chromium"),
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                  "--host-resolver-rules=MAP *.test 127.0.0.1",
                  # As browsers are that know no address spaces: the service must not need them to.
                  "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests"],
        )  # fmt: skip
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    context.set_default_timeout(WAIT_S * 1000)
    yield context.new_page()
    context.close()


def jobs(server: str) -> list[object]:
    return list(httpx.get(f"{server}/v1/jobs", timeout=WAIT_S).json()["jobs"])


READ = """async ([url, mode]) => {
    const answer = await fetch(url, {mode}).catch((error) => null);
    return answer === null ? "" : (await answer.text());
}"""
POST = """async ([url, mode]) => {
    const form = new FormData();
    form.append("t1", new Blob(["no volume"]), "t1.nii.gz");
    const answer = await fetch(url, {method: "POST", body: form, mode}).catch(() => null);
    return answer === null ? "" : `${answer.status} ${await answer.text()}`;
}"""
FORM = """(url) => {
    const form = document.createElement("form");
    Object.assign(form, {method: "POST", action: url, enctype: "multipart/form-data"});
    const part = document.createElement("input");
    Object.assign(part, {name: "t1", value: "no volume"});
    form.append(part);
    document.body.append(form);
    form.submit();
}"""
EMBED = """async (url) => {
    const loaded = (element) => new Promise((resolve) => {
        element.onload = () => resolve(true);
        element.onerror = () => resolve(false);
        element.src = url;
        document.head.append(element);
    });
    return [await loaded(document.createElement("script")),
            await loaded(document.createElement("img"))];
}"""


@pytest.mark.parametrize("mode", ["cors", "no-cors"])
def test_a_foreign_page_reads_and_posts_nothing(
    page: Page, server: str, elsewhere: int, mode: str
) -> None:
    page.goto(f"http://{EVIL}:{elsewhere}/")
    for path in ("/v1/models", "/v1/jobs", "/openapi.json", "/health/live", "/metrics"):
        assert page.evaluate(READ, [f"{server}{path}", mode]) == ""
    for path in ("/v1/models/tiny/jobs", "/v1/models/tiny/predict", "/v1/studies/identify"):
        assert page.evaluate(POST, [f"{server}{path}", mode]).strip() in ("", "0")
    assert page.evaluate(EMBED, f"{server}/v1/jobs") == [False, False]
    assert jobs(server) == []


def test_a_foreign_form_posts_no_job(page: Page, server: str, elsewhere: int) -> None:
    page.goto(f"http://{EVIL}:{elsewhere}/")
    with page.expect_response("**/v1/models/tiny/jobs*") as sent:
        page.evaluate(FORM, f"{server}/v1/models/tiny/jobs?fill=zeros")
    assert sent.value.status == 403
    assert jobs(server) == []


def test_a_name_that_is_led_here_reads_nothing(page: Page, server: str) -> None:
    """DNS rebinding: to the browser the service is the attacker's own origin."""
    port = server.rsplit(":", 1)[1]
    rebound = f"http://{EVIL}:{port}"
    answer = page.goto(f"{rebound}/")
    assert answer is not None and answer.status == 421
    # The attacker's page came from there before the name was led here.
    page.route(f"{rebound}/before", lambda route: route.fulfill(body="a page"))
    page.goto(f"{rebound}/before")
    for path in ("/v1/models", "/v1/jobs", "/openapi.json", "/metrics"):
        assert "wrong-host" in page.evaluate(READ, [f"{rebound}{path}", "cors"])
    assert page.evaluate(POST, [f"{rebound}/v1/models/tiny/jobs", "cors"]).startswith("421")
    assert jobs(server) == []


def test_a_foreign_page_cannot_frame_ours(page: Page, server: str, elsewhere: int) -> None:
    page.goto(f"http://{EVIL}:{elsewhere}/")
    page.evaluate(
        """(url) => new Promise((resolve) => {
            const frame = document.createElement("iframe");
            frame.onload = resolve;
            frame.src = url;
            document.body.append(frame);
        })""",
        f"{server}/",
    )
    assert "Skip to the study" not in page.frames[1].content()


def test_a_viewer_that_is_listed_reads_and_its_posts_are_looked_at(
    page: Page, server: str, elsewhere: int
) -> None:
    page.goto(f"http://{VIEWER}:{elsewhere}/")
    assert '"tiny"' in page.evaluate(READ, [f"{server}/v1/models", "cors"])
    assert page.evaluate(POST, [f"{server}/v1/models/tiny/jobs", "cors"]).startswith("422")


def test_a_link_to_our_page_is_followed(page: Page, server: str, elsewhere: int) -> None:
    page.goto(f"http://{EVIL}:{elsewhere}/")
    page.evaluate("(url) => { location.href = url; }", f"{server}/")
    page.wait_for_url(f"{server}/")
    assert page.title() != "a page"
