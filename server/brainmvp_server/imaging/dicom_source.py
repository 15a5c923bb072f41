"""Where a volume came from, as far as objects made from it must refer to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class SourceImage:
    """One object of the series that a volume was read from."""

    series: str
    instance: str
    sop_class: str


@dataclass(frozen=True)
class SourceFrame:
    """Where one slice of a volume came from.

    Attributes:
        number: of the frame, from 1; None in an object that is one image.
    """

    image: SourceImage
    number: int | None


@dataclass(frozen=True)
class DicomSource:
    """The identity of a volume, read once: patient, study, and the frames it is made of.

    Where a volume lies is its grid's affair; nothing here repeats it.

    Attributes:
        label: the series, as users name it.
        study: its UID.
        frame_of_reference: its UID; where the source has no valid one, one made of what it has.
        frames: where each slice came from, in the order of the grid.
        tiled: whether the slices are tiles of one image, so that no frame is a slice.
        attributes: values of patient, study and equipment by keyword, valid and in Unicode.
        refused: why no object can refer to the source, one sentence a tag; empty where all can.
        left_out: what of the source objects do not repeat, and why; one sentence a tag.
    """

    label: str
    study: str
    frame_of_reference: str
    frames: tuple[SourceFrame, ...]
    tiled: bool
    attributes: Mapping[str, tuple[str, ...]] = field(repr=False)
    refused: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def images(self) -> tuple[SourceImage, ...]:
        """The objects, each once, in the order of the slices."""
        return tuple(dict.fromkeys(frame.image for frame in self.frames))

    def value(self, keyword: str) -> str:
        """The first value of an attribute; empty where it has none."""
        return (self.attributes.get(keyword) or ("",))[0]
