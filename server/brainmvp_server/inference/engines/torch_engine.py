"""PyTorch: a ``torch.export`` program on an NVIDIA GPU, or on the CPU, where it is proved.

The one module of the service that imports torch; it is loaded only where its engine is chosen. On
both devices the same program runs, node by node; what a GPU adds is in :class:`OnGpu`.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export.passes import move_to_device_pass

from brainmvp_models.errors import EngineUnavailable
from brainmvp_models.manifest import Precision
from brainmvp_server.inference.engines.plans import WINDOWS, pieces
from brainmvp_server.inference.engines.protocol import ENGINES, EngineInfo, EngineOptions

log = logging.getLogger(__name__)

Array = NDArray[np.float32]
_SAME = torch.ops.aten._assert_tensor_metadata.default
"""A node that computes nothing: it says what another one's type was when the program was made."""


class Stopped(Exception):
    """The batch was left unfinished, as somebody asked for."""


class Steps(torch.fx.Interpreter):
    """Runs a program node by node, and can be stopped between two."""

    def __init__(self, module: torch.fx.GraphModule) -> None:
        super().__init__(module)
        self.stopped = False

    def run_node(self, n: torch.fx.Node) -> Any:
        """One node's value.

        Raises:
            Stopped: somebody set ``stopped``.
        """
        if self.stopped:
            raise Stopped
        return super().run_node(n)


class Runner(Protocol):
    """Runs batches of up to so many windows on its device."""

    def run(self, windows: Array) -> Array:
        """Logits of windows (N, C, h, w, d); valid until the next call."""
        ...

    def close(self) -> None:
        """Give the device's memory back."""
        ...


class OnCpu:
    """Runs a program on the CPU."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def run(self, windows: Array) -> Array:
        image = torch.from_numpy(np.require(windows, requirements=["C", "W"]))
        with torch.inference_mode():
            logits: Array = self._steps.run(image).contiguous().numpy()
        return logits

    def close(self) -> None:
        del self._steps


@dataclass(eq=False)
class _Lane:
    """What runs one size of batch: buffers whose places never change, and the work between them.

    Attributes:
        graph: the work, captured; None where it could not be.
        logits: where the graph leaves its result; None without one.
    """

    host_in: torch.Tensor
    device_in: torch.Tensor
    host_out: torch.Tensor
    graph: Any
    logits: torch.Tensor | None


class OnGpu:
    """Runs a program on the GPU: pinned buffers, one stream, one CUDA graph a size of batch.

    All graphs share one pool of memory, in turn: a result is copied out before the next one runs.
    """

    def __init__(self, steps: Steps, window: tuple[int, ...]) -> None:
        self._steps = steps
        self._window = window
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()
        self._lanes: dict[int, _Lane] = {}

    def run(self, windows: Array) -> Array:
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            lane = self._lanes.get(len(windows))
            if lane is None:
                lane = self._lanes[len(windows)] = self._lane(len(windows))
            np.copyto(lane.host_in.numpy(), windows)
            lane.device_in.copy_(lane.host_in, non_blocking=True)
            if lane.graph is not None:
                lane.graph.replay()
            logits = self._work(lane.device_in) if lane.logits is None else lane.logits
            lane.host_out.copy_(logits, non_blocking=True)
            self._stream.synchronize()
        result: Array = lane.host_out.numpy()
        return result

    def close(self) -> None:
        self._lanes.clear()
        del self._steps, self._pool
        torch.cuda.empty_cache()

    def _work(self, image: torch.Tensor) -> torch.Tensor:
        # Channels last is what tensor cores read; full float32 is the contract. Of cuDNN's kernels
        # the fastest is taken that gives the same bits each time.
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=True, deterministic=True, allow_tf32=False
        ):
            logits: torch.Tensor = self._steps.run(
                image.contiguous(memory_format=torch.channels_last_3d)
            )
        return logits.contiguous()

    def _lane(self, count: int) -> _Lane:
        """Buffers for batches of ``count``, and their work as a graph, which spares launches."""
        image = torch.zeros((count, *self._window), device="cuda")
        for _ in range(2):  # kernels are chosen and loaded now: a capture may not wait for that
            logits = self._work(image)
        self._stream.synchronize()
        host_in = torch.zeros(image.shape, pin_memory=True)
        host_out = torch.zeros(logits.shape, pin_memory=True)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(
                graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
            ):
                logits = self._work(image)
        except RuntimeError as error:
            log.warning("no CUDA graph for batches of %d (%s)", count, type(error).__name__)
            return _Lane(host_in, image, host_out, None, None)
        return _Lane(host_in, image, host_out, graph, logits)


class TorchEngine:
    """A program on a device."""

    def __init__(self, steps: Steps, runner: Runner, info: EngineInfo) -> None:
        self._steps = steps
        self._runner = runner
        self.info = info

    def infer(self, windows: Array) -> Array:
        """Logits of any number of windows, in pieces where the device takes fewer at once."""
        self._steps.stopped = False
        most = self.info.windows or len(windows)
        if len(windows) <= most:
            return self._runner.run(windows)
        parts = pieces(len(windows), most)
        return np.concatenate([self._runner.run(windows[part]).copy() for part in parts])

    def stop(self) -> None:
        """Leave the batch after the operation it is at. A GPU's is through with it by then."""
        self._steps.stopped = True

    def close(self) -> None:
        """Free the program and its buffers."""
        del self._steps
        self._runner.close()


def load(network: Path, name: str, options: EngineOptions) -> TorchEngine:
    """Load a program.

    Raises:
        EngineUnavailable: there is no GPU, or it has too little free memory for one window.
    """
    if name == "torch-cpu":
        precision = _on_cpu(options.precision)
        steps = Steps(_module(read_program(network), "cpu", precision))
        return TorchEngine(steps, OnCpu(steps), EngineInfo(name, "CPU", precision))
    gpu = gpu_here()
    program = read_program(network)
    most = _most(program, name, options.windows or WINDOWS)
    steps = Steps(_module(program, "cuda", options.precision))
    info = EngineInfo(name, gpu, options.precision, windows=most)
    return TorchEngine(steps, OnGpu(steps, _window(program)), info)


def gpu_here() -> str:
    """The name of the GPU that the process uses: the first of those it may see.

    Raises:
        EngineUnavailable: there is none that this build of PyTorch can use.
    """
    with warnings.catch_warnings():  # it warns of a driver that it cannot use
        warnings.simplefilter("ignore")
        here = torch.cuda.is_available()
    if not here:
        build = f"is for CUDA {torch.version.cuda}" if torch.version.cuda else "is for CPUs"
        raise EngineUnavailable(
            f"PyTorch can use no NVIDIA GPU here; its build {build}",
            remedy="Install NVIDIA's driver and a PyTorch for CUDA, give the container a GPU, or "
            "choose the engine openvino or onnxruntime",
        )
    name: str = torch.cuda.get_device_name()
    return name


def probe(name: str) -> None:
    """Load what the engine's device needs, by one small convolution on it."""
    device = "cpu" if name == "torch-cpu" else "cuda"
    cube = torch.ones((1, 1, 3, 3, 3), device=device)
    torch.nn.functional.conv3d(cube, cube).cpu()


def live_bytes(program: torch.export.ExportedProgram) -> int:
    """Most bytes of tensors that are alive at once for one window, weights aside.

    Views count as if they were copies, so that it is rather too much.
    """
    nodes = list(program.graph.nodes)
    weights = set(program.graph_signature.inputs_to_parameters)
    weights |= set(program.graph_signature.inputs_to_buffers)
    sizes = {node: 0 if node.name in weights else _bytes(node.meta.get("val")) for node in nodes}
    last = {used: place for place, node in enumerate(nodes) for used in node.all_input_nodes}
    alive = peak = 0
    for place, node in enumerate(nodes):
        alive += sizes[node] if node.op != "output" else 0
        peak = max(peak, alive)
        alive -= sum(sizes[used] for used in node.all_input_nodes if last[used] == place)
    return peak


def read_program(network: Path) -> torch.export.ExportedProgram:
    """The program in a file."""
    with warnings.catch_warnings():  # it reads weights into memory that nobody may write
        warnings.simplefilter("ignore")
        return torch.export.load(network)


def _module(
    program: torch.export.ExportedProgram, device: str, precision: str
) -> torch.fx.GraphModule:
    """The program on a device, in that arithmetic. Weights in channels last on a GPU."""
    module = move_to_device_pass(program, device).module()
    assert isinstance(module, torch.fx.GraphModule)
    for node in list(module.graph.nodes):
        if node.target is _SAME:
            module.graph.erase_node(node)
        elif precision == "fp32":
            node.args = tuple(map(_wide, node.args))
            node.kwargs = {key: _wide(value) for key, value in node.kwargs.items()}
    if precision == "fp32":
        module.float()
    if device != "cpu":  # on a CPU it is slower
        for weight in module.parameters():
            if weight.ndim == 5:
                weight.data = weight.data.contiguous(memory_format=torch.channels_last_3d)
    return module


def _wide(value: Any) -> Any:
    """float32 in the place of a 16-bit type."""
    return torch.float32 if value in (torch.float16, torch.bfloat16) else value


def _on_cpu(precision: Precision) -> Precision:
    """The arithmetic of a program on this CPU: float32 of its rounded weights where it lacks it.

    PyTorch has loops for any type, but without the CPU's help they take minutes a window.
    """
    able: dict[Precision, Callable[[], bool]] = {
        "fp16": torch.ops.mkldnn._is_mkldnn_fp16_supported,
        "bf16": torch.ops.mkldnn._is_mkldnn_bf16_supported,
    }
    return precision if precision in able and able[precision]() else "fp32"


def _most(program: torch.export.ExportedProgram, name: str, asked: int) -> int:
    """The largest batch, up to ``asked``, that the GPU's free memory holds.

    Raises:
        EngineUnavailable: not even one window fits.
    """
    weights = sum(tensor.nbytes for tensor in program.state_dict.values())
    window = int(ENGINES[name].at_work * live_bytes(program))
    free, _ = torch.cuda.mem_get_info()
    most: int = min(asked, (free - weights) // window)
    if most < 1:
        raise EngineUnavailable(
            f"one window needs about {(weights + window) >> 20} MB of the GPU's memory, "
            f"and {free >> 20} MB are free",
            remedy="Let fewer processes use the GPU, or take a larger one",
        )
    return most


def _window(program: torch.export.ExportedProgram) -> tuple[int, ...]:
    """A window's shape (C, h, w, d)."""
    (name,) = program.graph_signature.user_inputs
    (image,) = (node for node in program.graph.nodes if node.name == name)
    return tuple(int(edge) for edge in image.meta["val"].shape[1:])


def _bytes(value: Any) -> int:
    """Size of a node's tensors for a batch of one; 0 of what is none."""
    if isinstance(value, list | tuple):
        return sum(map(_bytes, value))
    if not isinstance(value, torch.Tensor):
        return 0
    return math.prod(map(_at_one, value.shape)) * value.element_size()


def _at_one(edge: Any) -> int:
    """A length, for a batch of one where it depends on the batch."""
    if isinstance(edge, int):
        return edge
    length = edge.node.expr
    return int(length.subs(dict.fromkeys(length.free_symbols, 1)))
