"""``python -m brainmvp_evaluation.calibrate``: fit a bundle's calibration on an evaluation of it.

The evaluation's journal has counted the voxels by their probability, so nothing is predicted again.
Evaluate studies that the bundle was not trained on, and that its card is not measured on.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from brainmvp_evaluation import classification, reliability
from brainmvp_evaluation.calibration_gain import holds_for_others
from brainmvp_evaluation.evaluate import JOURNAL, content_digest
from brainmvp_evaluation.journal import parsed
from brainmvp_evaluation.probability_figures import deciding
from brainmvp_evaluation.report_files import EVALUATION
from brainmvp_evaluation.schema import Evaluation, Row
from brainmvp_evaluation.settings import Setting
from brainmvp_models.amend import amended, with_section
from brainmvp_models.bundle import Bundle
from brainmvp_models.calibration import (
    WHOLE,
    CalibratedSetting,
    Calibration,
    OutputCalibration,
    calibrated_outputs,
)
from brainmvp_models.errors import BrainMVPError, InvalidDatalist
from brainmvp_models.manifest import Manifest
from brainmvp_models.population import measured_on
from brainmvp_server.inference.calibrated import calibrated_scores

_HEADING = "## Calibration"
_ABOUT = {
    "segmentation": "A probability's logit is divided by the temperature, and the offset is added. "
    "Masks are cut before. ECE (expected calibration error, 15 bins) and Brier score are of the "
    "voxels of brains, over all settings whose modalities decide the output; suspected are the "
    "voxels that the network gives at least 0.01.",
    "classification": "The logits of the scores are divided by the temperature. ECE (expected "
    "calibration error, 15 bins) and Brier score are of the studies in all settings whose "
    "modalities decide the class.",
}


@dataclass(frozen=True)
class Measured:
    """An evaluation with its journal's rows, those that failed left out."""

    folder: Path
    evaluation: Evaluation
    rows: tuple[Row, ...]

    @classmethod
    def read(cls, folder: Path, bundle: Bundle) -> Measured:
        """Of the folder that ``brainmvp evaluate`` wrote.

        Raises:
            InvalidDatalist: it holds no evaluation, one of another bundle or with other templates,
                or one without counts.
        """
        try:
            evaluation = Evaluation.model_validate_json((folder / EVALUATION).read_bytes())
            _, rows = parsed((folder / JOURNAL).read_bytes().splitlines())
        except (OSError, ValidationError, IndexError):
            raise _refused(folder, "holds no evaluation that is complete") from None
        subject = evaluation.subject
        if subject.content != content_digest(bundle) or subject.templates is not None:
            raise _refused(folder, "is of another bundle, or of other templates than the bundle's")
        wanted = {row.key for row in evaluation.rows if row.problem is None}
        latest = {row.key: row for row in rows if row.key in wanted and row.problem is None}
        if not latest or any(not one.counts for row in latest.values() for one in row.outputs):
            raise _refused(folder, "has not counted voxels by their probability")
        return cls(folder, evaluation, tuple(latest.values()))

    @property
    def settings(self) -> tuple[Setting, ...]:
        """What was real and how the rest was filled."""
        return tuple(dict.fromkeys(Setting(row.real, row.fill) for row in self.rows))

    @property
    def studies(self) -> int:
        """How many studies were measured."""
        return len({row.case for row in self.rows})

    @property
    def whom(self) -> str:
        """``40 synthetic studies``."""
        return measured_on(self.studies, self.evaluation.population)


def calibration_of(bundle: Bundle, measured: Measured, command: str) -> Calibration:
    """The calibration that an evaluation asks for.

    Raises:
        InvalidDatalist: an output is never shown, or always, or no correction is best.
    """
    evaluation = measured.evaluation
    found = []
    for output in calibrated_outputs(bundle.task.outputs):
        rows = deciding(measured.rows, output, bundle.manifest)
        try:
            found.append(_correction(rows, output))
        except ValueError as error:
            raise InvalidDatalist(
                f"does not tell how to calibrate {output}: {error}",
                remedy="Evaluate more studies, or with more of their modalities",
                subject=str(measured.folder),
            ) from None
    return Calibration(
        outputs=tuple(found),
        settings=tuple(CalibratedSetting(real=s.real, fill=s.fill) for s in measured.settings),
        studies=measured.studies,
        command=command,
        datalist=evaluation.subject.datalist,
        section=evaluation.subject.section,
        created=evaluation.created,
        population=evaluation.population,
    )


def calibrated_bundle(
    bundle: Bundle, fit_on: Measured, check_on: Measured | None, command: str
) -> Bundle:
    """The bundle with a calibration in the place of an earlier one, and a section of its card.

    Args:
        check_on: an evaluation of other studies, whose figures go into the card as well.

    Raises:
        InvalidDatalist: see :func:`calibration_of`.
        InvalidBundle: the folder cannot be written to.
    """
    calibration = calibration_of(bundle, fit_on, command)
    manifest = bundle.manifest.model_copy(update={"calibration": calibration})
    section = _section(manifest, calibration, fit_on, check_on)
    return amended(bundle, manifest, lambda card: with_section(card, _HEADING, section))


def _correction(rows: Sequence[Row], output: str) -> OutputCalibration:
    """The best one, or none where that does not hold for other studies.

    Raises:
        ValueError: the rows do not tell.
    """
    best = _fitted(rows, output)
    studies = [row.case for row in rows]
    if holds_for_others(rows, studies, lambda r: _fitted(r, output), _loss_of(output)):
        return best
    return OutputCalibration(output=output, temperature=1.0)


def _loss_of(output: str) -> Callable[[Sequence[Row], OutputCalibration | None], float]:
    def loss(rows: Sequence[Row], by: OutputCalibration | None) -> float:
        if output == WHOLE and rows[0].scores:
            return classification.log_loss(*_scores(rows), by.temperature if by else 1.0)
        return reliability.log_loss(_pooled(rows, output), by)

    return loss


def _fitted(rows: Sequence[Row], output: str) -> OutputCalibration:
    """Raises ValueError where the rows do not tell."""
    if not rows:
        raise ValueError("no setting's modalities decide it")
    if output == WHOLE and rows[0].scores:
        temperature = classification.fitted_temperature(*_scores(rows))
        return OutputCalibration(output=output, temperature=round(temperature, 3))
    return reliability.fitted(_pooled(rows, output), output)


def _pooled(rows: Sequence[Row], output: str) -> reliability.Counts:
    counts = [reliability.dense(m.counts) for r in rows for m in r.outputs if m.output == output]
    total: reliability.Counts = np.sum(counts, axis=0)
    return total


def _scores(rows: Sequence[Row]) -> tuple[classification.Scores, classification.Targets]:
    targets = np.array([row.target for row in rows], dtype=np.intp)
    return np.array([row.scores for row in rows]), targets


def _section(
    manifest: Manifest, calibration: Calibration, fit_on: Measured, check_on: Measured | None
) -> str:
    """What the card says of it."""
    parts = [
        _ABOUT[manifest.task.kind],
        f"Fitted on {fit_on.whom} in {len(calibration.settings)} settings. Command: "
        f"`{calibration.command}` (list {calibration.datalist[:19]}…, section "
        f"{calibration.section}, evaluated {calibration.created}).",
        _table(manifest, calibration, fit_on),
    ]
    if not all(one.corrects for one in calibration.outputs):
        parts.append(
            "Temperature 1 and offset 0: left as the network gives it. With each study left out of "
            "a fit in turn, their likelihood did not gain by more than its standard error."
        )
    if check_on is not None:
        parts += [
            f"On others, {check_on.whom} of the section {check_on.evaluation.subject.section} in "
            f"{len(check_on.settings)} settings:",
            _table(manifest, calibration, check_on),
        ]
    return "\n\n".join(parts)


def _table(manifest: Manifest, calibration: Calibration, measured: Measured) -> str:
    lines = ["| output | temperature | offset | ECE | ECE where suspected | Brier |"]
    lines.append("| --- |" + " --- |" * 5)
    for one in calibration.outputs:
        rows = deciding(measured.rows, one.output, manifest)
        cells = _changes(rows, one, calibration) if rows else ["–"] * 3
        lines.append(
            f"| {one.output} | {one.temperature:.3f} | {one.offset:.3f} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


def _changes(rows: Sequence[Row], one: OutputCalibration, calibration: Calibration) -> list[str]:
    """ECE, ECE where suspected and Brier score, before and after."""
    if rows[0].scores:
        plain, targets = _scores(rows)
        pair = [scores[None] for scores in (plain, calibrated_scores(plain, calibration))]
        ece = [float(classification.calibration_error(p, targets[None])[0]) for p in pair]
        squares = [float(classification.brier(p, targets[None])[0]) for p in pair]
        return [_change(ece), "–", _change(squares)]
    counts = _pooled(rows, one.output)
    return [
        _change([float(reliability.calibration_error(counts, by)) for by in (None, one)]),
        _change(
            [float(reliability.calibration_error(counts, by, suspected=True)) for by in (None, one)]
        ),
        _change([float(reliability.brier(counts, by)) for by in (None, one)]),
    ]


def _change(pair: Sequence[float]) -> str:
    return " → ".join(f"{value:.4f}" for value in pair)


def _refused(folder: Path, problem: str) -> InvalidDatalist:
    return InvalidDatalist(
        problem,
        remedy="Give the folder that 'brainmvp evaluate BUNDLE LIST --out FOLDER' wrote",
        subject=str(folder),
    )


def _called(given: argparse.Namespace) -> str:
    """The command without the folders that things lie in, for the record."""
    words = [given.bundle.name, given.evaluation.name]
    words += [] if given.check is None else ["--check", given.check.name]
    return shlex.join(["python", "-m", "brainmvp_evaluation.calibrate", *words])


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit code is 2 where something is wrong, with one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="brainmvp_evaluation.calibrate", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("bundle", type=Path, help="NAME or NAME/VERSION")
    parser.add_argument("evaluation", type=Path, help="folder of an evaluation to fit on")
    parser.add_argument("--check", type=Path, help="folder of an evaluation of other studies")
    given = parser.parse_args(arguments)
    try:
        bundle = Bundle.open(given.bundle)
        fit_on = Measured.read(given.evaluation, bundle)
        check_on = None if given.check is None else Measured.read(given.check, bundle)
        changed = calibrated_bundle(bundle, fit_on, check_on, _called(given))
    except BrainMVPError as error:
        print(f"brainmvp: {error}", file=sys.stderr)
        return 2
    for one in changed.manifest.calibration.outputs if changed.manifest.calibration else ():
        how = f"temperature {one.temperature}, offset {one.offset}"
        print(f"{one.output}: {how if one.corrects else 'left as the network gives it'}")
    print(f"wrote {changed.root}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
