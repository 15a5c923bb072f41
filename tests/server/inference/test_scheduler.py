"""The scheduler: what breaks here makes an engine wait, or a small study."""

from __future__ import annotations

import numpy as np
import pytest

from brainmvp_models.errors import StudyCancelled
from brainmvp_server.inference.scheduler import Batch, Scheduler
from brainmvp_server.inference.study_run import StudyRun
from brainmvp_server.inference.window_queue import Entry, WindowQueue
from queued_studies import network, queued


class Clock:
    """A clock that stands until it is set forward."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Desk:
    """A queue, its scheduler and their clock, with a large study in it."""

    def __init__(self, usual_s: float = 4.0) -> None:
        self.clock = Clock()
        self.queue = WindowQueue()
        self.scheduler = Scheduler(self.queue, self.clock)
        self.large = self.comes(queued(100, network(usual_s)))

    def comes(self, run: StudyRun) -> StudyRun:
        self.queue.add(run, self.clock())
        return run

    def cut(self, cut_s: float = 0.0) -> Batch:
        """One window of whoever is next."""
        entry = self.queue.take()
        assert entry is not None
        return self.batch(entry, cut_s=cut_s)

    def batch(self, *entries: Entry, cut_s: float = 0.0) -> Batch:
        """A batch of windows that were taken."""
        voxels = np.zeros((len(entries), 1, 1, 1, 1), np.float32)
        return Batch(entries[0][0].network, entries, voxels, self.clock(), cut_s)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_the_next_batch_is_cut_just_before_the_engine_is_through(desk: Desk) -> None:
    batch = desk.cut(cut_s=0.1)
    assert desk.scheduler.seconds_to_cut(batch, desk.clock()) == pytest.approx(3.895)
    desk.clock.now += 3
    assert desk.scheduler.seconds_to_cut(batch, 100.0) == pytest.approx(0.895)


def test_a_cut_that_was_held_up_takes_no_more_than_half_of_the_next_wait(desk: Desk) -> None:
    """Otherwise no small study could stop the batch after it."""
    batch = desk.cut(cut_s=40.0)
    assert desk.scheduler.seconds_to_cut(batch, desk.clock()) == pytest.approx(1.995)


def test_a_network_without_a_past_is_not_waited_for() -> None:
    desk = Desk(usual_s=0.0)
    assert desk.scheduler.seconds_to_cut(desk.cut(), desk.clock()) < 0


def test_a_small_study_stops_a_large_ones_batch_in_its_first_half_and_is_next(desk: Desk) -> None:
    batch = desk.cut()
    desk.clock.now += 1
    assert not desk.scheduler.is_overtaken(batch, 100.0)
    small = desk.comes(queued(1))
    assert desk.scheduler.is_overtaken(batch, 100.0)
    assert desk.cut().entries[0][0] is small


def test_it_does_not_stop_it_in_the_second_half(desk: Desk) -> None:
    batch = desk.cut()
    desk.clock.now += 2.1
    desk.comes(queued(1))
    assert not desk.scheduler.is_overtaken(batch, 100.0)


@pytest.mark.parametrize(
    "other", [queued(30), queued(1, interactive=False)], ids=["large", "batch"]
)
def test_a_study_that_is_not_small_or_not_waited_for_stops_nothing(
    desk: Desk, other: StudyRun
) -> None:
    batch = desk.cut()
    desk.clock.now += 1
    desk.comes(other)
    assert not desk.scheduler.is_overtaken(batch, 100.0)


@pytest.mark.parametrize("before", range(7))
@pytest.mark.parametrize("stopped", [True, False], ids=["stopped", "cut ahead"])
def test_the_smallest_that_came_is_next_whoever_has_the_turn(
    desk: Desk, before: int, stopped: bool
) -> None:
    """Every third turn would go to whoever was served longest ago, were it not for this."""
    desk.comes(queued(110, desk.large.network))
    for _ in range(before):
        desk.cut()
    batch = desk.cut()
    desk.clock.now += 1
    desk.comes(queued(2))
    small = desk.comes(queued(1))
    if stopped:
        assert desk.scheduler.is_overtaken(batch, 100.0)
    else:
        assert not desk.scheduler.may_go(batch)
    assert desk.cut().entries[0][0] is small


def test_a_large_study_makes_way_also_with_its_last_window(desk: Desk) -> None:
    """What is under way of it counts as left."""
    for _ in range(99):
        desk.large.take()
    batch = desk.cut()
    desk.clock.now += 1
    desk.comes(queued(1))
    assert desk.scheduler.is_overtaken(batch, 100.0)


def test_a_batch_that_was_cut_ahead_goes_where_nothing_came(desk: Desk) -> None:
    coming = desk.cut()
    waiting = desk.queue.waiting
    assert desk.scheduler.may_go(coming)
    assert desk.queue.waiting == waiting


def test_a_lighter_study_that_came_after_the_cut_goes_before_it(desk: Desk) -> None:
    coming = desk.cut()
    desk.clock.now += 1
    small = desk.comes(queued(8))
    assert not desk.scheduler.may_go(coming)
    assert desk.cut().entries[0][0] is small
    assert desk.large.take() == coming.entries[0][1], "its window is its next one again"


def test_it_goes_before_it_twice_and_then_waits(desk: Desk) -> None:
    for _ in range(2):
        coming = desk.cut()
        desk.clock.now += 1
        small = desk.comes(queued(1))
        assert not desk.scheduler.may_go(coming)
        assert desk.cut().entries[0][0] is small
        small.done = small.windows
    coming = desk.cut()
    desk.clock.now += 1
    desk.comes(queued(1))
    assert desk.scheduler.may_go(coming)


def test_a_batch_that_nobody_wants_any_more_does_not_go(desk: Desk) -> None:
    coming = desk.cut()
    desk.large.cancel.request(StudyCancelled("gone", remedy="Send it again"))
    assert not desk.scheduler.may_go(coming)
    assert desk.queue.waiting == 0


def test_a_window_whose_companion_ended_has_not_made_way(desk: Desk) -> None:
    """What is put back for nobody's sake may still be put back for a small study."""
    for _ in range(3):
        gone = desk.comes(queued(2))
        coming = desk.batch((gone, gone.take()), (desk.large, desk.large.take()))
        gone.cancel.request(StudyCancelled("gone", remedy="Send it again"))
        assert not desk.scheduler.may_go(coming)
    coming = desk.cut()
    desk.clock.now += 1
    desk.comes(queued(1))
    assert not desk.scheduler.may_go(coming)
