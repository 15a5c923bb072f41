"""Studies for load: parts of Colin27 in several sizes and subsets of modalities."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import httpx
import nibabel as nib
import numpy as np
from inputs import COLIN27

NIFTI = "application/x-nifti"
MODALITIES = ("t1", "t1c", "t2", "flair")
SMALL = (88, 88, 88)
"""One window."""
LARGE = (181, 217, 181)
"""The whole head."""


@dataclass(frozen=True)
class Study:
    """Files by modality."""

    name: str
    files: dict[str, Path]

    def parts(self) -> list[tuple[str, tuple[str, bytes]]]:
        """The multipart form of it."""
        return [(name, (name, path.read_bytes())) for name, path in self.files.items()]


def predicted(
    http: httpx.Client, model: str, study: Study, fill: str, form: str = NIFTI
) -> httpx.Response:
    """One prediction's answer: by default its mask."""
    return http.post(
        f"/v1/models/{model}/predict",
        files=study.parts(),
        params={"fill": fill},
        headers={"accept": form},
    )


def write_study(
    folder: Path, name: str, shape: tuple[int, int, int], modalities: tuple[str, ...], seed: int
) -> Study:
    """A part of the head; every modality is another contrast of it, every seed another noise."""
    head = np.asarray(nib.load(COLIN27).dataobj)
    spare = [whole - size for whole, size in zip(head.shape, shape, strict=True)]
    start = [room // 2 for room in spare]
    part = head[tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))]
    rng = np.random.default_rng(seed)
    files = {}
    for index, modality in enumerate(modalities):
        contrast = part if index % 2 == 0 else np.where(part > 0, 255 - part, 0)
        noise = rng.integers(0, 4, part.shape, dtype=np.int16)
        voxels = np.where(part > 0, contrast.astype(np.int16) * (index + 1) + noise, 0)
        files[modality] = folder / f"{name}-{modality}.nii.gz"
        nib.save(nib.Nifti1Image(voxels.astype(np.int16), np.eye(4)), files[modality])
    return Study(name, files)


def mixed(folder: Path, count: int) -> list[Study]:
    """Different sizes and subsets, the same ones each time."""
    chosen = random.Random(0)
    sizes = (SMALL, SMALL, (100, 120, 90), (140, 140, 100))
    return [
        write_study(
            folder,
            f"study{number}",
            chosen.choice(sizes),
            tuple(chosen.sample(MODALITIES, chosen.randint(1, 4))),
            number,
        )
        for number in range(count)
    ]
