"""Build a TensorRT plan from an ONNX file, on the GPU that will run it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorrt as trt

from brainmvp_models.errors import EngineUnavailable
from brainmvp_server.inference.engines.plans import Profile
from brainmvp_server.inference.engines.protocol import EngineOptions

INPUT, OUTPUT = "image", "logits"


class Silent(trt.ILogger):  # type: ignore[misc]
    """Keeps TensorRT's words to itself; what failed is told by what a call gives back."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)

    def log(self, severity: Any, msg: str) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Built:
    """A serialised plan, and the timings that a later build may use."""

    plan: bytes
    timings: bytes


def build_plan(network: Path, windows: int, options: EngineOptions, timings: bytes) -> Built:
    """Build a plan for batches of 1 to ``windows`` windows. Takes minutes.

    Types are those of the ONNX file, strictly: float32 stays float32, without TF32, and a float16
    network was exported so. TensorRT before 11 is asked for that; 11 knows nothing else.

    Raises:
        EngineUnavailable: TensorRT cannot read or build the network.
    """
    logger = Silent()
    builder = trt.Builder(logger)
    definition = builder.create_network(_flags())
    parser = trt.OnnxParser(definition, logger)
    if not parser.parse_from_file(str(network)):
        reason = parser.get_error(0).desc() if parser.num_errors else "no reason given"
        raise EngineUnavailable(
            f"TensorRT cannot read the network: {reason[:200]}",
            remedy="Export the bundle again, or choose another engine",
        )
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY
    profile = builder.create_optimization_profile()
    profile.set_shape(INPUT, *_profile(definition, windows).shapes)
    fits = config.add_optimization_profile(profile) >= 0
    cache = _cache(timings, config)  # must live until the plan is built
    plan = builder.build_serialized_network(definition, config) if fits else None
    if plan is None:
        raise EngineUnavailable(
            "TensorRT cannot build a plan of the network for this GPU",
            remedy="Try a smaller --batch, or choose the engine onnxruntime-cuda",
        )
    return Built(bytes(memoryview(plan)), bytes(memoryview(cache.serialize())))


def _flags() -> int:
    """TensorRT 11 knows typed networks alone; before, they had to be asked for."""
    if int(trt.__version__.split(".")[0]) >= 11:
        return 0
    return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def _profile(definition: Any, windows: int) -> Profile:
    _, channels, x, y, z = definition.get_input(0).shape
    return Profile(channels, (x, y, z), windows)


def _cache(timings: bytes, config: Any) -> Any:
    """Earlier timings, put to use; none, where those are damaged or of another GPU or version."""
    cache = config.create_timing_cache(timings)
    if cache is None or not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache
