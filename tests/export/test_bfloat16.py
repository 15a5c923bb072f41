"""bfloat16: in the network itself, judged like the others, and run by the engines that know it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch

from brainmvp_export.export import ExportOptions, export_bundle
from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import EngineUnavailable
from brainmvp_models.task import Task
from brainmvp_server.inference.engines import (
    ENGINES,
    EngineOptions,
    check_precision,
    installed_engines,
    load_engine,
)

BF16 = EngineOptions(precision="bf16")


@pytest.fixture(scope="module")
def options(
    tiny_checkpoint: Path, small_task: Task, tmp_path_factory: pytest.TempPathFactory
) -> ExportOptions:
    """The tiny network in bfloat16."""
    out = tmp_path_factory.mktemp("bf16") / "models"
    return ExportOptions(tiny_checkpoint, out, small_task, "half", "1", precision="bf16")


@pytest.fixture(scope="module")
def bundle(options: ExportOptions, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """One whose outputs are sure of most voxels, as a trained network's are."""
    state = torch.load(options.checkpoint, weights_only=True)
    (bias,) = [
        name for name in state["state_dict"] if name.startswith("decoder.out") and "bias" in name
    ]
    state["state_dict"][bias] += 5
    sure = tmp_path_factory.mktemp("sure") / "sure.pt"
    torch.save(state, sure)
    return export_bundle(replace(options, checkpoint=sure, name="sure"))


def test_the_networks_own_types_are_bfloat16(bundle: Bundle) -> None:
    assert bundle.manifest.network.precision == "bf16"
    graph = onnx.load(bundle.network).graph
    kinds = {weight.name: weight.data_type for weight in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type in {"Conv", "ConvTranspose"}]
    assert len(convolutions) > 20
    assert {kinds[node.input[1]] for node in convolutions} == {onnx.TensorProto.BFLOAT16}
    ends = [value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)]
    assert ends == [onnx.TensorProto.FLOAT] * 2


def test_it_is_proved_in_the_engines_that_run_it(bundle: Bundle) -> None:
    (parity,) = bundle.manifest.parity
    assert parity.engine == "openvino"
    assert parity.agreement >= 0.999
    assert 1e-3 < parity.max_error < 0.5, "it is coarser than fp16, or was not in bfloat16"


def test_an_engine_that_does_not_know_it_says_so(bundle: Bundle) -> None:
    assert "onnxruntime" not in installed_engines(bundle.network, "bf16")
    with pytest.raises(EngineUnavailable, match=r"does not run bf16.*tensorrt or openvino"):
        load_engine(bundle.network, "onnxruntime", BF16)
    load_engine(bundle.network, "openvino", BF16).close()


@pytest.mark.parametrize("name", [name for name in ENGINES if name.startswith("onnxruntime")])
def test_no_provider_of_onnx_runtime_is_built_for_it(options: ExportOptions, name: str) -> None:
    check_precision("tensorrt", "bf16")
    with pytest.raises(EngineUnavailable, match="does not run bf16"):
        export_bundle(replace(options, name="other", engine=name))
    assert not (options.out / "other").exists()
