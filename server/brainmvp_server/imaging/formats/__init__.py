"""Volumes in other formats than NIfTI, and what is said of those that are not read.

Each module reads what stands before a file's voxels and says it as a NIfTI header would; the
voxels themselves are read by :mod:`brainmvp_server.imaging.nifti`, whatever the format, so that
its bounds on memory hold for all of them.
"""

from __future__ import annotations

from typing import IO

from brainmvp_server.imaging.formats.front import TAR_BYTES, Front, is_tar_start
from brainmvp_server.imaging.formats.mgh import MGH, read_mgh
from brainmvp_server.imaging.formats.nrrd import NRRD, read_nrrd
from brainmvp_server.imaging.nifti_space import Unusable

_REMEDY = "Send a NIfTI file (.nii or .nii.gz), .mgz or .nrrd"
_UNPACK = "Unpack it and send the NIfTI file in it (.nii or .nii.gz)"
_CONVERT = "Convert it to NIfTI (.nii.gz)"

_OTHERS: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "it is compressed twice", "Decompress it once (gunzip), and send it again"),
    (b"BZh", "it is compressed by bzip2", "Decompress it (bunzip2) and send the .nii, or .nii.gz"),
    (b"\xfd7zX", "it is compressed by xz", "Decompress it (unxz) and send the .nii, or .nii.gz"),
    (b"\x28\xb5\x2f\xfd", "it is compressed by zstd",
     "Decompress it (unzstd) and send the .nii, or .nii.gz"),
    (b"PK", "it is a zip", _UNPACK),
    (b"7z\xbc\xaf", "it is a 7-Zip archive", _UNPACK),
    (b"Rar!", "it is a RAR archive", _UNPACK),
    (b"\x89HDF", "it is an HDF5 file, such as MINC", f"{_CONVERT}, for example with mnc2nii"),
    (b"CDF", "it is a NetCDF file, such as MINC", f"{_CONVERT}, for example with mnc2nii"),
    (b"Obje", "it is a MetaImage (.mha, .mhd)", _CONVERT),
    (b"NDim", "it is a MetaImage (.mha, .mhd)", _CONVERT),
    (b"\x89PNG", "it is a picture (PNG)", "Send the volume, not a picture of it"),
    (b"\xff\xd8\xff", "it is a picture (JPEG)", "Send the volume, not a picture of it"),
)  # fmt: skip
"""What other files begin with, what they are, and what to do instead."""

STARTS = (MGH, NRRD)
"""What a file begins with, unpacked, that is read though it is no NIfTI."""


def read_front(start: bytes, file: IO[bytes]) -> Front:
    """What stands before the voxels of a file that is no NIfTI.

    Args:
        start: its first four bytes, which were read from ``file`` already.

    Raises:
        Unusable: it is damaged, or of a kind that is not read.
    """
    if start == MGH:
        return read_mgh(start, file)
    if start == NRRD:
        return read_nrrd(start, file)
    for magic, what, remedy in _OTHERS:
        if start.startswith(magic):
            raise Unusable(what, remedy)
    if is_tar_start(start + file.read(TAR_BYTES - len(start))):
        raise Unusable("it is a tar archive", _UNPACK)
    raise Unusable("it is not a NIfTI file", _REMEDY)
