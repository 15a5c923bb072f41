"""TensorRT on an NVIDIA GPU: a plan, pinned buffers, one stream, one CUDA graph a batch size."""

from __future__ import annotations

import hashlib
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorrt as trt
from numpy.typing import NDArray

from brainmvp_models.bundle import digest_of
from brainmvp_models.errors import EngineUnavailable
from brainmvp_server.inference.engines.cuda import (
    CudaError,
    DeviceMemory,
    Graph,
    PinnedArray,
    Stream,
    gpu_here,
)
from brainmvp_server.inference.engines.plans import (
    WINDOWS,
    EnginePlan,
    Machine,
    PlanCache,
    PlanRecord,
    pieces,
    write_whole,
)
from brainmvp_server.inference.engines.protocol import EngineInfo, EngineOptions
from brainmvp_server.inference.engines.tensorrt_build import INPUT, OUTPUT, Silent, build_plan

log = logging.getLogger(__name__)

Array = NDArray[np.float32]


@dataclass(eq=False)
class _Lane:
    """What runs one size of batch: a context whose shapes never change, and its graph.

    A context that changed shapes would spoil the graph captured from it.
    """

    context: Any
    graph: Graph | None = None
    tried: bool = False


class TensorRtEngine:
    """A plan on the GPU. Everything it needs is allocated once, for its largest batch."""

    def __init__(self, plan: EnginePlan) -> None:
        record = plan.record
        self._logger = Silent()
        self._runtime = trt.Runtime(self._logger)
        # Such a plan brings the runtime that runs it; the cache is trusted as the bundle is.
        self._runtime.engine_host_code_allowed = record.version_compatible
        self._engine = self._runtime.deserialize_cuda_engine(plan.content)
        if self._engine is None:
            raise EngineUnavailable(
                "TensorRT does not take the plan",
                remedy="Delete the plan in the cache folder; it is then built anew",
            )
        self._most = record.windows
        self.info = EngineInfo(
            "tensorrt", record.built_for.gpu, record.precision, windows=record.windows
        )
        shape_in = tuple(self._engine.get_tensor_shape(INPUT))[1:]
        shape_out = tuple(self._engine.get_tensor_shape(OUTPUT))[1:]
        if min(*shape_in, *shape_out) < 1:
            raise EngineUnavailable(
                "the plan leaves more than the batch open", remedy="Export the bundle again"
            )
        self._bytes_in, self._bytes_out = 4 * math.prod(shape_in), 4 * math.prod(shape_out)
        self._host_in = PinnedArray((self._most, *shape_in))
        self._host_out = PinnedArray((self._most, *shape_out))
        self._device_in = DeviceMemory(self._most * self._bytes_in)
        self._device_out = DeviceMemory(self._most * self._bytes_out)
        self._work_bytes = int(self._engine.device_memory_size_v2)
        self._work = DeviceMemory(max(self._work_bytes, 256))
        self._stream = Stream()
        self._lanes: dict[int, _Lane] = {}

    def infer(self, windows: Array) -> Array:
        """Logits (N, O, h, w, d), or (N, O); a view of pinned memory where N fits the plan."""
        if len(windows) <= self._most:
            return self._infer(windows)
        parts = pieces(len(windows), self._most)
        return np.concatenate([self._infer(windows[part]).copy() for part in parts])

    def close(self) -> None:
        """Free all of it; pinned memory once nobody reads it any more."""
        for lane in self._lanes.values():
            if lane.graph is not None:
                lane.graph.close()
        self._lanes.clear()
        for memory in (self._device_in, self._device_out, self._work):
            memory.close()
        self._stream.close()
        del self._host_in, self._host_out, self._engine, self._runtime

    def _infer(self, windows: Array) -> Array:
        count = len(windows)
        self._host_in.array[:count] = windows
        lane = self._lanes.get(count)
        if lane is None:
            lane = self._lanes[count] = _Lane(self._context(count))
        if lane.graph is not None:
            lane.graph.launch(self._stream)
        else:
            self._enqueue(lane, count)
        self._stream.wait()
        if not lane.tried:  # the first run settles what a context does lazily
            lane.tried = True
            lane.graph = self._captured(lane, count)
        return self._host_out.array[:count]

    def _context(self, count: int) -> Any:
        """A context for batches of ``count``; all share one piece of memory, in turn."""
        managed = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = self._engine.create_execution_context(managed)
        if context is None:
            raise RuntimeError("no execution context")
        context.set_device_memory(self._work.address, self._work_bytes)
        shape = (count, *self._host_in.array.shape[1:])
        done = (
            context.set_input_shape(INPUT, shape)
            and context.set_tensor_address(INPUT, self._device_in.address)
            and context.set_tensor_address(OUTPUT, self._device_out.address)
        )
        if not done or context.infer_shapes():
            raise RuntimeError("a batch that the plan does not take")
        return context

    def _enqueue(self, lane: _Lane, count: int) -> None:
        self._stream.upload(self._device_in, self._host_in, count * self._bytes_in)
        if not lane.context.execute_async_v3(int(self._stream)):
            raise RuntimeError("the plan could not be run")
        self._stream.download(self._host_out, self._device_out, count * self._bytes_out)

    def _captured(self, lane: _Lane, count: int) -> Graph | None:
        """The same work as a graph, which spares a launch a kernel; None where it has none."""
        try:
            return Graph(self._stream, lambda: self._enqueue(lane, count))
        except (CudaError, RuntimeError) as error:
            log.warning("no CUDA graph for batches of %d (%s)", count, type(error).__name__)
            return None


def load(network: Path, _name: str, options: EngineOptions) -> TensorRtEngine:
    """The plan of ``network`` for this GPU, from the cache or built now.

    Raises:
        EngineUnavailable: no GPU; no plan fits and none may be built; or none can be.
    """
    gpu = gpu_here()
    here = Machine(
        gpu=gpu.name, capability=gpu.capability, driver=gpu.driver, tensorrt=trt.__version__
    )
    cache = PlanCache(options.cache_of(network) / "tensorrt")
    digest, windows = digest_of(network), options.windows or WINDOWS
    found = cache.find(digest, windows, here)
    if isinstance(found, EnginePlan):
        return TensorRtEngine(found)
    if not options.build:
        raise EngineUnavailable(
            f"no plan for this GPU: {found}",
            remedy="Build one with 'brainmvp build-engines', or allow it with --engine-build",
        )
    log.warning("building a TensorRT plan for this GPU, which takes minutes: %s", found)
    timings = cache.timings(here)
    known = timings.read_bytes() if timings.is_file() else b""
    built = build_plan(network, windows, options, known)
    record = PlanRecord(
        network=digest,
        precision=options.precision,
        windows=windows,
        built_for=here,
        hardware_compatible=options.hardware_compatible,
        version_compatible=options.version_compatible,
        plan=f"sha256:{hashlib.sha256(built.plan).hexdigest()}",
    )
    plan = EnginePlan(record, built.plan)
    cache.keep(plan)
    write_whole(timings, built.timings)
    return TensorRtEngine(plan)
