"""A NIfTI volume without the free text of its header, which can name a patient."""

from __future__ import annotations

import gzip
import shutil
import struct
from pathlib import Path
from typing import IO

from brainmvp_clients.result_files import writing
from brainmvp_clients.score.study_files import UnusableStudy

# Offset and length (nifti1.h and nifti2.h of nifti.nimh.nih.gov).
_TEXTS = {
    348: ((4, 10), (14, 18), (148, 80), (228, 24), (328, 16)),
    540: ((240, 80), (320, 24), (508, 16)),
}
_OFFSET = {348: (108, "f"), 540: (168, "q")}
_GZIP = b"\x1f\x8b"
_OTHER_FORMATS = {b"\0\0\0\1": "an MGH volume (.mgz)", b"NRRD": "a NRRD volume"}


def without_text(path: Path, into: Path) -> Path:
    """A copy in ``into``: geometry and voxels bit for bit, texts and extensions zeroed.

    Raises:
        UnusableStudy: it is no NIfTI file, or not a whole one.
    """
    target = into / f"{len(list(into.iterdir())):03d}.nii"
    try:
        with path.open("rb") as raw, target.open("wb") as sink:
            zipped = raw.read(2) == _GZIP
            raw.seek(0)
            if zipped:
                with gzip.GzipFile(fileobj=raw) as source:
                    _copy(source, sink)
            else:
                _copy(raw, sink)
    except UnusableStudy:
        _remove(target)
        raise
    except (OSError, EOFError, struct.error, ValueError):
        _remove(target)
        raise UnusableStudy(
            "a file is no whole NIfTI volume", remedy="Check how it was copied"
        ) from None
    return target


def _remove(target: Path) -> None:
    with writing(target):
        target.unlink(missing_ok=True)


def _copy(source: IO[bytes] | gzip.GzipFile, sink: IO[bytes]) -> None:
    start = source.read(4)
    if start in _OTHER_FORMATS:
        raise UnusableStudy(
            f"a file is {_OTHER_FORMATS[start]}, whose texts cannot be taken out",
            remedy="Convert it to NIfTI (.nii.gz)",
        )
    order = next((o for o in "<>" if struct.unpack(f"{o}i", start)[0] in _TEXTS), None)
    if order is None:
        raise ValueError
    size = struct.unpack(f"{order}i", start)[0]
    head = bytearray(start + source.read(size - 4))
    for offset, length in _TEXTS[size]:
        head[offset : offset + length] = bytes(length)
    offset, kind = _OFFSET[size]
    voxels = int(struct.unpack_from(f"{order}{kind}", head, offset)[0])
    if len(head) != size or not size <= voxels < 1 << 30:
        raise ValueError
    # Between the header and the voxels are the extensions, and the four bytes that announce them.
    if len(source.read(voxels - size)) != voxels - size:
        raise ValueError
    sink.write(head + bytes(voxels - size))
    shutil.copyfileobj(source, sink, 1 << 20)
