"""What changes under a running service: its bundles, and the machine's clock."""

from __future__ import annotations

import os
import shutil
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from brainmvp_server.inference import cancel as stop_module
from brainmvp_server.inference.cancel import CancelToken

from ..conftest import Serving, Start, rewrite_network


def replace(models: Path, seed: int) -> str:
    """Put another network into the bundle's place, as an export does; the new digest."""
    root, aside = models / "swift" / "1", models / ".aside"
    shutil.copytree(root, aside)
    digest = rewrite_network(aside, seed=seed)
    root.rename(models / ".old")
    aside.rename(root)
    shutil.rmtree(models / ".old")
    return digest


def test_a_bundle_replaced_during_a_request_changes_no_answer_midway_and_serves_the_next(
    serve: Start, swift_models: Path, tmp_path: Path, large_study: Path
) -> None:
    models = tmp_path / "models"
    shutil.copytree(swift_models, models)
    service = serve(models, watch_s=0.1)
    before = service.predicted(large_study)
    answers: list[bytes] = []
    asking = threading.Thread(target=lambda: answers.append(service.predicted(large_study)))
    asking.start()
    time.sleep(0.3)
    digest = replace(models, seed=7)
    asking.join()
    deadline = time.monotonic() + 120
    while service.http.get("/v1/models/swift").json()["digest"] != digest:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    after = service.predicted(large_study)
    assert after != before
    # On the old one if its network was at work already, else on the new one; never on both.
    assert answers in ([before], [after])


def test_a_clock_set_forward_by_a_day_times_no_study_out(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = CancelToken(seconds=60)
    now = time.time()
    monkeypatch.setattr(stop_module.time, "time", lambda: now + 86_400)
    assert watched.reason is None


def until_clock_differs(service: Serving, days: int) -> None:
    """Wait until the service looks at its clock, which it does every second or two."""
    deadline = time.monotonic() + 60
    while True:
        said = parsedate_to_datetime(service.http.get("/health/live").headers["date"])
        if abs((said - datetime.now(UTC)) - timedelta(days)) < timedelta(hours=1):
            return
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_clock_that_jumps_to_and_fro_under_a_service_changes_no_job_and_no_answer(
    serve: Start, swift_models: Path, tmp_path: Path, small_study: Path
) -> None:
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        if os.environ.get("CI") == "true":
            pytest.fail("libfaketime is not installed: make system")
        pytest.skip("libfaketime is not installed: make system")
    clock = tmp_path / "clock"
    clock.write_text("+0")
    service = serve(
        swift_models,
        jobs_storage=tmp_path / "jobs",
        jobs_keep_h=1000,
        environ={
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        },
    )
    expected = service.predicted(small_study)
    for days in (2, -2):
        before = service.post(small_study), service.post(small_study)
        service.until(before[0], "running", "done")
        clock.write_text(f"{days:+}d")
        until_clock_differs(service, days)
        for job in (*before, service.post(small_study)):
            assert service.until(job, "done", "failed")["state"] == "done"
            assert service.mask(job) == expected
        assert service.predicted(small_study) == expected
