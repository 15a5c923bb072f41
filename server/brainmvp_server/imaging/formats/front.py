"""What stands before a file's voxels, said as NIfTI says it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError

from brainmvp_server.imaging.grid import Affine
from brainmvp_server.imaging.nifti_space import Unusable

TAR_BYTES = 262
"""As many bytes of a file tell whether it is a tar archive (POSIX, ustar)."""


def is_tar_start(start: bytes) -> bool:
    """Whether a file that begins so is a tar archive."""
    return start[257:TAR_BYTES] == b"ustar"


@dataclass(frozen=True)
class Front:
    """A header, and where the voxels come from.

    Attributes:
        header: shape, data type, byte order and place of the voxels.
        voxels: the open file, at the first voxel; the first axis is the fastest.
        compressed: whether the voxels are compressed where they lie.
    """

    header: Nifti1Header
    voxels: IO[bytes]
    compressed: bool = False


def header_of(
    shape: Sequence[int],
    dtype: np.dtype[Any],
    affine: Affine | None,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
) -> Nifti1Header:
    """A header for voxels of another format; of NIfTI-2, whose dimensions have room for all.

    Args:
        shape: of the voxels; trailing axes of one voxel are nothing.
        affine: voxel to right-anterior-superior, millimetres; None where the file does not say.
        spacing: in millimetres, where there is no affine.

    Raises:
        Unusable: the data type is none of NIfTI, or the numbers are none.
    """
    order = ">" if dtype.newbyteorder(">") == dtype and dtype.itemsize > 1 else "<"
    header: Nifti1Header = Nifti2Header(endianness=order)
    try:
        header.set_data_dtype(dtype)
        header.set_data_shape(tuple(shape))
        header.set_xyzt_units("mm")
        if affine is None:
            header["pixdim"][1:4] = spacing
        else:
            header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
            header.set_sform(affine, code=1)
    except (HeaderDataError, ValueError, OverflowError):
        raise Unusable(
            "its header holds numbers that describe no volume", "Save it anew, as NIfTI (.nii.gz)"
        ) from None
    return header
