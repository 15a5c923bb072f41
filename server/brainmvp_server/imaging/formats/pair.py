"""NIfTI in two files, ``.hdr`` and ``.img``: made one, as it would be written today."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from isal import igzip
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

from brainmvp_server.imaging.archive import Unpacked

_GZIP = b"\x1f\x8b"
_SIZES = {348: Nifti1Header, 540: Nifti2Header}
_SINGLE = {b"ni1": b"n+1", b"ni2": b"n+2"}


def joined(header: bytes, image: Path, target: Path) -> Path | None:
    """Write one NIfTI file of a pair; None where the header is not that of one.

    Nothing is unpacked: gzip allows one stream after another (RFC 1952, section 2.2).
    """
    kind = _SIZES.get(len(header))
    block = kind(header, check=False) if kind else None
    magic = bytes(block["magic"].tobytes())[:3] if block is not None else b""
    if block is None or magic not in _SINGLE:
        return None
    block["magic"] = _SINGLE[magic]
    block["vox_offset"] = len(header) + 4 + int(max(float(block["vox_offset"]), 0))
    front = block.binaryblock + b"\0\0\0\0"
    with image.open("rb") as voxels, target.open("wb") as whole:
        packed = voxels.read(2) == _GZIP
        voxels.seek(0)
        whole.write(igzip.compress(front, mtime=0) if packed else front)
        shutil.copyfileobj(voxels, whole, 1 << 20)
    return target


def paired(files: Iterable[Unpacked], folder: Path) -> Iterator[Unpacked]:
    """The files, with each ``.hdr`` and its ``.img`` made one, in the place of the first of both.

    Args:
        folder: takes what is made.
    """
    found = list(files)
    halves: dict[tuple[str, str], Unpacked] = {}
    for file in found:
        stem, ending = _half(file.name)
        if ending:
            halves.setdefault((stem, ending), file)
    done: set[str] = set()
    for number, file in enumerate(found):
        stem, ending = _half(file.name)
        header, image = halves.get((stem, "hdr")), halves.get((stem, "img"))
        if not ending or header is None or image is None or file not in (header, image):
            yield file
            continue
        if stem in done:
            continue
        done.add(stem)
        path = joined(front_bytes(header.path), image.path, folder / f"pair-{number:06d}")
        if path is None:
            yield from (header, image)
        else:
            yield Unpacked(path, f"{header.name[: len(stem)]}.nii")


def front_bytes(path: Path) -> bytes:
    """The header of a pair, unpacked; no more than a header's size."""
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP
        file.seek(0)
        try:
            with igzip.IGzipFile(fileobj=file) if packed else file as plain:
                front: bytes = plain.read(544)
        except (OSError, EOFError):
            return b""
    size = next((n for n in _SIZES if n in (_int(front, "little"), _int(front, "big"))), 0)
    return front[:size] if len(front) >= size else b""


def _int(front: bytes, order: str) -> int:
    return int.from_bytes(front[:4], "little" if order == "little" else "big")


def _half(name: str) -> tuple[str, str]:
    """The name without its ending, and ``hdr`` or ``img`` where it is half of a pair."""
    stem, _, ending = name.lower().removesuffix(".gz").rpartition(".")
    return (stem, ending) if ending in ("hdr", "img") else (name, "")
