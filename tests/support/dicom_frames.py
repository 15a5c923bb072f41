"""Compressed frames: data sets made of them, and whether decoding one stops everybody else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

ENCODERS: dict[str, Callable[[NDArray[Any]], bytes]] = {
    JPEGLosslessSV1: lambda frame: imagecodecs.jpeg8_encode(
        _unsigned(frame), lossless=True, bitspersample=8 * frame.dtype.itemsize
    ),
    JPEGLSLossless: lambda frame: imagecodecs.jpegls_encode(_unsigned(frame)),
    JPEG2000Lossless: lambda frame: imagecodecs.jpeg2k_encode(
        frame, level=0, reversible=True, codecformat="J2K"
    ),
    HTJ2KLossless: lambda frame: imagecodecs.htj2k_encode(frame),
    RLELossless: lambda frame: _run_lengths(frame),
}
"""What packs a frame (row, column) without loss, by its transfer syntax."""


def compress(dataset: Dataset, syntax: str, damage: Callable[[bytes], bytes] = bytes) -> None:
    """Pack an image's frames, and damage each of them."""
    frames = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([damage(bytes(ENCODERS[syntax](one))) for one in frames])
    dataset["PixelData"].is_undefined_length = True


def stream_of(dataset: Dataset) -> bytes:
    """An image's first frame, as it is packed."""
    count = int(dataset.get("NumberOfFrames") or 1)
    return get_frame(dataset.PixelData, 0, number_of_frames=count)


def holds_the_lock(work: Callable[[], object], limit_s: float = 0.2) -> bool:
    """Whether others stand still for longer than ``limit_s`` while ``work`` runs in a thread.

    A busy machine may keep them from running, too, but not each of five times.
    """
    return all(_longest_hold_s(work) > limit_s for _ in range(5))


def _longest_hold_s(work: Callable[[], object]) -> float:
    """For how long others stand still while ``work``, which may fail, runs.

    Only this process's own time counts, whatever else the machine does.
    """
    done = threading.Event()

    def run() -> None:
        with suppress(Exception):
            work()
        done.set()

    worker = threading.Thread(target=run)
    longest, last = 0.0, time.process_time()
    worker.start()
    while not done.is_set():
        time.sleep(0.002)
        now = time.process_time()
        longest, last = max(longest, now - last), now
    worker.join()
    return longest


def _unsigned(frame: NDArray[Any]) -> NDArray[Any]:
    return frame.view(f"u{frame.dtype.itemsize}")


def _run_lengths(frame: NDArray[Any]) -> bytes:
    """PS3.5, G.4: the highest bytes first."""
    little = np.ascontiguousarray(frame, frame.dtype.newbyteorder("<"))
    planes = little.view(np.uint8).reshape(*frame.shape, -1)
    segments = [
        imagecodecs.packbits_encode(np.ascontiguousarray(planes[..., place])).ljust(1, b"\0")
        for place in reversed(range(planes.shape[-1]))
    ]
    header = np.zeros(16, "<u4")
    header[0] = len(segments)
    header[1 : len(segments) + 1] = 64 + np.cumsum([0, *map(len, segments[:-1])])
    return header.tobytes() + b"".join(segments)
