"""CUDA: which GPU is here, memory on it and pinned beside it, a stream, graphs.

A thin layer over NVIDIA's cuda-bindings, whose calls return an error code and then their values.
"""

from __future__ import annotations

import ctypes
import math
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
from cuda.bindings import nvml
from cuda.bindings import runtime as cudart
from numpy.typing import NDArray

from brainmvp_models.errors import EngineUnavailable


class CudaError(Exception):
    """A call of CUDA that failed; its text is CUDA's own name for the error."""


@dataclass(frozen=True)
class Gpu:
    """The GPU that the process uses: the first of those it may see (``CUDA_VISIBLE_DEVICES``).

    Attributes:
        capability: compute capability, such as (9, 0).
        bytes: its memory, or its slice's.
        driver: version of the driver.
        cuda: newest CUDA that the driver knows, such as (13, 0).
    """

    name: str
    capability: tuple[int, int]
    bytes: int
    driver: str
    cuda: tuple[int, int]


def gpu_here() -> Gpu:
    """The GPU that the process uses.

    Raises:
        EngineUnavailable: there is none, or no driver.
    """
    error, count = cudart.cudaGetDeviceCount()
    if error != cudart.cudaError_t.cudaSuccess or not count:
        raise EngineUnavailable(
            f"no NVIDIA GPU can be used here ({error.name if count is None else 'none'})",
            remedy="Install NVIDIA's driver, give the container a GPU, or choose the engine "
            "openvino or onnxruntime; 'brainmvp doctor' says what is missing",
        )
    device = checked(cudart.cudaGetDevice())
    properties = checked(cudart.cudaGetDeviceProperties(device))
    version = checked(cudart.cudaDriverGetVersion())
    return Gpu(
        name=properties.name.rstrip(b"\0").decode(),
        capability=(properties.major, properties.minor),
        bytes=properties.totalGlobalMem,
        driver=_driver(),
        cuda=(version // 1000, version % 1000 // 10),
    )


def checked(result: tuple[Any, ...]) -> Any:
    """The value of a CUDA call; None where it has none.

    Raises:
        CudaError: the call failed.
    """
    error, *values = result
    if error != cudart.cudaError_t.cudaSuccess:
        raise CudaError(error.name)
    return values[0] if values else None


class Stream:
    """Work in order, beside the default stream."""

    def __init__(self) -> None:
        self.handle = checked(cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking))

    def __int__(self) -> int:
        return int(self.handle)

    def wait(self) -> None:
        """Until all of it is done."""
        checked(cudart.cudaStreamSynchronize(self.handle))

    def upload(self, device: DeviceMemory, host: PinnedArray, count: int) -> None:
        """Copy ``count`` bytes to the GPU."""
        kind = cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        checked(cudart.cudaMemcpyAsync(device.address, host.address, count, kind, self.handle))

    def download(self, host: PinnedArray, device: DeviceMemory, count: int) -> None:
        """Copy ``count`` bytes from the GPU."""
        kind = cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        checked(cudart.cudaMemcpyAsync(host.address, device.address, count, kind, self.handle))

    def close(self) -> None:
        """Give it back."""
        checked(cudart.cudaStreamDestroy(self.handle))


class DeviceMemory:
    """Bytes on the GPU."""

    def __init__(self, size: int) -> None:
        self.address: int = checked(cudart.cudaMalloc(size))

    def close(self) -> None:
        """Give them back."""
        checked(cudart.cudaFree(self.address))


class PinnedArray:
    """A float32 array in memory that the GPU copies from and to on its own.

    The memory is given back with the last array that shows a part of it: whoever still reads an
    engine's answer may do so after the engine is closed.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        size = 4 * math.prod(shape)
        self.address: int = checked(cudart.cudaHostAlloc(size, cudart.cudaHostAllocDefault))
        memory = (ctypes.c_float * math.prod(shape)).from_address(self.address)
        weakref.finalize(memory, cudart.cudaFreeHost, self.address).atexit = False
        self.array: NDArray[np.float32] = np.ctypeslib.as_array(memory).reshape(shape)


class Graph:
    """Work captured from a stream, to be launched as one."""

    def __init__(self, stream: Stream, work: Any) -> None:
        mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        checked(cudart.cudaStreamBeginCapture(stream.handle, mode))
        try:
            work()
        finally:  # a stream that still captures could do nothing else
            ended = cudart.cudaStreamEndCapture(stream.handle)
        graph = checked(ended)
        try:
            self._handle = checked(cudart.cudaGraphInstantiate(graph, 0))
        finally:
            checked(cudart.cudaGraphDestroy(graph))

    def launch(self, stream: Stream) -> None:
        """Do the work again."""
        checked(cudart.cudaGraphLaunch(self._handle, stream.handle))

    def close(self) -> None:
        """Give it back."""
        checked(cudart.cudaGraphExecDestroy(self._handle))


def _driver() -> str:
    try:
        nvml.init_v2()
        try:
            return str(nvml.system_get_driver_version())
        finally:
            nvml.shutdown()
    except Exception as error:  # the bindings raise several kinds where the library is not there
        raise EngineUnavailable(
            f"the GPU's driver does not tell its version ({type(error).__name__})",
            remedy="Give the container the driver's capabilities compute and utility",
        ) from error
