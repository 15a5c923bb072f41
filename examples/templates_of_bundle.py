"""A bundle's templates as a folder to train with: ``templates_of_bundle.py BUNDLE OUT``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np


def main() -> None:
    bundle, out = Path(sys.argv[1]), Path(sys.argv[2])
    version = max(bundle.iterdir(), key=lambda path: int(path.name))
    bank = json.loads((version / "manifest.json").read_text())["templates"]
    image = nib.load(version / bank["file"])
    out.mkdir(parents=True, exist_ok=True)
    values = np.asarray(image.dataobj, np.float32)
    for modality, template in zip(bank["modalities"], np.moveaxis(values, -1, 0), strict=True):
        one = nib.Nifti1Image(template, image.affine)
        one.header.set_xyzt_units("mm")
        nib.save(one, out / f"{modality.upper()}.nii.gz")


if __name__ == "__main__":
    main()
