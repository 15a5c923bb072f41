"""INT8: smaller, served by OpenVINO alone, near the checkpoint, or not written at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch

from brainmvp_export.export import ExportOptions, export_bundle
from brainmvp_export.parity import Array, check_parity
from brainmvp_export.quantize import write_int8
from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import EngineUnavailable, InvalidBundle, ParityFailed
from brainmvp_models.task import Task
from brainmvp_server.inference.engines import load_engine


@pytest.fixture(scope="session")
def decided_checkpoint(
    tiny_checkpoint: Path, expected: Array, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The tiny checkpoint with logits as far from the threshold as a trained network's are."""
    content = torch.load(tiny_checkpoint, weights_only=True)
    content["state_dict"]["decoder.out.conv.conv.bias"] += 4 * float(expected.std())
    path = tmp_path_factory.mktemp("decided") / "decided.pt"
    torch.save(content, path)
    return path


@pytest.fixture(scope="session")
def int8_bundle(
    decided_checkpoint: Path, small_task: Task, tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    out = tmp_path_factory.mktemp("int8")
    return export_bundle(
        ExportOptions(decided_checkpoint, out, small_task, "small", "1", precision="int8")
    )


def test_bundle_vouches_for_network_and_weights_and_says_int8(int8_bundle: Bundle) -> None:
    network = int8_bundle.manifest.network
    assert (network.file, network.weights, network.precision) == ("model.xml", "model.bin", "int8")
    names = {path.name for path in int8_bundle.root.iterdir()}
    assert "| openvino | 6 |" in (int8_bundle.root / "card.md").read_text("utf-8")
    assert names == {"model.xml", "model.bin", "card.md", "manifest.json"}
    assert names - {"manifest.json"} == {entry.path for entry in int8_bundle.manifest.files}


def test_changed_weights_are_refused(int8_bundle: Bundle, tmp_path: Path) -> None:
    for path in int8_bundle.root.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    content = bytearray((tmp_path / "model.bin").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "model.bin").write_bytes(content)
    with pytest.raises(InvalidBundle, match=r"model\.bin is not the file that was exported"):
        Bundle.open(tmp_path)


def test_weights_are_a_quarter_of_full_precision(int8_bundle: Bundle, small_bundle: Bundle) -> None:
    assert 0.2 < int8_bundle.network_bytes / small_bundle.network_bytes < 0.6


def test_convolutions_really_are_quantised(int8_bundle: Bundle) -> None:
    kinds = [op.get_type_name() for op in ov.Core().read_model(int8_bundle.network).get_ops()]
    assert kinds.count("FakeQuantize") > kinds.count("Convolution") / 2


def test_parity_was_measured_on_openvino_within_the_limits_of_int8(int8_bundle: Bundle) -> None:
    (report,) = int8_bundle.manifest.parity
    assert report.engine == "openvino"
    assert report.max_error > 1e-3
    assert report.tolerance is None
    assert 0.98 <= report.agreement < 1


def test_engine_says_int8_and_another_one_refuses_in_plain_words(int8_bundle: Bundle) -> None:
    engine = load_engine(int8_bundle.network)
    assert (engine.info.name, engine.info.precision) == ("openvino", "int8")
    engine.close()
    with pytest.raises(
        EngineUnavailable, match=r"'onnxruntime' does not run \.xml networks. Choose openvino"
    ):
        load_engine(int8_bundle.network, "onnxruntime")


def test_network_calibrated_on_nothing_fails_the_gate(
    small_bundle: Bundle, windows: Array, expected: Array, small_task: Task, tmp_path: Path
) -> None:
    write_int8(small_bundle.network, np.zeros_like(windows[:1]), tmp_path / "model.xml")
    with pytest.raises(ParityFailed, match=r"openvino: .* at least 0\.98 are allowed"):
        check_parity(expected, tmp_path / "model.xml", windows, small_task, "int8")
