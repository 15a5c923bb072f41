"""What of a network must stay in float32 on a CPU: ``python benchmarks/bfloat16.py BUNDLE STUDY``.

Windows of a study, as the pipeline cuts them, in float32, in bfloat16, and in bfloat16 with some
operations kept in float32; the masks of each against float32's, and what a window takes.
"""

from __future__ import annotations

import argparse
import re
import statistics
import tempfile
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from study import PAGE, machine
from tables import keep

from brainmvp_models.bundle import Bundle
from brainmvp_models.modality import Modality
from brainmvp_models.task import RegionOutputs
from brainmvp_models.templates import TemplateBank, minmax_scaled
from brainmvp_server.commands.preparer import preparer
from brainmvp_server.imaging.study import Study
from brainmvp_server.inference.fill import fill_channels
from brainmvp_server.inference.preprocess import prepare
from brainmvp_server.inference.windows import WindowPlan

Array = NDArray[np.float32]

_LAYER = re.compile(r'<layer id="(\d+)" [^>]*type="([^"]+)"[^>]*>')
_KEPT = '<rt_info><attribute name="precise" version="0" /></rt_info>'
"""How OpenVINO's form marks an operation that is not to be rounded."""

_NORMS = {"MVN", "ReduceMean", "AvgPool", "Sqrt"}
_HEAVY = {"Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul"}
_NO_WORK = {"Const", "Parameter", "Result"}


@dataclass
class Variant:
    """A network in bfloat16 but for the operations kept, and what it gave.

    Attributes:
        kept: ids of operations in float32; None where all are.
    """

    name: str
    kept: Collection[str] | None
    logits: list[Array] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def variants(xml: str) -> tuple[Variant, ...]:
    """What is tried; float32 first."""
    layers = [(found[1], found[2]) for found in _LAYER.finditer(xml)]
    last = [key for key, kind in layers if kind == "Convolution"][-1:]
    light = [key for key, kind in layers if kind not in _HEAVY | _NO_WORK]
    return (
        Variant("float32", None),
        Variant("bfloat16", ()),
        Variant("norms' means in float32", [key for key, kind in layers if kind in _NORMS]),
        Variant("last convolution in float32", last),
        Variant("all but convolutions and products in float32", light),
        Variant("that, and the last convolution", [*light, *last]),
    )


def compiled(variant: Variant, xml: str, weights: bytes) -> ov.InferRequest:
    """The network as a variant says."""
    kept = variant.kept or ()
    marked = _LAYER.sub(lambda found: found[0] + _KEPT * (found[1] in kept), xml)
    core = ov.Core()
    hint = "f32" if variant.kept is None else "bf16"
    network = core.read_model(marked.encode(), weights)
    return core.compile_model(
        network, "CPU", {"INFERENCE_PRECISION_HINT": hint}
    ).create_infer_request()


def windows_of(bundle: Bundle, study: Path, without: Modality) -> Iterator[Array]:
    """Windows (1, C, h, w, d) of a study, one of its modalities left out."""
    task = bundle.task
    with preparer(task.preprocessing, task.modalities) as made:
        ready = made.ready(made.files(study)).study
    part = Study.of([v for v in ready.volumes if v.modality != without])
    bank = bundle.templates().at_spacing(task.preprocessing.spacing_mm)
    if task.filling.scaling == "minmax":
        bank = TemplateBank({m: minmax_scaled(t) for m, t in bank.volumes.items()})
    prepared = prepare(part, task.preprocessing)
    image, _ = fill_channels(prepared, task, bank, task.filling.policy)
    plan = WindowPlan.of(image.shape[1:], task.window)
    padded = plan.pad(image)
    for place in plan.slices():
        yield np.ascontiguousarray(padded[(slice(None), *place)])[np.newaxis]


def row(variant: Variant, exact: Variant, outputs: RegionOutputs) -> str:
    """One variant against float32."""
    level = np.log(outputs.threshold / (1 - outputs.threshold))
    ours, theirs = np.concatenate(variant.logits), np.concatenate(exact.logits)
    found = []
    for index in range(outputs.count):
        one, two = ours[:, index] > level, theirs[:, index] > level
        both = int(one.sum()) + int(two.sum())
        found.append(2 * int((one & two).sum()) / both if both else 1.0)
    gains = [e / s for e, s in zip(exact.seconds, variant.seconds, strict=True)]
    off = float((ours - theirs).std() / theirs.std())
    dices = " | ".join(f"{dice:.4f}" for dice in found)
    return f"| {variant.name} | {statistics.median(gains):.2f} × | {off:.4f} | {dices} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("study", type=Path)
    parser.add_argument("--without", type=Modality, default=Modality.FLAIR)
    parser.add_argument("--write", action="store_true", help="keep the table in the docs")
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    outputs = bundle.task.outputs
    assert isinstance(outputs, RegionOutputs)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.xml"
        ov.save_model(ov.Core().read_model(bundle.network), path, compress_to_fp16=False)
        xml, weights = path.read_text(), path.with_suffix(".bin").read_bytes()
    tried = variants(xml)
    requests = [compiled(variant, xml, weights) for variant in tried]
    for window in windows_of(bundle, options.study, options.without):
        for variant, request in zip(tried, requests, strict=True):
            start = time.perf_counter()
            variant.logits.append(request.infer({0: window})[0].copy())
            variant.seconds.append(time.perf_counter() - start)
    names = " | ".join(region.name for region in outputs.regions)
    table = [
        f"`{bundle.manifest.name}`, {len(tried[0].logits)} windows of a study without "
        f"{options.without}, in turn; medians.",
        "",
        f"| computed in | a window, against float32 | logits off, in deviations | {names} |",
        "| --- | --- | --- |" + " --- |" * outputs.count,
        *(row(variant, tried[0], outputs) for variant in tried),
        "",
        machine(),
    ]
    print("\n".join(table))
    if options.write:
        keep(table, PAGE, "bfloat16")


if __name__ == "__main__":
    main()
