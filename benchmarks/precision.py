"""One window in each precision on this CPU, in turn; and how INT8 agrees where it matters.

Speed is measured on the released network with reproducible weights; agreement on the demonstration
model, which is trained, as ``brainmvp export --precision int8`` measures it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from inputs import write_checkpoint
from study import PAGE, machine, say
from tables import keep

from brainmvp_export.export import calibration_windows
from brainmvp_export.onnx import write_onnx
from brainmvp_export.parity import LIMITS, compared, logits_in
from brainmvp_export.quantize import write_int8
from brainmvp_export.rewrite import HalfPrecision, rewritten
from brainmvp_models.bundle import Bundle
from brainmvp_models.modality import Modality
from brainmvp_models.task import load_task
from brainmvp_models.templates import TemplateBank
from brainmvp_server.inference.cpu_precision import cpu_kind
from brainmvp_server.inference.engines import EngineOptions, load_engine
from brainmvp_training.checkpoint import load_network, read_checkpoint

EXAMPLES = Path(__file__).parents[1] / "examples"
DEMO = EXAMPLES / "bundles" / "demo-glioma"
STUDY = {
    modality: EXAMPLES / "glioma_study" / f"{modality.value}.nii.gz"
    for modality in (Modality.T1, Modality.T1C, Modality.T2)
}


def write_networks(size: str, folder: Path) -> dict[str, Path]:
    """The same network in each precision; bf16, where this CPU has it, is computed from fp32's."""
    task = load_task("upenn-gbm")
    write_checkpoint(size, folder / "checkpoint.pt")
    network = rewritten(load_network(read_checkpoint(folder / "checkpoint.pt"), task))
    files = {name: folder / f"{name}.onnx" for name in ("fp32", "fp16")}
    write_onnx(network, len(task.channels), task.window, files["fp32"])
    write_onnx(HalfPrecision(network).eval(), len(task.channels), task.window, files["fp16"])
    calibration, _ = calibration_windows(task, TemplateBank({}), None)
    write_int8(files["fp32"], calibration[:2], folder / "int8.xml")
    computed_in = {"bf16": files["fp32"]} if cpu_kind() else {}
    return {**files, **computed_in, "int8": folder / "int8.xml"}


def seconds(files: dict[str, Path], times: int) -> dict[str, list[float]]:
    """What a window takes in each, one after the other, the first round left out."""
    engines = {
        name: load_engine(path, "openvino", EngineOptions(bfloat16=name == "bf16"))
        for name, path in files.items()
    }
    window = np.random.default_rng(0).random((1, 4, 96, 96, 96), dtype=np.float32)
    taken: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(times + 1):
        for name, engine in engines.items():
            start = time.perf_counter()
            engine.infer(window)
            taken[name].append(time.perf_counter() - start)
    return {name: values[1:] for name, values in taken.items()}


def speed_rows(size: str, times: int, folder: Path) -> list[str]:
    """Medians, sizes and the ratio of each round, whose noise both sides share."""
    files = write_networks(size, folder)
    taken = seconds(files, times)
    rows = []
    for name, path in files.items():
        ratios = [one / other for one, other in zip(taken["fp32"], taken[name], strict=True)]
        spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
        held = sum(part.stat().st_size for part in folder.glob(f"{path.stem}.*"))
        rows.append(
            f"| {name} | {statistics.median(taken[name]):.2f} s "
            f"| {statistics.median(ratios):.2f} × {spread} | {held / 1e6:.0f} MB |"
        )
    return rows


def agreement_line(folder: Path) -> str:
    """INT8 of the demonstration model against its fp32, on windows it was not calibrated on."""
    bundle = Bundle.open(DEMO)
    calibration, proof = calibration_windows(bundle.task, bundle.templates(), STUDY)
    write_int8(bundle.network, calibration, folder / "demo.xml")
    expected, actual = (
        logits_in(path, "openvino", proof) for path in (bundle.network, folder / "demo.xml")
    )

    def agreement(part: slice) -> float:
        limits = LIMITS["int8"]
        return compared("openvino", actual[part], expected[part], bundle.task, limits).agreement

    whole = len(proof) - len(proof) // 3
    return (
        f"Masks of INT8 and fp32 of `demo-glioma` on `examples/glioma_study` agree to a Dice of "
        f"{agreement(slice(None)):.4f}: {agreement(slice(whole)):.4f} where three modalities are "
        f"real, {agreement(slice(whole, None)):.4f} where one is and the others are filled "
        f"({len(proof)} windows that it was not calibrated on)."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="released", choices=("released", "tiny"))
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument("--write", action="store_true", help="keep the table in the docs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        say("agreement")
        line = agreement_line(Path(scratch))
        print(line, flush=True)
        say("speed")
        rows = speed_rows(options.size, options.times, Path(scratch))
    table = [
        f"OpenVINO, network size {options.size}, one window; medians of {options.times} rounds. "
        f"Instructions for bfloat16: {cpu_kind() or 'none'}.",
        "",
        "| precision | one window | against fp32, round by round | network |",
        "| --- | --- | --- | --- |",
        *rows,
        "",
        line,
        "",
        machine(),
    ]
    print("\n".join(table))
    if options.write:
        keep(table, PAGE, "precision")


if __name__ == "__main__":
    main()
