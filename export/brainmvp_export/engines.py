"""``brainmvp build-engines``: build what a GPU needs to run bundles, and prove it. No torch."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from brainmvp_export.parity import judged_on_gpu, logits_in, real_windows
from brainmvp_models.bundle import Bundle, find_bundles
from brainmvp_models.errors import BrainMVPError, EngineUnavailable, InvalidBundle
from brainmvp_models.manifest import Parity, Precision
from brainmvp_server.inference.engines import (
    ENGINES,
    EngineOptions,
    check_engine,
    installed_engines,
)


@dataclass(frozen=True)
class Prepared:
    """A bundle that an engine can run here, and how near that is to its CPU engine."""

    bundle: Bundle
    parity: Parity
    built: bool


def build_engines(
    models: Annotated[Path, typer.Argument(help="Folder of bundles, or one bundle.")],
    engine: Annotated[
        Literal["tensorrt", "onnxruntime-tensorrt", "torch"],
        typer.Option(help="Whose engines to build; torch builds nothing, and is proved."),
    ] = "tensorrt",
    batch: Annotated[
        int | None, typer.Option(min=1, help="Largest batch. Default: 8.", show_default=False)
    ] = None,
    engine_cache: Annotated[
        Path | None,
        typer.Option(help="Where to keep what is built; else the folder cache in each bundle."),
    ] = None,
    hardware_compatible: Annotated[
        bool, typer.Option(help="Also for other GPUs of this compute capability; slower.")
    ] = False,
    version_compatible: Annotated[
        bool, typer.Option(help="Also for later TensorRT of this major version; slower.")
    ] = False,
) -> None:
    """Build engines for the GPU of this machine, and keep those that say what the CPU says.

    Run it on each kind of GPU before serving there with --no-engine-build. What fits already is not
    built again.
    """
    options = EngineOptions(
        cache=engine_cache,
        windows=batch,
        hardware_compatible=hardware_compatible,
        version_compatible=version_compatible,
    )
    try:
        check_engine(engine)
        for bundle in _bundles(models):
            done = prepare_engine(bundle, engine, options)
            typer.echo(
                f"{bundle.manifest.name}/{bundle.manifest.version}: "
                f"{'built' if done.built else 'as it is'}; agreement {done.parity.agreement:.5f}, "
                f"largest difference {done.parity.max_error:.1e} of a deviation"
            )
    except BrainMVPError as error:
        typer.echo(f"brainmvp: {error}", err=True)
        raise typer.Exit(2) from None


def prepare_engine(bundle: Bundle, name: str, options: EngineOptions) -> Prepared:
    """See that an engine can run a bundle here and agrees with the CPU; build it where it cannot.

    What is built is kept only once it is proved.

    Raises:
        EngineUnavailable: no such engine, no GPU, or it cannot be built.
        ParityFailed: it disagrees; nothing is kept.
    """
    network = bundle.network
    precision = bundle.manifest.network.precision
    options = replace(options, precision=precision)
    windows = real_windows(bundle.task, bundle.templates(), None)
    expected = logits_in(bundle.forms, _reference(bundle.forms, precision), windows, options)
    cache = options.cache_of(network)
    kept = replace(options, cache=cache, build=False)
    try:
        actual = logits_in(bundle.forms, name, windows, kept)
        return Prepared(
            bundle, judged_on_gpu(name, actual, expected, bundle.task, precision), built=False
        )
    except EngineUnavailable:
        if not ENGINES[name].on_gpu:
            raise
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=cache) as scratch:
        fresh = replace(options, cache=Path(scratch), build=True)
        actual = logits_in(bundle.forms, name, windows, fresh)
        parity = judged_on_gpu(name, actual, expected, bundle.task, precision)
        _keep(Path(scratch), cache)
    return Prepared(bundle, parity, built=True)


def _reference(forms: tuple[Path, ...], precision: Precision) -> str:
    """An engine on the CPU, which the export proved equal to the checkpoint."""
    for name in installed_engines(forms, precision):
        if not ENGINES[name].on_gpu:
            return name
    raise EngineUnavailable(
        "no engine on the CPU is installed to compare with",
        remedy="Install one: pip install 'brainmvp[cpu]'",
    )


def _bundles(folder: Path) -> list[Bundle]:
    """Every bundle in a folder, or the one that it is."""
    found = list(find_bundles(folder)) or [Bundle.open(folder)]
    for entry in found:
        if isinstance(entry, InvalidBundle):
            raise entry
    return [entry for entry in found if isinstance(entry, Bundle)]


def _keep(scratch: Path, cache: Path) -> None:
    """Move what was built into the cache: plans before the records that vouch for them."""
    files = [path for path in scratch.rglob("*") if path.is_file()]
    for path in sorted(files, key=lambda path: path.suffix == ".json"):
        target = cache / path.relative_to(scratch)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, target)
