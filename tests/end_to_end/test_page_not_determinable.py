"""The page says what a study's modalities cannot decide, and of whom its figures are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import nibabel as nib
import numpy as np
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from brainmvp_models.bundle import Bundle
from brainmvp_models.manifest import SubsetQuality
from brainmvp_models.modality import Modality
from limited_bundle import PEOPLE, measured, needing
from serving import serving

WAIT_MS = 180_000


@pytest.fixture(scope="module")
def server(coarse_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose model cannot tell an enhancing tumour without a T1c."""
    folder = tmp_path_factory.mktemp("limited-page")
    line = SubsetQuality(
        real=(Modality.T1,), fill="zeros", output="WT", metric="dice",
        value=0.42, low=0.3, high=0.5, studies=12,
    )  # fmt: skip
    needy = needing(coarse_bundle, folder / "needy", {"ET": Modality.T1C})
    measured(needy, folder / "models", line)
    with serving(folder / "models", folder, "--jobs-storage", folder / "jobs") as url:
        yield url


@pytest.fixture(scope="module")
def job(server: str, colin27: Path) -> str:
    """A finished job of a T1 alone."""
    part = nib.load(colin27).slicer[60:110, 70:120, 60:110]
    scan = nib.Nifti1Image(np.asarray(part.dataobj), part.affine).to_bytes()
    with httpx.Client(base_url=server, timeout=WAIT_MS / 1000) as http:
        query = {"fill": "zeros"}
        answer = http.post("/v1/models/tiny/jobs", files={"t1": ("t1.nii", scan)}, params=query)
        assert answer.status_code == 202, answer.text
        found = str(answer.json()["id"])
        assert "event: done" in http.get(f"/v1/jobs/{found}/events").text
    return found


@pytest.fixture
def page(server: str, job: str, program: Callable[[str], Path]) -> Iterator[Page]:
    """The job's result in a browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program("chromium"),
            args=["--no-sandbox", "--disable-dev-shm-usage"],
        )
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.set_default_timeout(WAIT_MS)
        page.goto(f"{server}/#job={job}")
        yield page
        browser.close()


def test_the_page_says_before_a_run_what_the_chosen_series_do_not_decide(
    page: Page, tmp_path: Path
) -> None:
    image = nib.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4))
    for name in ("t1", "t1c"):
        nib.save(image, tmp_path / f"{name}.nii.gz")
    said = page.locator("#undecided")
    page.locator("#files").set_input_files([tmp_path / "t1.nii.gz"])
    expect(said).to_contain_text("a result leaves out", timeout=WAIT_MS)
    expect(said).to_contain_text("Enhancing tumour: it needs t1c")
    page.locator("#files").set_input_files([tmp_path / "t1.nii.gz", tmp_path / "t1c.nii.gz"])
    expect(page.locator("#is-1")).to_be_visible(timeout=WAIT_MS)
    expect(said).to_be_empty()


def test_what_cannot_be_told_stands_before_what_was_found_and_figures_say_whom_they_are_of(
    page: Page,
) -> None:
    open_outputs = page.locator("#not-determinable")
    expect(open_outputs).to_contain_text("Enhancing tumour: it needs t1c", timeout=WAIT_MS)
    expect(open_outputs).to_contain_text("Missing: T1c.")
    expect(page.locator(".legend tbody tr")).to_have_count(2)
    expect(page.locator(".legend thead")).to_contain_text("Confidence")
    expect(page.locator(".warnings").last).not_to_contain_text("is not determinable")
    facts = page.locator("#facts")
    expect(facts).to_contain_text("Measured on 12 patient studies")
    expect(facts).to_contain_text(PEOPLE.field_of_use)
