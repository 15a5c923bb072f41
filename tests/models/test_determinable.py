"""What a study's modalities cannot decide is told by the task and the card, by nothing else."""

from __future__ import annotations

from itertools import combinations

import pytest
from pydantic import ValidationError

from brainmvp_models.determinable import (
    NotDeterminable,
    not_determinable,
    open_subsets,
    without,
)
from brainmvp_models.errors import InvalidTask
from brainmvp_models.manifest import (
    BundleFile,
    Evaluated,
    Manifest,
    Metric,
    Network,
    Parity,
    Provenance,
    SubsetQuality,
)
from brainmvp_models.modality import Modality
from brainmvp_models.population import Population
from brainmvp_models.task import (
    Channel,
    ClassOutputs,
    FillPolicy,
    Label,
    Outputs,
    Region,
    RegionOutputs,
    Score,
    ScoreOutputs,
    Task,
    parse_task,
)

T1, T1C, T2, FLAIR = Modality.T1, Modality.T1C, Modality.T2, Modality.FLAIR
ALL = (T1, T1C, T2, FLAIR)
NO_T1C = (T1, T2, FLAIR)
DIGEST = f"sha256:{'0' * 64}"
BRATS = RegionOutputs(
    labels=(
        Label(value=1, name="NCR", title="necrosis"),
        Label(value=2, name="ED", title="oedema"),
        Label(value=4, name="ET", title="enhancing tumour"),
    ),
    regions=(
        Region(name="TC", title="tumour core", labels=(1, 4)),
        Region(name="WT", title="whole tumour", labels=(1, 2, 4)),
        Region(name="ET", title="enhancing tumour", labels=(4,)),
    ),
)
GRADES = ScoreOutputs(classes=(Score(name="low"), Score(name="high")))
PEOPLE = Population(
    kind="patient", description="x", anatomy="real", preparation="x", field_of_use="x"
)


def manifest(
    outputs: Outputs, *card: SubsetQuality, population: Population | None = None
) -> Manifest:
    return Manifest(
        name="a",
        version="1",
        task=Task(
            name="a",
            title="a",
            channels=tuple(Channel(modality=modality) for modality in ALL),
            outputs=outputs,
        ),
        network=Network(file="a.onnx", size="tiny", parameters=1, precision="fp32"),
        files=(BundleFile(path="a.onnx", bytes=1, digest=DIGEST),),
        provenance=Provenance(checkpoint=DIGEST, exporter="", command="", created=""),
        parity=(Parity(engine="a", windows=1, max_error=0, tolerance=1, agreement=1),),
        subset_card=card,
        evaluated=Evaluated(
            command="", datalist="", evaluator="", created="", population=population
        ),
    )


def line(
    real: tuple[Modality, ...],
    low: float | None,
    *,
    output: str = "all",
    metric: Metric = "balanced_accuracy",
    value: float = 0.6,
    fill: FillPolicy = "center",
) -> SubsetQuality:
    return SubsetQuality(
        real=real, fill=fill, output=output, metric=metric, value=value, low=low, high=0.9,
        studies=50,
    )  # fmt: skip


def open_outputs(found: tuple[NotDeterminable, ...]) -> list[str]:
    return [one.output for one in found]


def test_without_a_card_or_a_word_of_the_task_everything_is_determinable() -> None:
    for outputs in (BRATS, GRADES):
        assert not_determinable(manifest(outputs), (T1,), "center") == ()


def test_an_output_that_needs_a_missing_modality_is_open_however_well_it_was_measured() -> None:
    needy = tuple(
        region.model_copy(update={"needs": (T1C,)}) if region.name == "ET" else region
        for region in BRATS.regions
    )
    outputs = BRATS.model_copy(update={"regions": needy, "lowest_dice": 0.1})
    card = (line(NO_T1C, 0.8, output="ET", metric="dice"),)
    (one,) = not_determinable(manifest(outputs, *card), NO_T1C, "center")
    assert (one.output, one.missing) == ("ET", (T1C,))
    assert one.sentence == (
        "enhancing tumour is not determinable: it needs t1c, which the study lacks"
    )
    assert not_determinable(manifest(outputs), (T1C,), "center") == ()


@pytest.mark.parametrize(
    ("classes", "low", "is_open"),
    [(2, 0.50, True), (2, 0.51, False), (3, 0.3333, True), (3, 0.34, False), (4, 0.25, True)],
)
def test_a_classification_is_open_where_its_interval_holds_the_chance_of_its_classes(
    classes: int, low: float, is_open: bool
) -> None:
    outputs = ScoreOutputs(classes=tuple(Score(name=f"c{n}") for n in range(classes)))
    found = not_determinable(manifest(outputs, line(NO_T1C, low)), NO_T1C, "center")
    assert open_outputs(found) == (["all"] if is_open else [])


def test_a_region_is_open_where_its_dice_does_not_lie_above_the_tasks_limit() -> None:
    card = [line(NO_T1C, low, output=name, metric="dice")
            for name, low in (("TC", 0.2), ("WT", 0.5), ("ET", 0.05))]  # fmt: skip
    for limit, expected in ((None, []), (0.0, []), (0.1, ["ET"]), (0.2, ["TC", "ET"])):
        outputs = BRATS.model_copy(update={"lowest_dice": limit})
        assert (
            open_outputs(not_determinable(manifest(outputs, *card), NO_T1C, "center")) == expected
        )


def test_other_modalities_or_another_filling_than_was_measured_decide_nothing() -> None:
    held = manifest(GRADES, line(NO_T1C, 0.4))
    assert open_outputs(not_determinable(held, (FLAIR, T1, T2), "center")) == ["all"]
    assert not_determinable(held, NO_T1C, "zeros") == ()
    assert not_determinable(held, (T1, T2), "center") == ()


def test_the_missing_modalities_are_the_fewest_that_decide_it() -> None:
    card = (
        line((T1,), 0.4), line((T1, T2), 0.45), line(NO_T1C, 0.4), line((T1, T1C), 0.7, value=0.8),
        line((T1, T1C, T2), 0.9, value=0.95), line(ALL, 0.9, fill="none"),
    )  # fmt: skip
    held = manifest(GRADES, *card)
    (one,) = not_determinable(held, (T1,), "center")
    assert one.missing == (T1C,)
    (one,) = not_determinable(manifest(GRADES, *card[:3]), (T1,), "center")
    assert one.missing == ()
    (one,) = not_determinable(manifest(GRADES, line(ALL, 0.4, fill="none")), ALL, "center")
    assert one.missing == ()


def test_the_reason_says_the_figure_its_interval_whom_it_is_of_and_what_chance_is() -> None:
    held = manifest(GRADES, line(NO_T1C, 0.38), population=PEOPLE)
    (one,) = not_determinable(held, NO_T1C, "center")
    assert one.reason == (
        "with t1, t2, flair its balanced accuracy is 0.60 (0.38 to 0.90), measured on 50 patient "
        "studies, and chance is 0.5"
    )


def test_a_figure_without_an_interval_is_judged_by_itself() -> None:
    alone = line(NO_T1C, None, value=0.4)
    assert open_outputs(not_determinable(manifest(GRADES, alone), NO_T1C, "center")) == ["all"]
    alone = line(NO_T1C, None, value=0.7)
    assert not_determinable(manifest(GRADES, alone), NO_T1C, "center") == ()


def test_what_is_said_of_each_subset_beforehand_is_what_a_study_of_it_is_told() -> None:
    needy = tuple(
        region.model_copy(update={"needs": (T1C,)}) if region.name == "ET" else region
        for region in BRATS.regions
    )
    outputs = BRATS.model_copy(update={"regions": needy, "lowest_dice": 0.1})
    told = manifest(outputs, line((T1, T2), 0.05, output="TC", metric="dice", fill="zeros"))
    beforehand = {(one.real, fill): one.outputs for one in open_subsets(told) for fill in one.fills}
    fills: tuple[FillPolicy, ...] = ("grid", "center", "register", "zeros")
    asked = 0
    for size in range(1, 5):
        for real in combinations(ALL, size):
            for fill in fills:
                asked += 1
                found = not_determinable(told, real, fill)
                assert beforehand.get((real, fill), ()) == found
    assert asked == 60
    assert open_outputs(beforehand[(T1, T2), "zeros"]) == ["TC", "ET"]
    assert open_outputs(beforehand[(T1, T2), "grid"]) == ["ET"]


def test_nothing_is_said_beforehand_of_studies_that_the_model_does_not_take() -> None:
    needy = GRADES.model_copy(update={"needs": (T1C,)})
    told = manifest(needy)
    assert len(open_subsets(told)) == 7
    channels = tuple(
        one.model_copy(update={"required": one.modality is T1}) for one in told.task.channels
    )
    task = told.task.model_copy(update={"channels": channels})
    open_ = open_subsets(told.model_copy(update={"task": task}))
    assert [one.real for one in open_] == [NO_T1C, (T1, T2), (T1, FLAIR), (T1,)]


def test_a_region_left_out_belongs_to_the_region_around_it_whose_label_then_means_all_of_it() -> (
    None
):
    shown = without(BRATS, ["ET"])
    assert isinstance(shown, RegionOutputs)
    assert [(r.name, r.labels) for r in shown.regions] == [("TC", (1,)), ("WT", (1, 2))]
    assert [(e.value, e.name, e.title) for e in shown.labels] == [
        (1, "TC", "tumour core"), (2, "ED", "oedema"),
    ]  # fmt: skip
    assert shown.painting == ((1, 2), (0, 1))


def test_a_region_within_one_that_is_left_out_stays_and_keeps_its_label() -> None:
    shown = without(BRATS, ["TC"])
    assert isinstance(shown, RegionOutputs)
    assert [(r.name, r.labels) for r in shown.regions] == [("WT", (2, 4)), ("ET", (4,))]
    assert [(e.value, e.name) for e in shown.labels] == [(2, "WT"), (4, "ET")]
    outermost = without(BRATS, ["WT"])
    assert isinstance(outermost, RegionOutputs)
    assert [(r.name, r.labels) for r in outermost.regions] == [("TC", (1, 4)), ("ET", (4,))]
    assert [(e.value, e.name) for e in outermost.labels] == [(1, "NCR"), (4, "ET")]


def test_everything_can_be_left_out_and_nothing_changes_what_is_whole() -> None:
    nothing = without(BRATS, ["TC", "WT", "ET"])
    assert isinstance(nothing, RegionOutputs)
    assert (nothing.regions, nothing.labels, nothing.painting) == ((), (), ())
    assert without(BRATS, []) == BRATS
    assert without(GRADES, ["all"]) == GRADES
    tissues = ClassOutputs(classes=tuple(Label(value=n, name=f"c{n}") for n in range(3)))
    shown = without(tissues, ["c1", "c0"])
    assert isinstance(shown, ClassOutputs)
    assert [entry.name for entry in shown.classes] == ["c0", "c2"]


def test_a_task_whose_outputs_need_what_is_no_channel_is_refused() -> None:
    text = """
name: a
title: a
channels: [{modality: t1}]
outputs: {kind: scores, needs: [t1c], classes: [{name: x}, {name: y}]}
"""
    with pytest.raises(InvalidTask, match="an output needs t1c, which is no channel"):
        parse_task(text, subject="a")


def test_needs_of_a_regions_label_are_refused_as_they_would_be_lost() -> None:
    labels = (Label(value=1, name="a", needs=(T1C,)),)
    with pytest.raises(ValidationError, match="give them to the regions"):
        RegionOutputs(labels=labels, regions=(Region(name="a", labels=(1,)),))
