"""Studies cut from a real scan, and the published pipeline made of MONAI's own parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import sliding_window_inference
from monai.transforms import (
    Compose,
    CropForegroundd,
    EnsureChannelFirstd,
    Invertd,
    LoadImaged,
    Orientationd,
    ScaleIntensityRangePercentilesd,
    Spacingd,
)

from brainmvp_models.task import load_task
from brainmvp_training.checkpoint import load_network, read_checkpoint
from small_bundle import small_bundle, small_task

__all__ = ["small_bundle", "small_task"]


@dataclass(frozen=True)
class Published:
    """What the published pipeline gives: network input and native probabilities."""

    image: np.ndarray
    box: tuple[np.ndarray, np.ndarray]
    probabilities: np.ndarray
    affine: np.ndarray


@pytest.fixture(scope="session")
def real_crop(colin27: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part of Colin27 with background on some sides, 1 mm, little-endian uint8."""
    image = nib.load(colin27)
    part = image.slicer[8:128, 100:204, 60:154]
    path = tmp_path_factory.mktemp("real") / "t1.nii.gz"
    nib.save(nib.Nifti1Image(np.asarray(part.dataobj), part.affine), path)
    return path


@pytest.fixture(scope="session")
def oblique_study(colin27: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """T1 and a made-up T2 in an oblique, anisotropic, int16, L-P-S-oriented grid."""
    folder = tmp_path_factory.mktemp("oblique")
    voxels = np.asarray(nib.load(colin27).dataobj)[20:130, 50:170, 40:130].astype(np.int16)
    voxels = voxels[::-1, ::-1, ::3] * 7  # axes run L, P, S; slices 3 mm apart
    angles = np.radians((6, -9, 4))
    rotation = np.eye(3)
    for axis, angle in enumerate(angles):
        c, s = np.cos(angle), np.sin(angle)
        turn = np.eye(3)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn[i, i], turn[i, j], turn[j, i], turn[j, j] = c, -s, s, c
        rotation = rotation @ turn
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag((-0.9, -0.95, 3.0))
    affine[:3, 3] = (55, 40, -30)
    study = {}
    for name, image in (("t1", voxels), ("t2", np.where(voxels > 0, 1000 - voxels, 0))):
        study[name] = folder / f"{name}.nii"
        nib.save(nib.Nifti1Image(image.astype(np.int16), affine), study[name])
    return study


@pytest.fixture(scope="session")
def published(tiny_checkpoint: Path) -> Callable[[dict[str, Path]], Published]:
    """The published evaluation: MONAI's transforms, sliding window and inversion, in PyTorch."""
    task = load_task("upenn-gbm")
    network = load_network(read_checkpoint(tiny_checkpoint), task)
    names = [modality.value for modality in task.modalities]

    def evaluate(study: dict[str, Path]) -> Published:
        first = next(iter(study))
        loaded = Compose([LoadImaged(list(study)), EnsureChannelFirstd(list(study))])(study)
        stack = MetaTensor(
            torch.cat([loaded[name].as_tensor() for name in study]),
            affine=loaded[first].affine,
        )
        native = tuple(stack.shape[1:])
        prepare = Compose(
            [
                ScaleIntensityRangePercentilesd("image", 5, 95, 0, 1, channel_wise=True),
                Orientationd("image", axcodes="RAS", labels=None),
                Spacingd("image", pixdim=(1, 1, 1), mode="bilinear"),
                # Before MONAI 1.5 the box was always kept within the image.
                CropForegroundd("image", source_key="image", margin=1, allow_smaller=True),
            ]
        )
        prepared = prepare({"image": stack})
        image = torch.zeros(len(names), *prepared["image"].shape[1:])
        for index, name in enumerate(study):
            image[names.index(name)] = prepared["image"].as_tensor()[index]
        with torch.inference_mode():
            logits = sliding_window_inference(image[None], (96, 96, 96), 1, network, overlap=0.5)
        prepared["pred"] = MetaTensor(torch.sigmoid(logits[0]), affine=prepared["image"].affine)
        invert = Invertd("pred", prepare, orig_keys="image", nearest_interp=False, to_tensor=True)
        restored = invert(prepared)["pred"]
        assert tuple(restored.shape[1:]) == native
        box = (
            np.array(prepared["foreground_start_coord"]),
            np.array(prepared["foreground_end_coord"]),
        )
        return Published(image.numpy(), box, restored.numpy(), np.asarray(loaded[first].affine))

    return evaluate
