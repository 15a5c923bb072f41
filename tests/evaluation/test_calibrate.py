"""A bundle gets a calibration from an evaluation, and its masks stay what they were."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_evaluation.calibrate import main
from brainmvp_evaluation.evaluate import JOURNAL, EvaluationOptions, content_digest, evaluate
from brainmvp_evaluation.reliability import LOGITS, sparse
from brainmvp_evaluation.report_files import EVALUATION, json_of, report
from brainmvp_evaluation.schema import Evaluation, Row, Subject
from brainmvp_models.bundle import Bundle
from brainmvp_server.inference.calibrated import calibrated
from brainmvp_server.inference.predictor import Predictor
from brainmvp_server.results.files import write_files
from brainmvp_server.results.probabilities import ProbabilitiesGiven
from brainmvp_server.results.summary import Summary

KNOWN = {"TC": (1.5, -1.0), "WT": (0.8, 0.2), "ET": (2.0, 0.0)}


@pytest.fixture
def copy(small_bundle: Bundle, tmp_path: Path) -> Bundle:
    """A bundle of one's own to write into."""
    folder = tmp_path / "models" / "small" / "1"
    shutil.copytree(small_bundle.root, folder)
    return Bundle.open(folder)


def counts_that_ask_for(temperature: float, offset: float) -> tuple[tuple[int, int, int], ...]:
    """As many voxels of each logit, with the frequency that the correction would give them."""
    voxels = np.where(np.abs(LOGITS) < 6, 10_000, 0)
    true = np.round(voxels / (1 + np.exp(-(LOGITS / temperature + offset)))).astype(np.int64)
    return sparse(np.stack((voxels, true), axis=1))


def write_evaluation(folder: Path, evaluation: Evaluation) -> Path:
    """The evaluation as its command leaves it, with voxels that ask for ``KNOWN``."""
    folder.mkdir()
    rows = [with_counts(row) for row in evaluation.rows]
    lines = [evaluation.subject, *rows]
    (folder / JOURNAL).write_text("".join(line.model_dump_json() + "\n" for line in lines))
    (folder / EVALUATION).write_text(json_of(evaluation))
    return folder


def with_counts(row: Row) -> Row:
    outputs = tuple(
        measure.model_copy(update={"counts": counts_that_ask_for(*KNOWN[measure.output])})
        for measure in row.outputs
    )
    return row.model_copy(update={"outputs": outputs})


def test_a_calibration_is_fitted_and_kept_and_masks_stay(
    copy: Bundle,
    evaluation: Evaluation,
    options: EvaluationOptions,
    studies: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = {name: studies / f"p1_{name}.nii.gz" for name in ("t1", "t1c", "t2", "flair")}
    with Predictor.load(copy) as predictor:
        before = predictor.predict(files, probabilities=True)
    assert not Summary.of(before).probabilities.calibrated
    folder = write_evaluation(tmp_path / "validation", evaluation)
    assert main([str(copy.root), str(folder), "--check", str(folder)]) == 0
    assert "WT: temperature 0.8, offset 0.2" in capsys.readouterr().out
    written = Bundle.open(copy.root)
    calibration = written.manifest.calibration
    assert calibration is not None and calibration.studies == 2
    assert len(calibration.settings) == 2
    assert calibration.command.endswith("calibrate 1 validation --check validation")
    for name, (temperature, offset) in KNOWN.items():
        assert calibration.of(name).temperature == pytest.approx(temperature, rel=0.01)
        assert calibration.of(name).offset == pytest.approx(offset, abs=0.01)
    assert content_digest(written) == content_digest(copy)
    card = (written.root / "card.md").read_text(encoding="utf-8")
    assert card.count("## Calibration") == 1 and card.count("| TC | 1.500 | -1.000 | ") == 2

    with Predictor.load(written) as predictor:
        after = predictor.predict(files, probabilities=True)
        plain = predictor.predict(files)
    np.testing.assert_array_equal(after.mask, before.mask)
    np.testing.assert_array_equal(plain.mask, before.mask)
    said = Summary.of(after).probabilities
    assert said.calibrated and said.measured_on == "what is not recorded (2 studies)"
    write_files(after, tmp_path)
    for name, expected in before.probabilities.items():
        found = np.asarray(nib.load(tmp_path / f"probabilities/{name}.nii.gz").dataobj)
        np.testing.assert_array_equal(found, calibrated(expected, calibration.of(name)))
    assert (tmp_path / "probabilities" / "uncertainty.nii.gz").is_file()
    assert after.segmentation is not None
    for one, same, member in zip(
        after.structures, plain.structures, after.segmentation.outputs, strict=True
    ):
        inside = after.probabilities[one.name][member]
        assert one.confidence == same.confidence == pytest.approx(inside.mean(), rel=1e-4)

    again = EvaluationOptions(
        written, options.datalist, options.out, "test", options.subsets, ("zeros",), limit=1
    )
    measured = evaluate(again)
    metrics = {figure.metric for figure in measured.figures}
    assert {"ece", "ece_calibrated", "ece_suspected_calibrated", "brier_calibrated"} <= metrics
    assert [row.outputs for row in measured.rows] == [row.outputs for row in evaluation.rows[:2]]
    assert "leads to the figure after calibration" in report(measured, ())


def test_what_cannot_be_fitted_on_is_refused_in_one_line(
    copy: Bundle, evaluation: Evaluation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(folder: Path) -> str:
        assert main([str(copy.root), str(folder)]) == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        return line

    assert "holds no evaluation that is complete" in refused(tmp_path)
    other = evaluation.subject.model_copy(update={"content": "sha256:0"})
    foreign = evaluation.model_copy(update={"subject": other})
    assert "is of another bundle" in refused(write_evaluation(tmp_path / "other", foreign))
    older = write_evaluation(tmp_path / "older", evaluation)
    (older / JOURNAL).write_text(
        "\n".join([evaluation.subject.model_dump_json(), json_of_rows_without_counts(evaluation)])
    )
    assert "has not counted voxels" in refused(older)
    # The true masks are what the network marks as ET, so no temperature is high enough there.
    perfect = tmp_path / "perfect"
    perfect.mkdir()
    lines = [evaluation.subject, *evaluation.rows[::2]]
    (perfect / JOURNAL).write_text("".join(line.model_dump_json() + "\n" for line in lines))
    whole = evaluation.model_copy(update={"rows": evaluation.rows[::2]})
    (perfect / EVALUATION).write_text(json_of(whole))
    assert "does not tell how to calibrate" in refused(perfect)
    assert Bundle.open(copy.root).digest == copy.digest


def test_a_correction_that_fails_the_studies_left_out_of_its_fit_is_not_made(
    copy: Bundle,
    evaluation: Evaluation,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two studies: of ET each asks for the opposite of the other, of TC and WT for the same."""
    folder = write_evaluation(tmp_path / "validation", evaluation)
    opposite = {1: (0.5, -2.0), 2: (3.0, 1.0)}
    rows = []
    for row in map(with_counts, evaluation.rows):
        outputs = [
            one.model_copy(update={"counts": counts_that_ask_for(*opposite[row.case])})
            if one.output == "ET"
            else one
            for one in row.outputs
        ]
        rows.append(row.model_copy(update={"outputs": tuple(outputs)}))
    lines = [evaluation.subject, *rows]
    (folder / JOURNAL).write_text("".join(line.model_dump_json() + "\n" for line in lines))
    assert main([str(copy.root), str(folder)]) == 0
    said = capsys.readouterr().out
    assert "ET: left as the network gives it" in said and "TC: temperature 1.5" in said
    written = Bundle.open(copy.root)
    calibration = written.manifest.calibration
    assert calibration is not None
    assert [one.output for one in calibration.outputs if not one.corrects] == ["ET"]
    assert "left as the network gives it" in (written.root / "card.md").read_text(encoding="utf-8")
    given = ProbabilitiesGiven.of(calibration)
    assert given.calibrated and given.not_calibrated == ("ET",)
    assert given.sentence == "calibrated on what is not recorded (2 studies) (ET is not)"
    own = np.array([0.1, 0.5], np.float32)
    np.testing.assert_array_equal(calibrated(own, calibration.of("ET")), own)


def json_of_rows_without_counts(evaluation: Evaluation) -> str:
    rows = json.loads(json_of(evaluation))["rows"]
    return "\n".join(json.dumps(row) for row in rows) + "\n"


def test_scores_of_a_classification_get_a_temperature_and_keep_their_order(
    grading_bundle: Bundle, studies: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "models" / "grade" / "1"
    shutil.copytree(grading_bundle.root, folder)
    bundle = Bundle.open(folder)
    rows = tuple(
        Row(case=case + 1, real=bundle.task.modalities, fill="none", seconds=0, target=case % 2,
            scores=(0.6, 0.4) if (case + (case % 10 > 7)) % 2 == 0 else (0.4, 0.6))
        for case in range(80)
    )  # fmt: skip
    subject = Subject(
        model="grade", version="1", content=content_digest(bundle), templates=None, datalist="",
        section="validation", engine="", device="", precision="", evaluator="",
    )  # fmt: skip
    found = Evaluation(
        subject=subject, bundle="", kind="classification", demo=False, outputs=("LGG", "HGG"),
        command="", created="", cases=80, skipped=0, resamples=1, seed=0, figures=(), rows=rows,
    )  # fmt: skip
    evaluation = tmp_path / "validation"
    evaluation.mkdir()
    lines = [subject, *rows]
    (evaluation / JOURNAL).write_text("".join(line.model_dump_json() + "\n" for line in lines))
    (evaluation / EVALUATION).write_text(json_of(found))
    assert main([str(folder), str(evaluation)]) == 0
    calibration = Bundle.open(folder).manifest.calibration
    assert calibration is not None
    # 0.6 is right in 4 of 5 studies: ln 1.5 / T = ln 4.
    assert calibration.of("all").temperature == pytest.approx(np.log(1.5) / np.log(4), abs=1e-3)
    with Predictor.load(Bundle.open(folder)) as predictor:
        files = {name: studies / f"p1_{name}.nii.gz" for name in ("t1", "t1c", "t2", "flair")}
        scores = predictor.predict(files).scores
    assert sum(one.score for one in scores) == pytest.approx(1)
    surer = [abs(one.score - 0.5) > abs(one.uncalibrated - 0.5) for one in scores]
    assert all(surer) and scores[0].score != scores[0].uncalibrated
