"""Where a bundle's mean Dice is lost: in which studies, and by what kind of error.

    python benchmarks/dice_lost.py BUNDLE DATALIST [--section test] [--real t1,flair]

A study counts as 1 where a region is neither there nor found, as in the evaluation. The last two
columns are what the mean would be if every part that does not touch the truth were gone, and if
each study were cut at the threshold that suits it best. Both need the truth: they bound what is to
be had by leaving parts out and by thresholds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from brainmvp_evaluation.overlap import dice
from brainmvp_evaluation.truth import read_truth
from brainmvp_models.modality import Modality, parse_modality
from brainmvp_models.task import RegionOutputs
from brainmvp_server.inference.connected import kept_parts
from brainmvp_server.inference.postprocess import voxels_of
from brainmvp_server.inference.predictor import Predictor
from brainmvp_training.case import Case
from brainmvp_training.datalist import read_datalist

THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)
SIZES_ML = (0.0, 5.0, 20.0, 60.0, np.inf)
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Found:
    """One region of one study: how much there is, and the Dice of what was found.

    Attributes:
        near: without the parts that do not touch the truth.
        best: at the best of :data:`THRESHOLDS`.
    """

    truth_ml: float
    found_ml: float
    dice: float
    near: float
    best: float


def found(
    predictor: Predictor, case: Case, outputs: RegionOutputs, real: Collection[Modality]
) -> list[Found]:
    """What those of the study's modalities show that are sent, by region."""
    if case.label is None:
        sys.exit(f"{case.name}: has no mask")
    sent = {modality: file for modality, file in case.images.items() if modality in real}
    result = predictor.predict(sent, probabilities=True, not_determinable=True)
    assert result.segmentation is not None
    grid = result.study.native.grid
    truths = read_truth(case.label, outputs, grid)
    return [
        _region(grid.orientation.view(probability), truth, outputs, index, grid.voxel_ml)
        for index, (probability, truth) in enumerate(
            zip(result.segmentation.probabilities, truths, strict=True)
        )
    ]


def _region(
    probability: NDArray[np.float32],
    truth: Mask,
    outputs: RegionOutputs,
    index: int,
    voxel_ml: float,
) -> Found:
    fewest = voxels_of(outputs.smallest_parts_ml[index], voxel_ml)
    high = outputs.regions[index].high_threshold
    sure = None if high is None else probability > np.float32(high)

    def cut(at: float) -> Mask:
        return kept_parts(probability > np.float32(at), fewest, sure)

    shown = cut(outputs.threshold)
    parts, _ = ndimage.label(shown, np.ones((3, 3, 3)))
    touching = np.unique(parts[truth])
    near = np.isin(parts, touching[touching > 0])
    return Found(
        float(truth.sum() * voxel_ml),
        float(shown.sum() * voxel_ml),
        dice(shown, truth),
        dice(near, truth),
        max(dice(cut(at), truth) for at in THRESHOLDS),
    )


def row(name: str, smallest_ml: float, studies: list[Found]) -> str:
    """A line of the table."""
    none = [f for f in studies if f.truth_ml == 0]
    some = [f for f in studies if f.truth_ml > 0]
    cells = [
        f"{_mean([f.dice for f in studies])} ({len(studies)})",
        f"{sum(f.found_ml > 0 for f in none)} of {len(none)}",
        f"{sum(f.dice == 0 for f in some)} of {len(some)}",
        str(sum(f.truth_ml < smallest_ml for f in some)),
    ]
    for low, high in pairwise(SIZES_ML):
        within = [f.dice for f in some if low < f.truth_ml <= high]
        cells.append(f"{_mean(within)} ({len(within)})")
    cells += [_mean([f.near for f in studies]), _mean([f.best for f in studies])]
    return f"| {name} | {' | '.join(cells)} |"


def _modalities(text: str) -> tuple[Modality, ...]:
    return tuple(map(parse_modality, text.split(",")))


def _mean(numbers: list[float]) -> str:
    return f"{np.mean(numbers):.2f}" if numbers else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("datalist", type=Path)
    parser.add_argument("--section", default="test")
    parser.add_argument("--real", help="modalities that are sent; all of a study's by default")
    options = parser.parse_args()
    predictor = Predictor.load(options.bundle)
    task = predictor.bundle.task
    if not isinstance(task.outputs, RegionOutputs):
        sys.exit(f"{options.bundle}: its task has no regions")
    cases = read_datalist(options.datalist, options.section, channels=task.modalities)
    real = task.modalities if options.real is None else _modalities(options.real)
    studies = [found(predictor, case, task.outputs, real) for case in cases]
    print(
        "| region | mean Dice | false where none | missed | below smallest_ml | to 5 mL | "
        "to 20 mL | to 60 mL | more | far parts gone | best threshold |"
    )
    print("| --- " + "| ---: " * 10 + "|")
    columns = zip(*studies, strict=True)
    smallest = task.outputs.smallest_parts_ml
    for region, least, column in zip(task.outputs.regions, smallest, columns, strict=True):
        print(row(region.name, least, list(column)))


if __name__ == "__main__":
    main()
