"""Real patients from their raw series: ``python benchmarks/raw_patients.py BUNDLE``.

Two patients with gliomas, each from the four grids of the scanner, prepared by the service's own
code, against the consensus of the pipeline that segmented them, on the grids of T1c, T1 and FLAIR;
and the answers on the last two against each other. The consensus is brought to a series' grid by
that pipeline's own matrices, to the nearest voxel, and so is what the bundle finds in the series as
that pipeline prepared them, and with our matrices between the series in the place of theirs. How
far the place of the consensus is uncertain shows what it has in common with itself, brought there
by our registration with T1c, and what is found is held against it there, too. ``--series t2 flair``
gives no others. Nothing may be chosen by these.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from patients import REGIONS, ROOT, SERIES, dice, glioma_patient, matrices_of, series_folder

import brainmvp
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.nifti import read_nifti
from brainmvp_server.preparation.register import register
from brainmvp_server.preparation.working import Pyramid

Labels = NDArray[np.uint8]
Matrix = NDArray[np.float64]
GRIDS = ("t1c", "t1", "flair")
"""The first is the reference, on whose grid a result lies where no other is asked for."""


def at_nearest(image: Any, shape: tuple[int, ...], affine: Matrix, across: Matrix) -> Labels:
    """Labels on another grid; ``across`` takes R-A-S mm of that grid's world to the image's."""
    step = np.linalg.inv(image.affine) @ across @ affine
    indices = np.indices(shape).reshape(3, -1)
    places = np.rint(step[:3, :3] @ indices + step[:3, 3:]).astype(int)
    inside = ((places >= 0) & (places < np.array(image.shape)[:, None])).all(axis=0)
    labels = np.zeros(indices.shape[1], np.uint8)
    labels[inside] = np.asarray(image.dataobj).astype(np.uint8)[tuple(places[:, inside])]
    return labels.reshape(shape)


def rows(predictor: brainmvp.Predictor, folder: Path, given: Sequence[str]) -> list[str]:
    """A patient's lines of the table, of a study of the given series."""
    matrices, raw = matrices_of(folder), series_folder(folder)
    consensus: Any = nib.load(folder / "reference" / "tumour_consensus_sri24.nii.gz")
    to_t1 = {name: np.linalg.inv(matrices[f"t1_to_{name}"]) for name in SERIES if name != "t1"}
    to_t1["t1"], to_atlas_of_t1 = np.eye(4), np.linalg.inv(matrices["sri24_to_t1"])
    prepared_by_others = _on_the_atlas(predictor, folder, given, matrices)
    by_our_ways = _on_the_atlas(predictor, folder, given, _with_ours(raw, matrices))
    lines, found = [], {}
    for space in [name for name in GRIDS if name in given] or given[:1]:
        files = {name: raw / f"{name}.nii.gz" for name in given}
        result = predictor.predict(files, space=space)
        grid, mask = result.study.native.grid, np.asarray(result.mask, np.uint8)
        found[space] = nib.Nifti1Image(mask, grid.affine)
        to_atlas = to_atlas_of_t1 @ to_t1[space]
        truth = at_nearest(consensus, grid.shape, grid.affine, to_atlas)
        by_ours: Matrix = to_atlas_of_t1 @ to_t1["t1c"] @ _to_t1c(raw, space)
        moved = at_nearest(consensus, grid.shape, grid.affine, by_ours)
        theirs, between = (
            at_nearest(found_there, grid.shape, grid.affine, to_atlas)
            for found_there in (prepared_by_others, by_our_ways)
        )
        for name, one in (
            (space, mask),
            (f"{space}, prepared by others", theirs),
            (f"{space}, the same but for our matrices", between),
            (f"{space}, the consensus by our matrices", moved),
        ):
            if space == GRIDS[0] and one is moved:
                continue  # where the ways begin, the consensus is itself
            ml = float(np.prod(grid.spacing)) * int((one > 0).sum()) / 1000
            lines.append(f"| {folder.name} | {name} | {_figures(one, truth)} | {ml:.1f} |")
        if space != GRIDS[0]:
            name = f"{space}, against the consensus by our matrices"
            lines.append(f"| {folder.name} | {name} | {_figures(mask, moved)} | |")
    if len(found) < len(GRIDS):
        return lines
    there, here = found["flair"], found["t1"]
    carried = at_nearest(here, there.shape, there.affine, to_t1["flair"])
    figures = _figures(np.asarray(there.dataobj), carried)
    lines.append(f"| {folder.name} | one against the other | {figures} | |")
    return lines


def _to_t1c(raw: Path, name: str) -> Matrix:
    """Takes a point of a series's world to that of T1c, which series are brought to."""
    moving, reference = (
        Pyramid(read_nifti(raw / f"{each}.nii.gz", Modality(each))) for each in (name, "t1c")
    )
    return register(moving, reference).to_moving.inverse.matrix


def _with_ours(raw: Path, matrices: Mapping[str, Matrix]) -> dict[str, Matrix]:
    """Their place of the T1c on the atlas grid, and our ways from there to the other series."""
    t1c = matrices["t1_to_t1c"] @ matrices["sri24_to_t1"]
    to_t1 = np.linalg.inv(_to_t1c(raw, "t1")) @ t1c
    back = np.linalg.inv(to_t1)
    others = {name: np.linalg.inv(_to_t1c(raw, name)) @ t1c @ back for name in ("t2", "flair")}
    ways = {f"t1_to_{name}": way for name, way in others.items()}
    return {"sri24_to_t1": to_t1, "t1_to_t1c": t1c @ back, **ways}


def _on_the_atlas(
    predictor: brainmvp.Predictor,
    folder: Path,
    given: Sequence[str],
    matrices: Mapping[str, Matrix],
) -> Any:
    """What is found in the series with the other pipeline's brain, on the atlas grid."""
    with tempfile.TemporaryDirectory() as scratch:
        series = glioma_patient(folder, Path(scratch), matrices).series
        result = predictor.predict({name: series[name] for name in given})
    return nib.Nifti1Image(np.asarray(result.mask, np.uint8), result.study.native.grid.affine)


def _figures(found: Labels, truth: Labels) -> str:
    return " | ".join(f"{dice(found, truth, region):.3f}" for region in REGIONS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--patients", nargs="+", default=["fg6692", "du7294"])
    parser.add_argument("--series", nargs="+", default=list(SERIES), help="of each patient's study")
    options = parser.parse_args()
    print("| patient | on the grid of | WT | TC | ET | mL |")
    print("| --- | --- | --- | --- | --- | --- |")
    with brainmvp.Predictor.load(options.bundle) as predictor:
        for name in options.patients:
            folder = options.shared / "clinical" / name
            print("\n".join(rows(predictor, folder, options.series)), flush=True)


if __name__ == "__main__":
    main()
