"""What a viewer sends: files, and short texts beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from brainmvp_server.api.parts import Shelf, UploadLimits
from brainmvp_server.api.problems import MalformedUpload
from brainmvp_server.api.study_request import StudyRequest
from brainmvp_server.imaging.archive import Unpacked


@dataclass(frozen=True)
class PartNames:
    """What a call's parts are called.

    Attributes:
        file: parts that are files.
        texts: parts that are short texts.
        needs_file: whether there must be one.
    """

    file: str
    texts: tuple[str, ...]
    needs_file: bool = True


@dataclass(frozen=True)
class Sent:
    """What came.

    Attributes:
        files: each with the name its sender gave it, which may name a patient.
        texts: by the names of their parts.
    """

    files: tuple[Unpacked, ...]
    texts: Mapping[str, str] = field(repr=False)


async def receive_sent(incoming: StudyRequest, names: PartNames) -> Sent:
    """What a viewer sends, written into the request's folder.

    Raises:
        BrainMVPError: see :func:`receive`; or a part has none of these names.
    """
    if not names.needs_file and await incoming.brings_nothing():
        return Sent((), {})
    return await incoming.parts(
        lambda named: _ViewerShelf(incoming.folder, incoming.limits, named=named, names=names)
    )


class _ViewerShelf(Shelf[Sent]):
    """The parts of a viewer's request."""

    def __init__(
        self, folder: Path, limits: UploadLimits, *, named: bool, names: PartNames
    ) -> None:
        super().__init__(folder, limits, named=named)
        self._names = names
        self._files: list[Unpacked] = []
        self._texts: dict[str, str] = {}

    def check_room(self) -> None:
        self.check_files(len(self._files))

    def place(self, name: str, filename: str) -> Path:
        if name != self._names.file:
            known = ", ".join(sorted((self._names.file, *self._names.texts)))
            raise MalformedUpload(
                "the request has a part that this call does not take", remedy=f"It takes: {known}"
            )
        path = self.folder / f"{name}-{len(self._files):06d}"
        self._files.append(Unpacked(path, filename))
        return path

    def is_text(self, name: str) -> bool:
        return name in self._names.texts

    def take_text(self, name: str, text: str) -> None:
        self._texts[name] = text

    def finished(self) -> Sent:
        if self._names.needs_file and not self._files:
            raise MalformedUpload("the request holds no file", remedy=self.send)
        return Sent(tuple(self._files), self._texts)
