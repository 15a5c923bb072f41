"""How much a bundle minds where its grid lies: ``python benchmarks/frames.py BUNDLE``.

The series of fg6692 on the atlas grid, by the matrices and the brain of the pipeline that segmented
them, as they are and with the head moved by half a millimetre or turned by 10°: what is found each
time, as Dice with the consensus that was moved with it. Nothing may be chosen by these figures.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from patients import (
    ATLAS_AFFINE,
    ATLAS_SHAPE,
    REGIONS,
    ROOT,
    SERIES,
    dice,
    matrices_of,
    on_atlas,
    series_folder,
)
from raw_patients import at_nearest

from brainmvp_server.inference.predictor import Predictor
from brainmvp_server.preparation.rigid import RigidTransform

_CENTRE = np.array([-118.0, 103.0, 74.0])
_NOTHING = np.zeros(3)
_SHIFT, _TURN = 0.5, 10.0
"""Whole millimetres change nothing: the box of the brain is cut out first."""


def ways() -> Iterator[tuple[str, RigidTransform]]:
    """Where the grid's points lie in the head: as they are, moved, turned."""
    yield "as they are", RigidTransform.identity()
    for shift in _SHIFT * np.array([*np.eye(3), np.ones(3)]):
        name = ", ".join(f"{mm:g}" for mm in shift)
        yield f"moved by ({name}) mm", RigidTransform.of_rotation(_NOTHING, shift, _CENTRE)
    for axis, about in zip(np.eye(3), ("left-right", "back-front", "bottom-top"), strict=True):
        for degrees in (_TURN, -_TURN):
            name = f"turned by {degrees:.0f}° about {about}"
            yield name, RigidTransform.of_rotation(degrees * axis, _NOTHING, _CENTRE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    options = parser.parse_args()
    folder = options.shared / "clinical" / "fg6692"
    matrices, raw = matrices_of(folder), series_folder(folder)
    to_t1 = matrices["sri24_to_t1"]
    to_series = {name: matrices[f"t1_to_{name}"] @ to_t1 for name in SERIES if name != "t1"}
    to_series["t1"] = to_t1
    consensus: Any = nib.load(folder / "reference" / "tumour_consensus_sri24.nii.gz")
    brain: Any = nib.load(folder / "reference" / "brain_sri24.nii.gz")
    print(f"| the head | {' | '.join(REGIONS)} |", "| --- | --- | --- | --- |", sep="\n")
    with tempfile.TemporaryDirectory() as scratch, Predictor.load(options.bundle) as predictor:
        for name, way in ways():
            inside, truth = (
                at_nearest(image, ATLAS_SHAPE, ATLAS_AFFINE, way.matrix)
                for image in (brain, consensus)
            )
            files = {}
            for one in SERIES:
                volume = on_atlas(raw / f"{one}.nii.gz", to_series[one] @ way.matrix)
                files[one] = Path(scratch) / f"{one}.nii.gz"
                nib.save(nib.Nifti1Image(volume * (inside > 0), ATLAS_AFFINE), files[one])
            found = np.asarray(predictor.predict(files).mask, np.uint8)
            figures = " | ".join(f"{dice(found, truth, region):.3f}" for region in REGIONS)
            print(f"| {name} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
