"""A cavity as surgery leaves one: ``python benchmarks/resection.py BUNDLE [--shared FOLDER]``.

No study after surgery is at hand, so that cavities are drawn: balls of fluid under the surface of
the left half of a real patient's brain, whose tumour is in the right one, in all four raw series by
the matrices beside them. The skull stays closed, and nothing around the cavity is displaced or
scarred. Told is what the brain's mask makes of it, and how much tumour is found there.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from patients import ROOT, SERIES, matrices_of

import brainmvp
from brainmvp_models.errors import InvalidInput
from brainmvp_server.imaging.align import interpolated

Matrix = NDArray[np.float64]
Inside = NDArray[np.bool_]
RADII_MM = (12.0, 18.0, 24.0)
PLACES = {"frontal": (-0.6, 0.8, 0.3), "parietal": (-0.9, -0.5, 0.5)}
"""Directions from the middle of the brain, R-A-S."""
DEPTH = 0.6
"""Of the ball's centre below the surface, in radii."""
BESIDE_MM = 6.0
"""What is found so near to a cavity is counted with it."""
FLUID = {"t1": 2.0, "t1c": 2.0, "t2": 99.0, "flair": 2.0}
"""Percentile of the brain's values that fluid has."""


@dataclass(frozen=True, eq=False)
class Head:
    """A raw series and another pipeline's mask of the brain in it.

    Attributes:
        from_t1: takes a point of T1's world to the series's, R-A-S mm.
    """

    image: Any
    brain: Inside
    from_t1: Matrix

    def near(self, centre: Matrix, radius: float) -> Inside:
        """The voxels around a point of T1's world."""
        place = self.from_t1[:3, :3] @ centre + self.from_t1[:3, 3]
        affine = self.image.affine
        index = np.indices(self.brain.shape).reshape(3, -1)
        points = affine[:3, :3] @ index + affine[:3, 3:]
        away = np.linalg.norm(points - place[:, None], axis=0)
        return away.reshape(self.brain.shape) < radius


def heads_of(folder: Path) -> dict[str, Head]:
    """The series of a patient."""
    matrices: Mapping[str, Matrix] = {"t1_to_t1": np.eye(4), **matrices_of(folder)}
    return {
        name: Head(
            nib.load(folder / "raw" / f"{name}.nii.gz"),
            np.asarray(nib.load(folder / "reference" / f"brain_{name}.nii.gz").dataobj) > 0,
            matrices[f"t1_to_{name}"],
        )
        for name in SERIES
    }


def centre_of(t1: Head, direction: tuple[float, ...], radius: float) -> Matrix:
    """Where a ball has its centre, R-A-S mm in T1's world."""
    affine = t1.image.affine
    middle = affine[:3, :3] @ np.argwhere(t1.brain).mean(axis=0) + affine[:3, 3]
    along = np.array(direction) / np.linalg.norm(direction)
    steps = middle + np.arange(0, 150.0)[:, None] * along
    index = np.rint((steps - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T).astype(int)
    inside = ((index >= 0) & (index < t1.brain.shape)).all(axis=1)
    inside[inside] = t1.brain[tuple(index[inside].T)]
    surface = np.flatnonzero(inside).max()
    found: Matrix = middle + (surface - DEPTH * radius) * along
    return found


def with_cavity(head: Head, name: str, centre: Matrix, radius: float) -> Any:
    """A series with fluid in a ball of its brain."""
    values = np.asarray(head.image.dataobj).copy()
    fluid = np.percentile(values[head.brain], FLUID[name])
    values[head.near(centre, radius) & head.brain] = fluid
    return nib.Nifti1Image(values, head.image.affine, head.image.header)


def line(
    predictor: brainmvp.Predictor, heads: Mapping[str, Head], place: str, radius: float
) -> str:
    """One cavity's line of the table; a radius of 0 is none."""
    centre, t1c = centre_of(heads["t1"], PLACES[place], radius), heads["t1c"]
    ml = float(np.prod(t1c.image.header.get_zooms())) / 1000
    cavity = t1c.near(centre, radius) & t1c.brain
    start = f"| {place if radius else 'none'} | {cavity.sum() * ml:.0f} |"
    with tempfile.TemporaryDirectory() as scratch:
        files = {name: Path(scratch) / f"{name}.nii.gz" for name in heads}
        for name, head in heads.items():
            nib.save(with_cavity(head, name, centre, radius), files[name])
        try:
            result = predictor.predict(files)
        except InvalidInput as error:
            return f"{start} refused: {error.subject}: {error.problem} | | | |"
    found, grid = result.brain, result.study.native.grid
    assert found is not None
    to_found = np.linalg.inv(found.to_result)
    brain = interpolated(found.mask.astype(np.float32), found.grid, grid, to_found)[0] > 0.5
    dice = 2 * (brain & t1c.brain).sum() / (brain.sum() + t1c.brain.sum())
    kept = f"{(brain & cavity).sum() / cavity.sum():.0%}" if radius else ""
    mask, beside = np.asarray(result.mask) > 0, t1c.near(centre, radius + BESIDE_MM)
    there, elsewhere = ((mask & part).sum() * ml for part in (beside, ~beside))
    return f"{start} {dice:.3f} | {kept} | {there:.1f} | {elsewhere:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    options = parser.parse_args()
    heads = heads_of(options.shared / "clinical" / "fg6692")
    print("| cavity | mL | brain, Dice | cavity counted in | found there, mL | elsewhere, mL |")
    print("| --- | --- | --- | --- | --- | --- |")
    with brainmvp.Predictor.load(options.bundle) as predictor:
        cavities = [(place, radius) for place in PLACES for radius in RADII_MM]
        for place, radius in (("frontal", 0.0), *cavities):
            print(line(predictor, heads, place, radius), flush=True)


if __name__ == "__main__":
    main()
