"""Make the pictures of the documentation anew: the page, light and dark, a report and a preview.

    make pictures

The demonstration study, which lacks its FLAIR, goes to the demonstration model of a running server,
and Debian's chromium shows the result. Those of a real patient (``clinical_pictures.py``) come
last, where the real scans are there. Takes a minute.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import clinical_pictures
import httpx
from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright

FOLDER = Path(__file__).parent
EXAMPLES = FOLDER.parent / "examples"
MODEL = "demo-glioma"
SENT = ("t1", "t1c", "t2")
WAIT_MS = 300_000
LARGEST = 300_000
"""Bytes of a picture."""


@contextmanager
def server(jobs: Path) -> Iterator[str]:
    """A server of the demonstration models on a free port of 127.0.0.1; its address."""
    command = [
        sys.executable, "-m", "brainmvp_clients.cli", "serve", "--port", "0",
        "--models", str(EXAMPLES / "bundles"), "--jobs-storage", str(jobs),
        "--log-level", "warning",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("listening on "):
                    yield line.split()[-1]
                    break
            else:
                raise SystemExit("the server did not start; its message is above")
        finally:
            process.terminate()
            process.wait(timeout=60)


def job(http: httpx.Client) -> str:
    """A finished job of the demonstration study; its id."""
    study = EXAMPLES / "glioma_study"
    answer = http.post(
        f"/v1/models/{MODEL}/jobs",
        files={name: (study / f"{name}.nii.gz").read_bytes() for name in SENT},
        params={"channels": "true", "probabilities": "true"},
    )
    answer.raise_for_status()
    found = str(answer.json()["id"])
    if "event: done" not in (told := http.get(f"/v1/jobs/{found}/events").text):
        raise SystemExit(f"the job was not done; its last event: {told.splitlines()[-3:]}")
    return found


def page(browser: Browser, address: str, job: str, scheme: str) -> bytes:
    """The page with the job's result, in a light or a dark scheme, as PNG."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 860},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    context.set_default_timeout(WAIT_MS)
    shown = context.new_page()
    shown.goto(f"{address}/#job={job}")
    expect(shown.locator("#frame[data-state=ready]")).to_be_visible(timeout=WAIT_MS)
    expect(shown.locator("#frame[aria-busy]")).to_have_count(0, timeout=WAIT_MS)
    picture = shown.screenshot()
    context.close()
    return picture


def report(browser: Browser, html: str) -> bytes:
    """A report as it is read on a screen, as PNG."""
    context = browser.new_context(viewport={"width": 900, "height": 1150})
    shown = context.new_page()
    shown.set_content(html, wait_until="load")
    picture = shown.screenshot()
    context.close()
    return picture


def write(name: str, picture: bytes) -> None:
    """Write a picture without a loss, as small as that can be.

    Raises:
        SystemExit: it is too large for the repository.
    """
    Image.open(io.BytesIO(picture)).convert("RGB").save(FOLDER / name, optimize=True)
    if (size := (FOLDER / name).stat().st_size) > LARGEST:
        raise SystemExit(f"{name}: {size} bytes, more than {LARGEST}; show less of it")


def of_the_page() -> None:
    """The page, a report and a preview."""
    with (
        tempfile.TemporaryDirectory() as folder,
        server(Path(folder)) as address,
        httpx.Client(base_url=address, timeout=WAIT_MS / 1000) as http,
        sync_playwright() as playwright,
    ):
        made = job(http)
        results = f"/v1/jobs/{made}/results"
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=[
                "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader",
                "--enable-unsafe-swiftshader", "--disable-dev-shm-usage",
            ],
        )  # fmt: skip
        write("page.png", page(browser, address, made, "light"))
        write("page-dark.png", page(browser, address, made, "dark"))
        write("report.png", report(browser, http.get(f"{results}/report.html").text))
        write("preview.png", http.get(f"{results}/preview.png").content)
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--shared", type=Path, default=clinical_pictures.SHARED, help="Folder of the real scans."
    )
    shared = parser.parse_args().shared
    of_the_page()
    if (shared / clinical_pictures.PATIENT).is_dir():
        clinical_pictures.write_all(shared)
    else:
        print(f"{shared} has no real scans: the pictures of docs/clinical.md stay as they are")


if __name__ == "__main__":
    main()
