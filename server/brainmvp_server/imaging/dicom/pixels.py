"""Decode a stack's frames, without believing what compressed data claims.

What is not compressed pydicom reads; the rest is :mod:`compressed`'s.
"""

from __future__ import annotations

import hashlib
import logging
import math
import warnings
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from brainmvp_models.errors import InvalidVolume, VolumeTooLarge
from brainmvp_models.modality import Modality
from brainmvp_server.imaging.dicom import compressed
from brainmvp_server.imaging.dicom.dataset import open_dataset
from brainmvp_server.imaging.dicom.files import Frame
from brainmvp_server.imaging.dicom.identity import head_of, source_of
from brainmvp_server.imaging.dicom.series import Stack
from brainmvp_server.imaging.nifti import Limits, Outline, check_values, spatial_header
from brainmvp_server.imaging.volume import Volume
from brainmvp_server.observability.logs import kind_and_place

log = logging.getLogger(__name__)

_VOXEL_BYTES = 2


def outline_stack(stack: Stack, modality: Modality, limits: Limits = Limits()) -> Outline:
    """A stack's size by its headers; no pixel is read.

    Raises:
        VolumeTooLarge: it has more voxels than ``limits`` allow.
    """
    voxels = math.prod(stack.grid.shape)
    if voxels > limits.voxels:
        raise VolumeTooLarge(
            f"series {stack.label} has {voxels} voxels; the limit is {limits.voxels}",
            remedy="Leave the series out, or crop it to the head",
            subject=modality.value,
        )
    return Outline(stack.grid, _VOXEL_BYTES)


def read_stack(stack: Stack, modality: Modality, limits: Limits = Limits()) -> Volume:
    """Decode one stack as the volume of a modality.

    Raises:
        InvalidVolume: damaged pixels, a transfer syntax that is not supported, a constant image.
        VolumeTooLarge: it has more voxels than ``limits`` allow.
    """
    outline_stack(stack, modality, limits)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom would quote values of the file
            return _read(stack, modality)
    except _Undecodable as fault:
        problem, remedy = fault.args
    except MemoryError:  # ours, not the file's: what it claims was held against its header
        raise
    except Exception as error:
        log.info("pixels could not be decoded: %s", kind_and_place(error))
        problem, remedy = "its pixels are damaged", "Send the series again, whole"
    raise InvalidVolume(f"series {stack.label}: {problem}", remedy=remedy, subject=modality.value)


class _Undecodable(Exception):
    """The problem and the remedy of a frame."""


def stored_values(frame: Frame) -> NDArray[Any]:
    """One frame's stored values (row, column).

    Raises:
        Exception: it cannot be decoded; what kind is the decoder's affair.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ((_, _, pixels),) = _decoded(open_dataset(frame.path), [(0, frame)])
    return pixels


def _read(stack: Stack, modality: Modality) -> Volume:
    scales = {(frame.slope, frame.intercept) for frame in stack.frames}
    slope, intercept = next(iter(scales)) if len(scales) == 1 else (1.0, 0.0)
    block: NDArray[Any] | None = None if stack.converted is None else np.load(stack.converted)
    heads: dict[Path, Dataset] = {}
    numbered = enumerate(stack.frames)
    for _, group in groupby(numbered, key=lambda item: item[1].path):
        frames = list(group)
        path = frames[0][1].path
        dataset = open_dataset(path)  # one at a time: a file's header was weighed, a series' is not
        heads[path] = head_of(dataset)
        for place, frame, pixels in () if stack.converted else _decoded(dataset, frames):
            if len(scales) > 1:
                pixels = (pixels * frame.slope + frame.intercept).astype(np.float32)
            if block is None:
                block = np.empty((len(stack.frames), *frame.size), dtype=pixels.dtype)
            elif block.dtype != pixels.dtype:
                raise _Undecodable("its slices differ in pixel format", "Convert them to one")
            block[place] = pixels
    assert block is not None
    stored = block.T
    fault = check_values(stored)
    if fault:
        raise _Undecodable(*fault)
    digest = hashlib.sha256(stack.grid.affine.tobytes())
    digest.update(block.data)
    return Volume(
        modality=modality,
        stored=stored,
        slope=slope,
        intercept=intercept,
        grid=stack.grid,
        header=spatial_header(stack.grid.affine),
        digest=f"sha256:{digest.hexdigest()}",
        frame_of_reference=stack.frame_of_reference,
        source=source_of(stack, heads),
    )


def _decoded(
    dataset: Dataset, frames: list[tuple[int, Frame]]
) -> Iterator[tuple[int, Frame, NDArray[Any]]]:
    """Each frame's place in the stack, the frame and its pixels (row, column)."""
    decode = _decoder(dataset, UID(dataset.file_meta.TransferSyntaxUID))
    if int(dataset.BitsAllocated) not in (8, 16, 32):
        raise _Undecodable("its pixels are not of 8, 16 or 32 bits", "Convert it")
    for place, frame in frames:
        try:
            pixels = decode(frame.index)
        except compressed.DamagedFrame as fault:
            raise _Undecodable(str(fault), "Send the series again, whole") from None
        if pixels.shape != frame.size:
            raise _Undecodable("its pixels do not fill its images", "Send the series again, whole")
        yield place, frame, pixels


def _decoder(dataset: Dataset, syntax: UID) -> Callable[[int], NDArray[Any]]:
    """What decodes a frame by its index."""
    if syntax in compressed.SYNTAXES:
        return lambda index: compressed.decode_frame(_stream(dataset, index), dataset, syntax)
    if not syntax.is_transfer_syntax or syntax.is_encapsulated:
        raise _unsupported(syntax)
    decoder = get_decoder(syntax)
    return lambda index: decoder.as_array(dataset, index=index, raw=True)[0]


def _stream(dataset: Dataset, index: int) -> bytes:
    count = int(dataset.get("NumberOfFrames") or 1)
    return get_frame(dataset.PixelData, index, number_of_frames=count)


def _unsupported(syntax: UID) -> _Undecodable:
    name = syntax.name if syntax.is_transfer_syntax else "an unknown transfer syntax"
    return _Undecodable(
        f"its pixels are compressed as {name}, which cannot be read here",
        "Send it uncompressed, or as JPEG Lossless, JPEG-LS, JPEG 2000 or RLE",
    )
