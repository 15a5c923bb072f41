"""Real patients from their raw series: ``python benchmarks/raw_patients.py BUNDLE``.

Two patients with gliomas, each from the four grids of the scanner, prepared by the service's own
code, against the consensus of the pipeline that segmented them, on the grid of the T1 and on that
of the FLAIR; and the two answers against each other. The consensus is brought to a series' grid by
that pipeline's own matrices, to the nearest voxel. What a bundle finds in the studies as that
pipeline prepared them ``benchmarks/patients.py`` says. Nothing may be chosen by these figures.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from patients import REGIONS, ROOT, SERIES, dice, matrices_of, series_folder

import brainmvp

Labels = NDArray[np.uint8]
Matrix = NDArray[np.float64]
GRIDS = ("t1", "flair")


def at_nearest(image: Any, shape: tuple[int, ...], affine: Matrix, across: Matrix) -> Labels:
    """Labels on another grid; ``across`` takes R-A-S mm of that grid's world to the image's."""
    step = np.linalg.inv(image.affine) @ across @ affine
    indices = np.indices(shape).reshape(3, -1)
    places = np.rint(step[:3, :3] @ indices + step[:3, 3:]).astype(int)
    inside = ((places >= 0) & (places < np.array(image.shape)[:, None])).all(axis=0)
    labels = np.zeros(indices.shape[1], np.uint8)
    labels[inside] = np.asarray(image.dataobj).astype(np.uint8)[tuple(places[:, inside])]
    return labels.reshape(shape)


def rows(predictor: brainmvp.Predictor, folder: Path) -> list[str]:
    """A patient's lines of the table."""
    matrices, raw = matrices_of(folder), series_folder(folder)
    consensus: Any = nib.load(folder / "reference" / "tumour_consensus_sri24.nii.gz")
    to_t1 = {"t1": np.eye(4), "flair": np.linalg.inv(matrices["t1_to_flair"])}
    lines, found = [], {}
    for space in GRIDS:
        files = {name: raw / f"{name}.nii.gz" for name in SERIES}
        result = predictor.predict(files, space=space)
        grid, mask = result.study.native.grid, np.asarray(result.mask, np.uint8)
        found[space] = nib.Nifti1Image(mask, grid.affine)
        to_atlas = np.linalg.inv(matrices["sri24_to_t1"]) @ to_t1[space]
        truth = at_nearest(consensus, grid.shape, grid.affine, to_atlas)
        figures = " | ".join(f"{dice(mask, truth, region):.3f}" for region in REGIONS)
        ml = float(np.prod(grid.spacing)) * int((mask > 0).sum()) / 1000
        lines.append(f"| {folder.name} | {space} | {figures} | {ml:.1f} |")
    there, here = found["flair"], found["t1"]
    carried = at_nearest(here, there.shape, there.affine, to_t1["flair"])
    figures = " | ".join(
        f"{dice(np.asarray(there.dataobj), carried, region):.3f}" for region in REGIONS
    )
    lines.append(f"| {folder.name} | one against the other | {figures} | |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    options = parser.parse_args()
    print("| patient | on the grid of | WT | TC | ET | mL |")
    print("| --- | --- | --- | --- | --- | --- |")
    with brainmvp.Predictor.load(options.bundle) as predictor:
        for name in ("fg6692", "du7294"):
            print("\n".join(rows(predictor, options.shared / "clinical" / name)), flush=True)


if __name__ == "__main__":
    main()
