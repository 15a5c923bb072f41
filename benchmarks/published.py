"""The published evaluation pipeline, of MONAI's own parts: what ours is measured against.

    python benchmarks/published.py STUDY OUT [--network FILE] [--way WAY] [--repeat N]

Without a network it is replaced by one that only copies its input, so that everything else is
measured. Prints one JSON line: seconds a repetition, clock's and CPUs', and the peak memory of the
process. What compiles and warms up a network comes before.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from memory import peak_mb
from monai.inferers import sliding_window_inference
from monai.transforms import (
    Compose,
    ConcatItemsd,
    CropForegroundd,
    DeleteItemsd,
    EnsureChannelFirstd,
    Invertd,
    LoadImaged,
    Orientationd,
    SaveImage,
    ScaleIntensityRangePercentilesd,
    Spacingd,
)

MODALITIES = ["t1", "t1c", "t2", "flair"]
Network = Callable[[torch.Tensor], torch.Tensor]


def preparation() -> Compose:
    """Read, scale by percentiles, R-A-S, 1 mm, crop to the foreground."""
    return Compose(
        [
            LoadImaged(MODALITIES),
            EnsureChannelFirstd(MODALITIES),
            ScaleIntensityRangePercentilesd(MODALITIES, 5, 95, 0, 1, channel_wise=True),
            ConcatItemsd(MODALITIES, "image"),
            DeleteItemsd(MODALITIES),
            Orientationd("image", axcodes="RAS", labels=None),
            Spacingd("image", pixdim=(1, 1, 1), mode="bilinear"),
            CropForegroundd("image", source_key="image", margin=1, allow_smaller=True),
        ]
    )


def evaluate(study: Path, out: Path, network: Network) -> None:
    """One study: files in, a mask of TC, WT and ET on the native grid out."""
    prepare = preparation()
    prepared = prepare({name: study / f"{name}.nii.gz" for name in MODALITIES})
    image = prepared["image"][None]
    with torch.inference_mode():
        logits = sliding_window_inference(image, (96, 96, 96), 1, network, overlap=0.5)
    prepared["pred"] = torch.sigmoid(logits[0])
    prepared["pred"].affine = prepared["image"].affine
    invert = Invertd("pred", prepare, orig_keys="image", nearest_interp=False, to_tensor=True)
    member = invert(prepared)["pred"] > 0.5
    labels = torch.zeros(member.shape[1:], dtype=torch.uint8)
    for index, value in ((1, 2), (0, 1), (2, 4)):
        labels[member[index]] = value
    mask = member[:1].clone()
    mask[0] = labels
    save = SaveImage(
        out, output_postfix="mask", output_dtype=np.uint8, separate_folder=False, print_log=False
    )
    mask = mask.to(torch.uint8)
    mask[0] = labels
    save(mask, meta_data=prepared["image"].meta)


def copying(image: torch.Tensor) -> torch.Tensor:
    """A stand-in for the network: its first three channels."""
    return image[:, :3]


def eager(checkpoint: Path) -> torch.nn.Module:
    """The network in PyTorch."""
    from brainmvp_models.task import load_task
    from brainmvp_training.checkpoint import load_network, read_checkpoint

    return load_network(read_checkpoint(checkpoint), load_task("upenn-gbm"))


def autocast(network: torch.nn.Module) -> Network:
    """A network whose convolutions and products PyTorch computes in bfloat16."""

    def run(image: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits: torch.Tensor = network(image)
        return logits.float()

    return run


def channels_last(checkpoint: Path) -> torch.nn.Module:
    """The network in PyTorch, its channels along the last axis of memory."""
    return eager(checkpoint).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def in_onnxruntime(file: Path) -> Network:
    """An ONNX file as ONNX Runtime computes it."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return lambda image: torch.from_numpy(session.run(None, {"image": image.numpy()})[0])


def in_openvino(file: Path, precision: str) -> Network:
    """An ONNX file as OpenVINO computes it."""
    import openvino as ov

    compiled = ov.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": precision})
    return lambda image: torch.from_numpy(compiled(image.numpy())[0].copy())


WAYS: dict[str, Callable[[Path], Network]] = {
    "eager": eager,
    "autocast": lambda file: autocast(eager(file)),
    "autocast-channels-last": lambda file: autocast(channels_last(file)),
    "compile": lambda file: torch.compile(eager(file)),
    "compile-autocast": lambda file: autocast(torch.compile(eager(file))),
    "onnxruntime": in_onnxruntime,
    "openvino": lambda file: in_openvino(file, "f32"),
    "openvino-bf16": lambda file: in_openvino(file, "bf16"),
}
"""How a network is run; the file is a checkpoint, or the ONNX file of the last three."""


def load(way: str, file: Path | None) -> Network:
    """The network, one window behind it, or the stand-in."""
    if file is None:
        return copying
    network = WAYS[way](file)
    with torch.inference_mode():
        network(torch.zeros(1, len(MODALITIES), 96, 96, 96))
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--network", type=Path)
    parser.add_argument("--way", default="eager", choices=WAYS)
    parser.add_argument("--repeat", type=int, default=1)
    options = parser.parse_args()
    network = load(options.way, options.network)
    seconds, cpu_seconds = [], []
    for _ in range(options.repeat):
        start, cpu_start = time.perf_counter(), time.process_time()
        evaluate(options.study, options.out, network)
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu_start)
    report = {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": peak_mb(), "stages": {}}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
