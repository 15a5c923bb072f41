"""Every header set of the table, through the reader and the rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from brainmvp_models import names
from brainmvp_server.imaging.dicom.header import SeriesHeader
from brainmvp_server.imaging.identify.decide import Confidence, decide
from brainmvp_server.imaging.identify.rules import load_rules
from everyday_names import ROWS as NAMES
from header_sets import HeaderSet, header_sets
from identification_page import (
    PAGE,
    REAL,
    SETS,
    STRIPPED,
    measured,
    measured_on,
    outcome,
    page,
    stripped,
)
from real_headers import real_headers

ROWS = header_sets()


def test_the_table_is_as_large_as_promised_and_has_all_vendors_and_modalities() -> None:
    assert len(ROWS) >= 120
    assert set(Counter(row.vendor for row in ROWS)) == {"siemens", "ge", "philips", "canon"}
    labels = {row.label for row in ROWS}
    assert labels == {"t1", "t1c", "t2", "flair", "pd", "dwi", "adc", "mra", "t1ir", "-", "?"}


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_no_header_set_is_given_a_wrong_modality(row: HeaderSet) -> None:
    answer = decide(row.header, load_rules())
    assert outcome(row, answer) != "wrong", (answer.modality, answer.evidence)
    if answer.modality is None:
        assert answer.reason and answer.confidence == Confidence.NONE
    else:
        assert answer.evidence and not answer.reason


def test_at_least_nineteen_of_twenty_are_right() -> None:
    rules = load_rules()
    right = sum(outcome(row, decide(row.header, rules)) == "right" for row in ROWS)
    assert right >= 0.95 * len(ROWS)


def test_what_must_never_be_used_is_set_aside_with_a_reason_of_its_own() -> None:
    rules = load_rules()
    for row in ROWS:
        if row.group == "Never used":
            answer = decide(row.header, rules)
            assert answer.modality is None and answer.evidence, row


@pytest.mark.parametrize("what", STRIPPED)
def test_a_header_that_lacks_a_part_is_never_surely_wrong(what: str) -> None:
    assert stripped(what)["wrong", Confidence.HIGH] == 0


SAID = [row for row in NAMES if row[0] in ("t1", "t1c") and not row[1].startswith("sub")]
MPRAGE = SeriesHeader(
    image_type=("ORIGINAL", "PRIMARY", "M"), sequence=("GR", "IR"), variant=("SP", "MP"),
    acquisition="3D", echo_time=2.3, repetition_time=2300.0, inversion_time=900.0, slices=160,
)  # fmt: skip


@pytest.mark.parametrize(("modality", "name"), SAID, ids=[name for _, name in SAID])
def test_a_series_is_called_what_a_file_would_be(modality: str, name: str) -> None:
    assert decide(replace(MPRAGE, description=name), load_rules()).modality == modality


@pytest.mark.parametrize("name", ["t1_seg", "T1_brain_mask", "T1_label", "T1_sub", "T1_pre_post"])
def test_a_series_with_a_name_that_is_nobodys_is_not_used(name: str) -> None:
    assert decide(replace(MPRAGE, description=name), load_rules()).modality is None


def test_words_of_contrast_agent_mean_the_same_to_series_as_to_files() -> None:
    for word, modality in [
        *((word, "t1c") for word in names.GIVEN),
        *((word, "t1") for word in names.NOT_GIVEN),
    ]:
        assert decide(replace(MPRAGE, description=f"t1 {word}"), load_rules()).modality == modality


STALE = "the page is stale: python tests/support/identification_page.py"


def test_the_page_shows_what_the_rules_do_today() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text, SETS, measured()), STALE


def test_real_headers_are_known_for_what_they_are(real_data: Callable[[str], Path]) -> None:
    headers = real_data("dicom") / "headers.json"
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text, REAL, measured_on(headers)), STALE
    rules = load_rules()
    answers = [(row, decide(row.header, rules)) for row in real_headers(headers)]
    wrong = [(str(row), a.modality, a.evidence) for row, a in answers if outcome(row, a) == "wrong"]
    mute = [(str(row), a.reason) for row, a in answers if outcome(row, a) == "unknown"]
    assert not wrong
    assert len(mute) <= 8, mute
