"""ONNX Runtime: on the CPU, or on an NVIDIA GPU by its CUDA or TensorRT provider."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from brainmvp_models.bundle import digest_of
from brainmvp_models.errors import EngineUnavailable
from brainmvp_server.inference.engines.plans import WINDOWS, Machine, Profile, pieces
from brainmvp_server.inference.engines.protocol import EngineInfo, EngineOptions

PROVIDERS = {
    "onnxruntime": "CPUExecutionProvider",
    "onnxruntime-cuda": "CUDAExecutionProvider",
    "onnxruntime-tensorrt": "TensorrtExecutionProvider",
}
Provider = tuple[str, dict[str, Any]]


class OnnxRuntimeEngine:
    """An ONNX network in an ONNX Runtime session.

    Raises:
        EngineUnavailable: the session does not use the provider that was asked for.
    """

    def __init__(self, network: Path, providers: list[Provider], info: EngineInfo) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 4 if info.on_gpu else 3
        self.info = info
        self._run_options = ort.RunOptions()
        wanted = providers[0][0]
        try:
            # By default, ONNX Runtime goes on with the CPU where a GPU fails, then or later.
            self._session = ort.InferenceSession(
                str(network), options, providers=providers, enable_fallback=0
            )
        except Exception as error:
            if info.on_gpu:
                raise _not_started(wanted) from error
            raise
        if self._session.get_providers()[0] != wanted:
            raise _not_started(wanted)

    def infer(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of any number of windows, in pieces where the session takes fewer at once."""
        self._run_options = ort.RunOptions()
        parts = [self._run(windows[part]) for part in pieces(len(windows), self._most(windows))]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def stop(self) -> None:
        """End the run: it goes after the operation it is at."""
        self._run_options.terminate = True

    def close(self) -> None:
        """Free the session."""
        del self._session

    def _most(self, windows: NDArray[np.float32]) -> int:
        return self.info.windows or len(windows)

    def _run(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = self._session.run(
            ["logits"], {"image": windows}, self._run_options
        )[0]
        return logits


def _not_started(provider: str) -> EngineUnavailable:
    return EngineUnavailable(
        f"ONNX Runtime cannot start its {provider} for this network",
        remedy="A library it needs may be missing or of another version: see 'brainmvp doctor'; "
        "nothing was run on the CPU instead",
    )


def load(network: Path, name: str, options: EngineOptions) -> OnnxRuntimeEngine:
    """Open a session on ``network``.

    Raises:
        EngineUnavailable: there is no GPU, or the provider does not start.
    """
    if name == "onnxruntime":
        info = EngineInfo(name, "CPU", "fp32")
        return OnnxRuntimeEngine(network, [(PROVIDERS[name], {})], info)
    from brainmvp_server.inference.engines.cuda import gpu_here

    gpu = gpu_here()
    preload(PROVIDERS[name])
    info = EngineInfo(name, gpu.name, options.precision)
    if name == "onnxruntime-cuda":
        return OnnxRuntimeEngine(network, [cuda_provider()], info)
    import tensorrt  # its libraries are found by ONNX Runtime once they are loaded

    versions = f"{tensorrt.__version__} in ONNX Runtime {ort.__version__}"
    here = Machine(gpu=gpu.name, capability=gpu.capability, driver=gpu.driver, tensorrt=versions)
    windows = options.windows or WINDOWS
    cache = _cache(network, here, windows, options)
    profile = _profile(network, windows)
    providers = [tensorrt_provider(profile, cache, options), cuda_provider()]
    info = EngineInfo(name, gpu.name, options.precision, windows=windows)
    return OnnxRuntimeEngine(network, providers, info)


def cuda_provider() -> Provider:
    """The CUDA provider: full float32, and no more memory than is asked for."""
    return PROVIDERS["onnxruntime-cuda"], {
        "device_id": "0",
        "use_tf32": "0",
        "arena_extend_strategy": "kSameAsRequested",
    }


def tensorrt_provider(profile: Profile, cache: Path, options: EngineOptions) -> Provider:
    """The TensorRT provider: engines and timings in ``cache``, one profile for all batches."""
    smallest, best, largest = (f"image:{'x'.join(map(str, shape))}" for shape in profile.shapes)
    return PROVIDERS["onnxruntime-tensorrt"], {
        "device_id": "0",
        "trt_fp16_enable": str(options.precision == "fp16"),
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(cache),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(cache),
        "trt_profile_min_shapes": smallest,
        "trt_profile_opt_shapes": best,
        "trt_profile_max_shapes": largest,
    }


def cache_folder(network: Path, here: Machine, windows: int, options: EngineOptions) -> Path:
    """Where the TensorRT provider keeps what it builds of this network on this machine."""
    name = f"{digest_of(network)[7:19]}-{options.precision}-{windows}-{here.key}"
    return options.cache_of(network) / "onnxruntime-tensorrt" / name


def _cache(network: Path, here: Machine, windows: int, options: EngineOptions) -> Path:
    folder = cache_folder(network, here, windows, options)
    if not options.build and not list(folder.glob("*.engine")):
        raise EngineUnavailable(
            "nothing was built for this GPU, driver and version yet",
            remedy="Build it with 'brainmvp build-engines', or allow it with --engine-build",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EngineUnavailable(
            f"what is built for the GPU cannot be kept ({error.strerror})",
            remedy="Name a folder that can be written with --engine-cache",
        ) from None
    return folder


def _profile(network: Path, windows: int) -> Profile:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(network), options, providers=["CPUExecutionProvider"])
    _, channels, x, y, z = session.get_inputs()[0].shape
    return Profile(channels, (x, y, z), windows)


def preload(provider: str) -> None:
    """Load CUDA's libraries from NVIDIA's packages, where they came with pip; else the system's."""
    if provider == PROVIDERS["onnxruntime"]:
        return
    ort.set_default_logger_severity(4)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
        ort.preload_dlls(directory="")


def providers_of(network: bytes, wanted: str) -> list[str]:
    """The providers that a session really has, where one was asked for."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(network, options, providers=[wanted], enable_fallback=0)
    started: list[str] = session.get_providers()
    return started
