"""``brainmvp doctor``: which engines can run here, on what, and what is missing."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from importlib import metadata
from io import StringIO
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel, ConfigDict

from brainmvp_models import __version__
from brainmvp_models.errors import EngineUnavailable, InvalidSettings
from brainmvp_server.inference.engines import ENGINES, installed_engines
from brainmvp_server.inference.engines.protocol import EngineSpec

PACKAGES = (
    "openvino", "onnxruntime", "onnxruntime-gpu", "tensorrt-cu13", "tensorrt", "cuda-bindings",
    "torch", "numpy",
)  # fmt: skip


class Checked(BaseModel):
    """One engine as it was found.

    Attributes:
        ready: whether it can run here.
        chosen: whether it is the one that serves where none is named.
        device: what it would run on.
        problem: why it cannot.
        remedy: what to do about that.
    """

    model_config = ConfigDict(frozen=True)

    engine: str
    ready: bool
    chosen: bool = False
    device: str | None = None
    problem: str | None = None
    remedy: str | None = None


class CheckedAtlas(BaseModel):
    """A site's own atlas as it was found.

    Attributes:
        space: the frame it lies in.
        problem: why it cannot be used.
        remedy: what to do about that.
    """

    model_config = ConfigDict(frozen=True)

    file: str
    space: str | None = None
    problem: str | None = None
    remedy: str | None = None


class Diagnosis(BaseModel):
    """What ``brainmvp doctor --json`` prints.

    Attributes:
        gpu: the GPU that would be used.
        driver: its driver, and the newest CUDA that the driver knows.
        packages: versions of what engines are made of, of those installed.
        atlas: the site's own, where one is named.
    """

    model_config = ConfigDict(frozen=True)

    brainmvp: str
    python: str
    platform: str
    gpu: str | None
    driver: str | None
    packages: dict[str, str]
    engines: tuple[Checked, ...]
    atlas: CheckedAtlas | None = None

    def ready(self, engine: str | None) -> bool:
        """Whether that engine, or else the one that would be chosen, can run, and the atlas too."""
        if self.atlas is not None and self.atlas.problem:
            return False
        return any(e.ready for e in self.engines if (e.engine == engine if engine else e.chosen))


def doctor(
    engine: Annotated[
        str | None, typer.Option(help="The engine that must run; else the one that is chosen.")
    ] = None,
    atlas: Annotated[
        Path | None,
        typer.Option(
            envvar="BRAINMVP_ATLAS", help="An atlas of your own, as the service is given it."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say which engines can run here, on what, and what to install for the others.

    Exit codes: 0, the engine that would serve can run, and the atlas be used; 1, they cannot; 2,
    there is no such engine.
    """
    if engine is not None and engine not in ENGINES:
        typer.echo(
            f"brainmvp: there is no engine '{engine}'. Choose one of: {', '.join(ENGINES)}.",
            err=True,
        )
        raise typer.Exit(2)
    found = diagnose(atlas)
    typer.echo(found.model_dump_json(indent=2) if json else as_text(found))
    if not found.ready(engine):
        raise typer.Exit(1)


def diagnose(atlas: Path | None = None) -> Diagnosis:
    """Look at this machine, and at an atlas. Runtimes are loaded; no network is."""
    gpu, driver, lack = _gpu()
    chosen = next(iter(installed_engines()), None)
    engines = (_checked(name, gpu, lack) for name in ENGINES)
    return Diagnosis(
        brainmvp=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        gpu=gpu,
        driver=driver,
        packages=dict(_packages()),
        engines=tuple(e.model_copy(update={"chosen": e.engine == chosen}) for e in engines),
        atlas=None if atlas is None else _checked_atlas(atlas),
    )


def _checked_atlas(path: Path) -> CheckedAtlas:
    from brainmvp_server.preparation.atlas import site_atlas

    try:
        return CheckedAtlas(file=str(path), space=site_atlas(path).space.value)
    except InvalidSettings as error:
        return CheckedAtlas(file=str(path), problem=error.problem, remedy=error.remedy)


def as_text(found: Diagnosis) -> str:
    """For people: one line an engine, and below it what to do."""
    lines = [
        f"brainmvp {found.brainmvp}, Python {found.python}, {found.platform}",
        f"GPU: {found.gpu}, driver {found.driver}" if found.gpu else "GPU: none",
        "packages: " + ", ".join(f"{name} {version}" for name, version in found.packages.items()),
        "",
    ]
    for entry in found.engines:
        state = f"ready on {entry.device}" if entry.ready else f"not ready: {entry.problem}"
        lines.append(f"{'*' if entry.chosen else ' '} {entry.engine:<21} {state}")
        if entry.remedy:
            lines.append(f"{'':<24}{entry.remedy}")
    lines += ["", "* serves where no --engine is named"]
    if found.atlas is not None:
        lines.append(f"atlas {found.atlas.file}: {found.atlas.problem or found.atlas.space}")
        lines += [f"{'':<24}{found.atlas.remedy}"] if found.atlas.remedy else []
    return "\n".join(lines)


def _checked(name: str, gpu: str | None, lack: EngineUnavailable | None) -> Checked:
    known = ENGINES[name]
    if known.missing:
        return Checked(
            engine=name,
            ready=False,
            problem=f"there is no {known.missing[0].rpartition('.')[2]}",
            remedy=_to_install(known),
        )
    if known.gpu == "torch_engine" and known.on_gpu:
        gpu, lack = _gpu_of_torch()
    if known.on_gpu and lack is not None:
        return Checked(engine=name, ready=False, problem=lack.problem, remedy=lack.remedy)
    problem = _fails(name)
    return Checked(
        engine=name,
        ready=problem is None,
        device=gpu if known.on_gpu else "CPU",
        problem=problem,
        remedy=problem and f"pip install --force-reinstall 'brainmvp[{known.extra}]'",
    )


def _to_install(known: EngineSpec) -> str:
    """The command. The onnxruntime of CPUs is one module with that of GPUs, and would spoil it."""
    install = f"pip install 'brainmvp[{known.extra}]'"
    spoilt = known.extra == "gpu" and "onnxruntime" in dict(_packages())
    return f"pip uninstall onnxruntime && {install}" if spoilt else install


def _fails(name: str) -> str | None:
    """What happens when the engine's runtime is loaded; None where nothing does."""
    try:
        with _quiet():
            return _PROBES[name]()
    except Exception as error:  # each runtime raises kinds of its own
        return f"its runtime cannot be loaded ({type(error).__name__})"


def _openvino() -> str | None:
    import openvino as ov

    return None if "CPU" in ov.Core().available_devices else "OpenVINO sees no CPU plugin"


def _onnxruntime() -> str | None:
    return _provider("CPUExecutionProvider")


def _tensorrt() -> str | None:
    import tensorrt as trt

    return None if trt.Builder(trt.Logger(trt.Logger.ERROR)) else "TensorRT gives no builder"


def _onnxruntime_cuda() -> str | None:
    return _provider("CUDAExecutionProvider")


def _onnxruntime_tensorrt() -> str | None:
    return _tensorrt() or _provider("TensorrtExecutionProvider")


def _torch(name: str) -> None:
    from brainmvp_server.inference.engines.torch_engine import probe

    probe(name)


_PROBES: dict[str, Callable[[], str | None]] = {
    "openvino": _openvino,
    "onnxruntime": _onnxruntime,
    "tensorrt": _tensorrt,
    "onnxruntime-cuda": _onnxruntime_cuda,
    "onnxruntime-tensorrt": _onnxruntime_tensorrt,
    "torch": partial(_torch, "torch"),
    "torch-cpu": partial(_torch, "torch-cpu"),
}


def _provider(wanted: str) -> str | None:
    """Start a session of ``IDENTITY`` on a provider: only that loads its libraries."""
    from brainmvp_server.inference.engines.onnxruntime_engine import preload, providers_of

    preload(wanted)
    started = providers_of(IDENTITY, wanted)
    return None if wanted in started else f"ONNX Runtime does not start its {wanted}"


def _gpu() -> tuple[str | None, str | None, EngineUnavailable | None]:
    """The GPU, its driver; or what is lacking."""
    try:
        from brainmvp_server.inference.engines.cuda import gpu_here

        gpu = gpu_here()
    except EngineUnavailable as error:
        return None, None, error
    except Exception as error:  # no bindings, or a driver that they cannot talk to
        lacking = EngineUnavailable(
            f"no NVIDIA GPU can be asked for ({type(error).__name__})",
            remedy="pip install 'brainmvp[gpu]', and NVIDIA's driver",
        )
        return None, None, lacking
    memory = f"{gpu.bytes / 2**30:.0f} GiB"
    capability = ".".join(map(str, gpu.capability))
    return (
        f"{gpu.name}, {memory}, compute capability {capability}",
        f"{gpu.driver} (CUDA {'.'.join(map(str, gpu.cuda))})",
        None,
    )


def _gpu_of_torch() -> tuple[str | None, EngineUnavailable | None]:
    """The GPU that PyTorch uses; or what is lacking."""
    try:
        from brainmvp_server.inference.engines.torch_engine import gpu_here

        return gpu_here(), None
    except EngineUnavailable as error:
        return None, error
    except Exception as error:  # a library of its own that does not load
        remedy = "pip install --force-reinstall 'brainmvp[gpu-torch]'"
        problem = f"its runtime cannot be loaded ({type(error).__name__})"
        return None, EngineUnavailable(problem, remedy=remedy)


def _packages() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue


@contextmanager
def _quiet() -> Iterator[None]:
    """Some runtimes print what they do not find; it is told in our words."""
    with redirect_stdout(StringIO()):
        yield


def _identity() -> bytes:
    """An ONNX network of one node, ``y = x``, as protobuf.

    ir_version 8, opset 13, float32 of shape (1).
    """

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    def value(name: bytes) -> bytes:
        shape = field(2, field(1, b"\x08\x01"))
        return field(1, name) + field(2, field(1, b"\x08\x01" + shape))

    node = field(1, b"x") + field(2, b"y") + field(4, b"Identity")
    graph = field(1, node) + field(2, b"g") + field(11, value(b"x")) + field(12, value(b"y"))
    return b"\x08\x08" + field(7, graph) + field(8, b"\x10\x0d")


IDENTITY = _identity()
