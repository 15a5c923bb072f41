"""The second try of a batch that failed: what breaks here fails a study for another's fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from brainmvp_models.errors import BrainMVPError, EngineFailed, EngineUnavailable, StudyCancelled
from brainmvp_server.inference.scheduler import Batch
from brainmvp_server.inference.second_try import try_again
from brainmvp_server.inference.study_run import StudyRun
from brainmvp_server.inference.window_queue import Entry
from queued_studies import queued

FAULT = EngineFailed("the engine failed", remedy="Send it again")
AGAIN = EngineFailed("the engine failed again", remedy="Send it again")


@dataclass
class Bench:
    """An engine that fails on the windows of some studies, and can be replaced so often."""

    bad: tuple[StudyRun, ...] = ()
    engines: int = 100
    replaced: list[EngineFailed] = field(default_factory=list)
    brought: list[tuple[StudyRun, float]] = field(default_factory=list)
    on_bring: Callable[[], None] = lambda: None

    def replace(self, error: EngineFailed) -> None:
        self.replaced.append(error)
        if len(self.replaced) > self.engines:
            raise EngineUnavailable("no device", remedy="Plug it in")

    def bring(self, entry: Entry, window: np.ndarray) -> None:
        run, _ = entry
        assert window.shape == (1, 1, 1, 1, 1)
        self.brought.append((run, float(window[0, 0, 0, 0, 0])))
        if run in self.bad:
            raise AGAIN
        run.done += 1
        self.on_bring()

    def fail(self, entries: Sequence[Entry], error: BrainMVPError) -> None:
        for run, _ in entries:
            run.fail(error)

    def after(self, *entries: Entry) -> None:
        """A batch of these failed; window ``n`` of it is full of ``n``."""
        voxels = np.arange(len(entries), dtype=np.float32).reshape(-1, 1, 1, 1, 1)
        batch = Batch(entries[0][0].network, entries, voxels, 0.0)
        try_again(batch, FAULT, replace=self.replace, bring=self.bring, fail=self.fail)


def test_each_window_is_brought_alone_through_a_fresh_engine() -> None:
    one, two = queued(3), queued(3)
    bench = Bench()
    bench.after((one, one.take()), (two, two.take()), (one, one.take()))
    assert bench.replaced == [FAULT]
    assert bench.brought == [(one, 0.0), (two, 1.0), (one, 2.0)]
    assert one.error is None and two.error is None


def test_a_window_that_fails_again_ends_its_study_alone_and_the_next_has_a_fresh_engine() -> None:
    bad, good = queued(3), queued(3)
    bench = Bench(bad=(bad,))
    bench.after((bad, bad.take()), (good, good.take()))
    assert bad.error is AGAIN and good.error is None and good.done == 1
    assert bench.replaced == [FAULT, AGAIN]


def test_other_windows_of_a_study_that_ended_are_not_tried() -> None:
    bad, gone, good = queued(3), queued(3), queued(3)
    gone.cancel.request(StudyCancelled("gone", remedy="Send it again"))
    bench = Bench(bad=(bad,))
    bench.after(*((run, run.take()) for run in (bad, gone, bad, good)))
    assert [run for run, _ in bench.brought] == [bad, good]
    assert gone.error is None


def test_a_study_has_one_second_try() -> None:
    run = queued(4)
    bench = Bench()
    bench.after((run, run.take()), (run, run.take()))
    assert run.error is None and run.done == 2
    bench.after((run, run.take()))
    assert run.error is FAULT and run.done == 2
    assert bench.replaced == [FAULT, FAULT], "the engine failed, whoever's fault it was"


def test_a_batch_that_was_shared_counts_as_nobodys_failure() -> None:
    one, two = queued(9), queued(9)
    bench = Bench()
    for _ in range(4):
        bench.after((one, one.take()), (two, two.take()))
    assert one.error is None and two.error is None and one.done == two.done == 4


def test_without_a_fresh_engine_all_fail_but_those_that_are_done() -> None:
    done, bad, other = queued(1), queued(2), queued(2)
    bench = Bench(bad=(bad,), engines=1)
    bench.after(*((run, run.take()) for run in (done, bad, other)))
    assert done.error is None
    assert bad.error is AGAIN
    assert isinstance(other.error, EngineUnavailable)
