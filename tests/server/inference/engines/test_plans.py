"""Plans for GPUs: which one may be run where, and what is kept of one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainmvp_models.errors import EngineUnavailable
from brainmvp_server.inference.engines.plans import (
    EnginePlan,
    Machine,
    PlanCache,
    PlanRecord,
    Profile,
    pieces,
    write_whole,
)

NETWORK = "sha256:" + "1" * 64
H100 = Machine(
    gpu="NVIDIA H100 80GB HBM3", capability=(9, 0), driver="580.65.06", tensorrt="10.16.1.11"
)
CONTENT = b"a plan"
RECORD = PlanRecord(
    network=NETWORK,
    precision="fp16",
    windows=8,
    built_for=H100,
    hardware_compatible=False,
    version_compatible=False,
    plan="sha256:6a9e8fcdc8b6b6f1ae2c3c9cf8ff1f7bba0f4a2e8fb8f1f0a2a53bc5c6b0d0a4",
)


def at(**other: object) -> Machine:
    return H100.model_copy(update=other)


def record(**other: object) -> PlanRecord:
    return RECORD.model_copy(update=other)


def test_a_plan_fits_the_machine_it_was_built_on() -> None:
    assert RECORD.mismatch(NETWORK, 8, H100) is None
    assert RECORD.mismatch(NETWORK, 1, H100) is None


@pytest.mark.parametrize(
    ("network", "windows", "here", "reason"),
    [
        ("sha256:" + "2" * 64, 8, H100, "another network"),
        (NETWORK, 16, H100, "takes 8 windows at once, not 16"),
        (NETWORK, 8, at(tensorrt="10.16.1.12"), "TensorRT 10.16.1.11, here is 10.16.1.12"),
        (NETWORK, 8, at(capability=(8, 0)), "compute capability 9.0, here is 8.0"),
        (NETWORK, 8, at(gpu="NVIDIA H200"), "NVIDIA H100 80GB HBM3, here is NVIDIA H200"),
        (NETWORK, 8, at(gpu=H100.gpu + " MIG 1g.10gb"), "here is NVIDIA H100 80GB HBM3 MIG"),
        (NETWORK, 8, at(driver="590.1"), "driver 580.65.06, here is 590.1"),
    ],
)
def test_a_plan_is_not_run_where_it_does_not_fit(
    network: str, windows: int, here: Machine, reason: str
) -> None:
    assert reason in str(RECORD.mismatch(network, windows, here))


def test_a_hardware_compatible_plan_runs_on_other_gpus_of_its_capability_alone() -> None:
    portable = record(hardware_compatible=True)
    assert portable.mismatch(NETWORK, 8, at(gpu="NVIDIA H200", driver="590.1")) is None
    assert portable.mismatch(NETWORK, 8, at(gpu="NVIDIA A100", capability=(8, 0)))
    assert portable.mismatch(NETWORK, 8, at(tensorrt="10.17.0.1"))


@pytest.mark.parametrize(
    ("version", "runs"),
    [("10.16.1.11", True), ("10.17.0.1", True), ("10.9.0.34", False), ("11.0.0.114", False)],
)
def test_a_version_compatible_plan_runs_in_later_minor_versions(version: str, runs: bool) -> None:
    reason = record(version_compatible=True).mismatch(NETWORK, 8, at(tensorrt=version))
    assert (reason is None) == runs


def kept(folder: Path, content: bytes = CONTENT, **other: object) -> PlanCache:
    from hashlib import sha256

    cache = PlanCache(folder / "tensorrt")
    cache.keep(EnginePlan(record(plan=f"sha256:{sha256(content).hexdigest()}", **other), content))
    return cache


def test_a_kept_plan_is_found_again_with_its_record(tmp_path: Path) -> None:
    found = kept(tmp_path).find(NETWORK, 4, H100)
    assert isinstance(found, EnginePlan)
    assert (found.content, found.record.windows) == (CONTENT, 8)
    names = {path.suffix for path in (tmp_path / "tensorrt").iterdir()}
    assert names == {".plan", ".json"}


def test_plans_of_two_kinds_of_gpu_share_a_folder(tmp_path: Path) -> None:
    a100 = at(gpu="NVIDIA A100", capability=(8, 0))
    cache = kept(tmp_path, b"for the A100", built_for=a100)
    kept(tmp_path)
    for here, content in ((H100, CONTENT), (a100, b"for the A100")):
        found = cache.find(NETWORK, 8, here)
        assert isinstance(found, EnginePlan) and found.content == content


def test_a_damaged_plan_is_not_run(tmp_path: Path) -> None:
    cache = kept(tmp_path)
    next((tmp_path / "tensorrt").glob("*.plan")).write_bytes(b"another")
    assert cache.find(NETWORK, 8, H100) == "it is missing or damaged"


def test_a_record_that_is_none_is_told(tmp_path: Path) -> None:
    cache = kept(tmp_path)
    next((tmp_path / "tensorrt").glob("*.json")).write_bytes(b"{}")
    assert cache.find(NETWORK, 8, H100) == "its record cannot be read"
    assert PlanCache(tmp_path / "nowhere").find(NETWORK, 8, H100) == "there is none"


def test_timings_are_another_machines_nowhere(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path)
    files = {cache.timings(here) for here in (H100, at(driver="590.1"), at(tensorrt="11.0"))}
    assert len(files) == 3


def test_a_folder_that_cannot_be_written_is_told_with_the_setting(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(EngineUnavailable, match="--engine-cache"):
        write_whole(tmp_path / "cache" / "x.plan", b"")
    assert list(tmp_path.iterdir()) == [tmp_path / "cache"]


def test_a_profile_reaches_from_one_window_to_the_largest_batch() -> None:
    smallest, best, largest = Profile(4, (96, 80, 64), 8).shapes
    assert smallest == (1, 4, 96, 80, 64)
    assert best == largest == (8, 4, 96, 80, 64)


@given(st.integers(1, 100), st.integers(1, 16))
def test_pieces_of_a_batch_cover_it_once_and_fit(windows: int, most: int) -> None:
    parts = pieces(windows, most)
    covered = [index for part in parts for index in range(part.start, part.stop)]
    assert covered == list(range(windows))
    assert all(part.stop - part.start <= most for part in parts)
