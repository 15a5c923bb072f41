"""Turns between studies: what breaks here starves somebody."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from brainmvp_server.inference.turns import Turns


@dataclass(eq=False)
class Queued:
    left: int
    interactive: bool = True
    turn: int = 0
    windows: int = 0

    def __post_init__(self) -> None:
        self.windows = self.windows or self.left


def finish_times(studies: list[Queued]) -> dict[int, int]:
    """After how many windows each study is through, all having come at once."""
    turns, done = Turns(), {}
    for window in range(1, sum(study.left for study in studies) + 1):
        study = turns.pick([study for study in studies if study.left])
        study.left -= 1
        if not study.left:
            done[studies.index(study)] = window
    return done


def test_a_small_study_behind_a_large_one_takes_at_most_twice_its_windows() -> None:
    for small in (1, 2, 3, 8, 27):
        assert finish_times([Queued(500), Queued(small)])[1] <= 2 * small


def test_a_small_study_behind_many_large_ones_waits_no_longer_than_behind_one() -> None:
    """One turn in three is for those who waited, however many they are."""
    assert finish_times([*(Queued(100) for _ in range(8)), Queued(8)])[8] <= 12


def test_a_study_of_one_window_is_next_whenever_it_comes_beside_a_large_one() -> None:
    turns, large = Turns(), Queued(500)
    for _ in range(6):
        turns.pick([large])
        small = Queued(1, turn=turns.now())
        assert turns.pick([large, small]) is small


def test_a_study_of_one_window_goes_before_the_last_one_of_a_large_study() -> None:
    last, small = Queued(1, windows=500), Queued(1)
    assert Turns().pick([last, small]) is small


def test_a_nearly_finished_study_goes_before_one_of_its_size_that_has_just_come() -> None:
    nearly, fresh = Queued(1, windows=27), Queued(8)
    assert Turns().pick([fresh, nearly]) is nearly


def test_a_large_study_moves_on_while_small_ones_keep_coming() -> None:
    turns, large = Turns(), Queued(100)
    served = 0
    for _ in range(90):
        served += turns.pick([Queued(1, turn=turns.now()), large]) is large
    assert served >= 30


def test_an_interactive_study_comes_before_a_batch_one_of_its_size() -> None:
    done = finish_times([Queued(8, interactive=False), Queued(8)])
    assert done[1] < done[0]


@given(st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=1, max_size=12))
def test_every_study_is_finished_whatever_is_queued(sizes: list[tuple[int, bool]]) -> None:
    studies = [Queued(left, interactive) for left, interactive in sizes]
    assert len(finish_times(studies)) == len(studies)
