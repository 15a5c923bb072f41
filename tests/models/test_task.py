"""Tasks: presets and task files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from pydicom.sr.codedict import codes

from brainmvp_models.errors import InvalidTask
from brainmvp_models.space import Space
from brainmvp_models.task import (
    ClassOutputs,
    Preprocessing,
    RegionOutputs,
    Task,
    load_task,
    parse_task,
    preset_names,
)

BRATS = "t1 t1c t2 flair"
PRESETS = {
    "abide1": "t1",
    "adhd200": "t1",
    "adni": "t1",
    "brats-met": BRATS,
    "brats-ped": BRATS,
    "brats18-grade": BRATS,
    "isles22": "adc dwi flair",
    "mrbrains13": "t1 t1ir flair",
    "upenn-gbm": BRATS,
    "vsseg": "t2",
}
DEMO = Path(__file__).parents[2] / "examples" / "demo_glioma" / "task.yaml"
Change = Callable[[dict[str, Any]], object]


def _regions(name: str) -> dict[str, set[int]]:
    outputs = load_task(name).outputs
    assert isinstance(outputs, RegionOutputs)
    return {region.name: set(region.labels) for region in outputs.regions}


def test_the_ten_presets_ship() -> None:
    assert preset_names() == tuple(PRESETS)


@pytest.mark.parametrize(("name", "channels"), PRESETS.items())
def test_preset_loads_with_the_published_channel_order(name: str, channels: str) -> None:
    task = load_task(name)
    assert task.name == name
    assert " ".join(task.modalities) == channels


def test_older_brats_preset_writes_enhancing_tumour_as_4() -> None:
    assert _regions("upenn-gbm") == {"TC": {1, 4}, "WT": {1, 2, 4}, "ET": {4}}
    assert list(_regions("upenn-gbm")) == ["TC", "WT", "ET"]


@pytest.mark.parametrize("name", ["brats-ped", "brats-met"])
def test_brats_2023_presets_write_enhancing_tumour_as_3(name: str) -> None:
    assert _regions(name) == {"TC": {1, 3}, "WT": {1, 2, 3}, "ET": {3}}
    assert list(_regions(name)) == ["TC", "WT", "ET"]


@pytest.mark.parametrize("name", ["isles22", "vsseg"])
def test_one_lesion_presets_have_one_output(name: str) -> None:
    assert load_task(name).outputs.count == 1
    assert list(_regions(name).values()) == [{1}]


def test_tissue_preset_has_exclusive_classes_and_the_published_templates() -> None:
    task = load_task("mrbrains13")
    assert isinstance(task.outputs, ClassOutputs)
    assert [c.name for c in task.outputs.classes] == ["background", "CSF", "GM", "WM"]
    assert [channel.filler.value for channel in task.channels] == ["t1", "t1", "t2"]


CONTEXT_GROUPS = (codes.cid7153, codes.cid7159, codes.cid7168, codes.cid7199)
"""PS3.16: central nervous system, lesions, brain lesions with necrosis, localized lesions."""


@pytest.mark.parametrize(
    "task", [name for name in PRESETS if load_task(name).kind == "segmentation"] + [DEMO]
)
def test_every_label_and_region_has_a_code_of_dicoms_context_groups(task: str | Path) -> None:
    known = {
        (code.value, code.scheme_designator, code.meaning)
        for group in CONTEXT_GROUPS
        for code in group.concepts.values()
    }
    outputs = load_task(task).outputs
    entries = (
        (*outputs.labels, *outputs.regions)
        if isinstance(outputs, RegionOutputs)
        else outputs.classes[1:]
    )
    for entry in entries:
        assert entry.code is not None, entry.name
        assert (entry.code.value, entry.code.scheme, entry.code.meaning) in known, entry.name


@pytest.mark.parametrize("name", ["abide1", "adhd200", "adni", "brats18-grade"])
def test_classification_presets_give_two_scores(name: str) -> None:
    task = load_task(name)
    assert task.kind == "classification"
    assert task.outputs.count == 2


ATLAS = {"brats-ped", "brats-met", "upenn-gbm", "brats18-grade"}
"""Data sets that were published in the frame of SRI24."""


@pytest.mark.parametrize("name", PRESETS)
def test_presets_prepare_as_the_published_evaluation_does(name: str) -> None:
    task = load_task(name)
    assert task.preprocessing == Preprocessing(
        orientation="RAS",
        spacing_mm=(1, 1, 1),
        percentiles=(5, 95),
        crop_margin=1,
        space=Space.SRI24 if name in ATLAS else Space.STUDY,
    )
    assert (task.window.size, task.window.overlap) == ((96, 96, 96), 0.5)
    assert (task.filling.policy, task.filling.scaling) == ("grid", "raw")


def test_painting_turns_brats_regions_back_into_labels() -> None:
    outputs = load_task("upenn-gbm").outputs
    assert isinstance(outputs, RegionOutputs)
    assert outputs.painting == ((1, 2), (0, 1), (2, 4))
    for label in (1, 2, 4):
        inside = {i for i, region in enumerate(outputs.regions) if label in region.labels}
        painted = 0
        for index, value in outputs.painting:
            painted = value if index in inside else painted
        assert painted == label


def test_a_users_task_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    fields = load_task("vsseg").model_dump(mode="json", exclude_none=True) | {"name": "mine"}
    path.write_text(yaml.safe_dump(fields), encoding="utf-8")
    assert load_task(path).name == "mine"
    assert load_task(path).outputs == load_task("vsseg").outputs


def test_unknown_preset_is_refused_with_the_list() -> None:
    with pytest.raises(InvalidTask, match=r"brats99: is neither .*upenn-gbm"):
        load_task("brats99")


def test_folder_is_no_task_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidTask, match="is neither a preset nor a file"):
        load_task(tmp_path)


def test_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InvalidTask, match="is not text"):
        load_task(path)


def test_broken_yaml_is_refused_with_its_line() -> None:
    with pytest.raises(InvalidTask, match=r"mine: is not valid YAML near line 2"):
        parse_task("name: mine\nchannels: ]\n", subject="mine")


@pytest.mark.parametrize("text", ["", "- t1\n", "just words\n"])
def test_yaml_that_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(InvalidTask, match="the file: "):
        parse_task(text, subject="mine")


def _append_label_0(fields: dict[str, Any]) -> None:
    fields["outputs"]["labels"].append({"value": 0, "name": "background"})


def _unnest(fields: dict[str, Any]) -> None:
    fields["outputs"]["regions"][0]["labels"] = [1, 2, 4]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda f: f.update(windwo={}), "windwo"),
        (lambda f: f.pop("title"), "title"),
        (lambda f: f.update(name="../escape"), "name"),
        (lambda f: f.update(channels=[]), "channels"),
        (lambda f: f["channels"].append({"modality": "t1"}), "channels must be distinct"),
        (lambda f: f["channels"].append({"modality": "ct"}), r"channels\.4\.modality"),
        (lambda f: f["channels"].append({"modality": "t1ir"}), "channel t1ir has no template"),
        (_append_label_0, "outputs.*label 0"),
        (_unnest, "outputs.*the regions do not nest"),
        (lambda f: f["outputs"]["labels"].pop(), r"outputs.*labels \[4\] that are not listed"),
        (lambda f: f["outputs"].update(kind="polygons"), "outputs"),
        (lambda f: f["outputs"].update(threshold=1.0), "threshold"),
        (lambda f: f["outputs"]["regions"][1].update(high_threshold=1), "high_threshold"),
        (
            lambda f: f["outputs"]["regions"][1].update(high_threshold=0.5),
            "high_threshold must lie above the threshold: WT",
        ),
        (lambda f: f.update(window={"size": [96, 96, 100]}), "window.*multiple of 16"),
        (lambda f: f.update(window={"size": [96, 96, 0]}), "window.*multiple of 16"),
        (lambda f: f.update(window={"overlap": 1.0}), r"window\.overlap"),
        (lambda f: f.update(preprocessing={"percentiles": [95, 5]}), "percentiles must rise"),
        (lambda f: f.update(preprocessing={"spacing_mm": [1, 1, 0]}), "spacing_mm"),
        (lambda f: f.update(preprocessing={"spacing_mm": [1, 1, float("nan")]}), "spacing_mm"),
        (lambda f: f.update(preprocessing={"spacing_mm": [1, 1, float("inf")]}), "spacing_mm"),
        (lambda f: f.update(filling={"policy": "guess"}), r"filling\.policy"),
    ],
)
def test_message_about_a_bad_task_names_the_field(change: Change, named: str) -> None:
    fields = load_task("upenn-gbm").model_dump(mode="json", exclude_none=True)
    change(fields)
    with pytest.raises(InvalidTask, match=named) as caught:
        parse_task(yaml.safe_dump(fields), subject="mine")
    assert "\n" not in str(caught.value)


def test_message_lists_every_field_at_fault() -> None:
    with pytest.raises(InvalidTask) as caught:
        parse_task("name: x\nwindow: {overlap: 2}\n", subject="mine")
    assert all(field in str(caught.value) for field in ("title", "channels", "window.overlap"))


def test_exclusive_classes_must_start_with_the_background() -> None:
    fields = load_task("mrbrains13").model_dump(mode="json", exclude_none=True)
    fields["outputs"]["classes"].reverse()
    with pytest.raises(InvalidTask, match="first class must be the background"):
        parse_task(yaml.safe_dump(fields), subject="mine")


def test_template_on_a_channel_makes_a_modality_outside_the_bank_fillable() -> None:
    fields = load_task("mrbrains13").model_dump(mode="json", exclude_none=True)
    del fields["channels"][1]["template"]
    with pytest.raises(InvalidTask, match="channel t1ir has no template"):
        parse_task(yaml.safe_dump(fields), subject="mine")
    fields["channels"][1]["required"] = True
    assert parse_task(yaml.safe_dump(fields), subject="mine").channels[1].required


def test_a_task_of_before_there_was_a_field_of_view_has_the_published_one() -> None:
    fields = load_task("upenn-gbm").model_dump(mode="json")
    del fields["preprocessing"]["field_of_view_mm"]
    assert Task.model_validate(fields).preprocessing.field_of_view_mm == (240, 240, 155)


@pytest.mark.parametrize("edges", [[0, 1, 1], [1, 1, -1], [1, 1, float("inf")]])
def test_a_field_of_view_that_cannot_be_is_refused(edges: list[float]) -> None:
    with pytest.raises(ValidationError, match="field_of_view_mm"):
        Preprocessing.model_validate({"field_of_view_mm": edges})
