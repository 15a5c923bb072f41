"""Which threshold and which parts of a task of regions find most, on studies with masks.

    python examples/choose_threshold.py BUNDLE DATALIST [--section validation] [--subsets SUBSETS]

Every study goes through the pipeline that serves, once for each subset of its modalities. The first
table cuts its probabilities at each threshold and leaves out parts below each size; the column of a
region also tells a ``smallest_ml`` of its own. The second leaves out, at the task's own threshold
and sizes, the parts whose probability nowhere exceeds a ``high_threshold``. A region gets one where
that gains ``GAIN`` on studies that it was not chosen on: each one's is chosen on all the others.

A region counts only where the study has what it needs. Choose on studies that the evaluation does
not use: the best of many figures flatters those that it was chosen on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainmvp_evaluation.settings import Subset, parse_subsets
from brainmvp_evaluation.truth import read_truth
from brainmvp_models.task import Region, RegionOutputs
from brainmvp_server.inference.connected import connected
from brainmvp_server.inference.postprocess import voxels_of
from brainmvp_server.inference.predictor import Predictor
from brainmvp_training.case import Case
from brainmvp_training.datalist import read_datalist

THRESHOLDS = (0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9)
SMALLEST_ML = (0.0, 0.5, 1.0, 2.5, 4.0, 6.0)
HIGH = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
GAIN = 0.02
"""Of the mean Dice: less is not worth another number in a task."""

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Tried:
    """What is compared."""

    thresholds: tuple[float, ...]
    smallest_ml: tuple[float, ...]
    high: tuple[float, ...]
    subsets: tuple[Subset, ...]


@dataclass(frozen=True)
class Parts:
    """The connected parts of a map above a threshold.

    Attributes:
        voxels, right: (N,), how many each has, and how many of them are of the truth.
        peaks: (N,), its highest probability.
        truth: voxels of the truth, found or not.
    """

    voxels: NDArray[np.int64]
    right: NDArray[np.int64]
    peaks: NDArray[np.float32]
    truth: int

    @classmethod
    def of(cls, map_: NDArray[np.float32], truth: NDArray[np.bool_], threshold: float) -> Parts:
        """Of a map (i, j, k) and its truth."""
        found = map_ > np.float32(threshold)
        labels, count = connected(found)
        inside, peaks = labels[found], np.zeros(count + 1, np.float32)
        np.maximum.at(peaks, inside, map_[found])
        voxels = np.bincount(inside, minlength=count + 1)
        right = np.bincount(labels[found & truth], minlength=count + 1)
        return cls(voxels[1:], right[1:], peaks[1:], int(truth.sum()))

    def dice(self, fewest: int, high: float) -> float:
        """Of the parts of so many voxels whose probability somewhere exceeds ``high``."""
        kept = (self.voxels >= fewest) & (self.peaks > np.float32(high))
        total = int(self.voxels[kept].sum()) + self.truth
        return 2 * int(self.right[kept].sum()) / total if total else 1.0


@dataclass(frozen=True)
class Study:
    """What a study scored, the mean of the subsets that a region can be decided by.

    Attributes:
        cut: (threshold, smallest part, region), every part of that size shown.
        sure: (1 + high threshold, region), at the task's threshold and sizes; the first is without.
    """

    cut: Scores
    sure: Scores


def measured(predictor: Predictor, case: Case, outputs: RegionOutputs, tried: Tried) -> Study:
    """A study, by every subset of its modalities."""
    if case.label is None or set(case.images) != set(predictor.bundle.task.modalities):
        sys.exit(f"{case.name}: needs a mask and all modalities")
    shape = len(tried.subsets), len(tried.thresholds), len(tried.smallest_ml), outputs.count
    cut = np.full(shape, np.nan)
    sure = np.full((len(tried.subsets), 1 + len(tried.high), outputs.count), np.nan)
    highs = (0.0, *tried.high)
    for row, subset in enumerate(tried.subsets):
        shown = {modality: case.images[modality] for modality in subset}
        result = predictor.predict(shown, probabilities=True, not_determinable=True)
        assert result.segmentation is not None
        grid = result.study.native.grid
        fewest = [voxels_of(size, grid.voxel_ml) for size in tried.smallest_ml]
        own = [voxels_of(size, grid.voxel_ml) for size in outputs.smallest_parts_ml]
        truths = read_truth(case.label, outputs, grid)
        for index, (region, map_, truth) in enumerate(
            zip(outputs.regions, result.segmentation.probabilities, truths, strict=True)
        ):
            if not set(region.needs) <= set(subset):
                continue
            turned = np.ascontiguousarray(grid.orientation.view(map_))
            parts = [Parts.of(turned, truth, threshold) for threshold in tried.thresholds]
            cut[row, :, :, index] = [[found.dice(size, 0) for size in fewest] for found in parts]
            found = Parts.of(turned, truth, outputs.threshold)
            sure[row, :, index] = [found.dice(own[index], high) for high in highs]
    return Study(np.nanmean(cut, axis=0), np.nanmean(sure, axis=0))


def left_out(scores: Scores) -> float:
    """The mean of (study, choice), the choice of each study being the best of all others."""
    others = scores.sum(axis=0) - scores
    return float(scores[np.arange(len(scores)), others.argmax(axis=1)].mean())


def print_cuts(outputs: RegionOutputs, scores: Scores, tried: Tried) -> None:
    """The table of thresholds and sizes (threshold, size, region), and the best of it."""
    names = " | ".join(region.name for region in outputs.regions)
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


def print_high(region: Region, scores: Scores, high: Sequence[float]) -> None:
    """A region's line of the second table, of (study, 1 + high threshold)."""
    means, without = scores.mean(axis=0), scores[:, 0].mean()
    chosen = left_out(scores)
    best = high[int(np.argmax(means)) - 1] if chosen >= without + GAIN else "none"
    cells = " | ".join(f"{score:.3f}" for score in means)
    print(f"| {region.name} | {cells} | {chosen:.3f} | {best} |")


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
    parser.add_argument("--high", type=numbers, default=HIGH)
    parser.add_argument("--subsets", default="full", help="as of brainmvp evaluate")
    options = parser.parse_args()
    predictor = Predictor.load(options.bundle)
    task = predictor.bundle.task
    outputs = task.outputs
    if not isinstance(outputs, RegionOutputs):
        sys.exit(f"{options.bundle}: its task has no regions")
    subsets = parse_subsets(options.subsets, task) or (task.modalities,)
    high = tuple(value for value in options.high if value > outputs.threshold)
    tried = Tried(options.thresholds, options.smallest, high, subsets)
    cases = read_datalist(options.datalist, options.section, channels=task.modalities)
    studies = [measured(predictor, case, outputs, tried) for case in cases]
    print(f"Dice, mean of {len(cases)} studies, {len(subsets)} subsets of their modalities\n")
    print_cuts(outputs, np.mean([study.cut for study in studies], axis=0), tried)
    print(f"\nhigh_threshold, at threshold {outputs.threshold} and the regions' sizes\n")
    print(f"| region | none | {' | '.join(map(str, high))} | chosen on the others | best |")
    print("| --- " * (4 + len(high)) + "|")
    sure = np.stack([study.sure for study in studies])
    for index, region in enumerate(outputs.regions):
        print_high(region, sure[:, :, index], high)


if __name__ == "__main__":
    main()
