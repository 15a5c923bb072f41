"""Results in a bucket: the same files as in a folder, whole where their summary is."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import fsspec
import pytest
import s3fs

from brainmvp_clients.errors import ClientError
from brainmvp_clients.score.bucket_sink import BucketSink
from brainmvp_clients.score.shard import spread
from brainmvp_clients.score.study_files import Study
from s3_server import s3_bucket

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[str]:
    """An address that no other test has: the server's buckets outlive it in its process."""
    with s3_bucket("scores"):
        yield f"s3://scores/{tmp_path.name}"


def _objects(url: str) -> dict[str, bytes]:
    """Every object below an address."""
    files = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
    root = url.removeprefix("s3://")
    return {path.removeprefix(f"{root}/"): files.cat_file(path) for path in files.find(root)}


def test_a_run_into_a_bucket_keeps_the_files_there_and_ledger_and_tables_here(
    score: Command, brainmvp: Command, tmp_path: Path, bucket: str, predicted: Callable[[], int]
) -> None:
    out = tmp_path / "out"
    assert score("--quiet", "--out", tmp_path / "plain")[0] == 0
    expected = {
        path.relative_to(tmp_path / "plain" / "studies").as_posix(): path.read_bytes()
        for path in (tmp_path / "plain" / "studies").rglob("*")
        if path.is_file()
    }
    for number in range(2):
        assert score("--quiet", "--bucket", bucket, "--shard", f"{number}/2")[0] == 0
    before = predicted()
    found = _objects(bucket)
    names = {name: f"studies/{spread(name)}" for name in {n.split("/")[0] for n in expected}}
    assert found == {
        f"{names[path.split('/')[0]]}/{path.partition('/')[2]}": content
        for path, content in expected.items()
    }
    assert not (out / "studies").exists() and list(out.rglob("ledger.sqlite"))
    assert score("--quiet", "--bucket", bucket, "--shard", "0/2", "--resume")[0] == 0
    assert predicted() == before
    code, said, _ = brainmvp("score", "merge", out, "--json")
    assert (code, json.loads(said)["done"]) == (0, 5)
    merge = ("score", "merge", out, "--bucket", bucket, "--json")
    code, said, _ = brainmvp(*merge)
    assert (code, json.loads(said)["without_files"]) == (0, 0)
    gone = sorted(names)[0]
    fsspec.filesystem("s3").rm_file(f"{bucket}/{names[gone]}/summary.json")
    code, said, _ = brainmvp(*merge)
    assert (code, json.loads(said)["without_files"]) == (1, 1)
    assert f'{gone},"done, but its files are gone"' in (out / "missing.csv").read_text()
    code, _, err = brainmvp("score", "merge", out, "--bucket", "s3://nobodys/run")
    assert code == 2 and err.count("\n") == 1 and "cannot be listed" in err


def test_an_earlier_result_is_replaced_its_summary_first_and_no_file_of_it_stays(
    tmp_path: Path, bucket: str
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, names in ((first, ("mask.nii.gz", "old.dcm")), (second, ("mask.nii.gz",))):
        folder.mkdir()
        for name in (*names, "summary.json"):
            (folder / name).write_text(folder.name)
    sink = BucketSink(bucket)
    sink.deliver(Study("key", "site/one"), first)
    files, order = fsspec.filesystem("s3"), list[str]()
    remove, put = files.rm_file, files.put_file

    def removed(path: str) -> None:
        order.append(f"-{path.rpartition('/')[2]}")
        remove(path)

    def written(local: str, path: str) -> None:
        order.append(f"+{path.rpartition('/')[2]}")
        put(local, path)

    with patch.object(files, "rm_file", removed), patch.object(files, "put_file", written):
        sink.deliver(Study("key", "site/one"), second)
    assert order == ["-summary.json", "-old.dcm", "+mask.nii.gz", "+summary.json"]
    assert set(_objects(bucket).values()) == {b"second"} and len(_objects(bucket)) == 2


@pytest.mark.parametrize("url", ["s3://nobodys/run", "nosuch://x/y", "ftp://127.0.0.1:9/x"])
def test_a_bucket_that_cannot_be_used_is_refused_before_a_study_is_sent(
    score: Command, predicted: Callable[[], int], bucket: str, url: str
) -> None:
    code, _, err = score("--bucket", url)
    assert code == 2 and err.count("\n") == 1 and "--bucket" in err
    assert predicted() == 0
    assert not fsspec.filesystem("s3").exists("nobodys"), "a misspelt bucket was made"


def test_a_folder_given_as_a_bucket_gets_the_folders_that_results_lie_in(tmp_path: Path) -> None:
    result = tmp_path / "result"
    result.mkdir()
    (result / "summary.json").write_bytes(b"{}")
    sink = BucketSink(f"file://{tmp_path}/scores", spread)
    sink.deliver(Study("a", "a"), result)
    assert (tmp_path / "scores" / "studies" / spread("a") / "summary.json").read_bytes() == b"{}"


def test_a_bucket_that_fails_later_fails_the_study_and_does_not_refuse_it(
    tmp_path: Path, bucket: str
) -> None:
    sink = BucketSink(bucket)
    (tmp_path / "summary.json").write_text("{}")
    with (
        patch.object(fsspec.filesystem("s3"), "put_file", side_effect=PermissionError("JANE")),
        pytest.raises(ClientError) as caught,
    ):
        sink.deliver(Study("key", "JANE"), tmp_path)
    assert type(caught.value).__name__ == "Unavailable" and "JANE" not in str(caught.value)


def test_without_the_extra_it_is_refused(score: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "brainmvp_clients.score.bucket_sink", raising=False)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    code, _, err = score("--bucket", "s3://scores/run")
    assert code == 2 and "brainmvp[s3]" in err
