"""Train the demonstration model: brain tissue from synthetic contrasts of real anatomy.

    python examples/demo_tissue/train.py --out runs/demo-tissue

writes ``checkpoint.pt`` (the published fine-tuned form) and ``templates/``. Needs the ``train``
extra. Colin27, the scan of the demonstration, is not used here.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.losses import DiceCELoss
from numpy.typing import NDArray

from brainmvp_models.modality import Modality
from brainmvp_models.networks import TINY, SegmentationNetwork
from brainmvp_models.task import load_task
from brainmvp_models.templates import TEMPLATE_SHAPE, TemplateBank
from brainmvp_models.training.synthetic import Anatomy, Contrast, draw_subject, load_anatomy

Array = NDArray[np.float32]

TRAINING_SEED = 1
STEP = 1 / 16
"""Templates are stored in steps of this size: coarse, so that the bundle stays small."""
HEAD_SHARE = (0.14, 0.28)
"""Share of a field of view that a brain fills; it decides where the 95th percentile lies."""


@dataclass(frozen=True)
class Stage:
    """Part of the training: windows of one size until a share of the time is spent."""

    window: int
    batch: int
    until: float


STAGES = (Stage(window=64, batch=1, until=0.6), Stage(window=96, batch=1, until=1.0))


def scaled_scan(
    contrast: Contrast, whole: Anatomy, part: Anatomy, rng: np.random.Generator
) -> Array:
    """A scan of ``part``, scaled as the service scales it, by percentiles of the whole volume.

    The 5th percentile is the background, 0. The 95th of a volume that the brain fills to a share f
    is the brain's own percentile 1 - 0.05 / f.
    """
    coarse = Anatomy(np.ascontiguousarray(whole.tissue[:, ::4, ::4, ::4]))
    sample = contrast.tone(coarse.tissue)[coarse.brain]
    share = rng.uniform(*HEAD_SHARE)
    return contrast.paint(part, rng) / np.float32(np.quantile(sample, 1 - 0.05 / share))


def make_templates(
    anatomy: Anatomy, modalities: tuple[Modality, ...], rng: np.random.Generator, count: int = 8
) -> TemplateBank:
    """The mean scan of some mildly varied subjects a modality, brain box on the grid's centre."""
    total = {m: np.zeros(TEMPLATE_SHAPE, np.float32) for m in modalities}
    for _ in range(count):
        subject = draw_subject(anatomy, rng, strength=0.5)
        for modality in modalities:
            contrast = Contrast.draw(modality, rng)
            scan = scaled_scan(contrast, subject, subject, rng)
            total[modality] += centred(scan, TEMPLATE_SHAPE) / count
    quantised = {m: np.clip(np.round(t / STEP), 0, 255).astype(np.uint8) for m, t in total.items()}
    return TemplateBank(quantised)


def centred(volume: Array, shape: tuple[int, int, int]) -> Array:
    """``volume`` with its centre on the centre of a grid: ``shift = (grid - volume) // 2``."""
    out = np.zeros(shape, np.float32)
    into, out_of = [], []
    for n, grid in zip(volume.shape, shape, strict=True):
        shift = (grid - n) // 2
        into.append(slice(max(shift, 0), min(shift + n, grid)))
        out_of.append(slice(max(-shift, 0), max(-shift, 0) + min(shift + n, grid) - max(shift, 0)))
    out[tuple(into)] = volume[tuple(out_of)]
    return out


class Sampler:
    """Windows of training subjects with some modalities replaced by their templates."""

    def __init__(
        self, subjects: list[Anatomy], bank: TemplateBank, modalities: tuple[Modality, ...]
    ) -> None:
        self.subjects = subjects
        self.modalities = modalities
        self.templates = {m: bank.volumes[m].astype(np.float32) * STEP for m in modalities}

    def draw(self, size: int, rng: np.random.Generator) -> tuple[Array, NDArray[np.uint8]]:
        """Channels (C, size, size, size) and labels (1, size, size, size)."""
        subject = self.subjects[rng.integers(len(self.subjects))]
        shape = subject.tissue.shape[1:]
        x, y, z = (int(rng.integers(0, n - size + 1)) for n in shape)
        part = subject.window((x, y, z), size)
        missing = rng.permutation(len(self.modalities))[: rng.integers(0, len(self.modalities))]
        if rng.random() < 0.3:  # the T1 alone is what the demonstration has
            missing = np.array([i for i, m in enumerate(self.modalities) if m is not Modality.T1])
        channels = np.empty((len(self.modalities), size, size, size), np.float32)
        for index, modality in enumerate(self.modalities):
            if index in missing:
                channels[index] = self._template(modality, shape, (x, y, z), size)
            else:
                channels[index] = scaled_scan(Contrast.draw(modality, rng), subject, part, rng)
        labels = part.labels[None]
        if rng.random() < 0.5:
            return channels[:, ::-1].copy(), labels[:, ::-1].copy()
        return channels, labels

    def _template(
        self,
        modality: Modality,
        shape: tuple[int, ...],
        start: tuple[int, int, int],
        size: int,
    ) -> Array:
        """The template's part under a window of a study of ``shape``, centres aligned."""
        out = np.zeros((size, size, size), np.float32)
        into, out_of = [], []
        for n, grid, first in zip(shape, TEMPLATE_SHAPE, start, strict=True):
            begin = first + (grid - n) // 2
            low, high = max(begin, 0), min(begin + size, grid)
            into.append(slice(low - begin, max(high, low) - begin))
            out_of.append(slice(low, max(high, low)))
        out[tuple(into)] = self.templates[modality][tuple(out_of)]
        return out


def train(
    network: SegmentationNetwork, sampler: Sampler, minutes: float, out: Path, seed: int
) -> int:
    """Train for some minutes; returns the steps. Saves as it goes, so a kill loses little."""
    rng = np.random.default_rng(seed)
    loss_of = DiceCELoss(include_background=True, to_onehot_y=True, softmax=True)
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-4)
    start, step, recent = time.monotonic(), 0, 0.0
    average = {k: v.clone() for k, v in network.state_dict().items()}
    while (spent := (time.monotonic() - start) / (60 * minutes)) < 1:
        stage = next(stage for stage in STAGES if spent < stage.until)
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * min(1.0, (step + 1) / 50) * 0.5 * (1 + np.cos(np.pi * spent))
        drawn = [sampler.draw(stage.window, rng) for _ in range(stage.batch)]
        image = torch.from_numpy(np.stack([channels for channels, _ in drawn]))
        label = torch.from_numpy(np.stack([labels for _, labels in drawn]))
        loss = loss_of(network(image), label)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        keep = min(0.98, step / (step + 10))
        for key, value in network.state_dict().items():
            if value.dtype.is_floating_point:
                average[key].lerp_(value, 1 - keep)
        step += 1
        recent = 0.95 * recent + 0.05 * loss.item() if step > 1 else loss.item()
        if step % 50 == 0:
            print(f"step {step} window {stage.window} loss {recent:.4f}", flush=True)
            save(average, step, out / "checkpoint.pt")
    save(average, step, out / "checkpoint.pt")
    return step


def save(state: dict[str, torch.Tensor], step: int, path: Path) -> None:
    """Write a checkpoint in the published fine-tuned form; it appears whole."""
    scratch = path.with_suffix(".part")
    torch.save({"epoch": step, "state_dict": state, "optimizer": {}, "scheduler": {}}, scratch)
    scratch.replace(path)


def save_templates(bank: TemplateBank, folder: Path) -> None:
    """Write templates as published: one file a modality, upper case, identity affine."""
    folder.mkdir(parents=True, exist_ok=True)
    for modality, volume in bank.volumes.items():
        image = nib.Nifti1Image(volume, np.eye(4))
        image.header.set_slope_inter(STEP, 0)
        nib.save(image, folder / f"{modality.value.upper()}.nii.gz")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--subjects", type=int, default=24)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(TRAINING_SEED)
    rng = np.random.default_rng(TRAINING_SEED)
    task = load_task(Path(__file__).with_name("task.yaml"))
    anatomy = load_anatomy()
    bank = make_templates(anatomy, task.modalities, rng)
    save_templates(bank, options.out / "templates")
    subjects = [draw_subject(anatomy, rng) for _ in range(options.subjects)]
    print(f"{len(subjects)} subjects, for example {subjects[0].labels.shape}", flush=True)
    network = SegmentationNetwork(TINY, len(task.channels), task.outputs.count)
    sampler = Sampler(subjects, bank, task.modalities)
    steps = train(network, sampler, options.minutes, options.out, TRAINING_SEED)
    print(f"{steps} steps; wrote {options.out}")


if __name__ == "__main__":
    main()
