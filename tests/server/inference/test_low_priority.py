"""Work on large studies leaves the cores to the engine."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from brainmvp_models.bundle import Bundle
from brainmvp_server.inference import pipeline
from brainmvp_server.inference.low_priority import run_low_priority
from brainmvp_server.inference.predictor import Predictor

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="threads have a priority of their own on Linux alone"
)


def priority() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def lowest() -> int:
    """What the thread of least priority has."""
    found = [priority()]
    for thread in os.listdir("/proc/self/task"):
        with suppress(ProcessLookupError):
            found.append(os.getpriority(os.PRIO_PROCESS, int(thread)))
    return max(found)


def test_work_aside_and_the_threads_it_starts_give_way_and_nobody_else_does() -> None:
    def work() -> tuple[int, int]:
        with ThreadPoolExecutor(1) as pool:
            return priority(), pool.submit(priority).result()

    before = priority()
    own, started = run_low_priority(work)
    assert own == started > before
    assert priority() == before


def test_work_aside_of_a_process_that_gives_way_already_is_raised_by_nothing() -> None:
    probe = (
        "from test_low_priority import priority, run_low_priority; "
        "print(run_low_priority(priority))"
    )
    done = subprocess.run(
        ["nice", "-n", "15", sys.executable, "-c", probe],
        cwd=Path(__file__).parent, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout) >= 15


def test_work_aside_sees_the_callers_context_and_its_error_reaches_the_caller() -> None:
    name: ContextVar[str] = ContextVar("name")
    name.set("span")
    assert run_low_priority(name.get) == "span"
    with pytest.raises(ZeroDivisionError):
        run_low_priority(lambda: 1 // 0)


@pytest.mark.parametrize(("edge", "large"), [(96, False), (200, True)])
def test_the_engine_has_its_priority_and_reading_only_that_of_a_small_study(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edge: int, large: bool
) -> None:
    noise = np.random.default_rng(0).integers(1, 100, (edge, edge, edge), dtype=np.int16)
    noise[48:], noise[:, 96:], noise[:, :, 96:] = 0, 0, 0  # the crop leaves one window
    scan = tmp_path / "t1.nii"
    nib.save(nib.Nifti1Image(noise, np.eye(4)), scan)
    seen: list[int] = []
    read = pipeline.read_study

    def noted(*args: object, **how: object) -> object:
        seen.append(priority())
        return read(*args, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "read_study", noted)
    model = Predictor.load(tiny_bundle.root)
    try:
        model.predict({"t1": scan}, fill="zeros")
        deadline = time.monotonic() + 20
        while (stays := lowest()) > priority() and time.monotonic() < deadline:
            time.sleep(0.01)  # a thread that was joined is there for a moment longer
    finally:
        model.close()
    assert (seen[0] > priority()) is large
    assert stays == priority(), "a thread that stays, the engine's perhaps, has low priority"
