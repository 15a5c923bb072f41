"""Weights that anyone can regenerate, and tiny networks that have them."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import torch

from brainmvp_export.export import ExportOptions, export_bundle
from brainmvp_models.task import load_task
from brainmvp_training.networks import TINY, ClassificationNetwork, SegmentationNetwork


def golden_weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """One random stream a key, seeded by the key's name."""
    state = {}
    for key, tensor in network.state_dict().items():
        rng = np.random.default_rng(zlib.crc32(key.encode()))
        n = rng.standard_normal(tuple(tensor.shape)).astype(np.float32)
        if key.endswith("num_batches_tracked"):
            value = np.zeros(tensor.shape, np.int64)
        elif key.endswith("running_var"):
            value = 0.8 + 0.2 * np.abs(n)
        elif key.endswith("running_mean"):
            value = 0.1 * n
        elif tensor.ndim == 1:
            value = 1 + 0.1 * n if key.endswith("weight") else 0.1 * n
        else:
            value = n / np.sqrt(np.prod(tensor.shape[1:]))
        state[key] = torch.as_tensor(value).to(tensor.dtype)
    return state


def golden_image() -> torch.Tensor:
    """The golden values' input, (1, 4, 96, 96, 96)."""
    c, i, j, k = np.ogrid[:4, :96, :96, :96]
    wave = np.sin(0.07 * (c + 1) * i + 0.05 * j) * np.cos(0.03 * k + 0.011 * c * j)
    return torch.from_numpy((0.5 + 0.5 * wave).astype(np.float32)[np.newaxis])


def save_segmentation(path: Path) -> None:
    """A fine-tuned file of the tiny network: four channels, three regions."""
    state = golden_weights(SegmentationNetwork(TINY, 4, 3))
    torch.save({"epoch": 1, "state_dict": state, "optimizer": {}, "scheduler": {}}, path)


def save_classification(path: Path) -> None:
    """A fine-tuned file of the tiny classification network: four channels, two classes."""
    torch.save({"state_dict": golden_weights(ClassificationNetwork(TINY, 4, 2))}, path)


def export_tiny(checkpoint: Path, models: Path, task: str, name: str) -> None:
    """Export it for a preset, without templates, in every form, as ``models/name/1``."""
    export_bundle(ExportOptions(checkpoint, models, load_task(task), name, "1", program=True))
