"""Disks that are full, databases that are damaged."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..conftest import Start, services


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True
    )
    if done.returncode != 0:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """Fill it but for so many bytes."""
    status = os.statvfs(disk)
    filler = disk / "filler"
    with filler.open("wb") as file:
        file.write(b"\0" * (status.f_bavail * status.f_frsize - leave))
    return filler


def test_a_full_disk_fails_the_job_with_a_reason_and_leaves_no_part_of_a_result(
    serve: Start, swift_models: Path, tmp_path: Path, small_disk: Path, large_study: Path
) -> None:
    database = tmp_path / "database"
    database.write_text(f"sqlite:///{tmp_path}/jobs.sqlite")
    service = serve(
        swift_models, jobs_storage=small_disk, jobs_database_file=database, executor="one"
    )
    # The mask fits, the probability maps do not.
    fill(small_disk, leave=large_study.stat().st_size + (2 << 20))
    job = service.until(service.post(large_study, probabilities="true"), "failed", "done")
    assert job["state"] == "failed"
    assert job["error"]["code"] == "storage-failed" and "No space left" in job["error"]["detail"]
    assert [path.name for path in small_disk.rglob("*") if path.is_file()] == ["filler"]
    (small_disk / "filler").unlink()
    assert service.until(service.post(large_study), "done")["results"]


def test_a_full_disk_refuses_an_upload_with_507_and_the_next_one_is_served(
    serve: Start, swift_models: Path, small_disk: Path, large_study: Path
) -> None:
    service = serve(swift_models, scratch=small_disk)
    filler = fill(small_disk, leave=100_000)
    with large_study.open("rb") as file:
        answer = service.http.post("/v1/models/swift/predict", files={"t1": file})
    assert answer.status_code == 507
    assert answer.json()["type"] == "urn:brainmvp:problem:storage-failed"
    assert [path.name for path in small_disk.iterdir()] == ["filler"]
    filler.unlink()
    assert service.predicted(large_study)


@pytest.fixture(scope="module")
def kept_jobs(
    swift_models: Path, small_study: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What a service left that has done a job."""
    folder = tmp_path_factory.mktemp("kept")
    with services(folder) as start:
        service = start(swift_models, jobs_storage=folder / "jobs")
        service.until(service.post(small_study), "done")
        service.stop()
    return folder / "jobs"


@pytest.mark.parametrize("damage", ["cut", "overwritten"])
def test_a_damaged_sqlite_file_is_refused_in_plain_words_and_left_as_it_is(
    serve: Start, swift_models: Path, tmp_path: Path, kept_jobs: Path, damage: str
) -> None:
    storage = tmp_path / "jobs"
    shutil.copytree(kept_jobs, storage)
    file = storage / "jobs.sqlite"
    content = bytearray(file.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    else:
        content[:4096] = b"x" * 4096
    file.write_bytes(content)
    with pytest.raises(AssertionError, match=r"jobs\.sqlite is damaged.*it was not changed"):
        serve(swift_models, jobs_storage=storage)
    assert file.read_bytes() == content
