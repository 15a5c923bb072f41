"""``brainmvp export``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer

from brainmvp_models.bundle import Bundle
from brainmvp_models.command_line import as_called
from brainmvp_models.errors import BrainMVPError, InvalidTask, InvalidVolume
from brainmvp_models.modality import Modality, parse_modality
from brainmvp_models.task import load_task


def export(  # long: its parameters are the options of a command
    checkpoint: Annotated[Path, typer.Argument(help="A fine-tuned checkpoint.")],
    out: Annotated[Path, typer.Argument(help="Model folder; gets OUT/NAME/VERSION.")],
    task: Annotated[str, typer.Option(help="A preset, or the path of a task file.")],
    templates: Annotated[
        Path | None, typer.Option(help="Folder of NIfTI templates, or a pre-trained file.")
    ] = None,
    precision: Annotated[
        Literal["fp32", "fp16", "bf16"],
        typer.Option(help="Not every engine runs each of them: see docs/engines.md."),
    ] = "fp32",
    program: Annotated[
        bool,
        typer.Option(help="Also write it as a PyTorch program, which the engine torch runs."),
    ] = False,
    engine: Annotated[
        Literal["tensorrt", "onnxruntime-tensorrt", "torch"] | None,
        typer.Option(help="Also build it for the GPU of this machine, and prove that too."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="By default the task's name.")] = None,
    version: Annotated[str, typer.Option()] = "1",
    study: Annotated[
        list[str] | None,
        typer.Option(help="MODALITY=FILE to check parity on; by default a packaged scan."),
    ] = None,
    card: Annotated[
        Path | None, typer.Option(help="Markdown to add to the card, for example its quality.")
    ] = None,
    demo: Annotated[bool, typer.Option(help="Mark the bundle as a demonstration.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace that version.")] = False,
) -> None:
    """Turn a checkpoint into a bundle, proved equal on every engine that is installed."""
    from brainmvp_export.export import ExportOptions, export_bundle

    try:
        chosen = load_task(task)
        options = ExportOptions(
            checkpoint=checkpoint,
            out=out,
            task=chosen,
            name=name or chosen.name,
            version=version,
            templates=templates,
            precision=precision,
            study=_study(study or []),
            program=program or engine == "torch",
            engine=engine,
            notes=_notes(card),
            demo=demo,
            overwrite=overwrite,
            command=as_called(),
        )
        bundle = export_bundle(options, say=lambda text: typer.echo(f"  {text} …", err=True))
    except BrainMVPError as error:
        typer.echo(f"brainmvp: {error}", err=True)
        raise typer.Exit(2) from None
    for report in bundle.manifest.parity:
        typer.echo(
            f"{report.engine}: largest difference {report.max_error:.1e} of a deviation"
            f"(allowed {report.tolerance:g}), "
            f"agreement {report.agreement:.5f}"
        )
    if bundle.manifest.templates is None and any(not c.required for c in chosen.channels):
        typer.echo("no templates: a missing modality can only be filled by zeros", err=True)
    typer.echo(f"wrote {bundle.root}")
    if precision == "bf16":
        _prove_on_cpu(bundle, options.study)


def _prove_on_cpu(bundle: Bundle, study: Mapping[Modality, Path]) -> None:
    """Add the proof for this kind of CPU; the bundle is whole without one, so failure is told."""
    from brainmvp_export.prove import Scans, add_proof

    if not study:
        typer.echo("CPUs will compute it in fp32: prove it on patients, with 'brainmvp prove'")
        return
    scans = Scans(named=(study,))
    try:
        add_proof(bundle, scans, as_called(), lambda text: typer.echo(f"  {text}", err=True))
    except BrainMVPError as error:
        typer.echo(f"CPUs will compute it in fp32: {error}", err=True)


def _study(pairs: list[str]) -> dict[Modality, Path]:
    files: dict[Modality, Path] = {}
    for pair in pairs:
        name, separator, path = pair.partition("=")
        if not separator or not Path(path).is_file():
            raise InvalidVolume(
                f"--study {pair} names no file", remedy="Write it as MODALITY=FILE, for one file"
            )
        files[parse_modality(name)] = Path(path)
    return files


def _notes(card: Path | None) -> str:
    if card is None:
        return ""
    try:
        return card.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise InvalidTask(
            "cannot be read as text", remedy="Give a Markdown file", subject=str(card)
        ) from None
