"""Which threshold and which smallest part of a task of regions find most, on studies with masks.

    python examples/choose_threshold.py BUNDLE DATALIST [--section validation] [--hide flair]

Every study goes once through the pipeline that serves, all its modalities real but for what is
hidden; then its probabilities are cut at each threshold, and parts below each size are left out.
The column of a region also tells a ``smallest_ml`` of its own. Choose on studies that the
evaluation does not use: the best of many figures flatters those that it was chosen on.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainmvp_evaluation.overlap import dice
from brainmvp_evaluation.truth import read_truth
from brainmvp_models.modality import Modality
from brainmvp_models.task import RegionOutputs
from brainmvp_server.inference.connected import without_specks
from brainmvp_server.inference.postprocess import voxels_of
from brainmvp_server.inference.predictor import Predictor
from brainmvp_training.case import Case
from brainmvp_training.datalist import read_datalist

THRESHOLDS = (0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9)
SMALLEST_ML = (0.0, 0.5, 1.0, 2.5, 4.0, 6.0)


@dataclass(frozen=True)
class Tried:
    """What is compared."""

    thresholds: tuple[float, ...]
    smallest_ml: tuple[float, ...]
    hidden: tuple[Modality, ...]


def measured(
    predictor: Predictor, case: Case, outputs: RegionOutputs, tried: Tried
) -> NDArray[np.float64]:
    """Dice of a study by threshold, smallest part and region."""
    if case.label is None or set(case.images) != set(predictor.bundle.task.modalities):
        sys.exit(f"{case.name}: needs a mask and all modalities")
    shown = {m: file for m, file in case.images.items() if m not in tried.hidden}
    result = predictor.predict(shown, probabilities=True, not_determinable=True)
    assert result.segmentation is not None
    grid = result.study.native.grid
    scores = np.empty((len(tried.thresholds), len(tried.smallest_ml), outputs.count))
    truths = read_truth(case.label, outputs, grid)
    for region, (map_, truth) in enumerate(
        zip(result.segmentation.probabilities, truths, strict=True)
    ):
        turned = grid.orientation.view(map_)
        for row, threshold in enumerate(tried.thresholds):
            found = turned > np.float32(threshold)
            for column, smallest in enumerate(tried.smallest_ml):
                fewest = voxels_of(smallest, grid.voxel_ml)
                kept = without_specks(found, fewest) if fewest > 0 else found
                scores[row, column, region] = dice(kept, truth)
    return scores


def numbers(text: str) -> tuple[float, ...]:
    """Numbers with commas between them."""
    return tuple(float(number) for number in text.split(","))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("datalist", type=Path)
    parser.add_argument("--section", default="validation")
    parser.add_argument("--thresholds", type=numbers, default=THRESHOLDS)
    parser.add_argument("--smallest", type=numbers, default=SMALLEST_ML, help="in mL")
    parser.add_argument("--hide", type=Modality, action="append", default=[])
    options = parser.parse_args()
    tried = Tried(options.thresholds, options.smallest, tuple(options.hide))
    predictor = Predictor.load(options.bundle)
    outputs = predictor.bundle.task.outputs
    if not isinstance(outputs, RegionOutputs):
        sys.exit(f"{options.bundle}: its task has no regions")
    channels = predictor.bundle.task.modalities
    cases = read_datalist(options.datalist, options.section, channels=channels)
    scores = np.mean([measured(predictor, case, outputs, tried) for case in cases], axis=0)
    names = " | ".join(region.name for region in outputs.regions)
    print(f"Dice, mean of {len(cases)} studies\n")
    print(f"| threshold | smallest_ml | {names} | mean |")
    print("| --- " * (3 + outputs.count) + "|")
    for row, threshold in enumerate(tried.thresholds):
        for column, smallest in enumerate(tried.smallest_ml):
            found = scores[row, column]
            cells = " | ".join(f"{score:.3f}" for score in found)
            print(f"| {threshold} | {smallest} | {cells} | {found.mean():.3f} |")
    place = np.unravel_index(np.argmax(scores.mean(axis=2)), scores.shape[:2])
    chosen = tried.thresholds[place[0]], tried.smallest_ml[place[1]]
    print(f"\nbest: threshold {chosen[0]}, smallest_ml {chosen[1]}")


if __name__ == "__main__":
    main()
