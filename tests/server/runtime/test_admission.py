"""Admission: refuse at once or wait in order, never pile up."""

from __future__ import annotations

import threading
import time

import pytest

from brainmvp_models.errors import (
    Overloaded,
    StudyCancelled,
    StudyTimedOut,
    StudyTooLarge,
    TooManyRequests,
)
from brainmvp_server.inference.cancel import CancelToken
from brainmvp_server.runtime.admission import Admission, machine_memory


def test_requests_beyond_the_limit_are_refused_until_one_is_over() -> None:
    admission = Admission(requests=2)
    with admission.request("a"), admission.request("b"):
        with pytest.raises(Overloaded), admission.request("c"):
            pass
        assert admission.requests == 2
    with admission.request("c"):
        pass
    assert admission.requests == 0


def test_one_owner_cannot_take_what_is_others_share() -> None:
    admission = Admission(requests=5, per_owner=1)
    with admission.request("a"):
        with pytest.raises(TooManyRequests), admission.request("a"):
            pass
        with admission.request("b"):
            pass


def test_a_study_waits_for_memory_in_the_order_it_came() -> None:
    admission, order = Admission(requests=9, memory=100), []

    def work(name: str, need: int) -> None:
        with admission.memory_for(need, CancelToken()):
            order.append(name)

    with admission.memory_for(60, CancelToken()):
        threads = []
        for name, need in (("large", 90), ("small", 10)):
            threads.append(threading.Thread(target=work, args=(name, need)))
            threads[-1].start()
            while admission.waiting < len(threads):
                time.sleep(0.01)
        assert order == []  # the small one would fit, but the large one was first
    for thread in threads:
        thread.join()
    assert order == ["large", "small"]
    assert admission.memory == 0


def test_a_study_that_never_fits_is_refused_at_once() -> None:
    with pytest.raises(StudyTooLarge), Admission(1, memory=100).memory_for(101, CancelToken()):
        pass


def test_a_study_that_is_cancelled_or_late_while_it_waits_leaves_the_queue() -> None:
    admission = Admission(requests=9, memory=100)
    cancelled = CancelToken()
    cancelled.request(StudyCancelled("gone", remedy="none"))
    with admission.memory_for(100, CancelToken()):
        with pytest.raises(StudyCancelled), admission.memory_for(1, cancelled):
            pass
        with pytest.raises(StudyTimedOut), admission.memory_for(1, CancelToken(0.1)):
            pass
    with admission.memory_for(100, CancelToken()):
        pass


def test_the_machines_memory_is_known() -> None:
    assert 1 << 26 < machine_memory() < 1 << 50


def test_no_more_studies_are_worked_on_than_there_are_places_whoever_asks() -> None:
    admission = Admission(requests=9, studies=2)
    with admission.place(CancelToken()), admission.place(CancelToken(), interactive=False):
        assert admission.studies == 2
        for interactive in (True, False):
            with (
                pytest.raises(StudyTimedOut),
                admission.place(CancelToken(0.05), interactive=interactive),
            ):
                pass
    assert admission.studies == 0


def test_studies_that_nobody_waits_for_leave_a_place_to_the_others() -> None:
    admission = Admission(requests=9, studies=3)
    with (
        admission.place(CancelToken(), interactive=False),
        admission.place(CancelToken(), interactive=False),
    ):
        with pytest.raises(StudyTimedOut), admission.place(CancelToken(0.05), interactive=False):
            pass
        with admission.place(CancelToken(0.05)):
            pass
    alone = Admission(requests=9, studies=1)
    with alone.place(CancelToken(0.05), interactive=False):
        pass


def test_a_place_goes_to_whoever_came_first_and_one_that_leaves_holds_nobody_up() -> None:
    admission, order = Admission(requests=9, studies=1), []

    def work(name: str) -> None:
        with admission.place(CancelToken(), interactive=name == "person"):
            order.append(name)

    with admission.place(CancelToken()):
        threads = []
        for name in ("batch", "person"):
            threads.append(threading.Thread(target=work, args=(name,)))
            threads[-1].start()
            deadline = time.monotonic() + 60
            while admission.queued < len(threads):
                assert time.monotonic() < deadline
                time.sleep(0.01)
        with pytest.raises(StudyTimedOut), admission.place(CancelToken(0.05)):
            pass
    for thread in threads:
        thread.join()
    assert order == ["batch", "person"]


def test_what_studies_share_is_counted_once_and_as_long_as_one_of_them_is_at_work() -> None:
    admission = Admission(requests=9, memory=100)
    first, second = (admission.memory_for(10, CancelToken(), shared=50) for _ in range(2))
    with first:
        assert admission.memory == 60
        with second, admission.memory_for(10, CancelToken()):
            assert admission.memory == 80
        assert admission.memory == 60
    assert admission.memory == 0


def test_a_study_whose_shared_memory_there_is_no_room_for_is_at_work_alone() -> None:
    admission = Admission(requests=9, memory=100)
    order = []

    def work(name: str, shared: int) -> None:
        with admission.memory_for(30, CancelToken(), shared):
            order.append(name)

    with admission.memory_for(30, CancelToken(), shared=500):
        threads = [threading.Thread(target=work, args=(name, 0)) for name in ("a", "b")]
        for thread in threads:
            thread.start()
        while admission.waiting < 2:
            time.sleep(0.01)
        assert order == [] and admission.memory == 530
    for thread in threads:
        thread.join()
    assert sorted(order) == ["a", "b"] and admission.memory == 0


def test_a_study_that_needs_shared_memory_waits_until_it_is_alone() -> None:
    admission = Admission(requests=9, memory=100)
    with (
        admission.memory_for(30, CancelToken()),
        pytest.raises(StudyTimedOut),
        admission.memory_for(30, CancelToken(0.3), shared=80),
    ):
        pass
    assert admission.memory == 0 and admission.waiting == 0
