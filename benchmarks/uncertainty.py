"""What ranks a model's errors where modalities are filled: its probability, or the fillers' spread?

    python benchmarks/uncertainty.py BUNDLE DATALIST [--section validation] [--every 2]

Studies with all modalities are predicted with some of them hidden, filled by templates, by zeros
and by the means of training studies: one run gives the entropy of the calibrated probability, three
give its spread. The area under the error-detection curve (ROC) is the share of pairs, a wrong and a
right voxel of the brain, in which the wrong one is the less certain; the mean is over studies and
subsets. Of studies, Spearman's correlation of an output's confidence with its Dice, where something
is marked.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

from brainmvp_evaluation.overlap import dice
from brainmvp_evaluation.reliability import brain_of
from brainmvp_evaluation.settings import Subset, parse_subsets
from brainmvp_evaluation.truth import read_truth
from brainmvp_models.modality import Modality
from brainmvp_models.task import FillPolicy, RegionOutputs, Task
from brainmvp_models.templates import TemplateBank
from brainmvp_server.imaging.study import Study, read_study
from brainmvp_server.inference.calibrated import entropy
from brainmvp_server.inference.predictor import Predictor
from brainmvp_server.inference.preprocess import prepare
from brainmvp_server.inference.result import Result
from brainmvp_training.case import Case
from brainmvp_training.datalist import read_datalist

SUBSETS = "t1,t1c,t2,flair;t1,t1c,t2;t1;t1c"
MEANS_OF = 30
"""Training studies that the means are of."""


class MeansPredictor(Predictor):
    """Fills with the means of studies, which lie at the task's spacing already."""

    means: TemplateBank

    @cached_property
    def _bank(self) -> TemplateBank:
        return self.means


@dataclass(frozen=True)
class Found:
    """One output of one study in one setting."""

    filled: bool
    dice: float
    confidence: float | None
    precision: float
    entropy_area: float
    spread_area: float


def area(score: NDArray[np.floating], wrong: NDArray[np.bool_]) -> float:
    """The area under the ROC curve of a score (N,) for what is wrong; NaN without either kind."""
    inside, outside = int(wrong.sum()), int((~wrong).sum())
    if not inside or not outside:
        return float("nan")
    above = rankdata(score)[wrong].sum() - inside * (inside + 1) / 2
    return float(above / (inside * outside))


def means(cases: tuple[Case, ...], task: Task) -> TemplateBank:
    """The mean of studies as the network takes them, the centres of their boxes on one another."""
    sums: dict[Modality, NDArray[np.float32]] = {}
    for case in cases:
        ready = prepare(
            read_study({m: case.images[m] for m in task.modalities}), task.preprocessing
        )
        for modality, image in ready.images.items():
            total = sums.setdefault(modality, np.zeros((120, 120, 78), np.float32))
            into, out_of = [], []
            for whole, part in zip(total.shape, image.shape, strict=True):
                shift = (whole - part) // 2
                into.append(slice(max(shift, 0), min(whole, shift + part)))
                out_of.append(slice(into[-1].start - shift, into[-1].stop - shift))
            total[tuple(into)] += image[tuple(out_of)]
    return TemplateBank({m: total / np.float32(len(cases)) for m, total in sums.items()})


def measured(
    predictor: Predictor, averages: MeansPredictor, case: Case, subsets: tuple[Subset, ...]
) -> dict[str, list[Found]]:
    """What was found in a study, by output, for each subset that leaves it determinable."""
    outputs = predictor.bundle.task.outputs
    assert isinstance(outputs, RegionOutputs) and case.label is not None
    study = read_study({m: case.images[m] for m in predictor.bundle.task.modalities})
    grid = study.native.grid
    truths = dict(
        zip((r.name for r in outputs.regions), read_truth(case.label, outputs, grid), strict=True)
    )
    brain = brain_of(study)
    found: dict[str, list[Found]] = defaultdict(list)
    for subset in subsets:
        part = Study.of([volume for volume in study.volumes if volume.modality in subset])

        def run(by: Predictor, fill: FillPolicy, part: Study = part) -> Result:
            return by.predict_study(part, fill=fill, probabilities=True)

        filled = len(subset) < len(study.volumes)
        result = run(predictor, "center")
        others = [run(predictor, "zeros"), run(averages, "center")] if filled else []
        maps = [one.probabilities for one in (result, *others)]
        assert result.segmentation is not None
        for structure, member in zip(result.structures, result.segmentation.outputs, strict=True):
            inside = [grid.orientation.view(one[structure.name])[brain] for one in maps]
            mask, truth = grid.orientation.view(member), truths[structure.name]
            wrong = (mask != truth)[brain]
            found[structure.name].append(
                Found(
                    filled,
                    dice(mask, truth),
                    structure.confidence,
                    float((mask & truth).sum() / max(mask.sum(), 1)),
                    area(entropy(inside[0]), wrong),
                    area(np.std(inside, axis=0), wrong) if filled else float("nan"),
                )
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("datalist", type=Path)
    parser.add_argument("--section", default="validation")
    parser.add_argument("--subsets", default=SUBSETS)
    parser.add_argument("--every", type=int, default=1, help="take each so many'th study")
    options = parser.parse_args()
    predictor = Predictor.load(options.bundle)
    task = predictor.bundle.task
    averages = MeansPredictor(predictor.bundle, predictor.worker)
    averages.means = means(
        read_datalist(options.datalist, "training", channels=task.modalities)[:MEANS_OF], task
    )
    subsets = parse_subsets(options.subsets, task)
    assert subsets is not None
    total: dict[str, list[Found]] = defaultdict(list)
    cases = read_datalist(options.datalist, options.section, channels=task.modalities)
    for case in cases[:: options.every]:
        for name, found in measured(predictor, averages, case, subsets).items():
            total[name] += found
    print("| output | results | entropy | spread | marked | rank correlation | where filled | "
          "confidence | precision |")  # fmt: skip
    print("| --- " * 9 + "|")
    for name, found in total.items():
        filled = [one for one in found if one.filled]
        marked = [one for one in found if one.confidence is not None]
        ranks = [
            spearmanr([o.confidence for o in some], [o.dice for o in some]).statistic
            for some in (marked, [one for one in marked if one.filled])
        ]
        print(
            f"| {name} | {len(filled)} | {np.nanmean([o.entropy_area for o in filled]):.3f} "
            f"| {np.nanmean([o.spread_area for o in filled]):.3f} | {len(marked)} "
            f"| {ranks[0]:.2f} | {ranks[1]:.2f} "
            f"| {np.mean([o.confidence for o in marked]):.2f} "
            f"| {np.mean([o.precision for o in marked]):.2f} |"
        )


if __name__ == "__main__":
    main()
