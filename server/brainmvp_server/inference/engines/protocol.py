"""The one seam between serving and runtimes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from brainmvp_models.errors import EngineUnavailable
from brainmvp_models.manifest import Precision


@dataclass(frozen=True)
class EngineInfo:
    """What runs the network.

    Attributes:
        device: ``CPU``, or the GPU's name.
        windows: the most windows it takes at once; None for any number.
    """

    name: str
    device: str
    precision: str
    windows: int | None = None

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on a GPU."""
        return self.device != "CPU"


class Engine(Protocol):
    """A loaded network. One thread at a time may call :meth:`infer`."""

    @property
    def info(self) -> EngineInfo:
        """Name, device and arithmetic."""
        ...

    def infer(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of windows (N, C, h, w, d): (N, O, h, w, d), or (N, O) of a classification.

        The result may be a view of the engine's own memory, valid until the next call.
        """
        ...

    def close(self) -> None:
        """Free the network's memory."""
        ...


@runtime_checkable
class Stoppable(Protocol):
    """An engine that can leave a batch unfinished."""

    def stop(self) -> None:
        """Let :meth:`Engine.infer`, under way in another thread, raise soon; else do nothing."""
        ...


@dataclass(frozen=True)
class EngineOptions:
    """How a network is loaded. Engines on CPUs need none of it.

    Attributes:
        cache: folder for what an engine builds for a GPU; None for ``cache`` beside the network.
        build: build what the cache does not hold, which takes minutes; else refuse to load.
        windows: the largest batch that will come.
        precision: what the network's file is in.
        bfloat16: compute in bfloat16 on a CPU, where the engine can.
        hardware_compatible: let a plan run on other GPUs of the same compute capability.
        version_compatible: let a plan run in later versions of TensorRT.
    """

    cache: Path | None = None
    build: bool = True
    windows: int | None = None
    precision: Precision = "fp32"
    bfloat16: bool = False
    hardware_compatible: bool = False
    version_compatible: bool = False

    def cache_of(self, network: Path) -> Path:
        """The folder for what is built of ``network``."""
        return self.cache or network.parent / "cache"


USUAL_AT_WORK = 2.0
"""What an engine takes a window that was not measured, in the tensors its network keeps alive."""


@dataclass(frozen=True)
class EngineSpec:
    """An engine that there is, whether or not it is installed here.

    Attributes:
        modules: what must be importable.
        file: the module of this package that loads it.
        extra: the extra that installs it.
        reads: the kinds of network file it loads.
        precisions: of the networks it runs.
        bfloat16: whether it can compute any network but an INT8 one in bfloat16, on a CPU that can.
        on_gpu: whether it needs an NVIDIA GPU.
        gpu: the module of this package whose ``gpu_here`` refuses a machine without one.
        at_work: what it takes a window, in the tensors its network keeps alive
            (docs/performance.md).
    """

    modules: tuple[str, ...]
    file: str
    extra: str = "cpu"
    reads: tuple[str, ...] = (".onnx",)
    precisions: tuple[Precision, ...] = ("fp32", "fp16")
    bfloat16: bool = False
    on_gpu: bool = False
    gpu: str = "cuda"
    at_work: float = USUAL_AT_WORK

    @property
    def missing(self) -> tuple[str, ...]:
        """The modules that are not here."""
        return tuple(name for name in self.modules if not _here(name))

    def runs(self, network: Path, precision: Precision) -> bool:
        """Whether it takes a network's file."""
        return network.suffix in self.reads and precision in self.precisions

    def form(self, forms: Sequence[Path], precision: Precision) -> Path | None:
        """The first of a network's forms that it takes."""
        return next((form for form in forms if self.runs(form, precision)), None)


_ORT_CUDA = "onnxruntime.capi.libonnxruntime_providers_cuda"
ENGINES: dict[str, EngineSpec] = {
    "tensorrt": EngineSpec(
        ("tensorrt", "cuda.bindings"),
        "tensorrt_engine",
        extra="gpu",
        precisions=("fp32", "fp16", "bf16"),
        on_gpu=True,
    ),
    "onnxruntime-tensorrt": EngineSpec(
        (_ORT_CUDA, "tensorrt", "cuda.bindings"), "onnxruntime_engine", extra="gpu", on_gpu=True
    ),
    "onnxruntime-cuda": EngineSpec(
        (_ORT_CUDA, "cuda.bindings"), "onnxruntime_engine", extra="gpu", on_gpu=True
    ),
    "openvino": EngineSpec(
        ("openvino",),
        "openvino_engine",
        reads=(".onnx", ".xml"),
        precisions=("fp32", "fp16", "bf16", "int8"),
        bfloat16=True,
    ),
    "onnxruntime": EngineSpec(("onnxruntime",), "onnxruntime_engine", at_work=4.5),
    "torch": EngineSpec(
        ("torch",),
        "torch_engine",
        extra="gpu-torch",
        reads=(".pt2",),
        precisions=("fp32", "fp16", "bf16"),
        on_gpu=True,
        gpu="torch_engine",
        at_work=2.4,
    ),
    "torch-cpu": EngineSpec(
        ("torch",),
        "torch_engine",
        extra="gpu-torch",
        reads=(".pt2",),
        precisions=("fp32", "fp16", "bf16"),
        at_work=2.4,
    ),
}
"""Engines by name, the preferred one first. Where GPU engines are installed, one of them is chosen,
and a missing GPU is an error: nothing falls back to the CPU that was not asked to. PyTorch's come
last: an export has it as well, and no process is to load it that was not asked to."""


def installed_engines(
    network: Path | Sequence[Path] | None = None, precision: Precision = "fp32"
) -> tuple[str, ...]:
    """The engines whose runtime is here, the preferred one first.

    Args:
        network: only engines that load this kind of file, or one of these, in this precision.
    """
    return tuple(
        name
        for name, known in ENGINES.items()
        if not known.missing and (network is None or known.form(_forms(network), precision))
    )


def load_engine(
    network: Path | Sequence[Path],
    name: str | None = None,
    options: EngineOptions = EngineOptions(),
) -> Engine:
    """Load a network in the engine of that name; without one, in the preferred engine.

    Args:
        network: its file, or the files of its forms, of which the engine takes the one it reads.

    Raises:
        EngineUnavailable: unknown, not installed, without its device, or it refuses the network.
    """
    chosen, form = chosen_form(_forms(network), name, options.precision)
    module: Any = import_module(f"{__package__}.{ENGINES[chosen].file}")
    try:
        engine: Engine = module.load(form, chosen, options)
    except EngineUnavailable:
        raise
    except Exception as error:  # each runtime raises kinds of its own
        raise EngineUnavailable(
            f"the engine '{chosen}' cannot load the network ({type(error).__name__})",
            remedy="Export the bundle again, or choose another engine",
        ) from error
    return engine


def chosen_engine(name: str | None = None) -> str:
    """The engine of that name, or else the preferred one of those installed.

    Raises:
        EngineUnavailable: there is no such engine, or it is not installed.
    """
    installed = installed_engines()
    if name is None:
        if not installed:
            raise EngineUnavailable(
                "no engine is installed", remedy="Install one: pip install 'brainmvp[cpu]'"
            )
        return installed[0]
    if name not in ENGINES:
        raise EngineUnavailable(
            f"there is no engine '{name}'", remedy=f"Choose one of: {', '.join(ENGINES)}"
        )
    if name not in installed:
        raise EngineUnavailable(
            f"the engine '{name}' is not installed",
            remedy=f"Install it: pip install 'brainmvp[{ENGINES[name].extra}]'",
        )
    return name


def check_engine(name: str | None) -> None:
    """Refuse an engine that cannot run here, without loading a network.

    Raises:
        EngineUnavailable: unknown, not installed, or its GPU is not here.
    """
    known = ENGINES[chosen_engine(name)]
    if known.on_gpu:
        module: Any = import_module(f"{__package__}.{known.gpu}")
        module.gpu_here()


def check_precision(name: str, precision: Precision) -> None:
    """Refuse an engine that does not run networks of that precision.

    Raises:
        EngineUnavailable: it does not.
    """
    if precision not in ENGINES[name].precisions:
        able = [other for other, known in ENGINES.items() if precision in known.precisions]
        raise EngineUnavailable(
            f"the engine '{name}' does not run {precision} networks",
            remedy=f"Choose {' or '.join(able)}, or export with --precision fp32",
        )


def _forms(network: Path | Sequence[Path]) -> Sequence[Path]:
    return (network,) if isinstance(network, Path) else network


def chosen_form(forms: Sequence[Path], name: str | None, precision: Precision) -> tuple[str, Path]:
    """The engine that runs a network, and the one of its forms that it reads; see `load_engine`.

    Raises:
        EngineUnavailable: no such engine, not installed, or it takes none of the forms.
    """
    chosen = chosen_engine(name)
    form = ENGINES[chosen].form(forms, precision)
    if form is None and name is None and not ENGINES[chosen].on_gpu:
        chosen = next(iter(installed_engines(forms, precision)), chosen)
        form = ENGINES[chosen].form(forms, precision)
    if form is not None:
        return chosen, form
    check_precision(chosen, precision)
    able = [other for other, known in ENGINES.items() if known.form(forms, precision)]
    again = "--program" if ".pt2" in ENGINES[chosen].reads else "--precision fp32"
    raise EngineUnavailable(
        f"the engine '{chosen}' does not run {' or '.join(form.suffix for form in forms)} networks",
        remedy=f"Choose {' or '.join(able) or 'another bundle'}, or export with {again}",
    )


def _here(module: str) -> bool:
    """Whether a module can be imported, or a library lies in its package, without importing it."""
    package, _, last = module.rpartition(".")
    if last.startswith("lib"):
        spec = find_spec(package.partition(".")[0])
        places = spec.submodule_search_locations if spec else None
        folders = [Path(place, *package.split(".")[1:]) for place in places or ()]
        return any((folder / f"{last}.so").is_file() for folder in folders)
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package around it
        return False
