"""Every form of a result says what cannot be decided, and whom its expected figures are of."""

from __future__ import annotations

import html
import io
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from brainmvp_models.bundle import Bundle
from brainmvp_models.calibration import CalibratedSetting, Calibration, OutputCalibration
from brainmvp_models.manifest import SubsetQuality
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.archive import Unpacked
from brainmvp_server.imaging.intake import chosen_for, take_in
from brainmvp_server.inference.predictor import Predictor
from brainmvp_server.inference.result import Result
from brainmvp_server.results.dicom.object_options import ObjectOptions
from brainmvp_server.results.dicom.objects import ObjectFile, object_files
from brainmvp_server.results.planes import Planes
from brainmvp_server.results.preview import preview_png
from brainmvp_server.results.report import report_html
from brainmvp_server.results.served_model import Model
from brainmvp_server.results.summary import Summary
from dicom_studies import write_study
from limited_bundle import PEOPLE, measured, needing

NEEDS = {"ET": Modality.T1C}
CARD = tuple(
    SubsetQuality(
        real=(Modality.T1, Modality.FLAIR), fill="zeros", output=output, metric="dice",
        value=0.42, low=0.3, high=0.55, studies=12,
    )
    for output in ("TC", "WT", "ET")
)  # fmt: skip
WHOM = "measured on 12 patient studies"


@pytest.fixture(scope="module")
def bundle(coarse_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("limited")
    return measured(needing(coarse_bundle, folder / "needing", NEEDS), folder / "measured", *CARD)


@pytest.fixture(scope="module")
def result(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Result]:
    """A DICOM study of T1 and FLAIR, whose enhancing tumour cannot be told."""
    folder = tmp_path_factory.mktemp("study")
    study = write_study(folder, "ge", ("t1", "flair"), part=True)
    heap = take_in([Unpacked(path, "") for path in study.files], folder)
    with Predictor.load(bundle) as predictor:
        sources = chosen_for(heap, bundle.task.modalities, {})
        yield predictor.predict(sources, fill="zeros")


@pytest.fixture(scope="module")
def nothing(result: Result) -> Result:
    """The same where none of the outputs could be told."""
    (one,) = result.not_determinable
    assert result.segmentation is not None
    mask = np.zeros_like(result.mask)
    return replace(
        result,
        not_determinable=tuple(replace(one, output=name) for name in ("TC", "WT", "ET")),
        structures=(),
        segmentation=replace(result.segmentation, mask=mask, outputs=()),
    )


def written(result: Result, options: ObjectOptions = ObjectOptions()) -> dict[str, bytes]:
    return {
        one.name: one.content
        for one in object_files(result, options)
        if isinstance(one, ObjectFile)
    }


def texts(content: bytes) -> set[str]:
    report = pydicom.dcmread(io.BytesIO(content))
    return {str(element.value) for element in report.iterall() if element.keyword == "TextValue"}


def test_the_summary_names_output_reason_and_missing_modality(result: Result) -> None:
    summary = Summary.of(result)
    (one,) = summary.not_determinable
    assert one.model_dump(mode="json") == {
        "output": "ET",
        "title": "enhancing tumour",
        "reason": "it needs t1c, which the study lacks",
        "missing": ["t1c"],
        "given": False,
    }
    assert [entry.name for entry in summary.structures] == ["TC", "WT"]


def test_every_expected_figure_says_whom_it_is_of(result: Result, bundle: Bundle) -> None:
    figures = Summary.of(result).expected_quality
    assert len(figures) == 3
    for one in figures:
        assert one.measured_on == "12 patient studies" and one.population == PEOPLE
    assert Model.of(bundle, ("1",), card=True).population == PEOPLE
    assert Model.of(bundle, ("1",)).population is None


def test_a_model_says_before_a_run_what_its_result_will_leave_out(
    result: Result, bundle: Bundle
) -> None:
    model = Model.of(bundle, ("1",), card=True)
    said = {one.real: one for one in model.open_with}
    assert len(said) == 7 and not any(Modality.T1C in real for real in said)
    one = said[Modality.T1, Modality.FLAIR]
    assert "zeros" in one.fills
    (told,) = Summary.of(result).not_determinable
    assert one.outputs[0].model_dump() == told.model_dump(exclude={"given"})
    assert {o.name: o.needs for o in model.outputs}["ET"] == (Modality.T1C,)
    assert Model.of(bundle, ("1",)).open_with == ()


def test_a_card_of_nobody_knows_whom_says_so(result: Result) -> None:
    manifest = result.manifest.model_copy(update={"evaluated": None})
    unknown = replace(result, manifest=manifest)
    for one in Summary.of(unknown).expected_quality:
        assert one.population is None
        assert one.measured_on == "what is not recorded (12 studies)"
    assert "Measured on what is not recorded (12 studies)" in report_html(unknown)
    assert any("not recorded" in text for text in texts(written(unknown)["report.dcm"]))


def test_a_summary_that_an_earlier_version_kept_is_read(result: Result) -> None:
    kept = Summary.of(result).model_dump(mode="json")
    del kept["not_determinable"]
    for figure in kept["expected_quality"]:
        del figure["measured_on"], figure["population"]
    read = Summary.model_validate(kept)
    assert read.not_determinable == () and read.expected_quality[0].population is None


def test_the_report_says_it_once_with_the_missing_modality_and_whom_figures_are_of(
    result: Result,
) -> None:
    page = html.unescape(report_html(result))
    assert page.count("it needs t1c, which the study lacks") == 1
    assert "Not determinable" in page and "Missing: T1c." in page
    assert "Measured on 12 patient studies" in page
    assert PEOPLE.description.capitalize() in page and PEOPLE.field_of_use in page
    shown = replace(result, left_out=False)
    assert "shown because it was asked for" in report_html(shown)


def test_the_report_and_the_preview_of_nothing_determinable_show_no_table(
    nothing: Result, result: Result
) -> None:
    page = report_html(nothing)
    assert page.count("which the study lacks") == 3 and "Volumes and diameters" not in page
    planes = Planes.of(nothing)
    assert len(preview_png(nothing, planes)) > 1000
    without = replace(result, not_determinable=())
    assert preview_png(result) != preview_png(without)


def test_the_structured_report_has_it_as_undetermined_with_the_reason(result: Result) -> None:
    content = written(result)["report.dcm"]
    report = pydicom.dcmread(io.BytesIO(content))
    codes = [str(e.value) for e in report.iterall() if e.keyword == "CodeValue"]
    assert codes.count("373068000") == 1
    found = texts(content)
    sentence = "enhancing tumour is not determinable: it needs t1c, which the study lacks"
    assert {sentence, f"expected dice: 0.42 (0.3 to 0.55), {WHOM}"} <= found
    assert f"expected quality was measured on: {PEOPLE.sentence}" in found
    assert "confidence: not calibrated" in found


def test_the_structured_report_says_how_sure_a_structure_is_and_whom_that_holds_for(
    result: Result,
) -> None:
    calibration = Calibration(
        outputs=tuple(OutputCalibration(output=n, temperature=2) for n in ("TC", "WT", "ET")),
        settings=(CalibratedSetting(real=(Modality.T1,), fill="zeros"),),
        studies=12, command="", datalist="", section="", created="", population=PEOPLE,
    )  # fmt: skip
    manifest = result.manifest.model_copy(update={"calibration": calibration})
    sure = tuple(replace(one, confidence=0.61) for one in result.structures)
    content = written(replace(result, manifest=manifest, structures=sure))["report.dcm"]
    report = pydicom.dcmread(io.BytesIO(content))
    values = [float(e.value) for e in report.iterall() if e.keyword == "NumericValue"]
    assert values.count(0.61) == len(sure) == 2
    whom = f"confidence: calibrated on 12 patient studies: {PEOPLE.sentence}"
    assert whom in texts(content)


def test_the_segmentation_has_no_segment_for_it_and_names_the_core_as_the_core(
    result: Result, bundle: Bundle
) -> None:
    made = pydicom.dcmread(io.BytesIO(written(result)["segmentation.dcm"]))
    labels = [str(one.SegmentLabel) for one in made.SegmentSequence]
    assert labels == ["TC", "ED"]
    whole = pydicom.dcmread(
        io.BytesIO(written(replace(result, left_out=False))["segmentation.dcm"])
    )
    assert [str(one.SegmentLabel) for one in whole.SegmentSequence] == ["NCR", "ED", "ET"]


def test_an_empty_mask_does_not_say_that_nothing_was_found_of_what_was_not_looked_at(
    result: Result,
) -> None:
    assert result.segmentation is not None
    mask = np.zeros_like(result.mask)
    empty = replace(result, segmentation=replace(result.segmentation, mask=mask))
    made = pydicom.dcmread(io.BytesIO(written(empty)["segmentation.dcm"]))
    assert made.ContentDescription == "No finding: the mask is empty; not determinable: ET"


def test_where_nothing_is_determinable_there_is_a_report_and_no_segmentation(
    nothing: Result,
) -> None:
    files = written(nothing, ObjectOptions(overlay=True))
    assert set(files) == {"report.dcm"}
    report = pydicom.dcmread(io.BytesIO(files["report.dcm"]))
    codes = [str(e.value) for e in report.iterall() if e.keyword == "CodeValue"]
    assert codes.count("373068000") == 3


def test_no_object_that_says_so_breaks_a_rule_of_the_standard(
    result: Result, nothing: Result, tmp_path: Path, program: Callable[[str], Path]
) -> None:
    for name, one in (("part", result), ("nothing", nothing)):
        for file, content in written(one, ObjectOptions(overlay=True)).items():
            path = tmp_path / f"{name}-{file}"
            path.write_bytes(content)
            said = subprocess.run(
                [program("dciodvfy"), path], capture_output=True, text=True, check=False
            )
            assert [x for x in said.stderr.splitlines() if x.startswith("Error")] == [], path.name
            if file == "report.dcm":
                read = subprocess.run([program("dsr2xml"), path], capture_output=True, check=False)
                assert read.returncode == 0 and not read.stderr, path.name
