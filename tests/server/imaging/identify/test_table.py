"""Every header set of the table, through the reader and the rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from brainmvp_server.imaging.identify.decide import Confidence, decide
from brainmvp_server.imaging.identify.rules import load_rules
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
