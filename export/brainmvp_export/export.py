"""The export itself: checkpoint in, verified bundle out, or nothing at all."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from brainmvp_export.card import write_card
from brainmvp_export.onnx import BF16_OPSET, live_bytes, write_onnx
from brainmvp_export.parity import check_parity, judged_on_gpu, logits_in, real_windows
from brainmvp_export.program import write_program
from brainmvp_export.reference import logits_of
from brainmvp_export.rewrite import HalfPrecision, rewritten
from brainmvp_models import __version__
from brainmvp_models.bundle import MANIFEST, Bundle, describe_file
from brainmvp_models.durable import replace_folder
from brainmvp_models.errors import InvalidBundle
from brainmvp_models.manifest import (
    Manifest,
    Network,
    Parity,
    Provenance,
    SubsetQuality,
    Templates,
)
from brainmvp_models.modality import Modality, printable
from brainmvp_models.task import NAME_PATTERN, Task
from brainmvp_models.templates import TemplateBank
from brainmvp_server.inference.engines import EngineOptions, check_engine, check_precision
from brainmvp_training.checkpoint import Checkpoint, load_network, read_checkpoint, read_templates

NETWORK_FILE, TEMPLATES_FILE, CARD_FILE = "model.onnx", "templates.nii.gz", "card.md"
PROGRAM_FILE = "model.pt2"

ExportPrecision = Literal["fp32", "fp16", "bf16"]
"""What a network can be written in; earlier versions wrote INT8 too (``Precision``)."""


@dataclass(frozen=True)
class ExportOptions:
    """What to export, and as what.

    Attributes:
        checkpoint: the fine-tuned file.
        out: the model folder; the bundle becomes ``out/name/version``.
        templates: a folder of NIfTI templates or a pre-trained file; by default the checkpoint's
            own ``rep_template``, where it has one.
        study: real files to check parity on; by default the packaged scan.
        program: write the network as a PyTorch program too.
        engine: a GPU engine to build and prove as well, for the GPU of this machine.
        notes: Markdown to put into the card, for example measured quality.
        subset_card: measured quality by subset of modalities.
        demo: mark the bundle as a demonstration.
        command: how the export was called, for the record.
    """

    checkpoint: Path
    out: Path
    task: Task
    name: str
    version: str
    templates: Path | None = None
    precision: ExportPrecision = "fp32"
    study: Mapping[Modality, Path] = field(default_factory=dict)
    program: bool = False
    engine: str | None = None
    notes: str = ""
    subset_card: tuple[SubsetQuality, ...] = ()
    demo: bool = False
    overwrite: bool = False
    command: str = ""


def export_bundle(options: ExportOptions, say: Callable[[str], None] = lambda _: None) -> Bundle:
    """Export a checkpoint. The bundle appears whole, or not at all.

    Args:
        say: told in a few words what is being done.

    Raises:
        InvalidCheckpoint: the file cannot be read safely or does not fit the task.
        TemplateMismatch: the templates cannot be read.
        ParityFailed: an engine does not reproduce the checkpoint.
        EngineUnavailable: the engine to build is not installed, does not run that precision, or
            there is no GPU.
        InvalidBundle: that version exists already and may not be overwritten, or the name, the
            version or ``out`` cannot be a folder's, or the folder cannot be written.
    """
    target = _target(options)
    if target.exists() and not options.overwrite:
        raise InvalidBundle(
            "exists already",
            remedy="Choose another --version, or pass --overwrite",
            subject=f"{options.name}/{options.version}",
        )
    _check_engine(options)
    say("reading the checkpoint")
    checkpoint = read_checkpoint(options.checkpoint)
    network = load_network(checkpoint, options.task)
    bank = _templates(options, checkpoint)
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=options.out) as scratch:
        folder = Path(scratch) / options.version
        folder.mkdir()
        live, parity = _write_network(network, bank, options, folder, say)
        written = Network(
            file=NETWORK_FILE,
            program=PROGRAM_FILE if options.program else None,
            size=checkpoint.size.name,
            parameters=sum(p.numel() for p in network.parameters()),
            precision=options.precision,
            live_bytes=live,
        )
        say("writing the bundle")
        _write_manifest(folder, options, checkpoint, bank, written, parity)
        Bundle.open(folder)
        target.parent.mkdir(exist_ok=True)
        _place(folder, target, Path(scratch).with_suffix(".replaced"))
    return Bundle.open(target)


def _place(folder: Path, target: Path, aside: Path) -> None:
    try:
        replace_folder(folder, target, aside)
    except OSError as error:
        raise InvalidBundle(
            f"cannot be put in its place ({error.strerror or type(error).__name__})",
            remedy="Check the model folder's permissions and free space; "
            + (f"the earlier bundle is in {aside}" if aside.exists() else "nothing was changed"),
            subject=f"{target.parent.name}/{target.name}",
        ) from None


def _check_engine(options: ExportOptions) -> None:
    """Refuse what could not be built or would not be run, before anything is done."""
    if options.engine is not None:
        check_precision(options.engine, options.precision)
        check_engine(options.engine)


def _target(options: ExportOptions) -> Path:
    """The bundle's folder; a name or version that would lie elsewhere is refused."""
    for what, value in (("name", options.name), ("version", options.version)):
        if not re.fullmatch(NAME_PATTERN, value):
            raise InvalidBundle(
                f"'{printable(value)}' cannot be the {what} of a bundle",
                remedy="Use at most 63 letters, digits, dots, dashes and underscores, "
                "and begin with a letter or digit",
            )
    if options.out.exists() and not options.out.is_dir():
        raise InvalidBundle(
            "is no folder", remedy="Give a folder to write the bundle in", subject=options.out.name
        )
    return options.out / options.name / options.version


def _write_network(
    network: nn.Module,
    bank: TemplateBank,
    options: ExportOptions,
    folder: Path,
    say: Callable[[str], None],
) -> tuple[int, tuple[Parity, ...]]:
    """Write the network into ``folder``, and prove it; also what it keeps alive a window."""
    serving, opset = rewritten(network), None
    if options.precision == "fp16":
        serving = HalfPrecision(serving).eval()
    elif options.precision == "bf16":
        serving, opset = HalfPrecision(serving, torch.bfloat16).eval(), BF16_OPSET
    say("exporting to ONNX")
    path = folder / NETWORK_FILE
    write_onnx(serving, len(options.task.channels), options.task.window, path, opset)
    live = live_bytes(path)
    windows = real_windows(options.task, bank, options.study or None)
    say("running the checkpoint on real windows")
    expected = logits_of(network, windows)
    say("comparing the engines with the checkpoint")
    parity = check_parity(expected, path, windows, options.task, options.precision)
    forms = [path]
    if options.program:
        say("exporting to PyTorch")
        forms.append(folder / PROGRAM_FILE)
        write_program(serving, len(options.task.channels), options.task.window, forms[-1])
        parity += check_parity(expected, forms[-1], windows, options.task, options.precision)
    if options.engine is None:
        return live, parity
    say(f"building for {options.engine}")
    engine_options = EngineOptions(precision=options.precision)
    built = logits_in(forms, options.engine, windows, engine_options)
    return live, (
        *parity,
        judged_on_gpu(options.engine, built, expected, options.task, options.precision),
    )


def _templates(options: ExportOptions, checkpoint: Checkpoint) -> TemplateBank:
    """The templates of the task's fillable channels."""
    wanted = [channel.filler for channel in options.task.channels if not channel.required]
    bank = checkpoint.templates if options.templates is None else read_templates(options.templates)
    bank = bank or TemplateBank({})
    return bank.only(wanted)


def _write_manifest(
    folder: Path,
    options: ExportOptions,
    checkpoint: Checkpoint,
    bank: TemplateBank,
    network: Network,
    parity: tuple[Parity, ...],
) -> None:
    templates = None
    if bank.volumes:
        bank.save(folder / TEMPLATES_FILE)
        origin = "rep_template" if options.templates is None else options.templates.name
        templates = Templates(file=TEMPLATES_FILE, modalities=bank.modalities, origin=origin)
    write_card(folder / CARD_FILE, options.task, parity, name=options.name, demo=options.demo,
               notes=options.notes)  # fmt: skip
    manifest = Manifest(
        name=options.name,
        version=options.version,
        task=options.task,
        network=network,
        templates=templates,
        files=tuple(describe_file(path) for path in sorted(folder.iterdir()) if path.is_file()),
        provenance=Provenance(
            checkpoint=checkpoint.digest,
            exporter=f"brainmvp {__version__}",
            command=options.command,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        ),
        parity=parity,
        subset_card=options.subset_card,
        demo=options.demo,
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
