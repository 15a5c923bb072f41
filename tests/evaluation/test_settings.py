"""Which subsets are measured, and with which filling."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainmvp_evaluation.settings import (
    Setting,
    parse_subsets,
    settings_for,
    settings_of,
)
from brainmvp_models.errors import BrainMVPError
from brainmvp_models.modality import Modality
from brainmvp_models.task import Channel, load_task
from brainmvp_training.case import Case

T1, T2, FLAIR = Modality.T1, Modality.T2, Modality.FLAIR
TASK = load_task("upenn-gbm").model_copy(
    update={
        "channels": (Channel(modality=T1, required=True), Channel(modality=T2),
                     Channel(modality=FLAIR))
    }
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "subsets"),
    [
        ("full", [(T1, T2, FLAIR)]),
        ("missing-one", [(T1, T2, FLAIR), (T1, T2), (T1, FLAIR)]),
        ("all", [(T1, T2, FLAIR), (T1, T2), (T1, FLAIR), (T1,)]),
        ("flair,t1;T1;t1,flair", [(T1, FLAIR), (T1,)]),
    ],
)
def test_subsets_hold_what_the_model_requires_in_its_order(
    text: str, subsets: list[tuple[Modality, ...]]
) -> None:
    assert parse_subsets(text, TASK) == tuple(subsets)


def test_all_subsets_of_four_free_modalities_are_fifteen() -> None:
    subsets = parse_subsets("all", load_task("upenn-gbm"))
    assert subsets is not None and len(set(subsets)) == 15


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("t1,t9", "'t9' is not a modality"),
        ("t1,mra", "no channel for mra"),
        ("t2", "lacks t1, which the model requires"),
        ("", "is not a modality"),
    ],
)
def test_a_subset_that_cannot_be_is_refused(text: str, problem: str) -> None:
    with pytest.raises(BrainMVPError, match=problem):
        parse_subsets(text, TASK)


def test_a_whole_study_is_measured_once_and_a_part_of_it_with_every_policy() -> None:
    found = settings_of([(T1, T2, FLAIR), (T1,)], ["zeros", "center"], TASK)
    assert found == [
        Setting((T1, T2, FLAIR), "none"),
        Setting((T1,), "zeros"),
        Setting((T1,), "center"),
    ]
    with pytest.raises(BrainMVPError, match="leaves nothing to measure"):
        settings_of([(T1,)], ["none"], TASK)


def test_a_case_is_measured_in_the_settings_it_has_the_modalities_for() -> None:
    case = Case("A", {T1: Path("a"), FLAIR: Path("b"), Modality.MRA: Path("c")})
    subsets = parse_subsets("all", TASK)
    assert [s.real for s in settings_for(case, subsets, ["zeros"], TASK)] == [(T1, FLAIR), (T1,)]
    assert settings_for(case, None, ["zeros"], TASK) == [Setting((T1, FLAIR), "zeros")]
