"""The published evaluation pipeline, of MONAI's own parts: what ours is measured against.

    python benchmarks/published.py STUDY OUT [--checkpoint FILE] [--repeat N]

Without a checkpoint the network is replaced by one that only copies its input, so that everything
else is measured. Prints one JSON line: seconds a repetition, and the peak memory of the process.
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


def load(checkpoint: Path | None) -> Network:
    """The network in PyTorch, or the stand-in."""
    if checkpoint is None:
        return copying
    from brainmvp_models.task import load_task
    from brainmvp_training.checkpoint import load_network, read_checkpoint

    return load_network(read_checkpoint(checkpoint), load_task("upenn-gbm"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--repeat", type=int, default=1)
    options = parser.parse_args()
    network = load(options.checkpoint)
    seconds = []
    for _ in range(options.repeat):
        start = time.perf_counter()
        evaluate(options.study, options.out, network)
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": seconds, "peak_mb": peak_mb(), "stages": {}}))


if __name__ == "__main__":
    main()
