"""Evaluate the demonstration bundle through the served pipeline, on data it never saw.

    python examples/demo_tissue/evaluate.py examples/bundles/demo-tissue

Held-out synthetic subjects come from seeds that training does not use; Colin27 is a real scan of an
anatomy that training does not use, compared with a classical segmentation, not with a manual one.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from classical import NAME, segment_t1
from numpy.typing import NDArray

from brainmvp_models.manifest import SubsetQuality
from brainmvp_models.modality import Modality
from brainmvp_models.training.synthetic import Contrast, draw_subject, load_anatomy
from brainmvp_server.inference.predictor import Predictor

HELD_OUT_SEED = 1_000_003
COLIN27 = Path(__file__).parents[1] / "colin27" / "colin27_t1.nii.gz"
TISSUES = ("CSF", "GM", "WM")
Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class Quality:
    """Dice of CSF, grey and white matter for a subset of real modalities, one row a study."""

    real: tuple[Modality, ...]
    dice: NDArray[np.float64]

    @property
    def row(self) -> str:
        """The subset as a row of a Markdown table: mean and deviation."""
        cells = [
            f"{m:.3f} ± {s:.3f}" for m, s in zip(self.dice.mean(0), self.dice.std(0), strict=True)
        ]
        return f"| {', '.join(m.value for m in self.real)} | {' | '.join(cells)} |"


def dice(one: NDArray[np.bool_], two: NDArray[np.bool_]) -> float:
    """Overlap of two masks; 1 if both are empty."""
    total = np.count_nonzero(one) + np.count_nonzero(two)
    return 2 * np.count_nonzero(one & two) / total if total else 1.0


def tissue_dice(mask: Mask, truth: Mask) -> list[float]:
    """Dice of each tissue."""
    return [dice(mask == value, truth == value) for value in (1, 2, 3)]


def write_subject(
    seed: int, modalities: tuple[Modality, ...], folder: Path
) -> tuple[dict[Modality, Path], Mask]:
    """A held-out subject as NIfTI files in a head-sized field of view, and its labels."""
    rng = np.random.default_rng((HELD_OUT_SEED, seed))
    subject = draw_subject(load_anatomy(), rng)
    margins = [(int(a), int(b)) for a, b in rng.integers(10, 30, (3, 2))]
    files = {}
    for modality in modalities:
        scan = np.pad(Contrast.draw(modality, rng).paint(subject, rng), margins)
        files[modality] = folder / f"{modality}.nii.gz"
        voxels = np.round(scan * 1000).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), files[modality])
    return files, np.pad(subject.labels, margins)


def subsets(modalities: tuple[Modality, ...]) -> list[tuple[Modality, ...]]:
    """All modalities, all but one, and one alone."""
    return [modalities, *combinations(modalities, len(modalities) - 1), *((m,) for m in modalities)]


def evaluate_synthetic(predictor: Predictor, studies: int) -> list[Quality]:
    """Dice of each subset of modalities on held-out synthetic subjects."""
    chosen = subsets(predictor.bundle.task.modalities)
    rows: dict[tuple[Modality, ...], list[list[float]]] = {subset: [] for subset in chosen}
    for seed in range(studies):
        with tempfile.TemporaryDirectory() as folder:
            files, truth = write_subject(seed, predictor.bundle.task.modalities, Path(folder))
            for subset in chosen:
                result = predictor.predict({m: files[m] for m in subset})
                rows[subset].append(tissue_dice(result.mask, truth))
        print(f"subject {seed + 1} of {studies}", flush=True)
    return [Quality(subset, np.array(scores)) for subset, scores in rows.items()]


def evaluate_colin27(predictor: Predictor) -> list[float]:
    """Dice of each tissue on Colin27's T1, against the classical segmentation."""
    scan: Any = nib.load(COLIN27)
    classical = segment_t1(np.asarray(scan.dataobj))
    return tissue_dice(predictor.predict({Modality.T1: COLIN27}).mask, classical)


def report(synthetic: list[Quality], colin27: list[float], studies: int) -> str:
    """The figures as Markdown."""
    names = " | ".join(TISSUES)
    return "\n".join(
        [
            "## Measured quality",
            "",
            f"Dice (mean ± standard deviation) on {studies} held-out synthetic subjects, through "
            "the served pipeline, missing modalities filled with the policy `center`. They share "
            "training's average brain, bent anew: this says how well the contrasts are learned, "
            "not how well other anatomies are.",
            "",
            f"| real modalities | {names} |",
            "| --- | --- | --- | --- |",
            *(quality.row for quality in synthetic),
            "",
            f"Colin27's T1 alone, a real scan of another anatomy, against a classical segmentation "
            f"({NAME}), which is itself no truth:",
            "",
            f"| | {names} |",
            "| --- | --- | --- | --- |",
            f"| Colin27, t1 | {' | '.join(f'{value:.3f}' for value in colin27)} |",
            "",
            "Command: `python examples/demo_tissue/evaluate.py examples/bundles/demo-tissue "
            f"--studies {studies}`.",
            "",
            "## Templates",
            "",
            "The templates of this first bundle are not distilled: each is the mean of eight "
            "synthetic scans.",
        ]
    )


def subset_card(synthetic: list[Quality]) -> tuple[SubsetQuality, ...]:
    """The figures as the bundle's subset card."""
    return tuple(
        SubsetQuality(
            real=quality.real,
            fill="center",
            output=tissue,
            metric="dice",
            value=round(float(value), 4),
            studies=len(quality.dice),
        )
        for quality in synthetic
        for tissue, value in zip(TISSUES, quality.dice.mean(axis=0), strict=True)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--studies", type=int, default=8)
    options = parser.parse_args()
    predictor = Predictor.load(options.bundle)
    synthetic = evaluate_synthetic(predictor, options.studies)
    print(report(synthetic, evaluate_colin27(predictor), options.studies))


if __name__ == "__main__":
    main()
