"""The jobs' storage: one contract over a folder and over a real S3 server."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event

from brainmvp_models.errors import InvalidSettings
from brainmvp_models.modality import Modality
from brainmvp_server.jobs import database
from brainmvp_server.jobs.files import JobFiles
from brainmvp_server.jobs.job import JobRequest, JobSpec, KeptStudy, job_digest
from brainmvp_server.jobs.store import JobStore
from brainmvp_server.results.findings import Findings
from s3_server import s3_bucket

JOB, OTHER = "a" * 32, "b" * 32


def spec(digest: str = "d1") -> JobSpec:
    asked = JobRequest(model="m", version="1")
    return JobSpec(id=JOB, owner="", asked=asked, digest=digest, modalities=(Modality.T1,))


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JobFiles]:
    if request.param == "folder":
        yield JobFiles(str(tmp_path / "jobs"))
        return
    with s3_bucket("bucket"):
        yield JobFiles("s3://bucket/jobs")


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "scan"
    path.write_bytes(b"voxels" * 1000)
    return path


def test_a_study_comes_back_as_it_was_and_is_gone_when_dropped(
    storage: JobFiles, scan: Path, tmp_path: Path
) -> None:
    storage.put_study(spec(), KeptStudy({Modality.T1: scan}))
    storage.put_study(spec("d2"), KeptStudy({Modality.T1: scan}))
    (tmp_path / "out").mkdir()
    files = storage.fetch_study(spec(), tmp_path / "out").files
    assert files[Modality.T1].read_bytes() == scan.read_bytes()
    storage.drop_study(spec("d2"))
    assert storage.fetch_study(spec(), tmp_path / "out")
    storage.drop_study(spec())
    with pytest.raises(FileNotFoundError):
        storage.fetch_study(spec(), tmp_path / "out")


def test_a_brain_mask_comes_back_with_its_study_and_makes_another_order_of_it(
    storage: JobFiles, scan: Path, tmp_path: Path
) -> None:
    mask = tmp_path / "mask"
    mask.write_bytes(b"mask")
    study = KeptStudy({Modality.T1: scan}, brain=mask)
    of_it = spec().model_copy(update={"brain": True})
    storage.put_study(of_it, study)
    (tmp_path / "out").mkdir()
    found = storage.fetch_study(of_it, tmp_path / "out").brain
    assert found is not None and found.read_bytes() == b"mask"
    other = job_digest(of_it.asked, KeptStudy({Modality.T1: scan}))
    assert job_digest(of_it.asked, study) != other


def test_results_are_named_read_packed_and_dropped(
    storage: JobFiles, scan: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "results"
    (folder / "probabilities").mkdir(parents=True)
    (folder / "summary.json").write_text("{}")
    (folder / "probabilities" / "WT.nii.gz").write_bytes(scan.read_bytes())
    names = storage.put_results(JOB, folder)
    assert names == ("probabilities/WT.nii.gz", "summary.json")
    assert storage.size(JOB, "summary.json") == 2
    assert b"".join(storage.pieces(JOB, names[0])) == scan.read_bytes()
    storage.pack(JOB, names, tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as pack:
        assert tuple(pack.namelist()) == names
        assert pack.read(names[0]) == scan.read_bytes()
    storage.drop(JOB)
    storage.drop(JOB)  # what is gone may be dropped again
    with pytest.raises(FileNotFoundError):
        storage.size(JOB, "summary.json")


def test_files_that_no_job_knows_are_found_but_not_those_just_written(
    storage: JobFiles, scan: Path
) -> None:
    storage.put_study(spec(), KeptStudy({Modality.T1: scan}))
    assert storage.left_behind({JOB}, older_than_s=-60) == []
    assert storage.left_behind({OTHER}, older_than_s=60) == []
    assert storage.left_behind({OTHER}, older_than_s=-60) == [JOB]


def test_an_address_that_is_none_is_refused_in_plain_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for address in ("nowhere://x", str(tmp_path / "file" / "folder")):
        with pytest.raises(InvalidSettings, match="storage cannot be used"):
            JobFiles(address)


def test_in_a_folder_nobody_but_its_owner_may_look_at_a_job(scan: Path, tmp_path: Path) -> None:
    root = tmp_path / "jobs"
    root.mkdir(mode=0o755)
    storage = JobFiles(str(root))
    storage.put_study(
        spec(), KeptStudy({Modality.T1: scan}, Findings(volumes=(), other=0, unreadable=0))
    )
    results = tmp_path / "results" / "probabilities"
    results.mkdir(parents=True)
    (results / "WT.nii.gz").write_bytes(b"voxels")
    storage.put_results(JOB, results.parent)
    database.prepare(database.sqlite_url(root / "jobs.sqlite"))
    paths = [root, *root.rglob("*")]
    assert len(paths) > 6
    for path in paths:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_jobs_are_counted_where_they_are_not_fetched(tmp_path: Path) -> None:
    url = database.sqlite_url(tmp_path / "jobs.sqlite")
    database.prepare(url)
    client = database.connect(url)
    store = JobStore(client, JobFiles(str(tmp_path / "jobs")), timedelta(hours=1))
    scan = tmp_path / "scan"
    scan.write_bytes(b"voxels")
    assert store.oldest_s() == 0
    for _ in range(3):
        store.post("", spec().asked, KeptStudy({Modality.T1: scan}))
    said: list[str] = []
    event.listen(
        client._sys_db.engine,
        "before_cursor_execute",
        lambda connection, cursor, statement, *rest: said.append(statement),
    )
    assert (store.waiting(), store.running()) == (3, 0)
    assert said and all("count(" in statement for statement in said)
    assert 0 <= store.oldest_s() < 300
    assert "min(" in said[-1]
    store.close()
