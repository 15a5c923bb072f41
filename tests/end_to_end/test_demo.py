"""The demonstration and the README's words, run as a newcomer runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "examples" / "glioma_study"


@pytest.fixture(scope="module")
def python() -> str:
    """The demonstration's own interpreter where `make test` made one, else this one."""
    named = os.environ.get("BRAINMVP_DEMO_PYTHON")
    if named is None and os.environ.get("CI") == "true":
        pytest.fail("CI runs the demonstration in its own environment: use make test")
    return str(ROOT / named) if named else sys.executable


@pytest.fixture(scope="module")
def demo(python: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What `make demo` prints, and the folder it writes."""
    out = tmp_path_factory.mktemp("demo") / "output"
    command = [python, "examples/demo.py", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "access" not in done.stderr, "log lines interrupt the tables on a terminal"
    return done.stdout, out


def summary_of(out: Path, study: str, model: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / study / model / "summary.json").read_text())
    return content


def test_the_demo_says_what_was_real_and_what_was_not(demo: tuple[str, Path]) -> None:
    printed, _ = demo
    assert re.search(r"Real\W+t1, t1c, t2\b", printed)
    assert re.search(r"Filled\W+flair \(center\)", printed)
    assert re.search(r"Filled\W+t1c \(center\), t2 \(center\), flair \(center\)", printed)
    assert "read" in printed and "infer" in printed
    assert "no clinical meaning" in printed


def test_the_demos_mask_lies_on_the_scans_grid_and_finds_the_glioma(
    demo: tuple[str, Path],
) -> None:
    _, out = demo
    folder = out / "glioma" / "demo-glioma"
    names = {path.name for path in folder.iterdir()}
    assert names == {"mask.nii.gz", "summary.json", "preview.png", "report.html"}
    mask, truth = nib.load(folder / "mask.nii.gz"), nib.load(STUDY / "truth.nii.gz")
    np.testing.assert_array_equal(mask.affine, truth.affine)
    found, lesion = np.asarray(mask.dataobj) > 0, np.asarray(truth.dataobj) > 0
    dice = 2 * np.count_nonzero(found & lesion) / (found.sum() + lesion.sum())
    assert dice > 0.6
    summary = summary_of(out, "glioma", "demo-glioma")
    assert summary["demo"] is True
    assert {entry["output"] for entry in summary["expected_quality"]} == {"TC", "WT", "ET"}


def test_the_demo_leaves_a_healthy_brain_alone(demo: tuple[str, Path]) -> None:
    _, out = demo
    healthy = summary_of(out, "colin27", "demo-glioma")["structures"]
    assert max(entry["volume_ml"] for entry in healthy) < 2


def test_the_demo_says_whether_a_tumour_enhances(demo: tuple[str, Path]) -> None:
    printed, out = demo
    for study in ("glioma", "colin27"):
        names = {path.name for path in (out / study / "demo-grade").iterdir()}
        assert names == {"summary.json", "preview.png", "report.html"}
    summary = summary_of(out, "glioma", "demo-grade")
    scores = summary["scores"]
    assert sum(entry["score"] for entry in scores) == pytest.approx(1)
    assert max(scores, key=lambda entry: entry["score"])["name"] == "enhancing"
    assert summary["not_determinable"] == []
    assert "no enhancing tumour" in printed


def test_without_t1c_the_demo_does_not_say_what_enhances(demo: tuple[str, Path]) -> None:
    printed, out = demo
    for model, output in (("demo-glioma", "ET"), ("demo-grade", "all")):
        summary = summary_of(out, "colin27", model)
        (one,) = summary["not_determinable"]
        assert (one["output"], one["missing"]) == (output, ["t1c"])
        assert output not in {entry["name"] for entry in summary["structures"]}
    assert summary_of(out, "colin27", "demo-grade")["scores"] == []
    assert printed.count("Not determinable: ") == 2


def test_the_demo_says_that_its_figures_are_of_synthetic_studies(demo: tuple[str, Path]) -> None:
    printed, out = demo
    for model in ("demo-glioma", "demo-grade"):
        figures = summary_of(out, "glioma", model)["expected_quality"]
        assert figures and all("synthetic studies" in one["measured_on"] for one in figures)
    assert "synthetic studies" in printed


def test_the_demos_environment_holds_no_torch(python: str) -> None:
    if python == sys.executable:
        pytest.skip("needs the demonstration's own environment: run `make test`")
    probe = "from importlib.util import find_spec as f; print(f('torch'), f('monai'))"
    done = subprocess.run([python, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", "None"]


@pytest.fixture(scope="module")
def address(python: str) -> Iterator[str]:
    command = [python, "-m", "brainmvp_clients.cli", "serve", "--models", "examples/bundles"]
    with subprocess.Popen(
        [*command, "--port", "0"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        for line in server.stdout:
            if line.startswith("listening on "):
                yield line.split()[-1]
                break
        server.terminate()


def test_the_readmes_curl_works(address: str) -> None:
    (command,) = re.findall(r"^curl .*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    command = command.replace("http://127.0.0.1:8000", address)
    done = subprocess.run(
        command.split(), cwd=ROOT, capture_output=True, text=True, check=True, timeout=300
    )
    assert json.loads(done.stdout)["model"] == "demo-glioma"


def test_the_served_process_never_loads_torch_or_monai() -> None:
    probe = f"""
import sys
from pathlib import Path
from brainmvp_server.api.app import create_app
from brainmvp_server.inference.predictor import Predictor
from brainmvp_server.settings import Settings
create_app(Settings.of(models=Path({str(ROOT / "examples" / "bundles")!r})))
Predictor.load({str(ROOT / "examples" / "bundles" / "demo-glioma")!r})
print([name for name in sys.modules if name.split(".")[0] in ("torch", "monai")])
"""
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_nifti_study_is_served_without_what_only_dicom_needs() -> None:
    """These packages are heavy; a machine that is lent for an hour has none of them."""
    scan = ROOT / "export" / "brainmvp_export" / "data" / "colin27_t1_crop.nii.gz"
    probe = f"""
import sys
sys.modules |= dict.fromkeys(["highdicom", "imagecodecs", "monai", "nrrd", "scipy", "torch"])
from pathlib import Path
from fastapi.testclient import TestClient
from brainmvp_server.api.app import create_app
from brainmvp_server.settings import Settings
scan = Path({str(scan)!r}).read_bytes()
app = create_app(Settings.of(models=Path({str(ROOT / "examples" / "bundles")!r})))
with TestClient(app, "http://127.0.0.1") as http:
    answer = http.post("/v1/models/demo-glioma/predict", files={{"t1": ("t1.nii.gz", scan)}})
print(answer.status_code)
"""
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "200", done.stderr


@pytest.mark.parametrize("name", ["demo-glioma", "demo-grade"])
def test_a_demo_bundle_is_small_and_says_what_it_is_and_how_good(name: str) -> None:
    folder = ROOT / "examples" / "bundles" / name / "1"
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 10_000_000
    card = (folder / "card.md").read_text()
    assert "not a clinical model" in card
    assert "Colin27" in card and "demo_models.sh" in card
    assert json.loads((folder / "manifest.json").read_text())["subset_card"]
