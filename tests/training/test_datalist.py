"""Datalists and BIDS folders: what they say becomes cases, what is wrong becomes one error."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainmvp_models.errors import InvalidDatalist, InvalidPopulation
from brainmvp_models.modality import Modality
from brainmvp_models.task import load_task
from brainmvp_training.case import modality_in_name
from brainmvp_training.datalist import population_of, read_datalist, split_fold

Write = Callable[[Any], Path]
BRATS = load_task("upenn-gbm").modalities


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_list(content: Any) -> Path:
        path = tmp_path / "list.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write_list


def _names(images: Any) -> dict[str, str]:
    return {modality.value: path.name for modality, path in images.items()}


def test_a_fold_is_validated_on_and_the_others_are_trained_on(tmp_path: Path) -> None:
    entries = [{"image": {"t1": f"{n}/t1.nii.gz"}, "fold": n % 3} for n in range(6)]
    path = tmp_path / "folds.json"
    path.write_text(json.dumps({"training": entries}))
    cases = read_datalist(path)
    rest, judged = split_fold(cases, 1, path.name)
    assert [case.name for case in judged] == ["1", "4"]
    assert [case.name for case in rest] == ["0", "2", "3", "5"]
    for listed, fold, problem in (
        (cases, 7, r"would leave none to validate on. Choose one of several; the list has 0, 1, 2"),
        (judged, 1, "would leave no case to train on"),
        ((replace(cases[0], fold=None), cases[1]), 1, "'0' has no fold"),
    ):
        with pytest.raises(InvalidDatalist, match=problem):
            split_fold(listed, fold, path.name)


def test_the_published_pretraining_list_is_read_by_the_ends_of_its_names(write: Write) -> None:
    folder = "UCSF-PDGM-0515_nifti/UCSF-PDGM-0515"
    endings = ("ADC", "DWI", "FLAIR", "T1", "T1c", "T2")
    path = write({"training": [{"image": [f"{folder}_{e}.nii.gz" for e in endings]}]})
    (case,) = read_datalist(path)
    assert [m.value for m in case.images] == ["adc", "dwi", "flair", "t1", "t1c", "t2"]
    assert case.images[Modality.T1C] == path.parent / f"{folder}_T1c.nii.gz"
    assert (case.name, case.label, case.target) == ("UCSF-PDGM-0515", None, None)


@pytest.mark.parametrize(
    ("series", "modalities"),
    [
        (("flair", "t1", "t1ce", "t2"), ["flair", "t1", "t1c", "t2"]),
        (("t1c", "t1n", "t2f", "t2w"), ["t1c", "t1", "flair", "t2"]),
        (("MRA", "PD", "T1", "T2"), ["mra", "pd", "t1", "t2"]),
    ],
)
def test_every_series_name_of_the_published_lists_is_a_modality(
    write: Write, series: tuple[str, ...], modalities: list[str]
) -> None:
    path = write({"training": [{"image": [f"A/A-{name}.nii.gz" for name in series]}]})
    assert [m.value for m in read_datalist(path)[0].images] == modalities


def test_the_published_finetuning_list_is_read_in_the_tasks_order(write: Write) -> None:
    name = "sub-strokecase0001_ses-0001/sub-strokecase0001_ses-0001"
    images = [f"{name}_{part}.nii.gz" for part in ("adc", "dwi", "FLAIR")]
    path = write({"test": [{"image": images, "label": f"{name}_msk.nii.gz", "fold": 3}]})
    channels = load_task("isles22").modalities
    (case,) = read_datalist(path, "test", channels=channels, root=Path("/data"))
    assert tuple(case.images) == channels
    assert case.label == Path(f"/data/{name}_msk.nii.gz")
    assert case.name == "sub-strokecase0001_ses-0001" and case.fold == 3


def test_names_without_a_modality_are_read_in_the_tasks_order(write: Write) -> None:
    path = write([{"image": ["A/0.nii.gz", "A/1.nii.gz", "A/2.nii.gz", "A/3.nii.gz"]}])
    (case,) = read_datalist(path, channels=BRATS)
    assert _names(case.images) == {m.value: f"{i}.nii.gz" for i, m in enumerate(BRATS)}
    assert case.name == "A"


@pytest.mark.parametrize("nothing", [None, ""])
def test_an_image_that_is_null_or_empty_is_a_missing_modality(write: Write, nothing: Any) -> None:
    images = ["A_t1.nii.gz", nothing, "A_t2.nii.gz", nothing]
    path = write({"training": [{"image": images, "label": nothing}]})
    (case,) = read_datalist(path, channels=BRATS)
    assert _names(case.images) == {"t1": "A_t1.nii.gz", "t2": "A_t2.nii.gz"}
    assert case.label is None


def test_modalities_can_be_keys_of_the_image_or_of_the_entry(write: Write) -> None:
    files = {"T1ce": "x/1.nii.gz", "flair": "x/2.nii.gz", "t2": None}
    path = write({"a": [{"image": files}], "b": [{**files, "site": "north", "age": 41}]})
    for section in "ab":
        (case,) = read_datalist(path, section)
        assert _names(case.images) == {"t1c": "1.nii.gz", "flair": "2.nii.gz"}


@pytest.mark.parametrize(
    ("fields", "target"),
    [({"label": 1}, "1"), ({"label": "HGG"}, "HGG"), ({"target": "AD"}, "AD"), ({"class": 0}, "0")],
)
def test_a_class_is_a_number_or_a_name(write: Write, fields: Any, target: str) -> None:
    (case,) = read_datalist(write([{"t1": "a.nii.gz", **fields}]))
    assert (case.label, case.target) == (None, target)


def test_all_sections_are_read_together_and_names_stay_distinct(write: Write) -> None:
    entry = {"image": ["A/t1.nii.gz"]}
    path = write({"description": "x", "numTest": 1, "training": [entry], "test": [entry]})
    assert [case.name for case in read_datalist(path, "all")] == ["A", "A (2)"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "list.json: is not valid JSON near line 1"),
        ("3", "holds no sections"),
        ({"test": [{"t1": "a.nii"}]}, "no section 'training'. Choose one of: test"),
        ({"training": []}, "section 'training' holds no case"),
        ([[]], "entry 1 of 'training' is no JSON object"),
        ([{"t1": "a.nii"}, {"label": "b.nii"}], "entry 2 of 'training' names no image"),
        ([{"image": ["A_xx.nii.gz"]}], "'A_xx.nii.gz', whose name ends with no modality"),
        ([{"image": ["A_t1.nii", "B_t1.nii"]}], "names t1 twice"),
        ([{"image": {"t9": "a.nii"}}], "'t9' is not a modality"),
        ([{"flare": "a.nii.gz", "t1": "b.nii.gz"}], "'flare' is not a modality"),
        ([{"t1": 3}], "names a file that is no text"),
        ([{"t1": "a.nii", "label": [1, 2]}], "neither a NIfTI file, a class's name nor its number"),
        ([{"t1": "a.nii", "fold": "x"}], "a fold that is no whole number"),
        ([{"image": 5}], "an image that is neither a list nor an object"),
    ],
)
def test_a_bad_list_is_one_error_with_the_entry_and_the_remedy(
    write: Write, content: Any, problem: str
) -> None:
    with pytest.raises(InvalidDatalist) as caught:
        read_datalist(write(content))
    assert problem in str(caught.value)
    assert "list.json" in str(caught.value) and caught.value.remedy


def test_a_name_that_contradicts_the_tasks_order_is_refused(write: Write) -> None:
    images = [f"A_{m}.nii.gz" for m in ("t1", "t2", "t1c", "flair")]
    with pytest.raises(InvalidDatalist, match=r"by its name t2, where the task's channel is t1c"):
        read_datalist(write([{"image": images}]), channels=BRATS)


def test_a_missing_list_is_an_error_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(InvalidDatalist, match=r"none\.json: cannot be read"):
        read_datalist(tmp_path / "none.json")


@given(st.sampled_from(Modality), st.from_regex(r"\A[A-Za-z0-9]{1,8}x\Z"), st.sampled_from("-_. "))
def test_a_modality_is_found_at_the_end_of_any_name(m: Modality, start: str, gap: str) -> None:
    assert modality_in_name(f"a/{start}{gap}{m.value.upper()}.nii.gz") == (m, start)


def _touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_bids_folder_gives_one_case_a_session(tmp_path: Path) -> None:
    _touch(
        tmp_path,
        "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_ce-gadolinium_T1w.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_FLAIR.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_T1w.json",
        "sub-01/ses-a/dwi/sub-01_ses-a_dwi.nii.gz",
        "sub-01/ses-a/dwi/sub-01_ses-a_adc.nii.gz",
        "sub-01/ses-b/anat/sub-01_ses-b_T2w.nii.gz",
        "sub-01/ses-b/anat/sub-01_ses-b_PDw.nii.gz",
        "sub-01/ses-b/anat/sub-01_ses-b_angio.nii.gz",
        "sub-01/ses-b/anat/sub-01_ses-b_dseg.nii.gz",
        "sub-02/anat/sub-02_T1w.nii",
        "sub-03/func/sub-03_bold.nii.gz",
        "derivatives/labels/sub-01/ses-a/anat/sub-01_ses-a_dseg.nii.gz",
        "derivatives/labels/sub-01/ses-a/anat/sub-01_ses-a_label-brain_mask.nii.gz",
        "derivatives/other/sub-01/ses-a/anat/sub-01_ses-a_dseg.nii.gz",
    )
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tdiagnosis\nsub-01\tAD\nsub-02\tn/a\n"
    )
    first, second, third = read_datalist(tmp_path, "all", target_column="diagnosis")
    assert {m.value for m in first.images} == {"t1", "t1c", "flair", "dwi", "adc"}
    assert first.images[Modality.T1C].name == "sub-01_ses-a_ce-gadolinium_T1w.nii.gz"
    assert first.label == tmp_path / "derivatives/labels/sub-01/ses-a/anat" / (
        "sub-01_ses-a_dseg.nii.gz"
    )
    assert {m.value for m in second.images} == {"t2", "pd", "mra"}
    assert second.label is not None and second.label.name == "sub-01_ses-b_dseg.nii.gz"
    assert [c.name for c in (first, second, third)] == ["sub-01_ses-a", "sub-01_ses-b", "sub-02"]
    assert [c.target for c in (first, second, third)] == ["AD", "AD", None]
    assert third.label is None


def test_a_bids_stroke_folder_with_derivatives_by_subject_is_read(tmp_path: Path) -> None:
    start = "sub-strokecase0001/ses-0001"
    name = start.replace("/", "_")
    _touch(
        tmp_path,
        f"{start}/anat/{name}_FLAIR.nii.gz",
        f"{start}/dwi/{name}_dwi.nii.gz",
        f"{start}/dwi/{name}_adc.nii.gz",
        f"derivatives/{start}/{name}_msk.nii.gz",
    )
    (case,) = read_datalist(tmp_path, "all")
    assert case.label == tmp_path / f"derivatives/{start}/{name}_msk.nii.gz"


def test_the_first_of_two_runs_is_taken_and_two_acquisitions_are_refused(tmp_path: Path) -> None:
    _touch(tmp_path, "sub-1/anat/sub-1_run-2_T1w.nii.gz", "sub-1/anat/sub-1_run-1_T1w.nii.gz")
    (case,) = read_datalist(tmp_path, "all")
    assert case.images[Modality.T1].name == "sub-1_run-1_T1w.nii.gz"
    _touch(tmp_path, "sub-1/anat/sub-1_acq-fast_T1w.nii.gz")
    with pytest.raises(InvalidDatalist, match="are both t1"):
        read_datalist(tmp_path, "all")


def test_the_split_column_of_a_bids_folder_gives_the_sections(tmp_path: Path) -> None:
    _touch(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz", "sub-2/anat/sub-2_T1w.nii.gz")
    with pytest.raises(InvalidDatalist, match="no column 'split'"):
        read_datalist(tmp_path, "test")
    (tmp_path / "participants.tsv").write_text("participant_id\tsplit\nsub-1\ttest\nsub-2\tx\n")
    assert [case.name for case in read_datalist(tmp_path, "test")] == ["sub-1"]
    with pytest.raises(InvalidDatalist, match="section 'training' holds no case"):
        read_datalist(tmp_path)


def test_a_folder_that_is_no_bids_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDatalist, match=r"holds no sub-\* folder"):
        read_datalist(tmp_path, "all")


def test_two_masks_beside_each_other_are_refused_with_the_remedy(tmp_path: Path) -> None:
    _touch(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz", "sub-1/anat/sub-1_dseg.nii.gz",
           "sub-1/anat/sub-1_label-lesion_mask.nii.gz")  # fmt: skip
    with pytest.raises(InvalidDatalist, match=r"has 2 masks.*derivatives/labels"):
        read_datalist(tmp_path, "all")


WHOM = {
    "kind": "patient", "description": "one hospital", "anatomy": "real",
    "preparation": "1 mm", "field_of_use": "research",
}  # fmt: skip


def test_a_list_says_of_whom_each_sections_studies_are(write: Write, tmp_path: Path) -> None:
    entry = {"image": ["A/t1.nii.gz"]}
    other = {**WHOM, "kind": "volunteer"}
    content = {"training": [entry], "test": [entry], "populations": {"test": WHOM}}
    path = write(content)
    assert len(read_datalist(path, "all")) == 2, "it is no section"
    found = population_of(path, "test")
    assert found is not None and found.kind == "patient"
    assert population_of(path, "training") is None
    assert population_of(path, "all") is None, "half of the cases are of nobody knows whom"
    path = write({**content, "populations": {"test": WHOM, "training": WHOM}})
    assert population_of(path, "all") == found
    path = write({**content, "populations": {"test": WHOM, "training": other}})
    assert population_of(path, "all") is None
    assert population_of(write([entry]), "training") is None
    assert population_of(tmp_path, "test") is None, "a BIDS folder says nothing"


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"test": {**WHOM, "kind": "people"}}, "list.json, populations.test: kind: Input"),
        ({"test": 3}, "the file: "),
        (WHOM["kind"], "the file: "),
    ],
)
def test_a_list_that_says_it_wrongly_is_refused_with_the_field(
    write: Write, said: Any, says: str
) -> None:
    path = write({"test": [{"image": ["A/t1.nii.gz"]}], "populations": said})
    with pytest.raises(InvalidPopulation, match=says):
        population_of(path, "test")
