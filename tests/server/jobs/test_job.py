"""What is written down of a job."""

from __future__ import annotations

import pytest

from brainmvp_models.bundle import Bundle
from brainmvp_server.inference.options import PredictOptions
from brainmvp_server.jobs.job import JobRequest, Priority
from brainmvp_server.results.dicom.object_options import ObjectOptions


@pytest.mark.parametrize("priority", Priority)
def test_a_worker_does_what_was_asked_and_written_down(
    tiny_bundle: Bundle, priority: Priority
) -> None:
    asked = PredictOptions(
        fill="center",
        probabilities=True,
        templates=True,
        resample=True,
        form="qform",
        interactive=priority is Priority.INTERACTIVE,
        profile="speed",
    )
    order = JobRequest.of(tiny_bundle, asked, ObjectOptions(overlay=True), priority)
    read = JobRequest.model_validate_json(order.model_dump_json())
    assert read.options == asked
    assert (read.model, read.version) == ("tiny", "1") and read.objects.overlay
