"""What ONNX Runtime's GPU providers are told. None of it needs a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import EngineUnavailable
from brainmvp_server.inference.engines import EngineInfo, EngineOptions
from brainmvp_server.inference.engines.onnxruntime_engine import (
    OnnxRuntimeEngine,
    cache_folder,
    cuda_provider,
    tensorrt_provider,
)
from brainmvp_server.inference.engines.plans import Machine, Profile

HERE = Machine(gpu="NVIDIA L4", capability=(8, 9), driver="580.65", tensorrt="10.16 in 1.31")


def test_cuda_computes_in_full_precision() -> None:
    name, options = cuda_provider()
    assert name == "CUDAExecutionProvider"
    assert options["use_tf32"] == "0"


@pytest.mark.parametrize(("precision", "half"), [("fp32", "False"), ("fp16", "True")])
def test_tensorrt_keeps_engines_and_timings_and_takes_every_batch(
    tmp_path: Path, precision: str, half: str
) -> None:
    options = EngineOptions(precision=precision)  # type: ignore[arg-type]
    name, told = tensorrt_provider(Profile(4, (96, 96, 96), 8), tmp_path, options)
    assert name == "TensorrtExecutionProvider"
    assert told["trt_fp16_enable"] == half
    assert told["trt_engine_cache_path"] == told["trt_timing_cache_path"] == str(tmp_path)
    assert told["trt_engine_cache_enable"] == told["trt_timing_cache_enable"] == "True"
    assert told["trt_profile_min_shapes"] == "image:1x4x96x96x96"
    assert told["trt_profile_max_shapes"] == "image:8x4x96x96x96"


def test_each_network_batch_precision_and_machine_has_a_folder_of_its_own(tmp_path: Path) -> None:
    one, two = tmp_path / "one.onnx", tmp_path / "two.onnx"
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    options, half = EngineOptions(), EngineOptions(precision="fp16")
    other = HERE.model_copy(update={"driver": "590.1"})
    folders = {
        cache_folder(one, HERE, 8, options),
        cache_folder(two, HERE, 8, options),
        cache_folder(one, HERE, 4, options),
        cache_folder(one, HERE, 8, half),
        cache_folder(one, other, 8, options),
    }
    assert len(folders) == 5
    assert {folder.parent for folder in folders} == {tmp_path / "cache" / "onnxruntime-tensorrt"}


@pytest.mark.filterwarnings("ignore:Specified provider .* is not in available provider names")
@pytest.mark.parametrize("provider", ["CUDAExecutionProvider", "TensorrtExecutionProvider"])
def test_a_provider_that_does_not_start_is_an_error_not_the_cpu(
    tiny_bundle: Bundle, provider: str
) -> None:
    info = EngineInfo("onnxruntime-cuda", "NVIDIA L4", "fp32")
    with pytest.raises(EngineUnavailable, match="nothing was run on the CPU instead"):
        OnnxRuntimeEngine(tiny_bundle.network, [(provider, {})], info)
