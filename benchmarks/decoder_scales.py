"""How much a segmentation network hears of its coarse scales: each path upwards is cut in turn.

    python benchmarks/decoder_scales.py CHECKPOINT TASK DATALIST TEMPLATES CACHE [--window 48]

In windows around lesions, all modalities given. The change of the logits is in standard deviations
of theirs; the Dice is that of the masks with the path and without it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from brainmvp_evaluation.overlap import dice
from brainmvp_models.task import load_task
from brainmvp_models.templates import TemplateBank
from brainmvp_training.checkpoint import read_checkpoint
from brainmvp_training.datalist import read_datalist
from brainmvp_training.finetuning import build_network
from brainmvp_training.mixing import ChannelFiller
from brainmvp_training.networks.build import SegmentationNetwork
from brainmvp_training.prepared import PreparedStudy, prepare_studies
from brainmvp_training.windows import draw_window

PATHS = {16: "decoder5", 8: "decoder4", 4: "decoder3", 2: "decoder2"}
"""The up block that brings each stride's feature upwards."""


def _silenced(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output * 0


@torch.inference_mode()
def changes(network: SegmentationNetwork, image: Tensor) -> list[tuple[float, float]]:
    """Of ``image`` (1, C, w, w, w): change of the logits and Dice, by the path that is cut."""
    features = network.encoder(image)
    whole = network.decoder(features)
    out = []
    for block in PATHS.values():
        path = network.decoder.get_submodule(f"{block}.transp_conv")
        hook = path.register_forward_hook(_silenced)
        cut = network.decoder(features)
        hook.remove()
        change = float((whole - cut).abs().mean() / whole.std())
        out.append((change, dice(whole.numpy() > 0, cut.numpy() > 0)))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("checkpoint", "task", "datalist", "templates", "cache"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--section", default="validation")
    parser.add_argument("--window", type=int, default=48)
    options = parser.parse_args()
    task = load_task(str(options.task))
    read = read_checkpoint(options.checkpoint)
    network, _ = build_network(task, read.size, read)
    if not isinstance(network, SegmentationNetwork):
        raise SystemExit(f"{options.task}: does not segment")
    network.eval()
    filler = ChannelFiller.of(task, TemplateBank.from_folder(options.templates))
    cases = read_datalist(options.datalist, options.section, channels=task.modalities)
    studies = prepare_studies(cases, task.preprocessing, options.cache)
    images = [image_of(study, filler, options.window) for study in studies if len(study.marked)]
    means = np.mean([changes(network, image) for image in images], axis=0)
    print(f"{len(images)} windows\n\n| cut | change of the logits | Dice |\n| --- | ---: | ---: |")
    for stride, (change, overlap) in zip(PATHS, means, strict=True):
        print(f"| stride {stride} | {change:.3f} | {overlap:.3f} |")


def image_of(study: PreparedStudy, filler: ChannelFiller, window: int) -> Tensor:
    """A window of the study near a lesion: (1, C, w, w, w)."""
    place = draw_window(study, window, np.random.default_rng(0), on_marked=1)
    return torch.from_numpy(filler.channels(study, place, ()))[None]


if __name__ == "__main__":
    main()
