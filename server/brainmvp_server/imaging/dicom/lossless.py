"""JPEG Lossless (process 14, any predictor), decoded by libjpeg-turbo.

pydicom's decoders of it are GDCM, which ends the whole process at some damaged streams, and libjpeg
under a licence that ours cannot take in.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import JPEGLossless, JPEGLosslessSV1

SYNTAXES = (JPEGLossless, JPEGLosslessSV1)


def decode_frame(data: bytes, dataset: Dataset) -> NDArray[Any]:
    """One frame's stored values (row, column), in the type that the header says.

    A JPEG knows no signs: a signed value comes as its lowest ``BitsStored`` bits.

    Raises:
        Exception: the stream is damaged; what kind is the decoder's affair.
    """
    from imagecodecs import jpeg8_decode

    allocated, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    found: NDArray[Any] = jpeg8_decode(data).astype(f"u{allocated // 8}")
    if not dataset.PixelRepresentation:
        return found
    spare = allocated - stored
    return (found << spare).view(f"i{allocated // 8}") >> spare
