"""What a bundle finds in real patients: ``python benchmarks/patients.py BUNDLE [--shared FOLDER]``.

Every subset of the four series of two patients with gliomas, brought to the atlas grid by the
matrices of the pipeline that segmented them, against each of that pipeline's networks and their
consensus; and what is found in two people without a tumour. Nothing may be chosen by these figures.
``--page docs/patients.md`` keeps the tables in the docs, ``--quick`` leaves out subsets of one and
two series.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import tables
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from brainmvp_server.inference.predictor import Predictor

ROOT = Path(__file__).parents[1]
SERIES = ("t1", "t1c", "t2", "flair")
REGIONS = {"WT": (1, 2, 4), "TC": (1, 4), "ET": (4,)}
ATLAS_SHAPE = (240, 240, 155)
ATLAS_AFFINE = np.array([[-1.0, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]])
CONSENSUS = "consensus"
TOLERATED = 0.02
SMALLEST = 100
"""Voxels below which a Dice says nothing."""

Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Patient:
    """Series on one grid, and what others found: empty for somebody without a tumour."""

    name: str
    series: dict[str, Path]
    truths: dict[str, Labels]


@dataclass(frozen=True)
class Found:
    """What a bundle found with a subset."""

    subset: tuple[str, ...]
    labels: Labels

    def ml(self, region: str) -> float:
        """Its volume; voxels are of 1 mm."""
        return float(_part(self.labels, region).sum()) / 1000


def subsets() -> tuple[tuple[str, ...], ...]:
    """The 15 subsets, all four series first."""
    return tuple(s for size in (4, 3, 2, 1) for s in itertools.combinations(SERIES, size))


def dice(found: Labels, truth: Labels, region: str) -> float:
    """Overlap of one region; 1 where both have none of it."""
    one, other = _part(found, region), _part(truth, region)
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0


def glioma_patient(
    folder: Path, scratch: Path, matrices: Mapping[str, NDArray[np.float64]] | None = None
) -> Patient:
    """A patient whose series are brought to the atlas grid, by the matrices beside them or others.

    Args:
        matrices: as those of :func:`matrices_of`.
    """
    reference, raw = folder / "reference", series_folder(folder)
    matrices = matrices or matrices_of(folder)
    brain = _volume(reference / "brain_sri24.nii.gz") > 0
    series = {}
    for name in SERIES:
        carried = matrices["sri24_to_t1"]
        if name != "t1":
            carried = matrices[f"t1_to_{name}"] @ carried
        volume = on_atlas(raw / f"{name}.nii.gz", carried)
        if raw.name == "raw":
            volume = volume * brain
        series[name] = scratch / f"{folder.name}-{name}.nii.gz"
        nib.save(nib.Nifti1Image(volume, ATLAS_AFFINE), series[name])
    truths = {
        path.name.removeprefix("tumour_").removesuffix("_sri24.nii.gz"): _volume(path).astype(
            np.uint8
        )
        for path in sorted(reference.glob("tumour_*_sri24.nii.gz"))
    }
    return Patient(folder.name, series, truths)


def matrices_of(folder: Path) -> dict[str, NDArray[np.float64]]:
    """A patient's matrices (4, 4), by name; ``A_to_B`` takes R-A-S mm of A's world to B's."""
    text = (folder / "reference" / "rigid_ras_mm.json").read_text()
    return {name: np.array(rows) for name, rows in json.loads(text).items()}


def series_folder(folder: Path) -> Path:
    """Where a patient's series lie as they were given: brains, or raw heads."""
    return folder / ("brains" if (folder / "brains").is_dir() else "raw")


def on_atlas(path: Path, atlas_to_series: NDArray[np.float64]) -> NDArray[np.float32]:
    """A series on the atlas grid, linear; ``atlas_to_series`` takes R-A-S mm to R-A-S mm."""
    image: Any = nib.load(path)
    voxels = np.linalg.inv(image.affine) @ atlas_to_series @ ATLAS_AFFINE
    scan = np.asarray(image.dataobj, np.float32)
    carried = affine_transform(scan, voxels[:3, :3], voxels[:3, 3], ATLAS_SHAPE, order=1)
    return np.maximum(np.asarray(carried, np.float32), 0)


def healthy_person(folder: Path) -> Patient:
    """Somebody without a tumour, whose series lie on one grid already."""
    return Patient(folder.name, {name: folder / f"{name}.nii.gz" for name in SERIES}, {})


def found_in(
    predictor: Predictor, patient: Patient, wanted: Sequence[tuple[str, ...]]
) -> Iterator[Found]:
    """What the bundle finds with each subset."""
    for subset in wanted:
        result = predictor.predict(
            {name: patient.series[name] for name in subset}, not_determinable=True
        )
        yield Found(subset, np.asarray(result.mask, np.uint8))


def tables_of(patient: Patient, found: Sequence[Found]) -> list[str]:
    """The patient's figures as Markdown."""
    if not patient.truths:
        return _volume_table(patient, found)
    lines = []
    others = [name for name in patient.truths if name != CONSENSUS]
    for region in REGIONS:
        truth = _part(patient.truths[CONSENSUS], region).sum() / 1000
        lines += [
            "",
            f"**{patient.name}, {region}** (consensus {truth:.1f} mL): Dice with",
            "",
            f"| series | consensus | {' | '.join(others)} | found, mL |",
            f"| --- |{' ---: |' * (len(others) + 2)}",
        ]
        for one in found:
            scores = [
                f"{dice(one.labels, patient.truths[name], region):.2f}"
                for name in (CONSENSUS, *others)
            ]
            lines.append(f"| {_named(one)} | {' | '.join(scores)} | {one.ml(region):.1f} |")
    return [*lines, "", *_series_that_hurt(patient, found)]


def _series_that_hurt(patient: Patient, found: Sequence[Found]) -> list[str]:
    """Where the consensus is met better by leaving a series out of all four."""
    by_subset = {one.subset: one.labels for one in found}
    hurt = []
    for region in REGIONS:
        truth = patient.truths[CONSENSUS]
        if _part(truth, region).sum() < SMALLEST:
            continue
        whole = dice(by_subset[SERIES], truth, region)
        for name in SERIES:
            less = dice(by_subset[tuple(s for s in SERIES if s != name)], truth, region)
            if less > whole + TOLERATED:
                hurt.append(f"{region} without {name} {less:.2f}, with it {whole:.2f}")
    said = "; ".join(hurt) or "none"
    return [f"Series that make {patient.name} worse by more than {TOLERATED}: {said}."]


def _volume_table(patient: Patient, found: Sequence[Found]) -> list[str]:
    rows = [
        f"| {_named(one)} | {' | '.join(f'{one.ml(region):.1f}' for region in REGIONS)} |"
        for one in found
    ]
    return [
        "",
        f"**{patient.name}**, no tumour: mL found as",
        "",
        f"| series | {' | '.join(REGIONS)} |",
        "| --- | ---: | ---: | ---: |",
        *rows,
    ]


def _named(found: Found) -> str:
    return "all four" if len(found.subset) == len(SERIES) else ", ".join(found.subset)


def _part(labels: Labels, region: str) -> NDArray[np.bool_]:
    return np.isin(labels, REGIONS[region])


def _volume(path: Path) -> NDArray[Any]:
    image: Any = nib.load(path)
    return np.asarray(image.dataobj)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--page", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    wanted = [s for s in subsets() if len(s) > 2 or not options.quick]
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as scratch, Predictor.load(options.bundle) as predictor:
        clinical, brains = options.shared / "clinical", options.shared / "brains"
        patients = [glioma_patient(clinical / n, Path(scratch)) for n in ("du7294", "fg6692")]
        patients += [healthy_person(brains / n) for n in ("ms07", "ms26")]
        for patient in patients:
            rows = tables_of(patient, list(found_in(predictor, patient, wanted)))
            print("\n".join(rows), flush=True)
            lines += rows
    if options.page:
        tables.keep([*lines, ""], options.page, options.bundle.name)


if __name__ == "__main__":
    main()
