"""The PyTorch program of a bundle: proved like the other forms, and known before it is run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from brainmvp_export.export import ExportOptions
from brainmvp_export.onnx import live_bytes as live_in_onnx
from brainmvp_export.parity import Array, check_parity, logits_in
from brainmvp_export.program import write_program
from brainmvp_export.rewrite import HalfPrecision, rewritten
from brainmvp_models.bundle import MANIFEST, Bundle
from brainmvp_models.errors import EngineUnavailable, InvalidBundle, ParityFailed
from brainmvp_models.manifest import Precision
from brainmvp_models.task import Task
from brainmvp_server.inference.engines import EngineOptions, load_engine
from brainmvp_server.inference.engines.torch_engine import live_bytes, read_program


@pytest.fixture
def options(tiny_checkpoint: Path, small_task: Task, tmp_path: Path) -> ExportOptions:
    return ExportOptions(tiny_checkpoint, tmp_path / "out", small_task, "small", "1", program=True)


def test_a_program_with_one_changed_weight_fails(
    small_network: torch.nn.Module,
    windows: Array,
    expected: Array,
    small_task: Task,
    tmp_path: Path,
) -> None:
    changed = rewritten(small_network)
    with torch.no_grad():
        next(p for p in changed.parameters() if p.shape == (16, 16, 3, 3, 3))[0, 0, 1, 1, 1] += 0.5
    write_program(changed, 4, small_task.window, tmp_path / "model.pt2")
    with pytest.raises(ParityFailed, match="torch-cpu"):
        check_parity(expected, tmp_path / "model.pt2", windows, small_task, "fp32")


@pytest.mark.parametrize(
    ("precision", "kind", "error"),
    [("fp16", torch.float16, 5e-2), ("bf16", torch.bfloat16, 0.5)],
)
def test_a_program_of_16_bits_is_run_on_any_cpu_within_its_gate(
    small_network: torch.nn.Module,
    windows: Array,
    expected: Array,
    small_task: Task,
    tmp_path: Path,
    precision: Precision,
    kind: torch.dtype,
    error: float,
) -> None:
    path = tmp_path / "model.pt2"
    half = HalfPrecision(rewritten(small_network), kind).eval()
    write_program(half, 4, small_task.window, path)
    actual = logits_in(path, "torch-cpu", windows, EngineOptions(precision=precision))
    assert 0 < np.abs(actual - expected).max() < error * expected.std()


def test_a_program_needs_no_more_of_the_disk_than_the_same_network_in_onnx(
    small_bundle: Bundle,
) -> None:
    network, program = small_bundle.forms
    assert program.stat().st_size < 1.5 * network.stat().st_size


def test_memory_is_known_from_the_program_as_from_onnx(tiny_bundle: Bundle) -> None:
    """Views count in full, so it is more; were it twice as much, batches would be too small."""
    network, program = tiny_bundle.forms
    known = live_in_onnx(network)
    assert known <= live_bytes(read_program(program)) < 2 * known


def test_a_bundle_without_a_program_is_refused_with_what_to_do(bundles: Path) -> None:
    old = Bundle.open(bundles / "demo-glioma")
    assert old.forms == (old.network,)
    with pytest.raises(EngineUnavailable, match=r"does not run \.onnx.*--program"):
        load_engine(old.forms, "torch-cpu")


def test_a_program_without_a_digest_is_not_loaded(small_bundle: Bundle, tmp_path: Path) -> None:
    root = tmp_path / "small" / "1"
    shutil.copytree(small_bundle.root, root)
    manifest = json.loads((root / MANIFEST).read_text())
    manifest["files"] = [entry for entry in manifest["files"] if entry["path"] != "model.pt2"]
    (root / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(InvalidBundle, match=r"without a digest: model\.pt2"):
        Bundle.open(root)
