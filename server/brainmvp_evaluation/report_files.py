"""The files of an evaluation: ``evaluation.json``, ``report.md`` and its plots."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from brainmvp_evaluation.plots import PLOTS, plot_all
from brainmvp_evaluation.schema import Evaluation, Metric
from brainmvp_evaluation.tables import probability_table, quality_tables

EVALUATION, REPORT = "evaluation.json", "report.md"
_WORST = 5

_METRICS: dict[str, tuple[Metric, ...]] = {
    "segmentation": (
        "dice", "hd95_mm", "volume_error_ml", "volume_bias_ml", "volume_error_relative",
    ),
    "classification": ("accuracy", "balanced_accuracy", "auc"),
}  # fmt: skip
_CONVENTIONS = {
    "segmentation": "Means over studies. Both masks empty: Dice 1, HD95 0 mm. One empty: Dice 0, "
    "HD95 the length of the grid's diagonal. A relative volume error needs a true mask that is not "
    "empty; its studies may be fewer.",
    "classification": "A study's class is the one with the highest score. AUC is the mean over the "
    "classes, each against the rest.",
}
_PROBABILITIES = {
    "segmentation": "Of all voxels of brains together. ECE: the expected calibration error in 15 "
    "bins; most of a brain is no lesion and easily right, so also of the voxels alone that the "
    "network gives at least 0.01. Brier: the mean squared error.",
    "classification": "ECE: the expected calibration error of the highest score in 15 bins. Brier: "
    "the squared error, over the classes together.",
}


def write_files(evaluation: Evaluation, folder: Path) -> None:
    """Write all files beside the journal, each whole or not at all, ``evaluation.json`` last."""
    with tempfile.TemporaryDirectory(prefix=".report-", dir=folder) as scratch:
        aside = Path(scratch)
        plots = plot_all(evaluation, aside)
        (aside / REPORT).write_text(report(evaluation, plots), encoding="utf-8")
        (aside / EVALUATION).write_text(json_of(evaluation) + "\n", encoding="utf-8")
        for name in (*plots, REPORT, EVALUATION):
            os.replace(aside / name, folder / name)


def json_of(evaluation: Evaluation) -> str:
    """The evaluation without the voxels that were counted, which the journal keeps."""
    counts = {"rows": {"__all__": {"outputs": {"__all__": {"counts"}}}}}
    return evaluation.model_dump_json(indent=1, exclude=counts)


def clear(folder: Path, journal: str) -> None:
    """Take away an earlier evaluation's journal and files; nothing else is touched."""
    for name in (journal, EVALUATION, REPORT, *PLOTS):
        (folder / name).unlink(missing_ok=True)
    for path in folder.glob(".report-*"):
        shutil.rmtree(path, ignore_errors=True)


def report(evaluation: Evaluation, plots: tuple[str, ...]) -> str:
    """The report, in Markdown."""
    subject, failures = evaluation.subject, evaluation.failures
    whom = evaluation.population
    filled = "its own" if subject.templates is None else f"others ({subject.templates[:19]}…)"
    parts = [
        f"# {subject.model} {subject.version}, evaluated",
        *(
            ["> A demonstration model: its output has no clinical meaning."]
            if evaluation.demo
            else []
        ),
        "\n".join(
            (
                f"- Command: `{evaluation.command}`",
                f"- Bundle: `{evaluation.bundle}`; templates: {filled}",
                f"- List: `{subject.datalist}`, section {subject.section}, "
                f"{evaluation.cases} cases, {evaluation.skipped} without a setting that fits",
                f"- Studies: {whom.kind}; {whom.sentence}"
                if whom
                else "- Studies: of whom is not recorded",
                f"- Engine: {subject.engine}, {subject.device}, {subject.precision}; "
                f"{subject.evaluator}; {evaluation.created}",
            )
        ),
        "## Figures",
        f"{_CONVENTIONS[evaluation.kind]} In brackets the 95 % confidence interval: percentiles of "
        f"{evaluation.resamples} bootstrap resamples of the studies, seed {evaluation.seed}.",
        quality_tables(evaluation, _METRICS[evaluation.kind]),
        *_probabilities(evaluation),
        *(f"![{name.removesuffix('.png').replace('_', ' ')}]({name})" for name in plots),
        *_worst(evaluation),
        *_failed(evaluation),
    ]
    if failures:
        parts.insert(2, f"> {len(failures)} of {len(evaluation.rows)} measurements failed: below.")
    return "\n\n".join(parts) + "\n"


def _probabilities(evaluation: Evaluation) -> list[str]:
    table = probability_table(evaluation)
    if table is None:
        return []
    calibrated = any(one.calibrated for one in evaluation.reliability)
    how = (
        "→ leads to the figure after calibration."
        if calibrated
        else "They are the network's own: the bundle is not calibrated."
    )
    return ["## Probabilities", f"{_PROBABILITIES[evaluation.kind]} {how}", table]


def _worst(evaluation: Evaluation) -> list[str]:
    """The cases with the lowest Dice in the first setting, by number."""
    rows = [row for row in evaluation.rows if row.outputs]
    if not rows:
        return []
    first = max(rows, key=lambda row: len(row.real))
    chosen = [row for row in rows if row.key[1:] == first.key[1:]]
    chosen.sort(key=lambda row: sum(m.dice for m in row.outputs))
    lines = ["| case | " + " | ".join(evaluation.outputs) + " |"]
    lines.append("| --- |" + " --- |" * len(evaluation.outputs))
    for row in chosen[:_WORST]:
        lines.append(f"| {row.case} | " + " | ".join(f"{m.dice:.3f}" for m in row.outputs) + " |")
    return ["## Lowest Dice", "\n".join(lines)]


def _failed(evaluation: Evaluation) -> list[str]:
    if not evaluation.failures:
        return []
    lines = [
        f"- case {row.case}, {', '.join(row.real)} ({row.fill}): {row.problem}"
        for row in evaluation.failures
    ]
    return ["## Failed", "\n".join(lines)]
