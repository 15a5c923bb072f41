"""A quick bundle with everything that the page shows: regions, templates, measured quality."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from brainmvp_models.bundle import Bundle, describe_file
from brainmvp_models.manifest import SubsetQuality, Templates
from brainmvp_models.modality import Modality
from brainmvp_models.templates import TemplateBank

SHAPE = (72, 80, 64)
MODALITIES = (Modality.T1, Modality.T1C, Modality.T2)


def write_page_bundle(tiny: Bundle, folder: Path) -> Path:
    """The tiny bundle with templates and a subset card, as ``folder/tiny/1``; the model folder."""
    root = folder / "tiny" / "1"
    shutil.copytree(tiny.root, root)
    modalities = tiny.task.modalities
    _bank(modalities).save(root / "templates.nii.gz")
    names = [*(entry.path for entry in tiny.manifest.files), "templates.nii.gz"]
    manifest = tiny.manifest.model_copy(
        update={
            "files": tuple(describe_file(root / name) for name in names),
            "templates": Templates(
                file="templates.nii.gz", modalities=modalities, origin="drawn for tests"
            ),
            "subset_card": tuple(
                SubsetQuality(
                    real=real, fill="center", output=region, metric=metric,
                    value=0.8, low=0.7, high=0.9, studies=12,
                )
                for real in (MODALITIES[:2], MODALITIES)
                for region in ("TC", "WT", "ET")
                for metric in ("dice", "hd95_mm", "volume_error_ml")
            ),
            "demo": True,
        }
    )  # fmt: skip
    (root / "manifest.json").write_text(manifest.model_dump_json())
    return folder


def _bank(modalities: tuple[Modality, ...]) -> TemplateBank:
    """A ball of its own brightness a modality."""
    x, y, z = (np.linspace(-1, 1, n, dtype=np.float32) for n in SHAPE)
    ball = (x[:, None, None] ** 2 + y[:, None] ** 2 + z**2 < 0.8).astype(np.float32)
    return TemplateBank(
        {modality: ball * (0.3 + 0.1 * place) for place, modality in enumerate(modalities)}
    )
