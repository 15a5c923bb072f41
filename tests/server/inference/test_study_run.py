"""One study's windows: what breaks here fails a study that is done, or hides why it failed."""

from __future__ import annotations

from brainmvp_models.errors import EngineFailed, StudyCancelled
from queued_studies import queued

FAULT = EngineFailed("the engine failed", remedy="Send it again")


def test_a_study_that_is_done_fails_no_more() -> None:
    run = queued(2)
    run.done = 2
    run.fail(FAULT)
    assert run.error is None


def test_a_study_keeps_the_first_reason_why_it_failed() -> None:
    run = queued(2)
    run.fail(FAULT)
    run.fail(StudyCancelled("later", remedy="none"))
    assert run.error is FAULT and run.left == 0
