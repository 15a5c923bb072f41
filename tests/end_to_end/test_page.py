"""The page in a real browser, against a real server: what a person does, and what they see.

Chromium draws without a graphics card here (SwiftShader), so pictures are small and few.
"""

from __future__ import annotations

import io
import json
import math
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import nibabel as nib
import nrrd
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, Route, expect, sync_playwright

from brainmvp_models.bundle import Bundle
from brainmvp_server.api.caller import Scope
from brainmvp_server.api.security.keys import KeyFile, new_key
from dicom_studies import Study, write_study
from dicom_studies.raw import write_raw_study
from page_bundle import write_page_bundle
from serving import serving

WAIT_MS = 180_000
ASKED = """document.getElementById("files").addEventListener("click", (event) => {
    event.preventDefault();
    window.asked = true;
})"""
expect.set_options(timeout=WAIT_MS)
GRADE = "tumour-grade"
SERIES = ("t1", "t1c", "t2", "flair")
Floats = NDArray[np.float64]
FIRST_LOAD = 1_200_000
"""Bytes, compressed, of everything the page loads before and with the first result."""


@dataclass
class Watched:
    """What a browser's pages did that they should not."""

    outside: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser(program: Callable[[str], Path]) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program("chromium"),
            args=[
                "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader",
                "--enable-unsafe-swiftshader", "--disable-dev-shm-usage",
            ],
        )  # fmt: skip
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def models(
    coarse_bundle: Bundle, grade_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A segmentation, which the page shows first, and a classification."""
    folder = tmp_path_factory.mktemp("page-models")
    grade = folder / GRADE / "1"
    shutil.copytree(grade_bundle.root, grade)
    manifest = grade_bundle.manifest.model_copy(update={"name": GRADE})
    (grade / "manifest.json").write_text(manifest.model_dump_json())
    return write_page_bundle(coarse_bundle, folder)


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("page-server")
    with serving(models, folder, "--jobs-storage", folder / "jobs") as url:
        yield url


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A DICOM study of one window: a T1 and a FLAIR."""
    folder = tmp_path_factory.mktemp("page-study") / "study"
    return write_study(folder, "siemens", ("t1", "flair"), part=True)


@pytest.fixture(scope="module")
def scan(colin27: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small part of a real scan, under a name that tells nothing."""
    image = nib.load(colin27).slicer[50:110, 60:130, 50:110]
    path = tmp_path_factory.mktemp("page-scan") / "head.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine), path)
    return path


@pytest.fixture(scope="module")
def job(server: str, scan: Path) -> str:
    """A finished job of T1, T1c and T2, with all that the page shows."""
    with httpx.Client(base_url=server, timeout=WAIT_MS / 1000) as http:
        answer = http.post(
            "/v1/models/tiny/jobs",
            files=dict.fromkeys(("t1", "t1c", "t2"), scan.read_bytes()),
            params={
                "fill": "center",
                "channels": "true",
                "probabilities": "true",
                "prepare": "none",
            },
        )
        assert answer.status_code == 202, answer.text
        found = str(answer.json()["id"])
        last = http.get(f"/v1/jobs/{found}/events").text
    assert "event: done" in last, last
    return found


@contextmanager
def opened(browser: Browser, server: str, **options: object) -> Iterator[tuple[Page, Watched]]:
    """A page in a context of its own, watched."""
    size = {"width": 1200, "height": 800}
    context = browser.new_context(viewport=size, **options)  # type: ignore[arg-type]
    page, watched = context.new_page(), Watched()
    context.set_default_timeout(WAIT_MS)
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((server, "data:", "blob:", "about:"))
            else watched.outside.append(request.url)
        ),
    )
    page.on("pageerror", lambda error: watched.errors.append(str(error)))
    page.on(
        "console",
        lambda message: (
            watched.errors.append(message.text) if "Security Policy" in message.text else None
        ),
    )
    try:
        yield page, watched
    finally:
        context.close()


@pytest.fixture
def page(browser: Browser, server: str) -> Iterator[Page]:
    """A page of the server that keeps to the server, and whose scripts do not fail."""
    with opened(browser, server) as (page, watched):
        yield page
    assert watched.outside == [], "the page asked other addresses"
    assert watched.errors == []


def shown(page: Page, server: str, job: str) -> Locator:
    """The canvas of a result, once it is drawn."""
    page.goto(f"{server}/#job={job}")
    expect(page.locator("#frame[data-state=ready]")).to_be_visible(timeout=WAIT_MS)
    return settled(page)


def settled(page: Page) -> Locator:
    expect(page.locator("#frame[aria-busy]")).to_have_count(0)
    return page.locator("#canvas")


def coloured(canvas: Locator) -> int:
    """Pixels of the canvas in a colour of a structure: neither grey nor the crosshair's blue."""
    picture = Image.open(io.BytesIO(canvas.screenshot())).convert("RGB")
    red, green, blue = np.moveaxis(np.asarray(picture, dtype=int), 2, 0)
    strong = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return int(np.count_nonzero((strong > 50) & (np.maximum(red, green) > blue + 20)))


def grey(canvas: Locator) -> Floats:
    """The canvas as grey levels."""
    return np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("L"), dtype=float)


def until_coloured(canvas: Locator, least: float = 0, most: float = math.inf) -> None:
    """Wait until so many pixels are coloured."""
    deadline = time.monotonic() + WAIT_MS / 1000
    while not least <= (now := coloured(canvas)) <= most:
        assert time.monotonic() < deadline, f"{now} pixels are coloured"


def choose(page: Page, name: str) -> None:
    page.locator(f"#{name}").check(force=True)


def caught(page: Page, held: list[Route]) -> Route:
    """The request that is held back, once it is made."""
    deadline = time.monotonic() + WAIT_MS / 1000
    while not held:
        assert time.monotonic() < deadline, "it is not made"
        page.wait_for_timeout(20)
    return held.pop()


def test_a_dicom_study_is_told_apart_corrected_run_and_shown(
    page: Page, server: str, study: Study
) -> None:
    page.goto(server)
    expect(page.locator("#model-about")).to_contain_text("demonstration model")
    page.locator("#folder").set_input_files(study.folder)
    volumes = page.locator(".volume")
    expect(volumes).to_have_count(2)
    assert {select.input_value() for select in volumes.locator("select").all()} == {"t1", "flair"}
    # The FLAIR is a T1c, says the user; a T1c is then real, and a FLAIR filled.
    volumes.locator("select").nth(1).select_option("t1c")
    page.locator("#fill").select_option("center")
    states = page.locator(".channel").all_inner_texts()
    assert [text.split()[-1] for text in states] == ["real", "real", "template", "template"]
    expect(page.locator("#expected tbody tr")).to_have_count(3)
    expect(page.locator("#expected tbody td").first).to_have_text("0.8000.70 to 0.90")
    page.locator("#run").click()
    expect(page.locator("#progress-panel")).to_be_visible()
    expect(page.locator("#frame[data-state=ready]")).to_be_visible(timeout=WAIT_MS)
    expect(page.locator("#progress-panel")).to_be_hidden()
    expect(page.locator(".legend tbody tr")).to_have_count(3)
    expect(page.locator("#facts")).to_contain_text("not this patient")
    expect(page.locator("#history .job")).to_have_count(1)
    until_coloured(settled(page), least=500)
    with page.expect_download() as download:
        page.get_by_role("button", name="DICOM SEG").click()
    assert Path(download.value.path()).read_bytes()[128:132] == b"DICM"


def test_a_raw_study_is_dropped_and_its_brain_and_mask_are_seen(
    page: Page, server: str, real_data: Callable[[str], Path], tmp_path: Path
) -> None:
    source = real_data("clinical") / "fg6692" / "raw"
    raw = write_raw_study(tmp_path / "study", source, SERIES)
    page.goto(server)
    drop(page, raw.folder)
    volumes = page.locator(".volume")
    expect(volumes).to_have_count(4)
    assert sorted(one.input_value() for one in volumes.locator("select").all()) == sorted(SERIES)
    expect(page.locator(".channel.real")).to_have_count(4)
    page.locator("#run").click()
    expect(page.locator("#frame[data-state=ready]")).to_be_visible(timeout=WAIT_MS)
    prepared = page.locator("#preparation")
    expect(prepared).to_contain_text("Onto T1c")
    expect(prepared.locator("tbody tr")).to_have_count(3)
    expect(prepared).to_contain_text("Brain ")
    picture = prepared.locator("img")
    picture.scroll_into_view_if_needed()
    expect(picture).to_have_attribute("src", re.compile("^blob:"))
    expect(picture).to_have_js_property("complete", True)
    assert picture.evaluate("image => image.naturalHeight") > 4 * 150
    choose(page, "volume-flair")
    page.locator("#overlay").select_option("")
    canvas = settled(page)
    until_coloured(
        canvas, least=300
    )  # the outline of the brain, over the FLAIR where it was brought
    page.locator("#brain").uncheck()
    until_coloured(canvas, most=50)
    page.locator("#overlay").select_option("mask.nii.gz")
    until_coloured(canvas, least=500)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Mask, NIfTI").click()
    saved.value.save_as(tmp_path / "mask.nii.gz")
    mask, t1c = nib.load(tmp_path / "mask.nii.gz"), raw.series["t1c"].image
    assert sorted(mask.shape) == sorted(t1c.shape)


def drop(page: Page, folder: Path) -> None:
    """Carry a folder over the page's field and let it go there, as the browser does for a hand."""
    zone = page.locator("#drop")
    box = zone.bounding_box()
    assert box is not None
    place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    carried = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
    devtools = page.context.new_cdp_session(page)

    def over_after(kind: str) -> bool:
        devtools.send("Input.dispatchDragEvent", {"type": kind, "data": carried, **place})
        page.wait_for_timeout(250)
        return bool(zone.evaluate("zone => zone.classList.contains('over')"))

    deadline = time.monotonic() + WAIT_MS / 1000
    # A busy Chromium loses such an event now and then: then the hand comes again.
    while not (over_after("dragEnter") and over_after("dragOver") and not over_after("drop")):
        assert time.monotonic() < deadline, "the page takes nothing that is dropped"


def test_a_file_named_as_the_brain_goes_as_its_mask_and_the_others_keep_their_places(
    page: Page, server: str, scan: Path, tmp_path: Path
) -> None:
    named = [
        shutil.copy(scan, tmp_path / f"{name}.nii.gz") for name in ("flair", "brain", "one", "t1")
    ]
    page.add_init_script(
        """const append = FormData.prototype.append;
        window.sent = [];
        FormData.prototype.append = function (part, file, name) {
            window.sent.push(`${part} ${file.name} ${name}`);
            append.call(this, part, file, name);
        };"""
    )
    posted: list[str] = []

    def refuse(route: Route) -> None:
        posted.append(route.request.url)
        route.fulfill(status=503, json={"title": "Not now"})

    page.route("**/v1/models/*/jobs*", refuse)
    page.goto(server)
    page.locator("#files").set_input_files(named)
    choices = page.locator(".volume select")
    expect(choices).to_have_count(4)
    assert [one.input_value() for one in choices.all()] == ["flair", "brain", "none", "t1"]
    choices.nth(2).select_option("t2")
    page.evaluate("window.sent = []")
    page.locator("#run").click()
    expect(page.get_by_text("Not now")).to_be_visible()
    assert page.evaluate("window.sent") == [
        "files flair.nii.gz flair.nii.gz",
        "files one.nii.gz one.nii.gz",
        "files t1.nii.gz t1.nii.gz",
        "brain brain.nii.gz brain",
    ]
    asked = httpx.URL(posted[0]).params.get_list("assign")
    assert asked == ["file 1:flair", "file 2:t2", "file 3:t1"]


def test_hidden_structures_are_not_drawn_and_opacity_and_maps_are(
    page: Page, server: str, job: str
) -> None:
    canvas = shown(page, server, job)
    full = coloured(canvas)
    assert full > 500
    boxes = page.locator(".legend input").all()
    for box in boxes:
        box.uncheck()
    until_coloured(canvas, most=full / 50)
    boxes[0].check()
    until_coloured(canvas, least=100)
    page.locator("#opacity").fill("0")
    until_coloured(canvas, most=full / 50)
    page.locator("#opacity").fill("100")
    page.locator("#overlay").select_option("probabilities/WT.nii.gz")
    until_coloured(settled(page), least=100)
    page.locator("#overlay").select_option("")
    until_coloured(settled(page), most=full / 50)


def test_a_click_on_a_part_goes_to_its_centroid(page: Page, server: str, job: str) -> None:
    canvas, read_out = shown(page, server, job), page.locator("#read-out")
    summary = httpx.get(f"{server}/v1/jobs/{job}/results/summary.json").json()
    parts = summary["structures"][-1]["parts"]
    section = page.locator("details.parts").last
    section.locator("summary").click()
    rows = section.locator("tbody tr")
    expect(rows).to_have_count(len(parts))
    size = parts[-1]["size"]
    expect(rows.last).to_contain_text(f"{size['diameter_mm']:.1f} × {size['across_mm']:.1f}")
    before = read_out.inner_text()
    canvas.focus()
    for _ in range(3):
        page.keyboard.press("PageUp")
    expect(read_out).not_to_have_text(before)
    before = read_out.inner_text()
    section.get_by_role("button").last.click()
    expect(read_out).not_to_have_text(before)
    there = [int(number) for number in re.findall(r"\d+", read_out.inner_text())[:3]]
    np.testing.assert_allclose(there, np.abs(parts[-1]["centroid_mm"]), atol=1)


def test_a_template_is_never_taken_for_the_patient(page: Page, server: str, job: str) -> None:
    shown(page, server, job)
    expect(page.locator("#origin")).to_be_hidden()
    page.locator("#overlay").select_option("")
    before = settled(page).screenshot()
    choose(page, "volume-flair")
    expect(page.locator("#origin")).to_have_text("FLAIR: template, not this patient")
    assert settled(page).screenshot() != before
    choose(page, "volume-t1")
    expect(page.locator("#origin")).to_be_hidden()


def test_a_volume_that_arrives_after_another_was_chosen_is_not_shown(
    page: Page, server: str, job: str
) -> None:
    canvas = shown(page, server, job)
    page.locator("#overlay").select_option("")
    before = grey(settled(page))
    held: list[Route] = []
    page.route("**/channels/flair.nii.gz", lambda route: held.append(route))
    choose(page, "volume-flair")
    waiting = caught(page, held)
    choose(page, "volume-t1")
    expect(page.locator("#frame")).to_have_attribute("aria-busy", "true")
    waiting.continue_()
    assert np.abs(grey(settled(page)) - before).mean() < 1
    expect(page.locator("#origin")).to_be_hidden()
    choose(page, "volume-flair")
    expect(page.locator("#origin")).to_be_visible()
    assert np.abs(grey(canvas) - before).mean() > 5


def test_what_is_chosen_before_anything_is_drawn_is_what_is_drawn(
    page: Page, server: str, job: str
) -> None:
    held: list[Route] = []
    page.route("**/page/viewer-*.js", lambda route: held.append(route))
    page.goto(f"{server}/#job={job}")
    choose(page, "volume-flair")
    caught(page, held).continue_()
    expect(page.locator("#frame[data-state=ready]")).to_be_visible()
    expect(page.locator("#origin")).to_have_text("FLAIR: template, not this patient")


def test_the_keyboard_alone_moves_the_crosshair_and_chooses_views(
    page: Page, server: str, job: str
) -> None:
    canvas = shown(page, server, job)
    canvas.focus()
    before = page.locator("#read-out").inner_text()
    for key in ("ArrowLeft", "ArrowUp", "PageUp"):
        page.keyboard.press(key)
        expect(page.locator("#read-out")).not_to_have_text(before)
        before = page.locator("#read-out").inner_text()
    page.keyboard.press("6")
    expect(page.locator("#layout-3d")).to_be_checked()
    until_coloured(canvas, least=100)


def test_a_study_is_sent_and_looked_at_by_the_keyboard_alone(
    page: Page, server: str, scan: Path
) -> None:
    def to(name: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.id") == name:
                return
        pytest.fail(f"the tab key does not reach {name}")

    page.goto(server)
    to("files")
    # The browser's own dialog cannot be worked; that Enter asks for it can be seen.
    page.evaluate(ASKED)
    page.keyboard.press("Enter")
    page.wait_for_function("window.asked")
    page.locator("#files").set_input_files(scan)
    expect(page.locator(".volume")).to_have_count(1)
    to("is-0")
    page.keyboard.press("Home")
    expect(page.locator("#is-0")).to_have_value("t1")
    to("fill")
    page.keyboard.type("Nothing")
    expect(page.locator("#fill")).to_have_value("zeros")
    to("run")
    page.keyboard.press("Enter")
    expect(page.locator("#frame[data-state=ready]")).to_be_visible()
    to("canvas")
    page.keyboard.press("3")
    expect(page.locator("#layout-axial")).to_be_checked()
    to("opacity")
    page.keyboard.press("Home")
    until_coloured(settled(page), most=50)


def test_of_volumes_in_one_file_no_more_is_sent_than_tells_what_they_are(
    page: Page, server: str, tmp_path: Path
) -> None:
    """Their modality is told by their names; whole, they would be sent twice."""
    rng = np.random.default_rng(0)
    image = nib.Nifti1Image(rng.integers(0, 999, (40, 40, 40), dtype=np.int16), np.eye(4))
    nib.save(image, tmp_path / "t1.nii")
    nib.save(nib.MGHImage(np.asarray(image.dataobj), np.eye(4)), tmp_path / "flair.mgz")
    nrrd.write(str(tmp_path / "t2.nrrd"), np.asarray(image.dataobj))
    page.goto(server)
    with page.expect_request("**/v1/studies/identify*") as asked:
        page.locator("#files").set_input_files(sorted(tmp_path.iterdir()))
    expect(page.locator(".volume")).to_have_count(3)
    assert int(asked.value.all_headers()["content-length"]) < 3 * 5000


def test_files_that_are_given_before_the_models_are_known_are_not_lost(
    page: Page, server: str, scan: Path
) -> None:
    held: list[Route] = []
    page.route("**/v1/models", lambda route: held.append(route))
    page.goto(server)
    page.locator("#files").set_input_files(scan)
    page.wait_for_timeout(500)
    expect(page.locator(".volume")).to_have_count(0)
    held.pop().continue_()
    expect(page.locator(".volume")).to_have_count(1)


def test_files_that_are_given_after_the_models_could_not_be_had_ask_for_them_again(
    page: Page, server: str, scan: Path
) -> None:
    page.route("**/v1/models", lambda route: route.abort(), times=1)
    page.goto(server)
    expect(page.locator("#notices")).not_to_be_empty()
    page.locator("#files").set_input_files(scan)
    expect(page.locator(".volume")).to_have_count(1)


def test_class_scores_are_bars_as_long_as_they_say_and_are_read_out(
    page: Page, server: str, scan: Path
) -> None:
    page.goto(server)
    page.locator("#model").select_option(label=f"{GRADE} 1")
    expect(page.locator("#model-about")).to_contain_text("glioma grade")
    page.locator("#files").set_input_files(scan)
    page.locator(".volume select").select_option("t1")
    page.locator("#fill").select_option("zeros")
    page.locator("#run").click()
    scores = page.locator(".score")
    expect(scores).to_have_count(2)
    job = page.url.rpartition("=")[2]
    summary = httpx.get(f"{server}/v1/jobs/{job}/results/summary.json").json()
    for told in summary["scores"]:
        row = scores.filter(has_text=told["title"].capitalize())
        expect(row).to_contain_text(f"{100 * told['score']:.1f} %")
        bar = row.get_by_role("meter", name=told["title"])
        expect(bar).to_have_js_property("value", told["score"])
        assert filled(bar) == pytest.approx(told["score"], abs=0.04)
    expect(page.locator(".legend")).to_have_count(0)
    assert serious_faults(page) == []


def filled(bar: Locator) -> float:
    """The share of a bar's width that is drawn in its colour, along its middle."""
    picture = np.asarray(Image.open(io.BytesIO(bar.screenshot())).convert("RGB"), dtype=int)
    middle = picture[len(picture) // 2]
    return float(np.mean(middle[:, 2] - middle[:, 0] > 60))


def test_a_reloaded_page_shows_the_same_result_and_its_downloads_are_whole(
    page: Page, server: str, job: str
) -> None:
    shown(page, server, job)
    page.reload()
    expect(page.locator("#frame[data-state=ready]")).to_be_visible(timeout=WAIT_MS)
    expect(page.locator("#history .job")).to_have_count(1)
    with page.expect_download() as download:
        page.get_by_role("button", name="Mask, NIfTI").click()
    content = httpx.get(f"{server}/v1/jobs/{job}/results/mask.nii.gz").content
    assert Path(download.value.path()).read_bytes() == content
    with page.expect_download() as download:
        page.get_by_role("button", name="Summary, JSON").click()
    assert json.loads(Path(download.value.path()).read_text())["model"] == "tiny"


def test_the_report_opens_in_a_tab_and_prints_on_one_sheet(
    page: Page, server: str, job: str
) -> None:
    shown(page, server, job)
    with page.context.expect_page() as popup:
        page.get_by_role("button", name="Open the report").click()
    report = popup.value
    report.wait_for_load_state()
    expect(report.locator("figure")).to_have_count(6)
    expect(report.locator("body")).to_contain_text("template, not this patient")
    background = "getComputedStyle(document.querySelector('figure')).backgroundColor"
    assert report.evaluate(background) == "rgb(0, 0, 0)", "its style sheet was refused"
    pdf = report.pdf(prefer_css_page_size=True, print_background=True)
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == 1


def test_what_cannot_be_done_is_said_in_words_with_the_remedy(
    page: Page, server: str, scan: Path, tmp_path: Path
) -> None:
    page.goto(server)
    expect(page.locator("#model-about")).to_contain_text("Takes")
    notice = page.locator(".notice")
    words = tmp_path / "notes.txt"
    words.write_text("not an image")
    page.locator("#files").set_input_files(words)
    expect(notice).to_contain_text("No volume was found")
    page.locator("#files").set_input_files(scan)
    expect(page.locator(".volume")).to_have_count(1)
    expect(notice).to_have_count(0)
    expect(page.locator("#run")).to_be_disabled()
    expect(page.locator("#obstacle")).to_contain_text("T1, T1c, T2, FLAIR")
    page.locator(".volume select").select_option("t1")
    # The published filling fits studies on the template's own grid alone.
    page.locator("#fill").select_option("grid")
    page.locator("#run").click()
    expect(notice).to_contain_text("Choose the policy center or zeros")
    expect(notice).to_be_in_viewport(ratio=1)
    expect(page.locator("#history")).to_contain_text("failed")
    expect(page.locator("#history .reason")).to_contain_text("grid")
    page.route("**/jobs?*", lambda route: route.abort())
    page.locator("#run").click()
    expect(notice).to_contain_text("cannot be reached")
    expect(notice).to_be_in_viewport(ratio=1)
    expect(page.locator("#run")).to_be_enabled()


def test_a_failure_and_the_picture_are_in_sight_wherever_the_form_is_scrolled_to(
    page: Page, server: str, job: str, scan: Path
) -> None:
    page.set_viewport_size({"width": 1200, "height": 620})
    shown(page, server, job)
    page.locator("#files").set_input_files(scan)
    page.locator(".volume select").select_option("t1")
    page.locator("#fill").select_option("zeros")
    page.route("**/jobs?*", lambda route: route.abort())
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    assert page.evaluate("scrollY") > 100, "the form is longer than the window"
    expect(page.locator("#frame")).to_be_in_viewport(ratio=0.6)
    page.locator("#run").click()
    expect(page.locator(".notice")).to_be_in_viewport(ratio=1)


def test_a_key_is_asked_for_and_a_waiting_job_survives_a_reload_and_is_cancelled(
    browser: Browser, models: Path, scan: Path, tmp_path: Path
) -> None:
    # Nobody works on jobs here, so that one waits as long as it is to.
    scopes = (Scope.PREDICT, Scope.JOBS)
    key, record = new_key("page", scopes)
    KeyFile(keys=(record,)).write(tmp_path / "keys.json")
    arguments = ("--role", "api", "--jobs-storage", tmp_path / "jobs")
    with (
        serving(models, tmp_path, *arguments, "--keys-file", tmp_path / "keys.json") as url,
        opened(browser, url) as (page, watched),
    ):
        page.goto(url)
        page.get_by_label("Key or token").fill("a wrong key")
        page.get_by_role("button", name="Use this key").click()
        expect(page.locator("#key-dialog")).to_contain_text("unknown, revoked or expired")
        page.get_by_label("Key or token").fill(key)
        page.keyboard.press("Enter")
        expect(page.locator("#model-about")).to_contain_text("Takes")
        page.locator("#files").set_input_files(scan)
        page.locator(".volume select").select_option("t1")
        page.locator("#fill").select_option("zeros")
        page.locator("#run").click()
        expect(page.locator("#stage")).to_have_text("Waiting for its turn")
        page.reload()
        expect(page.locator("#stage")).to_have_text("Waiting for its turn")
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#welcome-note")).to_contain_text("cancelled")
        expect(page.locator("#history .state")).to_have_text("cancelled")
        assert page.evaluate("Object.keys(localStorage).length") == 0
        page.get_by_role("button", name="Delete the job").click()
        expect(page.locator("#history-panel")).to_be_hidden()
        assert watched.outside == [] and watched.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(
    browser: Browser, server: str, scan: Path, job: str, scheme: str
) -> None:
    with opened(browser, server, color_scheme=scheme) as (page, _):
        shown(page, server, job)
        page.locator("#files").set_input_files(scan)
        page.locator(".volume select").select_option("t1")
        assert serious_faults(page) == []


def serious_faults(page: Page) -> list[tuple[str, list[str]]]:
    """What axe finds of serious impact, and where."""
    return [
        (found["id"], [node["html"] for node in found["nodes"]])
        for found in Axe().run(page).response["violations"]
        if found["impact"] in ("serious", "critical")
    ]


def test_all_that_a_first_result_loads_is_small_enough(page: Page, server: str, job: str) -> None:
    sizes: dict[str, int] = {}
    page.on(
        "response",
        lambda response: (
            sizes.update({response.url: int(response.headers.get("content-length", 0))})
            if response.url == f"{server}/" or "/page/" in response.url
            else None
        ),
    )
    shown(page, server, job)
    assert any("viewer" in url for url in sizes), "the viewer came from elsewhere"
    assert 0 < sum(sizes.values()) <= FIRST_LOAD


def test_the_description_of_the_calls_needs_no_other_address(page: Page, server: str) -> None:
    page.goto(f"{server}/docs")
    expect(page.locator("#swagger")).to_contain_text("/v1/models/{name}/predict")
