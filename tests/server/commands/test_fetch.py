"""Bundles from elsewhere: the right ones come whole, all others not at all."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import BrainMVPError, InvalidBundle, InvalidSettings, StorageFailed
from brainmvp_server.commands.fetch import fetch_bundles
from s3_server import s3_bucket

MODELS = Path(__file__).parents[3] / "examples" / "bundles"
NAME, VERSION = "demo-grade", "1"


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and logs nothing."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder that is served over HTTP, and its address."""
    folder = tmp_path / "shop"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def offered(folder: Path, *entries: tuple[str, bytes]) -> str:
    """Pack one bundle, or the entries given, as ``a.tar.gz``; its digest."""
    with tarfile.open(folder / "a.tar.gz", "w:gz", compresslevel=1) as tar:
        if not entries:
            tar.add(MODELS / NAME / VERSION, f"{NAME}/{VERSION}")
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return "sha256:" + hashlib.sha256((folder / "a.tar.gz").read_bytes()).hexdigest()


def test_a_bundle_comes_whole_and_a_second_time_changes_nothing(
    shop: tuple[Path, str], tmp_path: Path
) -> None:
    folder, address = shop
    digest, models = offered(folder), tmp_path / "models"
    for _ in range(2):
        roots = fetch_bundles(f"{address}/a.tar.gz", models, digest)
        assert roots == [models / NAME / VERSION]
    assert Bundle.open(models / NAME).digest == Bundle.open(MODELS / NAME).digest
    assert [entry.name for entry in models.iterdir()] == [NAME]


def test_another_bundle_of_that_version_is_not_overwritten(
    shop: tuple[Path, str], tmp_path: Path
) -> None:
    folder, address = shop
    digest, models = offered(folder), tmp_path / "models"
    place = models / NAME / VERSION
    shutil.copytree(MODELS / NAME / VERSION, place)
    (place / "manifest.json").write_text((place / "manifest.json").read_text() + "\n")
    before = Bundle.open(place).digest
    with pytest.raises(InvalidBundle, match="is another one"):
        fetch_bundles(f"{address}/a.tar.gz", models, digest)
    assert Bundle.open(place).digest == before


def test_a_link_to_elsewhere_is_not_followed(shop: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = shop
    secret = tmp_path / "secret"
    secret.write_text("kept")
    with tarfile.open(folder / "a.tar.gz", "w:gz") as tar:
        link = tarfile.TarInfo("demo")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        tar.addfile(link)
        through = tarfile.TarInfo("demo/secret")
        through.size = 1
        tar.addfile(through, io.BytesIO(b"x"))
    digest = "sha256:" + hashlib.sha256((folder / "a.tar.gz").read_bytes()).hexdigest()
    with pytest.raises(InvalidBundle, match="cannot be unpacked"):
        fetch_bundles(f"{address}/a.tar.gz", tmp_path / "models", digest)
    assert secret.read_text() == "kept"


@pytest.mark.parametrize(
    ("entries", "digest", "path", "error", "words"),
    [
        ((("a", b""),), "sha256:" + "0" * 64, "a.tar.gz", InvalidBundle, "another digest"),
        ((("../a", b"x"),), None, "a.tar.gz", InvalidBundle, "cannot be unpacked"),
        ((("a/b", b"x"),), None, "a.tar.gz", InvalidBundle, "holds no bundle"),
        ((("a/1/manifest.json", b"{}"),), None, "a.tar.gz", InvalidBundle, "does not validate"),
        ((), None, "b.tar.gz", StorageFailed, "was answered 404"),
    ],
)
def test_whatever_is_wrong_leaves_the_folder_empty(
    shop: tuple[Path, str],
    tmp_path: Path,
    entries: tuple[tuple[str, bytes], ...],
    digest: str | None,
    path: str,
    error: type[BrainMVPError],
    words: str,
) -> None:
    folder, address = shop
    right = offered(folder, *entries)
    with pytest.raises(error, match=words) as caught:
        fetch_bundles(f"{address}/{path}?token=secret", tmp_path / "models", digest or right)
    assert "secret" not in str(caught.value)
    assert list((tmp_path / "models").iterdir()) == []


def test_a_bundle_comes_from_a_bucket(shop: tuple[Path, str], tmp_path: Path) -> None:
    import boto3

    digest = offered(shop[0])
    with s3_bucket("shelf"):
        client = boto3.client("s3")
        client.upload_file(str(shop[0] / "a.tar.gz"), "shelf", "a.tar.gz")
        client.close()
        roots = fetch_bundles("s3://shelf/a.tar.gz", tmp_path / "models", digest)
        with pytest.raises(StorageFailed, match=r"s3://shelf/b: cannot be read"):
            fetch_bundles("s3://shelf/b", tmp_path / "models", digest)
    assert roots == [tmp_path / "models" / NAME / VERSION]


def test_other_addresses_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="no address"):
        fetch_bundles("file:///etc/passwd", tmp_path, "sha256:" + "0" * 64)
