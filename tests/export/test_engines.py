"""``brainmvp build-engines``: what is kept is proved, and failure is one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from brainmvp_export.engines import prepare_engine
from brainmvp_export.export import ExportOptions, export_bundle
from brainmvp_export.parity import Array, judged, logits_in
from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import EngineUnavailable, ParityFailed
from brainmvp_models.task import Task
from brainmvp_server.inference.engines import ENGINES, EngineOptions, installed_engines

GPU_IS_INSTALLED = any(ENGINES[name].extra == "gpu" for name in installed_engines())


def test_an_engine_is_held_against_another_one_on_real_windows(small_bundle: Bundle) -> None:
    done = prepare_engine(small_bundle, "onnxruntime", EngineOptions())
    assert not done.built
    assert done.parity.engine == "onnxruntime"
    assert 0 < done.parity.max_error < 1e-3
    assert done.parity.agreement >= 0.999


def test_an_engine_that_disagrees_is_refused(
    small_bundle: Bundle, windows: Array, small_task: Task
) -> None:
    expected = logits_in(small_bundle.network, "openvino", windows)
    with pytest.raises(ParityFailed, match=r"tensorrt: error .* agreement"):
        judged("tensorrt", np.roll(expected, 3, axis=2), expected, small_task, "fp16")


@pytest.mark.skipif(GPU_IS_INSTALLED, reason="is about a machine without GPU engines")
def test_building_without_the_packages_is_one_line_and_exit_2(small_bundle: Bundle) -> None:
    command = [sys.executable, "-m", "brainmvp_clients.cli", "build-engines"]
    before = {path.name for path in small_bundle.root.iterdir()}
    done = subprocess.run(
        [*command, str(small_bundle.root)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "the engine 'tensorrt' is not installed" in done.stderr
    assert {path.name for path in small_bundle.root.iterdir()} == before


@pytest.mark.skipif(GPU_IS_INSTALLED, reason="is about a machine without GPU engines")
def test_export_for_an_engine_that_is_not_here_begins_no_work(
    tiny_checkpoint: Path, small_task: Task, tmp_path: Path
) -> None:
    options = ExportOptions(
        tiny_checkpoint, tmp_path / "out", small_task, "small", "1", engine="tensorrt"
    )
    told: list[str] = []
    with pytest.raises(EngineUnavailable, match="not installed"):
        export_bundle(options, told.append)
    assert told == []
    assert not options.out.exists()


def test_a_precision_that_an_engine_does_not_run_is_refused_before_any_work(
    tiny_checkpoint: Path, small_task: Task, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ExportOptions(
        tiny_checkpoint, out, small_task, "small", "1", precision="bf16",
        engine="onnxruntime-tensorrt",
    )  # fmt: skip
    with pytest.raises(EngineUnavailable, match="does not run bf16 networks"):
        export_bundle(options)
    assert not out.exists()
