"""FreeSurfer's MGH (``.mgh``, and ``.mgz``, which is the same through gzip).

Big-endian; the header gives the volume's centre and the axes' cosines, from which nibabel makes
the affine to right-anterior-superior:
https://surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat
"""

from __future__ import annotations

from typing import IO

import numpy as np
from nibabel.freesurfer.mghformat import MGHError, MGHHeader
from nibabel.spatialimages import HeaderDataError

from brainmvp_server.imaging.formats.front import Front, header_of
from brainmvp_server.imaging.nifti_space import Unusable

MGH = b"\x00\x00\x00\x01"
"""The version, which has been 1 ever since."""
_FIELDS, _VOXELS_AT = 90, 284
"""Bytes of the header's fields, and where the voxels begin."""


def read_mgh(start: bytes, file: IO[bytes]) -> Front:
    """The front of an MGH file whose first four bytes were read.

    Raises:
        Unusable: it ends within its header, or the header holds what it may not.
    """
    block = start + file.read(_VOXELS_AT - len(start))
    if len(block) < _VOXELS_AT:
        raise Unusable("it ends within its header", "Send the file again, whole")
    try:
        header = MGHHeader(block[:_FIELDS], check=False)
        shape = tuple(int(n) for n in header["dims"])
        dtype = np.dtype(header.get_data_dtype()).newbyteorder(">")
        with np.errstate(all="ignore"):  # what is not finite is refused as singular
            affine = np.asarray(header.get_affine(), dtype=np.float64)
    except (MGHError, HeaderDataError, ValueError, KeyError):
        raise Unusable(
            "its MGH header is damaged", "Convert it anew, for example with mri_convert"
        ) from None
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return Front(header_of(shape, dtype, affine), file)
