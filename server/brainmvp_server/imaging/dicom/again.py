"""Slices that were sent again under new UIDs: the same voxels at the same place count once."""

from __future__ import annotations

import hashlib
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from brainmvp_server.imaging.dicom.dataset import UnreadableFile, open_dataset
from brainmvp_server.imaging.dicom.extent import TooMuch
from brainmvp_server.imaging.dicom.files import Frame
from brainmvp_server.imaging.dicom.header import DAMAGED
from brainmvp_server.imaging.dicom.regular import SAME_PLACE_MM


def without_copies(frames: Sequence[Frame]) -> list[Frame]:
    """The frames without those whose stored bytes, place and scaling another one has.

    Only frames that share a place are opened. What was acquired anew, by its acquisition number or
    temporal position, is no copy, whatever it shows.
    """
    places: dict[object, list[Frame]] = defaultdict(list)
    for frame in frames:
        place = tuple(np.round(np.array(frame.position) / SAME_PLACE_MM))
        places[place, frame.size, frame.slope, frame.intercept, frame.moment].append(frame)
    digests: dict[Path, bytes] = {}
    copies: set[tuple[Path, int]] = set()
    for rivals in places.values():
        if len(rivals) == 1:
            continue
        seen: set[tuple[bytes, int]] = set()
        for frame in rivals:
            if frame.path not in digests:
                digests[frame.path] = _digest(frame.path)
            what = digests[frame.path], frame.index
            if what in seen:
                copies.add((frame.path, frame.index))
            seen.add(what)
    return [frame for frame in frames if (frame.path, frame.index) not in copies]


def _digest(path: Path) -> bytes:
    """Of an object's pixels as they are stored; its own for one that cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom would quote values of the file
            dataset = open_dataset(path)
            kind = f"{dataset.file_meta.TransferSyntaxUID}|{dataset.get('BitsStored')}|"
            kind += str(dataset.get("PixelRepresentation"))
            return hashlib.sha256(kind.encode() + dataset.PixelData).digest()
    except (*DAMAGED, UnreadableFile, TooMuch):
        return str(path).encode()
