"""The queue of windows: what breaks here loses a window, does one twice, or starves a study."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainmvp_models.errors import StudyCancelled
from brainmvp_server.inference.study_run import StudyRun
from brainmvp_server.inference.window_queue import Entry, WindowQueue
from queued_studies import network, queued


def filled(*runs: StudyRun) -> WindowQueue:
    queue = WindowQueue()
    for now, run in enumerate(runs):
        queue.add(run, float(now))
    return queue


def taken(queue: WindowQueue) -> Entry:
    entry = queue.take()
    assert entry is not None
    return entry


def end(run: StudyRun) -> None:
    run.cancel.request(StudyCancelled("gone", remedy="Send it again"))


def test_a_window_that_is_put_back_is_the_next_one_of_its_study() -> None:
    run = queued(3)
    queue = filled(run)
    first, second = taken(queue), taken(queue)
    queue.put_back((first, second), yielded=False)
    assert queue.waiting == 3
    assert [taken(queue)[1], taken(queue)[1]] == [first[1], second[1]]


def test_a_study_that_ended_has_no_window_left() -> None:
    gone, failed, stays = queued(3), queued(3), queued(1)
    queue = filled(gone, failed, stays)
    end(gone)
    failed.fail(StudyCancelled("no", remedy="none"))
    assert queue.waiting == 1
    assert taken(queue)[0] is stays and queue.take() is None


def test_a_batch_takes_windows_of_its_own_network_alone() -> None:
    one, other = network(), network()
    queue = filled(queued(1, one), queued(2, other))
    assert [taken(queue)[0].network is one, queue.take(one)] == [True, None]
    assert queue.take(other) is not None


def test_the_promoted_study_begins_the_next_batch_and_no_other() -> None:
    light, heavy = queued(1), queued(40)
    queue = filled(light, heavy)
    queue.promote(heavy)
    assert taken(queue)[0] is heavy
    assert taken(queue)[0] is light, "a promotion holds for one batch"


def test_a_promoted_study_that_ended_leaves_the_turn_to_the_others() -> None:
    gone, stays = queued(1), queued(2)
    queue = filled(gone, stays)
    queue.promote(gone)
    end(gone)
    assert taken(queue)[0] is stays


def test_only_a_small_interactive_study_that_came_after_the_cut_overtakes() -> None:
    large = queued(100)
    early, small, batch, middling = (
        queued(1),
        queued(2),
        queued(1, interactive=False),
        queued(30),
    )
    queue = WindowQueue()
    queue.add(large, 0.0)
    queue.add(early, 0.5)
    entries = [(large, large.take())]
    for run in (batch, middling, small):
        queue.add(run, 2.0)
    assert queue.overtaking(entries, cut=1.0, times=16) is small
    end(small)
    assert queue.overtaking(entries, cut=1.0, times=16) is None
    assert queue.overtaking(entries, cut=1.0, times=1) is middling


def test_a_study_of_the_batch_does_not_overtake_itself() -> None:
    large = queued(100)
    queue = filled(large)
    assert queue.overtaking([(large, large.take())], cut=-1.0, times=1) is None


@pytest.mark.parametrize("yields", [0, 1, 2])
def test_a_window_makes_way_twice_and_not_again(yields: int) -> None:
    large, small = queued(100), queued(1)
    queue = filled(large)
    for _ in range(yields):
        queue.put_back([taken(queue)], yielded=True)
    entries = [taken(queue)]
    queue.add(small, 9.0)
    assert queue.overtaking(entries, cut=1.0, times=16) is (small if yields < 2 else None)


def test_a_batch_with_one_window_that_made_way_twice_does_not_make_way_again() -> None:
    spared, other, small = queued(100), queued(100), queued(1)
    queue = filled(spared, other)
    for _ in range(2):
        queue.put_back([(spared, spared.take())], yielded=True)
    queue.add(small, 9.0)
    entries = [(other, other.take()), (spared, spared.take())]
    assert queue.overtaking(entries, cut=1.0, times=16) is None


def test_a_promotion_is_no_turn() -> None:
    """Else small studies that come at the right moments take every third turn from who waits."""
    queue, waits = WindowQueue(), queued(9, interactive=False)
    queue.add(waits, 0.0)
    served = 0
    for turn in range(1, 10):
        if turn % 3 == 0:
            small = queued(1)
            queue.add(small, float(turn))
            queue.promote(small)
            assert taken(queue)[0] is small
        queue.add(queued(1), float(turn))
        served += taken(queue)[0] is waits
    assert served == 3


def test_a_window_that_was_put_back_for_no_other_study_may_still_make_way() -> None:
    large, small = queued(100), queued(1)
    queue = filled(large)
    for _ in range(5):
        queue.put_back([taken(queue)], yielded=False)
    entries = [taken(queue)]
    queue.add(small, 9.0)
    assert queue.overtaking(entries, cut=1.0, times=16) is small


@given(
    large=st.integers(20, 200),
    small=st.integers(1, 8),
    before=st.integers(0, 15),
)
def test_a_small_study_behind_a_large_one_waits_its_own_length_at_most(
    large: int, small: int, before: int
) -> None:
    first, second = queued(large), queued(small)
    queue = filled(first)
    for _ in range(before):
        taken(queue)
    queue.add(second, 9.0)
    windows = 0
    while second.left:
        taken(queue)
        windows += 1
    assert windows <= 2 * small


def test_a_large_study_goes_on_however_many_small_ones_come() -> None:
    large = queued(60)
    queue = filled(large)
    for now in range(90):
        queue.add(queued(1), float(now))
        taken(queue)
    assert large.left <= 50  # those that wait, too, are owed their turns
