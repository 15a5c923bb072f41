"""NRRD with its voxels in the same file (``.nrrd``), raw or through gzip.

pynrrd reads the header's text, and nothing else: it would open whatever other file a header names,
and unpack without a bound. The geometry is that of the format's definition: the columns of
``space directions`` are the axes, ``space origin`` is the centre of the first voxel, and ``space``
says which way the world's axes point. NIfTI's point right, anterior, superior.
https://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from typing import IO, Any, Literal

import numpy as np
from isal import igzip

from brainmvp_server.imaging.formats.front import Front, header_of
from brainmvp_server.imaging.grid import Affine
from brainmvp_server.imaging.nifti_space import Unusable

NRRD = b"NRRD"
_MAX_HEADER = 1 << 16
_SAVE_ANEW = "Save it as one .nrrd file, with encoding gzip or raw, or as NIfTI (.nii.gz)"

# The world's axes in right, anterior, superior; by the words before an optional "-time".
_SPACES = {
    "right-anterior-superior": (1.0, 1.0, 1.0),
    "ras": (1.0, 1.0, 1.0),
    "left-anterior-superior": (-1.0, 1.0, 1.0),
    "las": (-1.0, 1.0, 1.0),
    "left-posterior-superior": (-1.0, -1.0, 1.0),
    "lps": (-1.0, -1.0, 1.0),
}
_ORDERS: Mapping[str, Literal["<", ">"]] = {"little": "<", "big": ">"}
_UNITS = {"m": 1000.0, "cm": 10.0, "mm": 1.0, "um": 0.001, "µm": 0.001}
_TYPES = {
    name: code
    for code, names in {
        "i1": ("signed char", "int8", "int8_t"),
        "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
        "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
        "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
        "i4": ("int", "signed int", "int32", "int32_t"),
        "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
        "i8": (
            "longlong", "long long", "long long int", "signed long long",
            "signed long long int", "int64", "int64_t",
        ),
        "u8": (
            "ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t",
        ),
        "f4": ("float",),
        "f8": ("double",),
    }.items()
    for name in names
}  # fmt: skip


def read_nrrd(start: bytes, file: IO[bytes]) -> Front:
    """The front of a NRRD file whose first four bytes were read.

    Raises:
        Unusable: the header is damaged or says too little, or the voxels lie in another file or in
            an encoding that is not read.
    """
    header = _parsed(_lines(start, file))
    for field in ("data file", "datafile"):
        if field in header:
            raise Unusable("its voxels are in another file", _SAVE_ANEW)
    if any(int(header.get(skip, 0)) for skip in ("line skip", "lineskip", "byte skip", "byteskip")):
        raise Unusable("its voxels do not follow its header", _SAVE_ANEW)
    try:
        shape, affine, spacing = _geometry(header)
        front = header_of(shape, _dtype(header), affine, spacing)
    except (KeyError, ValueError, TypeError, IndexError):
        raise Unusable("its NRRD header does not describe a volume", _SAVE_ANEW) from None
    encoding = str(header.get("encoding", "")).lower()
    if encoding == "raw":
        return Front(front, file)
    if encoding in ("gzip", "gz"):
        return Front(front, igzip.IGzipFile(fileobj=file), compressed=True)
    raise Unusable("its voxels are in an encoding that is not read", _SAVE_ANEW)


def _lines(start: bytes, file: IO[bytes]) -> list[bytes]:
    """The header's lines up to the empty one; ``file`` is at the voxels then."""
    lines, size = [start + file.readline(_MAX_HEADER)], 0
    while lines[-1].strip(b"\r\n"):
        line = file.readline(_MAX_HEADER)
        size += len(line)
        if not line.endswith(b"\n") or size > _MAX_HEADER:
            raise Unusable("its NRRD header does not end", "Send the file again, whole")
        lines.append(line)
    return lines


def _parsed(lines: list[bytes]) -> Mapping[str, Any]:
    import nrrd

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parsed: Mapping[str, Any] = nrrd.read_header(io.BytesIO(b"".join(lines)))
        for skip in ("line skip", "lineskip", "byte skip", "byteskip"):
            int(parsed.get(skip, 0))
    except (nrrd.NRRDError, ValueError, TypeError, KeyError, IndexError, OverflowError):
        raise Unusable("its NRRD header is damaged", _SAVE_ANEW) from None
    return parsed


def _dtype(header: Mapping[str, Any]) -> np.dtype[Any]:
    dtype = np.dtype(_TYPES[str(header["type"]).lower()])
    if dtype.itemsize == 1:
        return dtype
    return dtype.newbyteorder(_ORDERS[str(header["endian"]).lower()])


def _geometry(
    header: Mapping[str, Any],
) -> tuple[tuple[int, ...], Affine | None, tuple[float, ...]]:
    """Shape, affine where the header gives one, and spacing; axes of one voxel that have no
    direction, such as a list of one, are left out."""
    sizes = [int(n) for n in header["sizes"]]
    directions = header.get("space directions")
    signs = _SPACES.get(str(header.get("space", "")).lower().removesuffix("-time"))
    if directions is None or signs is None:
        spacing = np.asarray(header.get("spacings", np.full(len(sizes), np.nan)), dtype=np.float64)
        if directions is not None:
            spacing = np.linalg.norm(np.asarray(directions, dtype=np.float64), axis=-1)
        kept = [i for i, n in enumerate(sizes) if n > 1 or np.isfinite(spacing[i])]
        edges = tuple(float(spacing[i]) if np.isfinite(spacing[i]) else 1.0 for i in kept[:3])
        return tuple(sizes[i] for i in kept), None, edges
    vectors = np.array(
        [
            np.full(3, np.nan) if row is None else np.asarray(row, np.float64)[:3]
            for row in directions
        ]
    )
    kept = [i for i, n in enumerate(sizes) if n > 1 or np.isfinite(vectors[i]).all()]
    shape = tuple(sizes[i] for i in kept)
    if len(kept) != 3:
        return shape, None, (1.0, 1.0, 1.0)
    affine = np.eye(4)
    affine[:3, :3] = vectors[kept].T
    origin = header.get("space origin")
    if origin is not None:
        affine[:3, 3] = np.asarray(origin, dtype=np.float64)[:3]
    units = header.get("space units") or ["mm"]
    affine[:3] *= _UNITS.get(str(units[0]).strip('" ').lower(), 1.0)
    affine[:3] *= np.asarray(signs)[:, None]
    return shape, affine, (1.0, 1.0, 1.0)
