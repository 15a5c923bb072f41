"""Plots of an evaluation, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmvp_evaluation.classification import roc_curve
from brainmvp_evaluation.figures import by_setting
from brainmvp_evaluation.schema import Evaluation, Metric, ReliabilityBin
from brainmvp_evaluation.settings import Setting
from brainmvp_evaluation.tables import TITLES, setting_of, settings_in
from brainmvp_models.calibration import WHOLE

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

PLOTS = ("dice_by_subset.png", "volumes.png", "auc_by_subset.png", "roc.png", "reliability.png")
"""Every name that a plot can have."""

_DOTS = 110


def plot_all(evaluation: Evaluation, folder: Path) -> tuple[str, ...]:
    """Write the plots that fit the task into ``folder``; their names, in the report's order."""
    plots: dict[str, Canvas] = {}
    if evaluation.kind == "segmentation":
        plots[PLOTS[0]] = _by_subset(evaluation, "dice", evaluation.outputs)
        plots[PLOTS[1]] = _volumes(evaluation)
    else:
        plots[PLOTS[2]] = _by_subset(evaluation, "auc", (WHOLE,))
        plots[PLOTS[3]] = _roc(evaluation)
    if evaluation.reliability:
        plots[PLOTS[4]] = reliability_diagram(evaluation.reliability)
    for name, canvas in plots.items():
        canvas.savefig(folder / name, dpi=_DOTS)
    return tuple(plots)


def _canvas(figsize: tuple[float, float]) -> Canvas:
    from matplotlib.figure import Figure  # half a second: for those alone who get plots

    return Figure(figsize=figsize)


def _by_subset(evaluation: Evaluation, metric: Metric, outputs: Sequence[str]) -> Canvas:
    """A figure of every setting with its interval, one panel an output."""
    settings = settings_in(evaluation.figures)
    canvas = _canvas(figsize=(3.2 + 2.6 * len(outputs), 1.4 + 0.26 * len(settings)))
    canvas.set_layout_engine("constrained")
    panels: Any = canvas.subplots(1, len(outputs), sharey=True, squeeze=False)[0]
    place = {setting: index for index, setting in enumerate(settings)}
    for panel, output in zip(panels, outputs, strict=True):
        chosen = [f for f in evaluation.figures if (f.metric, f.output) == (metric, output)]
        rows = [place[setting_of(f)] for f in chosen]
        values = np.array([f.value for f in chosen])
        ends = np.array([[f.value if f.low is None else f.low for f in chosen],
                         [f.value if f.high is None else f.high for f in chosen]])  # fmt: skip
        gaps = np.maximum(np.abs(ends - values), 0)
        panel.errorbar(values, rows, xerr=gaps, fmt="o", capsize=2, markersize=4)
        panel.set(xlim=(-0.02, 1.02), xlabel=TITLES[metric], title=output)
        panel.grid(axis="x", alpha=0.3)
    panels[0].set_yticks(range(len(settings)), [str(setting) for setting in settings])
    panels[0].invert_yaxis()
    return canvas


def _volumes(evaluation: Evaluation) -> Canvas:
    """Predicted against true volume in the first setting, one panel an output."""
    setting, rows = _first(evaluation)
    count = len(evaluation.outputs)
    canvas = _canvas(figsize=(3.1 * count + 0.4, 3.5))
    canvas.set_layout_engine("constrained")
    panels: Any = canvas.subplots(1, count, squeeze=False)[0]
    for index, (panel, output) in enumerate(zip(panels, evaluation.outputs, strict=True)):
        truth = np.array([row.outputs[index].truth_ml for row in rows])
        found = np.array([row.outputs[index].predicted_ml for row in rows])
        top = 1.05 * max(float(truth.max()), float(found.max()), 1e-3)
        panel.plot([0, top], [0, top], color="0.6", linewidth=1)
        panel.plot(truth, found, "o", markersize=4, alpha=0.7)
        panel.set(xlim=(0, top), ylim=(0, top), aspect="equal", title=output,
                  xlabel="true (mL)", ylabel="predicted (mL)" if index == 0 else "")  # fmt: skip
    canvas.suptitle(str(setting), fontsize="medium")
    return canvas


def _roc(evaluation: Evaluation) -> Canvas:
    """ROC curves of the first setting, each class against the rest."""
    setting, rows = _first(evaluation)
    scores = np.array([row.scores for row in rows])
    targets = np.array([row.target for row in rows])
    canvas = _canvas(figsize=(4.2, 4.2))
    canvas.set_layout_engine("constrained")
    panel: Any = canvas.subplots()
    panel.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    for index, name in enumerate(evaluation.outputs):
        if 0 < int(np.count_nonzero(targets == index)) < len(targets):
            panel.plot(*roc_curve(scores[:, index], targets == index), label=name)
    panel.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", title=str(setting),
              xlabel="1 − specificity", ylabel="sensitivity")  # fmt: skip
    if panel.get_legend_handles_labels()[0]:
        panel.legend(loc="lower right", title="class against the rest")
    return canvas


def reliability_diagram(bins: Sequence[ReliabilityBin]) -> Canvas:
    """Frequency against probability over all settings, one panel an output, and how many there are.

    A bin of fewer than 100 voxels is left out, for its share says little; of studies, none is.
    """
    outputs = list(dict.fromkeys(one.output for one in bins))
    canvas = _canvas(figsize=(3.1 * len(outputs) + 0.6, 4.4))
    canvas.set_layout_engine("constrained")
    rows: Any = canvas.subplots(2, len(outputs), squeeze=False, sharex=True, height_ratios=(3, 1))
    fewest = 1 if outputs == [WHOLE] else 100
    for index, output in enumerate(outputs):
        panel, below = rows[0][index], rows[1][index]
        panel.plot([0, 1], [0, 1], color="0.6", linewidth=1)
        for calibrated, label in ((False, "as the network gives it"), (True, "calibrated")):
            of = [b for b in bins if (b.output, b.calibrated) == (output, calibrated)]
            shown = [b for b in of if b.count >= fewest]
            if not of:
                continue
            style = "o-" if calibrated else "s--"
            panel.plot([b.probability for b in shown], [b.frequency for b in shown], style,
                       markersize=4, label=label)  # fmt: skip
            below.plot([b.probability for b in of], [b.count for b in of], style, markersize=3)
        panel.set(xlim=(0, 1), ylim=(0, 1), title=output, ylabel="" if index else "frequency")
        below.set(yscale="log", xlabel="probability",
                  ylabel="" if index else ("studies" if fewest == 1 else "voxels"))  # fmt: skip
    rows[0][0].legend(loc="upper left", fontsize="small")
    return canvas


def _first(evaluation: Evaluation) -> tuple[Setting, list[Any]]:
    """The setting with the most real modalities, and its rows."""
    return next(iter(by_setting(evaluation.rows).items()))
