"""What is asked of a server about a study that comes as DICOM."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Literal

Segmentation = Literal["binary", "labelmap"]
Frames = Literal["sparse", "all"]

_ASSIGNMENT = re.compile(r"(file [0-9]+|[^:\s]+):([A-Za-z0-9]+)")
_IN_A_QUERY = re.compile(rf"\bassign=({_ASSIGNMENT.pattern})")


@dataclass(frozen=True)
class DicomOptions:
    """How a DICOM study is told apart and as what its result comes; None is as the server does.

    Attributes:
        assign: ``SERIES:MODALITY``, whatever the header says, or ``SERIES:none`` to leave the
            series out; a series number, a volume's label (``5.2``) or a Series Instance UID; of
            a file that is no DICOM its label (``file 1``).
        b_value: the diffusion weighting that is preferred, s/mm².
        seg: how the segmentation is encoded.
        seg_frames: whether frames without a segment are kept.
        overlay: secondary captures with the mask in colour, too.
    """

    assign: tuple[str, ...] = ()
    b_value: float | None = None
    seg: Segmentation | None = None
    seg_frames: Frames | None = None
    overlay: bool = False

    def __post_init__(self) -> None:
        for entry in self.assign:
            if not _ASSIGNMENT.fullmatch(entry):
                raise ValueError(f"{entry!r} is no assignment: write it as SERIES:MODALITY")

    @property
    def reading(self) -> dict[str, str | tuple[str, ...]]:
        """The query of how it is told apart; without what is left to the server."""
        query: dict[str, str | tuple[str, ...]] = {}
        if self.assign:
            query["assign"] = self.assign
        if self.b_value is not None:
            query["b_value"] = f"{self.b_value:g}"
        return query

    @property
    def query(self) -> dict[str, str | tuple[str, ...]]:
        """The query of a prediction; without what is left to the server."""
        wanted = {"seg": self.seg, "seg_frames": self.seg_frames}
        objects = {name: value for name, value in wanted.items() if value is not None}
        overlay = {"overlay": "true"} if self.overlay else {}
        return {**self.reading, **objects, **overlay}


def as_option(text: str) -> str:
    """A server's advice, which is written for its query, as the option of a command."""
    return _IN_A_QUERY.sub(lambda found: f"--assign {shlex.quote(found[1])}", text)


AS_SERVED = DicomOptions()
