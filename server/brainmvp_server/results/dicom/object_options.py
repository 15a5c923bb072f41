"""What a destination wants of a result's DICOM objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Encoding = Literal["binary", "labelmap"]
Frames = Literal["sparse", "all"]


@dataclass(frozen=True)
class ObjectOptions:
    """What a destination wants.

    Attributes:
        encoding: of the segmentation: ``binary``, or ``labelmap`` where the archive knows it.
        frames: ``sparse``, or ``all`` for viewers that misplace sparse ones.
        overlay: secondary captures too, for viewers that know no segmentations.
    """

    encoding: Encoding = "binary"
    frames: Frames = "sparse"
    overlay: bool = False
