"""Reading and writing NIfTI, without trusting a byte of it.

The header is parsed by nibabel; voxels are read here, straight into one array of the size that
the header promises and the limit allows, so that neither a lying header nor a compression bomb can
take more memory than a real scan would. Compressed files go through ISA-L, several times as fast
as zlib.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from isal import igzip, isal_zlib
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from brainmvp_models.bundle import digest_of
from brainmvp_models.errors import VolumeTooLarge
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.formats import read_front
from brainmvp_server.imaging.formats.front import Front
from brainmvp_server.imaging.grid import Affine, Grid
from brainmvp_server.imaging.nifti_space import SPATIAL, Form, Placement, Unusable, placement
from brainmvp_server.imaging.volume import SpatialHeader, Volume, scaled

_GZIP = b"\x1f\x8b"
_IsalError: type[Exception] = isal_zlib.error  # type: ignore[assignment]
_DAMAGED = (EOFError, _IsalError, gzip.BadGzipFile)
_MAX_EXPANSION = 250
"""Most bytes of a scan that a byte of a compressed file may hold; deflate could hold 1032."""
_MAX_HEADER = 16 << 20


@dataclass(frozen=True)
class Limits:
    """How large one volume may be, and how little of a head it may show.

    Attributes:
        field_mm: width of the field of view along each axis at least; from less there is no result.
        head_ml: head that a series shows without a warning, in mL.
        cover: share of the study's head that a resampled series covers without a warning.
    """

    voxels: int = 512**3
    field_mm: float = 0.0
    head_ml: float = 250.0
    cover: float = 0.9


@dataclass(frozen=True)
class Outline:
    """What a volume's header says of its size.

    Attributes:
        grid: where the voxels lie.
        voxel_bytes: bytes of a stored voxel.
    """

    grid: Grid
    voxel_bytes: int


def outline_nifti(
    path: Path, modality: Modality, limits: Limits = Limits(), form: Form = "sform"
) -> Outline:
    """A file's size by its header; no voxel is read.

    Raises:
        InvalidVolume, VolumeTooLarge: as :func:`read_nifti`, as far as the header shows it.
    """
    with told_of(modality.value):
        return Reading(path, limits, form).outline()


def read_nifti(
    path: Path, modality: Modality, limits: Limits = Limits(), form: Form = "sform"
) -> Volume:
    """Read one ``.nii`` or ``.nii.gz`` file, or one of :mod:`brainmvp_server.imaging.formats`.

    What it is, and whether it is compressed, is seen from its content.

    Args:
        form: what places the voxels, where the header has both; see :func:`placement`.

    Raises:
        InvalidVolume: empty, truncated, not NIfTI, not 3-D, NaN or infinite values, constant,
            singular or skewed affine, a spacing or width that no head has, an unsupported data
            type, a scaling that gives no numbers, or a compression bomb.
        VolumeTooLarge: the header claims more voxels than ``limits`` allow.
    """
    with told_of(modality.value):
        return Reading(path, limits, form).volume(modality)


@contextmanager
def told_of(subject: str) -> Iterator[None]:
    """Turn a fault of a file into the error that names it."""
    try:
        yield
    except Unusable as fault:
        raise fault.kind(fault.problem, remedy=fault.remedy, subject=subject) from None


@dataclass(frozen=True, eq=False)
class StoredVoxels:
    """What a file holds: voxels (i, j, k), what makes values of them, and where they lie."""

    stored: NDArray[Any]
    slope: float
    intercept: float
    place: Placement


@dataclass(frozen=True)
class Reading:
    """One file on its way in.

    Attributes:
        expansion: most bytes of voxels that a byte of a compressed file may hold.
    """

    path: Path
    limits: Limits
    form: Form
    expansion: int = _MAX_EXPANSION

    def outline(self) -> Outline:
        with _opened(self.path) as (file, compressed):
            header, shape, dtype, _ = self._begin(file, compressed)
            return Outline(placement(header, shape, self.form).grid, dtype.itemsize)

    def volume(self, modality: Modality) -> Volume:
        read = self.voxels()
        if fault := check_values(read.stored, read.slope, read.intercept):
            raise Unusable(*fault)
        return Volume(
            modality=modality,
            stored=read.stored,
            slope=read.slope,
            intercept=read.intercept,
            grid=read.place.grid,
            header=read.place.header,
            digest=digest_of(self.path),
            warnings=tuple(f"{modality}: {warning}" for warning in read.place.warnings),
        )

    def voxels(self) -> StoredVoxels:
        with _opened(self.path) as (file, compressed):
            header, shape, dtype, voxels = self._begin(file, compressed)
            place = placement(header, shape, self.form)
            slope, intercept = _scaling(header)
            return StoredVoxels(_read_voxels(voxels, shape, dtype), slope, intercept, place)

    def _begin(
        self, file: IO[bytes], compressed: bool
    ) -> tuple[Nifti1Header, tuple[int, int, int], np.dtype[Any], IO[bytes]]:
        """The header, shape and type of the voxels that it promises, and the file at the first."""
        front = _front(file)
        header = front.header
        shape = _shape(header, self.limits)
        dtype = _dtype(header)
        promised, size = int(np.prod(shape)) * dtype.itemsize, self.path.stat().st_size
        if (compressed or front.compressed) and promised > self.expansion * size:
            raise Unusable(
                f"its {size} bytes claim to hold {promised}, more than any scan packs",
                "Send the original file",
            )
        return header, shape, dtype, front.voxels


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], bool]]:
    """The file's uncompressed bytes, and whether they were compressed."""
    if path.stat().st_size == 0:
        raise Unusable("the file is empty", "Send a NIfTI file (.nii or .nii.gz)")
    with path.open("rb") as plain:
        compressed = plain.read(2) == _GZIP
        plain.seek(0)
        try:
            if not compressed:
                yield plain, False
                return
            with igzip.IGzipFile(fileobj=plain) as unpacked:
                yield unpacked, True
        except _DAMAGED:
            raise Unusable(
                "the compressed file is damaged or ends early", "Send the file again, whole"
            ) from None


def _front(file: IO[bytes]) -> Front:
    """What stands before the voxels, whatever the format."""
    start = file.read(4)
    block = _read_header(start, file)
    if block is None:
        return read_front(start, file)
    header = _parse_header(block)
    _skip_to(file, header)
    return Front(header, file)


def _read_header(start: bytes, file: IO[bytes]) -> bytes | None:
    """The header of a NIfTI file; None where it begins as none does."""
    for order in "<>":
        if len(start) == 4 and struct.unpack(f"{order}i", start)[0] in (348, 540):
            length = int(struct.unpack(f"{order}i", start)[0])
            block = start + file.read(length - 4)
            if len(block) < length:
                raise Unusable("it ends within its header", "Send the file again, whole")
            return block
    return None


def _parse_header(block: bytes) -> Nifti1Header:
    kind = Nifti1Header if len(block) == 348 else Nifti2Header
    header = kind(block, check=False)
    magic = bytes(header["magic"].tobytes())
    if magic[:3] in (b"ni1", b"ni2"):
        raise Unusable(
            "it is the header of a .hdr/.img pair",
            "Send both in one zip, or convert the pair to one .nii.gz file",
        )
    if magic[:3] not in (b"n+1", b"n+2"):
        raise Unusable("it is not a NIfTI file", "Send a NIfTI file (.nii or .nii.gz)")
    return header


def _shape(header: Nifti1Header, limits: Limits) -> tuple[int, int, int]:
    rank = int(header["dim"][0])
    dims = [int(n) for n in header["dim"][1 : rank + 1]] if 1 <= rank <= 7 else []
    while len(dims) > 3 and dims[-1] == 1:
        dims.pop()
    if len(dims) > 3:
        raise Unusable(
            f"it is {len(dims)}-dimensional ({' × '.join(map(str, dims))})",
            "Send one three-dimensional volume a modality; extract the one you mean",
        )
    if len(dims) < 3 or min(dims) < 2:
        raise Unusable(
            f"its header gives the dimensions {dims}, which are no volume",
            "Send a three-dimensional volume",
        )
    voxels = dims[0] * dims[1] * dims[2]
    if voxels > limits.voxels:
        raise Unusable(
            f"its header claims {' × '.join(map(str, dims))} voxels; the limit is {limits.voxels}",
            "Crop it to the head, or resample it to larger voxels",
            VolumeTooLarge,
        )
    return dims[0], dims[1], dims[2]


def _dtype(header: Nifti1Header) -> np.dtype[Any]:
    dtype: np.dtype[Any]
    try:
        dtype = np.dtype(header.get_data_dtype())
    except (HeaderDataError, KeyError):
        dtype = np.dtype("V1")
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise Unusable(
            "its data type is not a plain integer or float", "Convert it to int16 or float32"
        )
    return dtype


def _skip_to(file: IO[bytes], header: Nifti1Header) -> None:
    """Move to the voxels, past the header's extensions."""
    length = len(header.binaryblock)
    offset = float(header["vox_offset"]) or length + 4.0
    if not length <= offset <= _MAX_HEADER:
        raise Unusable(f"its voxels are said to start at byte {offset}", "Repair its vox_offset")
    rest = int(offset) - length
    if len(file.read(rest)) < rest:
        raise Unusable("it ends before its voxels", "Send the file again, whole")


def _read_voxels(
    file: IO[bytes], shape: tuple[int, int, int], dtype: np.dtype[Any]
) -> NDArray[Any]:
    buffer = np.empty(int(np.prod(shape)) * dtype.itemsize, dtype=np.uint8)
    into, done = memoryview(buffer.data), 0
    while done < len(buffer):
        count = file.readinto(into[done : done + (8 << 20)])  # type: ignore[attr-defined]
        if not count:
            raise Unusable(
                f"it ends early: {done} bytes of voxels, the header promises {len(buffer)}",
                "Send the file again, whole",
            )
        done += count
    file.read(1)  # a compressed file's checksum is verified where its data ends
    voxels = buffer.view(dtype).reshape(shape, order="F")
    return voxels if dtype.isnative else voxels.astype(dtype.newbyteorder("="))


def _scaling(header: Nifti1Header) -> tuple[float, float]:
    """Slope and intercept; a slope of zero or NaN says that nothing is scaled."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or np.isnan(slope):
        return 1.0, 0.0
    if not np.isfinite([slope, intercept]).all():
        raise Unusable(
            f"its values are said to be scaled by {slope:g} and shifted by {intercept:g}",
            "Repair scl_slope and scl_inter in its header",
        )
    return slope, intercept


def check_values(
    stored: NDArray[Any], slope: float = 1.0, intercept: float = 0.0
) -> tuple[str, str] | None:
    """The problem and the remedy where voxels hold no image: not finite, or all the same."""
    low, high = stored.min(), stored.max()
    if stored.dtype.kind == "f" and not (np.isfinite(low) and np.isfinite(high)):
        wrong = int(stored.size - np.count_nonzero(np.isfinite(stored)))
        return f"{wrong} of its voxels are NaN or infinite", "Replace them, for example by 0"
    if low == high:
        what = "all its voxels are zero" if low == 0 else "all its voxels have one value"
        return what, "Send a volume that holds an image"
    ends = scaled(np.array([low, high]), slope, intercept)
    with np.errstate(over="ignore"):
        span = abs(ends[1] - ends[0])
    if not np.isfinite([*ends, span]).all() or span < np.finfo(np.float64).tiny:
        return "its scaled values are beyond what numbers of 64 bits can tell apart", (
            "Repair scl_slope and scl_inter in its header, or convert it to float32"
        )
    return None


def spatial_header(affine: Affine) -> SpatialHeader:
    """The geometry of a NIfTI header for voxels that come from elsewhere."""
    header = Nifti1Header()
    header.set_qform(affine, code=1)
    header.set_sform(affine, code=1)
    header.set_xyzt_units("mm")
    return SpatialHeader({name: np.copy(header[name]) for name in SPATIAL})


def encode_nifti(voxels: NDArray[Any], header: SpatialHeader) -> bytes:
    """The bytes of a ``.nii`` file: voxels (i, j, k) with the geometry of ``header``."""
    out = Nifti1Header()
    out.set_data_dtype(voxels.dtype)
    out.set_data_shape(voxels.shape)
    for name, value in header.fields.items():
        out[name] = value
    out.set_slope_inter(1.0, 0.0)
    out["vox_offset"] = 352
    out["magic"] = b"n+1"
    block: bytes = out.binaryblock
    return block + b"\0\0\0\0" + voxels.tobytes(order="F")


def compress(data: bytes) -> bytes:
    """``data`` as gzip, without a name or a time, so that equal input gives equal bytes."""
    packed: bytes = igzip.compress(data, compresslevel=2, mtime=0)
    return packed
