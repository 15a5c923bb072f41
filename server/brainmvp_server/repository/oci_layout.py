"""Bundles as an OCI image layout: what registries keep, and what Kubernetes mounts as a volume.

The format is the OCI image specification 1.1: ``oci-layout``, ``index.json`` and blobs named by
their SHA-256. It is an image and not an artifact, with a configuration that lists its layers, since
container runtimes mount nothing else. A bundle is a layer, so that a registry keeps and sends only
what is new; annotations let ``oras pull`` unpack it as well.

The same bundles have the same digest wherever they are packed. Nothing of the time or the machine
goes in, and layers are gzip without compression: compressed bytes would depend on the release of
zlib, and tools that push compress a bare tar, which would give it another digest.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from brainmvp_models.bundle import digest_of
from brainmvp_models.errors import InvalidBundle
from brainmvp_server.repository.bundle_archive import unpack, write_tar

_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_TITLE = "org.opencontainers.image.title"
_UNPACK, _UNPACKED = "io.deis.oras.content.unpack", "io.deis.oras.content.digest"
_MOST_JSON_BYTES = 4 << 20
_DIGEST = r"^sha256:[0-9a-f]{64}$"


class _Json(BaseModel):
    model_config = ConfigDict(
        frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore"
    )

    def encoded(self) -> bytes:
        """As canonical JSON."""
        fields = self.model_dump(by_alias=True, exclude_none=True)
        return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


class Descriptor(_Json):
    """What a blob is, by its digest."""

    media_type: str
    digest: str = Field(pattern=_DIGEST)
    size: int = Field(ge=0)
    annotations: dict[str, str] | None = None


class ImageManifest(_Json):
    """An image: its configuration and its layers."""

    schema_version: Literal[2] = 2
    media_type: Literal["application/vnd.oci.image.manifest.v1+json"] = _MANIFEST
    config: Descriptor
    layers: tuple[Descriptor, ...] = Field(min_length=1)


class _Index(_Json):
    schema_version: Literal[2] = 2
    media_type: str = _INDEX
    manifests: tuple[Descriptor, ...]


class _RootFs(_Json):
    type: Literal["layers"] = "layers"
    diff_ids: tuple[str, ...] = Field(alias="diff_ids")


class _Config(_Json):
    architecture: str = "amd64"
    os: str = "linux"
    rootfs: _RootFs


_Model = TypeVar("_Model", bound=_Json)


@dataclass(frozen=True)
class Layer:
    """What one layer holds: ``name`` is the folder below which its files lie."""

    name: str
    files: tuple[Path, ...]


def write_layout(root: Path, layers: Iterable[Layer], layout: Path) -> str:
    """Write files below ``root`` into the new folder ``layout``; returns the image's digest.

    Raises:
        OSError: a file cannot be read, or the folder not be written.
    """
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    written = [_write_layer(root, layer, blobs) for layer in layers]
    config = _Config(rootfs=_RootFs(diff_ids=tuple(diff_id for _, diff_id in written)))
    manifest = ImageManifest(
        config=_write_json(config, _CONFIG, blobs),
        layers=tuple(descriptor for descriptor, _ in written),
    )
    image = _write_json(manifest, _MANIFEST, blobs)
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (layout / "index.json").write_bytes(_Index(manifests=(image,)).encoded())
    return image.digest


def read_layout(layout: Path, digest: str, folder: Path) -> None:
    """Unpack the image of that digest into ``folder``; every blob is held against its own digest.

    Raises:
        InvalidBundle: it is not there, was changed, or has layers that cannot be unpacked.
        OSError: it cannot be read, or the folder not be written.
    """
    shown = layout.name
    manifest = _read_json(_blob(layout, digest, shown), ImageManifest, shown)
    for layer in manifest.layers:
        blob = _blob(layout, layer.digest, shown)
        if layer.media_type != _LAYER:
            raise _invalid(shown, f"has a layer of another kind: {layer.media_type}")
        unpack(blob, folder, shown)


class _StoredGzip:
    """A gzip file (RFC 1952) of blocks that are not compressed (RFC 1951, 3.2.4).

    Written by hand: zlib's own stored blocks differ from release to release.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._waiting = bytearray()
        self._crc, self._size = 0, 0
        self.inside = hashlib.sha256()
        self._file.write(b"\x1f\x8b\x08" + b"\0" * 6 + b"\xff")

    def write(self, data: bytes) -> int:
        self.inside.update(data)
        self._crc, self._size = zlib.crc32(data, self._crc), self._size + len(data)
        self._waiting += data
        while len(self._waiting) > 0xFFFF:
            self._block(0xFFFF, last=False)
        return len(data)

    def close(self) -> None:
        self._block(len(self._waiting), last=True)
        self._file.write(struct.pack("<II", self._crc, self._size & 0xFFFFFFFF))
        self._file.close()

    def _block(self, size: int, *, last: bool) -> None:
        self._file.write(struct.pack("<BHH", last, size, size ^ 0xFFFF))
        self._file.write(self._waiting[:size])
        del self._waiting[:size]


def _write_layer(root: Path, layer: Layer, blobs: Path) -> tuple[Descriptor, str]:
    """Write a layer; its descriptor, and the digest of the tar inside."""
    aside = blobs / "layer"
    compressed = _StoredGzip(aside)
    try:
        write_tar(root, layer.files, cast("IO[bytes]", compressed))  # it is written to, no more
    finally:
        compressed.close()
    inside = f"sha256:{compressed.inside.hexdigest()}"
    digest, size = digest_of(aside), aside.stat().st_size
    aside.rename(blobs / digest.removeprefix("sha256:"))
    told = {_TITLE: layer.name, _UNPACK: "true", _UNPACKED: inside}
    return Descriptor(media_type=_LAYER, digest=digest, size=size, annotations=told), inside


def _write_json(document: _Json, media_type: str, blobs: Path) -> Descriptor:
    content = document.encoded()
    name = hashlib.sha256(content).hexdigest()
    (blobs / name).write_bytes(content)
    return Descriptor(media_type=media_type, digest=f"sha256:{name}", size=len(content))


def _blob(layout: Path, digest: str, shown: str) -> Path:
    """A blob's file, which is what its name says."""
    path = layout / "blobs" / "sha256" / digest.removeprefix("sha256:")
    if not path.is_file():
        raise _invalid(shown, f"holds no {digest}")
    if digest_of(path) != digest:
        raise _invalid(shown, f"holds another content than {digest} says")
    return path


def _read_json(path: Path, kind: type[_Model], shown: str) -> _Model:
    try:
        if path.stat().st_size > _MOST_JSON_BYTES:
            raise ValueError("too large")
        return kind.model_validate_json(path.read_bytes())
    except (ValidationError, ValueError):
        raise _invalid(shown, "holds no image of bundles under that digest") from None


def _invalid(shown: str, problem: str) -> InvalidBundle:
    return InvalidBundle(
        problem,
        remedy="Name the digest that 'brainmvp pack' printed, or copy the folder again",
        subject=shown,
    )
