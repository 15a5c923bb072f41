"""The demonstration and the README's words, run as a newcomer runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SCAN = ROOT / "examples" / "colin27" / "colin27_t1.nii.gz"


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
    return done.stdout, out


def test_the_demo_says_what_was_real_and_what_was_not(demo: tuple[str, Path]) -> None:
    printed, _ = demo
    assert re.search(r"Real\W+t1\b", printed)
    assert re.search(r"Filled\W+t1c \(center\), t2 \(center\), flair \(center\)", printed)
    assert "read" in printed and "infer" in printed
    assert "no clinical meaning" in printed


def test_the_demos_mask_lies_on_the_scans_grid_and_holds_a_brain(demo: tuple[str, Path]) -> None:
    _, out = demo
    names = {path.name for path in out.iterdir()}
    assert names == {"mask.nii.gz", "summary.json", "preview.png", "report.html"}
    mask, scan = nib.load(out / "mask.nii.gz"), nib.load(SCAN)
    np.testing.assert_array_equal(mask.affine, scan.affine)
    labels, brain = np.asarray(mask.dataobj), np.asarray(scan.dataobj) > 0
    assert labels.shape == brain.shape
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    inside = np.count_nonzero((labels > 0) & brain) / np.count_nonzero(brain)
    assert inside > 0.9
    summary = json.loads((out / "summary.json").read_text())
    volumes = {entry["name"]: entry["volume_ml"] for entry in summary["structures"]}
    assert 400 < volumes["GM"] < 1200 and 300 < volumes["WM"] < 900
    assert summary["demo"] is True
    assert {entry["output"] for entry in summary["expected_quality"]} == {"CSF", "GM", "WM"}


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
    assert json.loads(done.stdout)["model"] == "demo-tissue"


def test_the_served_process_never_loads_torch_or_monai() -> None:
    probe = f"""
import sys
from pathlib import Path
from brainmvp_server.api.app import create_app
from brainmvp_server.inference.predictor import Predictor
from brainmvp_server.settings import Settings
create_app(Settings.of(models=Path({str(ROOT / "examples" / "bundles")!r})))
Predictor.load({str(ROOT / "examples" / "bundles" / "demo-tissue")!r})
print([name for name in sys.modules if name.split(".")[0] in ("torch", "monai")])
"""
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_demo_bundle_is_small_and_says_what_it_is() -> None:
    folder = ROOT / "examples" / "bundles" / "demo-tissue" / "1"
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 10_000_000
    card = (folder / "card.md").read_text()
    assert "not a clinical model" in card
    assert "Colin27" in card and "evaluate.py" in card
