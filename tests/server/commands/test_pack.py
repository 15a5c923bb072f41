"""Bundles as an image: the same ones have the same digest, and come back whole or not at all."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from brainmvp_models.bundle import Bundle
from brainmvp_models.errors import InvalidBundle, InvalidSettings, StorageFailed
from brainmvp_server.commands.fetch import fetch_bundles
from brainmvp_server.commands.pack import pack_bundles
from brainmvp_server.repository.oci_layout import Layer, write_layout
from ports import free_port

MODELS = Path(__file__).parents[3] / "examples" / "bundles"
NAME, VERSION = "demo-grade", "1"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A model folder with one bundle, whose version is said to be the default."""
    folder = tmp_path / "models"
    shutil.copytree(MODELS / NAME, folder / NAME)
    (folder / NAME / "default").write_text(VERSION)
    return folder


def blob(layout: Path, digest: str) -> Path:
    """A blob's file."""
    return layout / "blobs" / "sha256" / digest.removeprefix("sha256:")


def manifest(layout: Path, digest: str) -> Any:
    """The image's manifest."""
    return json.loads(blob(layout, digest).read_bytes())


def test_the_digest_does_not_depend_on_when_or_how_the_files_were_copied(
    models: Path, tmp_path: Path
) -> None:
    digest, _ = pack_bundles(models, tmp_path / "a")
    for path in models.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    (models / NAME / VERSION / "engines").mkdir()  # what a GPU's engine left there
    (models / NAME / VERSION / "engines" / "plan").write_bytes(b"x")
    assert pack_bundles(models, tmp_path / "b" / "c")[0] == digest


def test_the_bytes_of_an_image_are_those_of_every_release(tmp_path: Path) -> None:
    """A pinned digest of an earlier pack must stay that of the same bundles."""
    root = tmp_path / "root"
    (root / "a" / "1").mkdir(parents=True)
    (root / "a" / "1" / "model").write_bytes(bytes(range(256)) * 1000)
    layers = [Layer("a/1", (root / "a" / "1" / "model",))]
    digest = "sha256:1164c11e1d3737091bbb3e07d897de0e58b205462214f3a7a425097b34f22176"
    assert write_layout(root, layers, tmp_path / "layout") == digest


@pytest.mark.parametrize("size", [0, 1, 65_535 - 2048, 65_536, 300_001])
def test_layers_are_gzip_that_others_read(tmp_path: Path, size: int) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_bytes(os.urandom(size))
    digest = write_layout(root, [Layer(".", (root / "file",))], tmp_path / "layout")
    (layer,) = manifest(tmp_path / "layout", digest)["layers"]
    packed = blob(tmp_path / "layout", layer["digest"]).read_bytes()
    inside = hashlib.sha256(gzip.decompress(packed)).hexdigest()
    assert layer["annotations"]["io.deis.oras.content.digest"] == f"sha256:{inside}"


def test_what_was_packed_comes_back_with_its_default_version(models: Path, tmp_path: Path) -> None:
    digest, packed = pack_bundles(models, tmp_path / "layout")
    there = tmp_path / "there"
    assert fetch_bundles(f"oci:{tmp_path / 'layout'}", there, digest) == [there / NAME / VERSION]
    assert Bundle.open(there / NAME).digest == packed[0].digest
    assert (there / NAME / "default").read_text() == VERSION
    (there / NAME / "default").write_text("2")  # this site's own choice
    fetch_bundles(f"oci:{tmp_path / 'layout'}", there, digest)
    assert (there / NAME / "default").read_text() == "2"


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_changed_or_lost_blob_is_noticed_before_anything_is_served(
    models: Path, tmp_path: Path, which: int
) -> None:
    layout, there = tmp_path / "layout", tmp_path / "there"
    digest, _ = pack_bundles(models, layout)
    layers = [layer["digest"] for layer in manifest(layout, digest)["layers"]]
    path = blob(layout, [digest, *layers][which])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InvalidBundle, match="holds another content"):
        fetch_bundles(f"oci:{layout}", there, digest)
    path.unlink()
    with pytest.raises(InvalidBundle, match="holds no sha256:"):
        fetch_bundles(f"oci:{layout}", there, digest)
    assert list(there.iterdir()) == []


def test_an_image_of_something_else_is_refused(models: Path, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    digest, _ = pack_bundles(models, layout)
    found = manifest(layout, digest)
    found["layers"][0]["mediaType"] = "application/zip"
    for content, words in (
        (json.dumps(found).encode(), "layer of another kind"),
        (b"{}", "no image of bundles"),
        (b"\xff", "no image of bundles"),
    ):
        other = f"sha256:{hashlib.sha256(content).hexdigest()}"
        blob(layout, other).write_bytes(content)
        with pytest.raises(InvalidBundle, match=words):
            fetch_bundles(f"oci:{layout}", tmp_path / "there", other)


def test_nothing_is_packed_of_what_would_be_refused(models: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidBundle, match="holds no bundle"):
        pack_bundles(models / NAME, tmp_path / "layout")
    (tmp_path / "there").mkdir()
    with pytest.raises(InvalidSettings, match="is there already"):
        pack_bundles(models, tmp_path / "there")
    with pytest.raises(StorageFailed, match="cannot be written"):
        pack_bundles(models, models / NAME / "default" / "layout")
    (models / NAME / VERSION / "model.onnx").write_bytes(b"other")
    with pytest.raises(InvalidBundle, match=f"{NAME}/{VERSION}.*model.onnx"):
        pack_bundles(models, tmp_path / "layout")
    assert {path.name for path in tmp_path.iterdir()} == {"models", "there"}


@contextmanager
def registry(program: Path, folder: Path) -> Iterator[str]:
    """A registry without a password; its host and port."""
    host = f"127.0.0.1:{free_port()}"
    settings = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}},
        "http": {"addr": host},
    }
    (folder / "registry.json").write_text(json.dumps(settings))  # JSON is YAML
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "serve", folder / "registry.json"], stdout=log, stderr=log
        )
    try:
        end = time.monotonic() + 60
        while True:
            try:
                assert httpx.get(f"http://{host}/v2/").status_code == 200
                break
            except httpx.TransportError:
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.05)
        yield host
    finally:
        process.terminate()
        process.wait(60)


def test_a_registry_keeps_the_digest_and_gives_back_what_was_packed(
    models: Path, tmp_path: Path, program: Callable[[str], Path]
) -> None:
    """Pushed and pulled by the commands that the documentation shows."""
    digest, packed = pack_bundles(models, tmp_path / "layout")
    skopeo = [program("skopeo"), "copy", "--quiet", "--preserve-digests"]
    with registry(program("docker-registry"), tmp_path) as host:
        subprocess.run(
            [*skopeo, "--dest-tls-verify=false", f"oci:{tmp_path / 'layout'}",
             f"docker://{host}/models/site:1"],
            check=True, timeout=120,
        )  # fmt: skip
        subprocess.run(
            [*skopeo, "--src-tls-verify=false", f"docker://{host}/models/site@{digest}",
             f"oci:{tmp_path / 'pulled'}"],
            check=True, timeout=120,
        )  # fmt: skip
    fetch_bundles(f"oci:{tmp_path / 'pulled'}", tmp_path / "there", digest)
    assert Bundle.open(tmp_path / "there" / NAME).digest == packed[0].digest
