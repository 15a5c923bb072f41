"""Bytes that claim to be NIfTI, gzip, zip or multipart: refused or served, never a fault."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile

import nibabel as nib
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from .conftest import Target, cases

# A second volume on a grid of its own: a study that can be read ends there, before any inference.
OTHER = nib.Nifti1Image(
    np.arange(120, dtype=np.float32).reshape(6, 5, 4), np.diag([15.0, 25.0, 35.0, 1.0])
).to_bytes()

Edits = list[tuple[int, bytes]]
edits = st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(min_size=1, max_size=6)), max_size=5)
ends = st.none() | st.floats(0, 1)


def damaged(data: bytes, changes: Edits, end: float | None) -> bytes:
    """``data`` with some bytes changed, and cut."""
    body = bytearray(data if end is None else data[: int(len(data) * end)])
    for where, what in changes:
        if body:
            where %= len(body)
            body[where : where + len(what)] = what
    return bytes(body)


@st.composite
def nifti(draw: st.DrawFn) -> bytes:
    """A small volume, whose header is then changed field by field."""
    shape = draw(st.tuples(*[st.integers(1, 7)] * 3))
    kind = draw(st.sampled_from([np.uint8, np.int16, np.float32, np.float64, np.uint16, np.int8]))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    affine = np.diag([10.0, 10, 10, 1])  # wide enough for a head, as a rule
    image = nib.Nifti1Image((rng.random(shape) * 200).astype(kind), affine)
    body = image.to_bytes()
    header = bytearray(body[:348])
    short, real = st.integers(-(1 << 15), (1 << 15) - 1), st.floats(width=32)
    fields = {
        0: ("<i", st.sampled_from([348, 540, 0, -1, 1 << 30])),
        40: ("<8h", st.tuples(st.integers(-1, 7), *[short] * 7)),
        70: ("<h", st.sampled_from([0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 2304])),
        72: ("<h", short),
        76: ("<8f", st.tuples(*[real] * 8)),
        108: ("<f", real),
        112: ("<2f", st.tuples(real, real)),
        252: ("<2h", st.tuples(short, short)),
        256: ("<6f", st.tuples(*[real] * 6)),
        280: ("<12f", st.tuples(*[real] * 12)),
        344: ("4s", st.binary(min_size=4, max_size=4)),
    }
    for offset in draw(st.lists(st.sampled_from(sorted(fields)), max_size=4, unique=True)):
        form, values = fields[offset]
        value = draw(values)
        struct.pack_into(form, header, offset, *(value if isinstance(value, tuple) else (value,)))
    return bytes(header) + body[348:]


@st.composite
def zips(draw: st.DrawFn) -> bytes:
    """An archive of odd names and contents."""
    buffer = io.BytesIO()
    method = draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2]))
    names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name in draw(st.lists(names, max_size=4, unique=True)):
            info = zipfile.ZipInfo(name.replace("\0", "_"))
            info.external_attr = draw(st.integers(0, 0xFFFF)) << 16
            info.compress_type = method
            archive.writestr(info, draw(st.binary(max_size=200) | nifti()))
    return buffer.getvalue()


@cases(0.3)
@given(content=nifti(), packed=st.booleans(), changes=edits, end=ends)
def test_volumes_that_lie(
    target: Target, content: bytes, packed: bool, changes: Edits, end: float | None
) -> None:
    body = damaged(gzip.compress(content, 1) if packed else content, changes, end)
    answer = target.send(files=[("t1", ("x.nii", body)), ("flair", ("y.nii", OTHER))])
    assert answer.status_code in (413, 422)


@cases(0.15)
@given(content=zips(), part=st.sampled_from(["files", "t1"]), changes=edits, end=ends)
def test_archives_that_lie(
    target: Target, content: bytes, part: str, changes: Edits, end: float | None
) -> None:
    body = damaged(content, changes, end)
    # 'none' is refused once the archive's volumes are identified, before any inference.
    files = [(part, ("x.zip", body)), ("flair", ("y.nii", OTHER))]
    answer = target.send(params={"fill": "none"}, files=files)
    assert 400 <= answer.status_code < 500


BODY = (
    b'--b\r\ncontent-disposition: form-data; name="t1"; filename="x"\r\n'
    b"content-type: application/octet-stream\r\n\r\nsome bytes\r\n"
    b'--b\r\ncontent-disposition: form-data; name="flair"\r\n\r\nmore\r\n--b--\r\n'
)
kinds = st.sampled_from(
    [
        "multipart/form-data; boundary=b",
        'multipart/form-data; boundary="b"',
        "multipart/form-data; boundary=",
        "multipart/form-data",
        'multipart/related; type="application/dicom"; boundary=b',
        "application/octet-stream",
    ]
) | st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=80)


@cases(0.15)
@given(changes=edits, end=ends, kind=kinds, chunked=st.booleans())
def test_bodies_that_are_no_multipart(
    target: Target, changes: Edits, end: float | None, kind: str, chunked: bool
) -> None:
    body = damaged(BODY, changes, end)
    content = iter([body[:7], body[7:]]) if chunked else body
    answer = target.send(content=content, headers={"content-type": kind})
    assert 400 <= answer.status_code < 500
