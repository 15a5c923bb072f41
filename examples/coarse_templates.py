"""Make a template bank small: its values, 0 to 1, in few steps.

    python examples/coarse_templates.py FOLDER OUT STEPS

The templates stay NIfTI files with the same names, voxels and affine.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nib
import numpy as np


def main() -> None:
    source, out, steps = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("*.nii.gz")):
        image = nib.load(path)
        values = np.asarray(image.dataobj, np.float32)
        coarse = nib.Nifti1Image(np.rint(values * steps).astype(np.uint8), image.affine)
        coarse.header.set_slope_inter(1 / steps, 0)
        coarse.header.set_xyzt_units("mm")
        nib.save(coarse, out / path.name)


if __name__ == "__main__":
    main()
