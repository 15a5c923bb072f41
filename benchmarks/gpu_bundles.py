"""Bundles of PyTorch programs, made where they are measured: golden weights and ``demo-glioma``.

The weights are known to all: golden ones anyone can regenerate, and those of the demonstration
stand in its ONNX file. So no checkpoint has to be carried, and no ONNX exporter be there.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import onnx
import torch
from gpu_report import Report
from onnx import numpy_helper
from torch import nn

from brainmvp_export.parity import LIMITS, Array, compared, logits_in, real_windows
from brainmvp_export.program import write_program
from brainmvp_export.rewrite import HalfPrecision, rewritten
from brainmvp_models.bundle import MANIFEST, Bundle, describe_file
from brainmvp_models.manifest import Manifest, Network, Parity, Precision, Provenance
from brainmvp_models.modality import Modality
from brainmvp_models.task import Task, load_task
from brainmvp_models.templates import TemplateBank
from brainmvp_server.inference.engines import EngineOptions
from brainmvp_server.inference.engines.torch_engine import live_bytes, read_program
from brainmvp_training.networks import SIZES, TINY, SegmentationNetwork
from golden_networks import golden_weights

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "examples" / "bundles" / "demo-glioma"
STUDY = {
    Modality(name): ROOT / "examples" / "glioma_study" / f"{name}.nii.gz"
    for name in ("t1", "t1c", "t2")
}
KINDS: dict[Precision, torch.dtype] = {"fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Made:
    """A network as it will be served, in float32, and what a bundle needs beside it."""

    name: str
    size: str
    network: nn.Module
    task: Task
    templates: Path | None
    checkpoint: str

    def in_precision(self, precision: Precision) -> nn.Module:
        """The network whose program is exported."""
        if precision == "fp32":
            return self.network
        return HalfPrecision(self.network, KINDS[precision]).eval()

    def windows(self) -> Array:
        """Windows (N, C, h, w, d) of the example study, which shows what the task looks for."""
        bank = Bundle.open(DEMO).templates() if self.templates else TemplateBank({})
        return real_windows(self.task, bank, STUDY)


def golden(size_name: str) -> Made:
    """A network of that size with golden weights, for upenn-gbm; without templates."""
    network = SegmentationNetwork(next(size for size in SIZES if size.name == size_name), 4, 3)
    network.load_state_dict(golden_weights(network))
    task = load_task("upenn-gbm")
    return Made("golden", size_name, rewritten(network), task, None, f"sha256:{0:064}")


def demo() -> Made:
    """``demo-glioma``, its weights read from the ONNX file that ships with the repository.

    Raises:
        ValueError: the file's constants are not the network's.
    """
    bundle = Bundle.open(DEMO)
    network = rewritten(SegmentationNetwork(TINY, 4, 3))
    graph = onnx.load(bundle.network).graph
    constants = {entry.name: entry for entry in graph.initializer}
    products = [
        node.input[1]
        for node in graph.node
        if node.op_type == "MatMul" and node.input[1] in constants
    ]
    state = network.state_dict()
    unnamed = [key for key in state if key not in constants and state[key].ndim == 2]
    if len(products) != len(unnamed):
        raise ValueError(f"{len(products)} products for {len(unnamed)} linear layers")
    turned = dict(zip(unnamed, products, strict=True))  # both in the order in which they are run
    for key, value in state.items():
        if key in constants:
            value.copy_(torch.from_numpy(numpy_helper.to_array(constants[key]).copy()))
        elif key in turned:
            value.copy_(torch.from_numpy(numpy_helper.to_array(constants[turned[key]]).T.copy()))
    manifest = bundle.manifest
    templates = bundle.root / manifest.templates.file if manifest.templates else None
    checkpoint = manifest.provenance.checkpoint
    return Made("demo-glioma", "tiny", network, bundle.task, templates, checkpoint)


def proved(report: Report, made: Made, precision: Precision, models: Path, engine: str) -> Bundle:
    """Write a bundle and tell its proof; where the engine fails, that of ``torch-cpu``."""
    start = time.monotonic()
    bundle = None
    with report.part(f"{made.name}-{precision} in {engine}"):
        bundle = write_bundle(made, precision, models, engine)
    if bundle is None:
        shutil.rmtree(models / f"{made.name}-{precision}")
        bundle = write_bundle(made, precision, models, "torch-cpu")
    (parity,) = bundle.manifest.parity
    seconds = time.monotonic() - start
    note = f"largest difference {parity.max_error:.1e} of a deviation; made in {seconds:.1f} s"
    what = f"{bundle.manifest.name} in {parity.engine} against float32 on the CPU"
    report.add(what, parity.agreement, "Dice", note)
    return bundle


def write_bundle(made: Made, precision: Precision, models: Path, engine: str) -> Bundle:
    """Write ``models/NAME-PRECISION/1`` with a program alone, and prove it in ``engine``.

    The proof is told, not judged: a figure that misses its gate is what the run is to find.
    """
    name = f"{made.name}-{precision}"
    root = models / name / "1"
    root.mkdir(parents=True)
    program = root / "model.pt2"
    window = made.task.window
    write_program(made.in_precision(precision), len(made.task.channels), window, program)
    if made.templates is not None:
        shutil.copy(made.templates, root)
    manifest = Manifest(
        name=name,
        version="1",
        task=made.task,
        network=Network(
            file=program.name,
            size=made.size,
            parameters=sum(weight.numel() for weight in made.network.parameters()),
            precision=precision,
            live_bytes=live_bytes(read_program(program)),
        ),
        templates=Bundle.open(DEMO).manifest.templates if made.templates else None,
        files=tuple(describe_file(path) for path in sorted(root.iterdir())),
        provenance=Provenance(
            checkpoint=made.checkpoint,
            exporter="benchmarks/gpu.py",
            command="",
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        ),
        parity=(proof(made, program, precision, engine),),
        demo=True,
    )
    (root / MANIFEST).write_text(manifest.model_dump_json(), encoding="utf-8")
    return Bundle.open(root)


def proof(made: Made, program: Path, precision: Precision, engine: str) -> Parity:
    """How far the program in ``engine`` is from the float32 network of PyTorch on the CPU."""
    windows = made.windows()[:1]
    with torch.inference_mode():
        expected = made.network(torch.from_numpy(windows)).numpy()
    actual = logits_in(program, engine, windows, EngineOptions(precision=precision))
    return compared(engine, actual, expected, made.task, LIMITS[precision])
