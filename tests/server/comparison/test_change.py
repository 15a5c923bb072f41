"""What a change is called: wrong here is a wrong word beside right numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainmvp_server.comparison.change import Change, Figure, Status

VOLUMES = st.floats(0, 200)
WIDTHS = st.floats(0, 50)


@pytest.mark.parametrize(
    ("before", "after", "status"),
    [
        (Figure(10, 0.5), Figure(15, 0.5), Status.GROWN),
        (Figure(10, 0.5), Figure(14.2, 0.5), Status.UNDECIDED),
        (Figure(10, 0.5), Figure(11, 0.5), Status.STABLE),
        (Figure(10, 0.5), Figure(5, 0.5), Status.SHRUNK),
        (Figure(10, 0.5), Figure(6, 0.5), Status.UNDECIDED),
        (Figure(10, 5), Figure(10, 5), Status.UNDECIDED),
        (Figure(10, 0), Figure(14, 0), Status.GROWN),
        (Figure(10, 0), Figure(10, 0), Status.STABLE),
        (Figure(0, 0), Figure(1, 0.5), Status.NEW),
        (Figure(0, 0), Figure(1, 1.5), Status.UNDECIDED),
        (Figure(1, 0.5), Figure(0, 0), Status.GONE),
        (Figure(0, 0), Figure(0, 0), Status.ABSENT),
    ],
)
def test_a_change_is_called_what_its_interval_allows(
    before: Figure, after: Figure, status: Status
) -> None:
    assert Change.of(before, after, 40, seen=False).status is status


def test_what_somebody_drew_is_there_however_small_it_is() -> None:
    assert Change.of(Figure(0), Figure(0.02, 0.05), 40, seen=True).status is Status.NEW
    assert Change.of(Figure(0.02, 0.05), Figure(0), 40, seen=True).status is Status.GONE


def test_the_threshold_is_the_sites() -> None:
    one, other = Figure(100, 1), Figure(130, 1)
    assert Change.of(one, other, 25, seen=False).status is Status.GROWN
    assert Change.of(one, other, 40, seen=False).status is Status.STABLE


@given(VOLUMES, WIDTHS, VOLUMES, WIDTHS, st.floats(0, 100))
def test_two_times_the_other_way_round_change_by_as_much_the_other_way(
    before: float, width: float, after: float, other: float, threshold: float
) -> None:
    one, two = Figure(before, width), Figure(after, other)
    there = Change.of(one, two, threshold, seen=False)
    back = Change.of(two, one, threshold, seen=False)
    assert there.difference == -back.difference
    assert (there.low, there.high) == (pytest.approx(-back.high), pytest.approx(-back.low))
    assert there.low <= there.difference <= there.high
    opposite = {Status.NEW: Status.GONE, Status.GONE: Status.NEW}
    if there.status in opposite:
        assert back.status is opposite[there.status]


@given(VOLUMES.filter(lambda one: one > 0), VOLUMES, WIDTHS, st.floats(1, 100))
def test_a_wider_interval_never_decides_what_a_narrower_leaves_open(
    before: float, after: float, width: float, threshold: float
) -> None:
    narrow = Change.of(Figure(before), Figure(after, width), threshold, seen=False).status
    wide = Change.of(Figure(before), Figure(after, 2 * width), threshold, seen=False).status
    assert wide in (narrow, Status.UNDECIDED)
