"""How much lesion a bundle finds where there is none: the T1s of Colin27 and of MNI152.

    python examples/healthy_scans.py examples/bundles/demo-glioma

Both are real: one man's brain, the mean of 27 scans, and the average of 152 people, without skulls.
MNI152 comes with nilearn (the ``train`` extra).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np

from brainmvp_server.inference.predictor import Predictor
from brainmvp_training.synthetic.anatomy import mni152_t1

COLIN27 = Path(__file__).parent / "colin27" / "colin27_t1.nii.gz"


def main() -> None:
    predictor = Predictor.load(Path(sys.argv[1]))
    with tempfile.TemporaryDirectory() as scratch:
        mni152 = Path(scratch) / "t1.nii.gz"
        nib.save(nib.Nifti1Image(mni152_t1(), np.eye(4)), mni152)
        for name, scan in (("Colin27", COLIN27), ("MNI152", mni152)):
            found = predictor.predict({"t1": scan}, not_determinable=True).structures
            volumes = ", ".join(f"{s.name} {s.volume_ml:.2f} mL" for s in found)
            print(f"{name}, T1 alone: {volumes}")


if __name__ == "__main__":
    main()
