"""The proof that an export equals its checkpoint, and that the proof can fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from brainmvp_export.onnx import write_onnx
from brainmvp_export.parity import Array, check_parity, packaged_study, real_windows
from brainmvp_export.rewrite import rewritten
from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import ParityFailed
from brainmvp_models.task import Task, Window, load_task
from brainmvp_models.templates import TemplateBank
from brainmvp_server.inference.engines import installed_engines, load_engine
from brainmvp_training.networks import RELEASED, SegmentationNetwork

ENGINES = ("openvino", "onnxruntime")


def test_both_engines_are_here_to_be_compared() -> None:
    assert set(installed_engines()) >= set(ENGINES)


@pytest.mark.parametrize("which", ["small_bundle", "tiny_bundle"])
def test_full_precision_export_equals_the_checkpoint_in_every_engine(
    which: str, request: pytest.FixtureRequest
) -> None:
    reports = request.getfixturevalue(which).manifest.parity
    assert tuple(report.engine for report in reports) == (*ENGINES, "torch-cpu")
    for report in reports:
        assert report.windows == 2
        assert 0 < report.max_error < 1e-3
        assert report.tolerance == 1e-3
        assert report.agreement >= 0.999


def test_check_measures_the_error_it_reports(
    small_bundle: Bundle, windows: Array, expected: Array, small_task: Task
) -> None:
    shifted = expected.copy()
    shifted[0, 0, 0, 0, 0] += 5e-4 * expected.std()
    for report in check_parity(shifted, small_bundle.network, windows, small_task, "fp32"):
        assert 4e-4 < report.max_error < 6e-4


def test_network_with_one_changed_weight_fails(
    small_bundle: Bundle, windows: Array, expected: Array, small_task: Task, tmp_path: Path
) -> None:
    model = onnx.load(small_bundle.network)
    weights = [i for i in model.graph.initializer if list(i.dims) == [16, 16, 3, 3, 3]]
    changed = numpy_helper.to_array(weights[0]).copy()
    changed[0, 0, 1, 1, 1] += 0.5
    weights[0].CopyFrom(numpy_helper.from_array(changed, weights[0].name))
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ParityFailed, match=r"openvino: error .*onnxruntime: error"):
        check_parity(expected, tmp_path / "model.onnx", windows, small_task, "fp32")


def test_logits_of_another_shape_fail(
    small_bundle: Bundle, windows: Array, expected: Array, small_task: Task
) -> None:
    with pytest.raises(ParityFailed, match="gives logits of shape"):
        check_parity(expected[:, :2], small_bundle.network, windows, small_task, "fp32")


def test_logits_that_are_no_numbers_fail(
    small_bundle: Bundle, windows: Array, expected: Array, small_task: Task
) -> None:
    with pytest.raises(ParityFailed):
        check_parity(expected * np.nan, small_bundle.network, windows, small_task, "fp32")


@pytest.mark.parametrize("name", ["upenn-gbm", "isles22", "mrbrains13", "vsseg", "adni"])
def test_parity_windows_hold_a_real_scan_in_every_channel(name: str) -> None:
    task = load_task(name)
    windows = real_windows(task, TemplateBank({}), None)
    assert windows.dtype == np.float32
    assert windows.shape == (2, len(task.channels), 96, 96, 96)
    assert np.isfinite(windows).all()
    assert (windows.std(axis=(2, 3, 4)) > 0.05).all()


def test_parity_windows_differ_between_t1_and_t2_like_channels(small_task: Task) -> None:
    volumes = {v.modality: v.stored for v in packaged_study(small_task).volumes}
    values = [np.asarray(v, np.float64) for v in volumes.values()]
    inside = values[0] > 0
    assert np.corrcoef(values[0][inside], values[1][inside])[0, 1] > 0.99
    assert np.corrcoef(values[0][inside], values[2][inside])[0, 1] < -0.99


@pytest.fixture(scope="session")
def released_onnx(
    golden_weights: Callable[[torch.nn.Module], dict[str, torch.Tensor]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The released network on golden weights, as ONNX."""
    network = SegmentationNetwork(RELEASED, 4, 3).eval()
    network.load_state_dict(golden_weights(network))
    path = tmp_path_factory.mktemp("released") / "model.onnx"
    write_onnx(rewritten(network), 4, Window(), path)
    return path


@pytest.mark.parametrize("name", ENGINES)
def test_exported_released_network_equals_the_published_one(
    name: str, released_onnx: Path, golden_image: torch.Tensor, golden: dict[str, np.ndarray]
) -> None:
    engine = load_engine(released_onnx, name)
    try:
        logits = engine.infer(golden_image.numpy()).copy()
    finally:
        engine.close()
    deviation = float(golden["logits_std"])
    assert np.abs(logits[0, :, ::8, ::8, ::8] - golden["logits"]).max() < 1e-3 * deviation
    assert abs(logits.mean(dtype=np.float64) - golden["logits_mean"]) < 1e-3 * deviation
