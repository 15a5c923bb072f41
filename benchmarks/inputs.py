"""What the benchmark runs on: a released-size network, a study, a bundle; made anew, not shipped.

Weights are random but reproducible: speed does not depend on them. The study is real anatomy
(Colin27) on the BraTS grid, four contrasts of it.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from brainmvp_export.export import ExportOptions, export_bundle
from brainmvp_models.bundle import Bundle
from brainmvp_models.task import load_task
from brainmvp_training.networks import SIZES, SegmentationNetwork

COLIN27 = Path(__file__).parents[1] / "examples" / "colin27" / "colin27_t1.nii.gz"
GRID = (240, 240, 155)
MODALITIES = ("t1", "t1c", "t2", "flair")


def write_checkpoint(size_name: str, path: Path) -> None:
    """A fine-tuned file with reproducible weights of the released distribution's scale."""
    size = next(size for size in SIZES if size.name == size_name)
    network = SegmentationNetwork(size, 4, 3)
    state = {}
    for key, tensor in network.state_dict().items():
        rng = np.random.default_rng(zlib.crc32(key.encode()))
        n = rng.standard_normal(tuple(tensor.shape)).astype(np.float32)
        if key.endswith("num_batches_tracked"):
            n = np.zeros(tensor.shape, np.int64)
        elif key.endswith("running_var"):
            n = 0.8 + 0.2 * np.abs(n)
        elif tensor.ndim == 1:
            n = 0.1 * n + (1 if key.endswith("weight") else 0)
        else:
            n = n / np.sqrt(np.prod(tensor.shape[1:]))
        state[key] = torch.as_tensor(n).to(tensor.dtype)
    torch.save({"epoch": 0, "state_dict": state, "optimizer": {}, "scheduler": {}}, path)


def write_study(folder: Path, crop: tuple[int, int, int] | None, *, oblique: bool) -> None:
    """Four int16 ``.nii.gz`` files on the BraTS grid, or a central crop of it.

    ``oblique``: the same voxels under a turned, anisotropic affine, so that they need resampling.
    """
    scan = np.asarray(nib.load(COLIN27).dataobj).astype(np.int16)
    voxels = np.zeros(GRID, np.int16)
    part = scan[:, :, 4:159]
    voxels[29 : 29 + part.shape[0], 11 : 11 + part.shape[1]] = part
    if crop is not None:
        starts = [(n - c) // 2 for n, c in zip(GRID, crop, strict=True)]
        voxels = voxels[tuple(slice(a, a + c) for a, c in zip(starts, crop, strict=True))]
    rng = np.random.default_rng(0)
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    if oblique:
        c, s = np.cos(0.2), np.sin(0.2)
        turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        affine[:3, :3] = turn @ np.diag([-0.9, -0.9, 1.2])
    for index, name in enumerate(MODALITIES):
        noise = rng.normal(0, 3, voxels.shape)
        tone = voxels if index < 2 else 140 - voxels
        image = np.where(voxels > 0, np.maximum(7 * tone + noise, 1), 0).astype(np.int16)
        nib.save(nib.Nifti1Image(image, affine), folder / f"{name}.nii.gz")


def write_bundle(checkpoint: Path, folder: Path) -> Bundle:
    """The checkpoint as a bundle, its parity checked on the way."""
    options = ExportOptions(
        checkpoint, folder, load_task("upenn-gbm"), name="benchmark", version="1"
    )
    return export_bundle(options)
