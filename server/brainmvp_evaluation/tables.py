"""Figures as Markdown tables, for the report and the model card."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from brainmvp_evaluation.schema import Evaluation, Figure, Metric
from brainmvp_evaluation.settings import Setting
from brainmvp_models.calibration import WHOLE

TITLES: dict[Metric, str] = {
    "dice": "Dice",
    "hd95_mm": "HD95 (mm)",
    "volume_error_ml": "Absolute volume error (mL)",
    "volume_bias_ml": "Volume bias, predicted minus true (mL)",
    "volume_error_relative": "Relative volume error",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "auc": "AUC",
    "ece": "ECE",
    "ece_calibrated": "ECE, calibrated",
    "ece_suspected": "ECE where suspected",
    "ece_suspected_calibrated": "ECE where suspected, calibrated",
    "brier": "Brier",
    "brier_calibrated": "Brier, calibrated",
}
HEADLINES: dict[str, tuple[Metric, ...]] = {
    "segmentation": ("dice", "hd95_mm", "volume_error_ml"),
    "classification": ("accuracy", "balanced_accuracy", "auc"),
}
"""What the model card holds, by kind of task."""
_CALIBRATED: dict[Metric, Metric] = {
    "ece": "ece_calibrated",
    "ece_suspected": "ece_suspected_calibrated",
    "brier": "brier_calibrated",
}


def quality_tables(evaluation: Evaluation, metrics: Sequence[Metric]) -> str:
    """One table a metric of a segmentation; one table in all of a classification."""
    if evaluation.kind == "classification":
        return _table(evaluation.figures, [(WHOLE, metric) for metric in metrics], named=False)
    parts = []
    for metric in metrics:
        columns = [(output, metric) for output in evaluation.outputs]
        table = _table(evaluation.figures, columns, named=True)
        parts.append(f"**{TITLES[metric]}**\n\n{table}")
    return "\n\n".join(parts)


def probability_table(evaluation: Evaluation) -> str | None:
    """The worth of probabilities by setting and output, before and after calibration, if known."""
    cells = {(setting_of(f), f.output, f.metric): f for f in evaluation.figures}
    places = dict.fromkeys((s, output) for s, output, metric in cells if metric == "ece")
    if not places:
        return None
    suspected = any(metric == "ece_suspected" for _, _, metric in cells)
    plain: tuple[Metric, ...] = ("ece", "ece_suspected", "brier") if suspected else ("ece", "brier")
    heads = " | ".join(TITLES[metric] for metric in plain)
    rows = [f"| real modalities | filled by | output | {heads} |"]
    rows.append("| --- | --- | --- |" + " --- |" * len(plain))
    for setting, output in places:
        pairs = [
            [cells.get((setting, output, m)) for m in (metric, _CALIBRATED[metric])]
            for metric in plain
        ]
        shown = [" → ".join(f"{one.value:.4f}" for one in pair if one) or "–" for pair in pairs]
        rows.append(f"| {_names(setting)} | {output} | {' | '.join(shown)} |")
    return "\n".join(rows)


def setting_of(figure: Figure) -> Setting:
    """The setting that a figure belongs to."""
    return Setting(figure.real, figure.fill)


def settings_in(figures: Iterable[Figure]) -> list[Setting]:
    """Settings in the order of their figures."""
    return list(dict.fromkeys(setting_of(figure) for figure in figures))


def _table(figures: Sequence[Figure], columns: Sequence[tuple[str, Metric]], *, named: bool) -> str:
    cells = {(setting_of(f), f.output, f.metric): f for f in figures}
    heads = [output if named else TITLES[metric] for output, metric in columns]
    rows = [f"| real modalities | filled by | studies | {' | '.join(heads)} |"]
    rows.append("| --- | --- | --- |" + " --- |" * len(columns))
    for setting in settings_in(figures):
        found = [cells.get((setting, *column)) for column in columns]
        studies = max((figure.studies for figure in found if figure), default=0)
        rows.append(f"| {_names(setting)} | {studies} | {' | '.join(map(_cell, found))} |")
    return "\n".join(rows)


def _names(setting: Setting) -> str:
    """A setting's two cells."""
    fill = "–" if setting.fill == "none" else setting.fill
    return f"{', '.join(modality.value for modality in setting.real)} | {fill}"


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return "–"
    digits = 3 if figure.metric not in ("hd95_mm", "volume_error_ml", "volume_bias_ml") else 2
    if figure.low is None or figure.high is None:
        return f"{figure.value:.{digits}f}"
    return f"{figure.value:.{digits}f} [{figure.low:.{digits}f}, {figure.high:.{digits}f}]"
