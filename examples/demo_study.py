"""Make the demonstration's synthetic study: Colin27's anatomy, a glioma, FLAIR left out.

    python examples/demo_study.py

writes ``examples/glioma_study``. Needs the ``train`` extra. Brightness is stored in 100 steps, so
that the files stay small.
"""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from brainmvp_models.modality import Modality
from brainmvp_training.synthetic.anatomy import from_t1
from brainmvp_training.synthetic.synthetic_study import Recipe, draw_study

EXAMPLES = Path(__file__).parent
SEED = (27, 5)
STEPS = 100


def main() -> None:
    out = EXAMPLES / "glioma_study"
    out.mkdir(exist_ok=True)
    anatomy = from_t1(EXAMPLES / "colin27" / "colin27_t1.nii.gz")
    recipe = Recipe((Modality.T1, Modality.T1C, Modality.T2), healthy=0, enhancing=1, air=0)
    study = draw_study(anatomy, recipe, SEED)
    affine = np.eye(4)
    affine[:3, 3] = [-(n - 1) / 2 for n in study.labels.shape]
    for modality, scan in study.scans.items():
        stored = np.clip(np.rint(scan * STEPS), 0, 255).astype(np.uint8)
        nib.save(nib.Nifti1Image(stored, affine), out / f"{modality.value}.nii.gz")
    nib.save(nib.Nifti1Image(study.labels, affine), out / "truth.nii.gz")


if __name__ == "__main__":
    main()
