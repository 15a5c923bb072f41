"""Which threshold and which smallest part of a task of regions find most, on studies with masks.

    python examples/choose_threshold.py BUNDLE DATALIST [--section validation]

Every study goes once through the pipeline that serves, all its modalities real; then its
probabilities are cut at each threshold, and parts below each size are left out. Choose on studies
that the evaluation does not use: the best of many figures flatters those that it was chosen on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainmvp_export.evaluation.overlap import dice
from brainmvp_export.evaluation.truth import read_truth
from brainmvp_models.task import RegionOutputs
from brainmvp_models.training.case import Case
from brainmvp_models.training.datalist import read_datalist
from brainmvp_server.inference.postprocess import voxels_of, without_specks
from brainmvp_server.inference.predictor import Predictor

THRESHOLDS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SMALLEST_ML = (0.0, 0.5, 1.0, 2.0, 4.0)


def measured(predictor: Predictor, case: Case, outputs: RegionOutputs) -> NDArray[np.float64]:
    """Dice of a study by threshold, smallest part and region."""
    if case.label is None or set(case.images) != set(predictor.bundle.task.modalities):
        sys.exit(f"{case.name}: needs a mask and all modalities")
    result = predictor.predict(case.images, probabilities=True)
    assert result.segmentation is not None
    grid = result.study.native.grid
    scores = np.empty((len(THRESHOLDS), len(SMALLEST_ML), outputs.count))
    truths = read_truth(case.label, outputs, grid)
    for region, (map_, truth) in enumerate(
        zip(result.segmentation.probabilities, truths, strict=True)
    ):
        turned = grid.orientation.view(map_)
        for row, threshold in enumerate(THRESHOLDS):
            found = turned > np.float32(threshold)
            for column, smallest in enumerate(SMALLEST_ML):
                fewest = voxels_of(smallest, grid.voxel_ml)
                kept = without_specks(found, fewest) if fewest > 0 else found
                scores[row, column, region] = dice(kept, truth)
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("datalist", type=Path)
    parser.add_argument("--section", default="validation")
    options = parser.parse_args()
    predictor = Predictor.load(options.bundle)
    outputs = predictor.bundle.task.outputs
    if not isinstance(outputs, RegionOutputs):
        sys.exit(f"{options.bundle}: its task has no regions")
    channels = predictor.bundle.task.modalities
    cases = read_datalist(options.datalist, options.section, channels=channels)
    scores = np.mean([measured(predictor, case, outputs) for case in cases], axis=0)
    names = " | ".join(region.name for region in outputs.regions)
    print(f"Dice, mean of {len(cases)} studies\n")
    print(f"| threshold | smallest_ml | {names} | mean |")
    print("| --- " * (3 + outputs.count) + "|")
    for row, threshold in enumerate(THRESHOLDS):
        for column, smallest in enumerate(SMALLEST_ML):
            found = scores[row, column]
            cells = " | ".join(f"{score:.3f}" for score in found)
            print(f"| {threshold} | {smallest} | {cells} | {found.mean():.3f} |")
    best = np.unravel_index(np.argmax(scores.mean(axis=2)), scores.shape[:2])
    print(f"\nbest: threshold {THRESHOLDS[best[0]]}, smallest_ml {SMALLEST_ML[best[1]]}")


if __name__ == "__main__":
    main()
