"""The evaluation on the served pipeline: what it measures, what it refuses, how it goes on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_evaluation.evaluate import JOURNAL, EvaluationOptions, content_digest, evaluate
from brainmvp_evaluation.schema import Evaluation
from brainmvp_evaluation.settings import parse_subsets
from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import InvalidDatalist, TemplateMismatch
from brainmvp_models.modality import Modality
from brainmvp_models.templates import TemplateBank
from brainmvp_server.inference.predictor import Predictor

WHOLE = tuple(map(Modality, ("t1", "t1c", "t2", "flair")))
PART = (Modality.T1, Modality.FLAIR)


def test_a_mask_that_the_service_gives_is_measured_as_perfect_and_a_part_as_worse(
    evaluation: Evaluation,
) -> None:
    found = evaluation
    assert [(row.case, row.real, row.fill) for row in found.rows] == [
        (1, WHOLE, "none"), (1, PART, "zeros"), (2, WHOLE, "none"), (2, PART, "zeros"),
    ]  # fmt: skip
    figures = {(f.real, f.output, f.metric): f.value for f in found.figures}
    # The untrained network's regions do not nest; ET is painted last, so the mask holds it whole.
    assert figures[WHOLE, "ET", "dice"] == 1
    assert figures[WHOLE, "ET", "hd95_mm"] == figures[WHOLE, "ET", "volume_error_ml"] == 0
    assert figures[PART, "ET", "dice"] < 1 and figures[PART, "ET", "hd95_mm"] > 0
    assert found.outputs == ("TC", "WT", "ET") and found.cases == 2 and found.names == ()
    assert "patient" not in found.model_dump_json()


def test_a_region_is_compared_with_the_union_of_its_labels(
    evaluation: Evaluation, studies: Path, small_bundle: Bundle
) -> None:
    predictor = Predictor.load(small_bundle)
    files = {name.value: studies / f"p1_{name.value}.nii.gz" for name in WHOLE}
    result = predictor.predict(files)
    predictor.close()
    assert result.segmentation is not None
    for index, labels in ((0, (1, 4)), (1, (1, 2, 4))):
        found, truth = result.segmentation.outputs[index], np.isin(result.mask, labels)
        dice = 2 * np.count_nonzero(found & truth) / (found.sum() + truth.sum())
        assert evaluation.rows[0].outputs[index].dice == pytest.approx(dice)
        assert evaluation.rows[0].outputs[index].truth_ml == pytest.approx(truth.sum() / 1000)


def test_a_row_is_what_the_predictor_gives_for_the_same_files(
    options: EvaluationOptions, studies: Path, small_bundle: Bundle
) -> None:
    row = next(row for row in evaluate(replace(options, limit=1)).rows if row.real == PART)
    predictor = Predictor.load(small_bundle)
    files = {name: studies / f"p1_{name}.nii.gz" for name in ("t1", "flair")}
    structures = predictor.predict(files, fill="zeros").structures
    predictor.close()
    assert [m.predicted_ml for m in row.outputs] == [
        pytest.approx(structure.volume_ml) for structure in structures
    ]


def test_an_evaluation_goes_on_where_it_was_cut(
    options: EvaluationOptions, evaluation: Evaluation
) -> None:
    options.out.mkdir()
    journal = options.out / JOURNAL
    rows = [evaluation.subject, *evaluation.rows]
    journal.write_text("".join(row.model_dump_json() + "\n" for row in rows))
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:3]) + lines[3][: len(lines[3]) // 2])
    counts: list[int] = []
    again = evaluate(
        options, lambda stage, done, _: counts.append(done) if stage == "measure" else 0
    )
    assert counts == [2, 3, 4]
    assert again.figures == evaluation.figures
    assert journal.read_bytes().count(b"\n") == 5


def test_more_settings_are_added_to_an_evaluation_and_fewer_are_reported(
    options: EvaluationOptions,
) -> None:
    evaluate(options)
    task = options.bundle.task
    wider = evaluate(replace(options, subsets=parse_subsets("t1,flair;t2", task)))
    assert {row.real for row in wider.rows} == {PART, (Modality.T2,)}
    assert (options.out / JOURNAL).read_bytes().count(b"\n") == 7


def test_a_case_whose_mask_was_corrected_is_measured_again_and_no_other(
    options: EvaluationOptions, datalist: Path
) -> None:
    copy = options.out.with_name("copy")
    shutil.copytree(datalist.parent, copy)
    mine = replace(options, datalist=copy / datalist.name)
    before = evaluate(mine)
    mask = nib.load(copy / "p1_seg.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros(mask.shape, np.uint8), mask.affine), copy / "p1_seg.nii.gz")
    after = evaluate(mine)
    assert (options.out / JOURNAL).read_bytes().count(b"\n") == 1 + 4 + 2
    old, new = ([row.outputs for row in found.rows] for found in (before, after))
    assert [row.case for row in after.rows] == [1, 1, 2, 2]
    assert old[:2] != new[:2] and old[2:] == new[2:]
    assert all(measure.truth_ml == 0 for row in after.rows[:2] for measure in row.outputs)


def test_a_folder_that_holds_another_evaluation_is_refused(
    options: EvaluationOptions, datalist: Path
) -> None:
    few = replace(options, limit=1, subsets=(PART,))
    evaluate(few)
    other = datalist.with_name("other.json")
    other.write_text(datalist.read_text() + " ")
    with pytest.raises(InvalidDatalist, match="is of another evaluation \\(other datalist\\)"):
        evaluate(replace(few, datalist=other))
    (options.out / JOURNAL).write_text("a letter\n")
    with pytest.raises(InvalidDatalist, match="is no journal of an evaluation"):
        evaluate(few)


def test_a_classification_is_measured_by_its_scores(
    grading_bundle: Bundle, graded: Path, tmp_path: Path
) -> None:
    subsets = parse_subsets("full", grading_bundle.task)
    found = evaluate(
        EvaluationOptions(grading_bundle, graded, tmp_path / "out", "test", subsets, names=True)
    )
    assert [row.target for row in found.rows] == [0, 1]
    assert all(sum(row.scores) == pytest.approx(1) for row in found.rows)
    assert {f.metric for f in found.figures} == {
        "accuracy", "balanced_accuracy", "auc", "ece", "brier",
    }  # fmt: skip
    right = np.mean([np.argmax(row.scores) == row.target for row in found.rows])
    assert next(f for f in found.figures if f.metric == "accuracy").value == right
    assert [entry.case for entry in found.names] == [1, 2]


def test_other_templates_fill_and_are_recorded(options: EvaluationOptions) -> None:
    rng = np.random.default_rng(0)
    bank = TemplateBank({m: rng.random((60, 60, 60), dtype=np.float32) for m in WHOLE})
    centred = replace(options, fills=("center",), limit=1, subsets=(PART,))
    with pytest.raises(InvalidDatalist, match=r"no study could be measured.*no template for t1c"):
        evaluate(centred)
    found = evaluate(replace(centred, templates=bank, out=options.out / "other"))
    assert found.subject.templates is not None
    assert found.subject.content == content_digest(options.bundle)
    zeros = evaluate(replace(centred, fills=("zeros",), out=options.out / "zeros"))
    assert zeros.subject.templates is None
    assert found.rows[0].outputs != zeros.rows[0].outputs


def test_templates_that_are_registered_are_measured_like_the_others(
    bundles: Path, tmp_path: Path
) -> None:
    study = bundles.parent / "glioma_study"
    case = {"image": {"t1": str(study / "t1.nii.gz")}, "label": str(study / "truth.nii.gz")}
    (tmp_path / "list.json").write_text(json.dumps({"test": [case]}))
    bundle = Bundle.open(bundles / "demo-glioma" / "1")
    found = evaluate(
        EvaluationOptions(
            bundle, tmp_path / "list.json", tmp_path / "out", "test", None, ("register",)
        )
    )
    assert found.failures == ()
    assert {(figure.real, figure.fill) for figure in found.figures} == {(("t1",), "register")}


def test_what_fails_is_recorded_and_the_rest_is_measured(options: EvaluationOptions) -> None:
    mixed = replace(options, fills=("zeros", "grid"))
    found = evaluate(mixed)
    assert {row.fill for row in found.failures} == {"grid"} and len(found.failures) == 2
    assert all("no template for t1c" in str(row.problem) for row in found.failures)
    assert {f.fill for f in found.figures} == {"none", "zeros"}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"section": "training"}, "no section 'training'. Choose one of: test"),
        ({"datalist": Path("none.json")}, "none.json: cannot be read"),
        ({"subsets": (PART,), "fills": ("none",)}, "leaves nothing to measure"),
        ({"root": Path("/nowhere")}, "there is no such file"),
    ],
)
def test_bad_orders_are_refused_before_anything_is_measured(
    options: EvaluationOptions, change: dict[str, object], problem: str
) -> None:
    with pytest.raises((InvalidDatalist, TemplateMismatch), match=problem):
        evaluate(replace(options, **change))  # type: ignore[arg-type]
    assert not options.out.exists()


def test_a_mask_with_a_value_the_model_does_not_know_is_refused(
    options: EvaluationOptions, studies: Path, tmp_path: Path
) -> None:
    nib.save(nib.Nifti1Image(np.full((36, 40, 44), 9, np.uint8), np.eye(4)), tmp_path / "s.nii.gz")
    entry = {"image": {"t1": str(studies / "p1_t1.nii.gz")}, "label": "s.nii.gz"}
    (tmp_path / "list.json").write_text(json.dumps({"test": [entry]}))
    with pytest.raises(InvalidDatalist, match="holds the value 9"):
        evaluate(replace(options, datalist=tmp_path / "list.json", subsets=None))


def test_a_list_without_the_modalities_of_any_setting_is_refused(
    options: EvaluationOptions, studies: Path, tmp_path: Path
) -> None:
    entry = {"image": {"t1": str(studies / "p1_t1.nii.gz")},
             "label": str(studies / "p1_seg.nii.gz")}  # fmt: skip
    (tmp_path / "list.json").write_text(json.dumps({"test": [entry]}))
    alone = replace(options, datalist=tmp_path / "list.json")
    with pytest.raises(InvalidDatalist, match=r"no case has the modalities.*--subsets given"):
        evaluate(alone)
    assert [row.real for row in evaluate(replace(alone, subsets=None)).rows] == [(Modality.T1,)]
