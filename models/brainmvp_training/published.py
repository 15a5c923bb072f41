"""Writing the published file formats, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainmvp_models.modality import BANK_ORDER, Modality
from brainmvp_models.templates import TEMPLATE_SHAPE, centred_affine, minmax_scaled


def write_pretrained(
    path: Path,
    network: Mapping[str, Tensor],
    templates: Tensor,
    modalities: Sequence[Modality],
    epoch: int,
) -> None:
    """Write a pre-trained file.

    Args:
        network: the state of a pre-training network: ``encoder.*`` and ``decoder.*``.
        templates: (modalities, 240, 240, 155), the learned bank.
        modalities: of the bank's first axis; the file has all eight, the others zero.
    """
    state = {f"module.{_published_name(key)}": _plain(value) for key, value in network.items()}
    bank = torch.zeros(len(BANK_ORDER), *TEMPLATE_SHAPE)
    for index, modality in enumerate(modalities):
        bank[BANK_ORDER.index(modality)] = templates[index].detach().cpu()
    state["module.rep_template"] = bank
    save_whole({"current_epoch": epoch, "state_dict": state}, path)


def write_finetuned(path: Path, network: Mapping[str, Tensor], epoch: int) -> None:
    """Write a fine-tuned file: plain keys, without the optimiser, which only resuming needs."""
    state = {key: _plain(value) for key, value in network.items()}
    save_whole({"epoch": epoch, "state_dict": state, "optimizer": {}, "scheduler": {}}, path)


def _plain(value: Tensor) -> Tensor:
    """A copy in memory, laid out as the published files have it."""
    return value.detach().cpu().clone(memory_format=torch.contiguous_format)


def write_templates(
    folder: Path, templates: NDArray[np.float32], modalities: Sequence[Modality]
) -> None:
    """Write a bank as ``T1.nii.gz``, ``FLAIR.nii.gz``, … and a picture of each.

    The templates are min-max scaled, as pre-training used them. Their affine is true: R-A-S, 1 mm,
    the grid's centre at the origin.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for volume, modality in zip(templates, modalities, strict=True):
        scaled = minmax_scaled(volume)
        image = nib.Nifti1Image(scaled, centred_affine(scaled.shape))
        image.header.set_xyzt_units("mm")
        name = modality.value.upper()
        aside = folder / f".{name}.part.nii.gz"
        nib.save(image, aside)
        aside.replace(folder / f"{name}.nii.gz")
        _picture(scaled, folder / f"{name}.png")


def save_whole(content: Mapping[str, Any], path: Path) -> None:
    """``torch.save`` aside, then renamed: a file of that name is always a whole one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        torch.save(dict(content), aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _published_name(key: str) -> str:
    return key.replace("encoder.", "encoder.uniformer.", 1) if key.startswith("encoder.") else key


def _picture(volume: NDArray[np.float32], path: Path) -> None:
    """Three middle slices side by side, brightness from the 1st to the 99th percentile."""
    from PIL import Image

    x, y, z = (n // 2 for n in volume.shape)
    slices = [volume[:, :, z], volume[:, y, :], volume[x, :, :]]
    low, high = np.percentile(volume, (1, 99.8))
    height = max(s.shape[1] for s in slices)
    sheet = np.zeros((height, sum(s.shape[0] for s in slices)), np.uint8)
    left = 0
    for plane in slices:
        grey = np.clip((plane - low) / max(high - low, 1e-6), 0, 1) * 255
        top = (height - plane.shape[1]) // 2
        sheet[top : top + plane.shape[1], left : left + plane.shape[0]] = grey.T[::-1]
        left += plane.shape[0]
    Image.fromarray(sheet).save(path)
