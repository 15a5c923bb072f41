"""Receive a study.

A part is named by its modality, or ``files`` for whatever is to be identified; the parts of
``multipart/related`` (DICOMweb's way to send objects) have no names and are all of the latter kind.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from anyio import CapacityLimiter
from starlette.requests import Request

from brainmvp_models.errors import DuplicateModality, UnknownModality
from brainmvp_models.modality import Modality, parse_modality
from brainmvp_models.nearest import nearest
from brainmvp_server.api.parts import Shelf, UploadLimits, receive
from brainmvp_server.api.problems import InvalidQuery, MalformedUpload, UploadTooLarge
from brainmvp_server.api.query import declared
from brainmvp_server.imaging.archive import Unpacked
from brainmvp_server.inference.checked_study import BRAIN

FILES = "files"
"""The name of parts that are to be identified."""
_LIKE_FILES = (
    "file", "study", "scan", "scans", "image", "images", "dicom", "nifti", "zip", "upload",
)  # fmt: skip
"""What people call the parts that are to be called ``files``."""


@dataclass(frozen=True)
class Upload:
    """A study as it came.

    Attributes:
        parts: the files that were named by their modality, in the order they came.
        brain: the part of that name, a brain mask.
        files: those to be identified, each with the name its sender gave it, for telling modalities
            apart; it may name a patient and is not to be logged.
    """

    parts: dict[Modality, Path]
    files: tuple[Unpacked, ...] = ()
    brain: Path | None = None


async def receive_study(
    request: Request,
    folder: Path,
    limits: UploadLimits,
    disk: CapacityLimiter,
    arrived: Callable[[int], None],
) -> Upload:
    """Write the request's parts into ``folder``; ``arrived`` as :func:`receive` says.

    Raises:
        UnknownModality, DuplicateModality: a part's name is none, or came before.
        InvalidQuery: a part is a parameter.
        BrainMVPError: see :func:`receive`.
    """
    parameters = tuple(declared(request) or ())

    def shelf(named: bool) -> _StudyShelf:
        return _StudyShelf(folder, limits, named=named, parameters=parameters)

    return await receive(request, shelf, limits, disk, arrived)


class _StudyShelf(Shelf[Upload]):
    """The parts of one study."""

    def __init__(
        self, folder: Path, limits: UploadLimits, *, named: bool, parameters: Collection[str]
    ) -> None:
        super().__init__(folder, limits, named=named)
        self._parameters = parameters
        self._parts: dict[Modality, Path] = {}
        self._files: list[Unpacked] = []
        self._brain: Path | None = None

    def check_room(self) -> None:
        if len(self._parts) >= self.limits.parts:
            raise UploadTooLarge(
                f"the request has more than {self.limits.parts} parts",
                remedy="Send one file a modality",
            )
        self.check_files(len(self._files))

    def place(self, name: str, filename: str) -> Path:
        if name == FILES or not self.named:
            path = self.folder / f"{FILES}-{len(self._files):06d}"
            self._files.append(Unpacked(path, filename))
            return path
        if name == BRAIN:
            if self._brain is not None:
                raise MalformedUpload(
                    "the part 'brain' came twice", remedy="Send one mask of the brain"
                )
            self._brain = self.folder / BRAIN
            return self._brain
        modality = part_modality(name, self._parameters)
        if modality in self._parts:
            raise DuplicateModality(
                "the modality was sent twice",
                remedy="Send each modality once",
                subject=modality.value,
            )
        self._parts[modality] = self.folder / modality.value
        return self._parts[modality]

    def finished(self) -> Upload:
        if not self._parts and not self._files:
            what = "file" if self._brain is None else "series beside the brain mask"
            raise MalformedUpload(f"the request holds no {what}", remedy=self.send)
        return Upload(self._parts, tuple(self._files), self._brain)


def part_modality(name: str, parameters: Collection[str]) -> Modality:
    """The modality that a part is named by.

    Raises:
        UnknownModality: it is none; the remedy is for what people write instead.
        InvalidQuery: it is one of the call's ``parameters``, which belong into the address.
    """
    if name in parameters:
        raise InvalidQuery(
            f"'{name}' came as a part of the body, and is a parameter",
            remedy=f"Write it into the address: ?{name}=VALUE",
        )
    bare = name.removesuffix("[]")
    try:
        modality = parse_modality(bare)
    except UnknownModality as error:
        if (bare != name and bare == FILES) or bare.lower() in _LIKE_FILES:
            raise _misnamed(FILES) from None
        raise UnknownModality(
            error.problem,
            remedy=f"{_meant(bare, parameters)}{error.remedy}; or call it {FILES} to have it "
            "identified",
        ) from None
    if bare != name:
        raise _misnamed(bare)
    return modality


def _meant(name: str, parameters: Collection[str]) -> str:
    """A question after the parameter or the modality that a name is like; else nothing."""
    near = nearest(name.lower(), [*parameters, *(modality.value for modality in Modality)])
    if near is None:
        return ""
    place = f", in the address: ?{near}=VALUE" if near in parameters else ""
    return f"Did you mean {near}{place}? "


def _misnamed(name: str) -> UnknownModality:
    return UnknownModality(
        "a part's name is not a modality", remedy=f"Call the part '{name}', and nothing more"
    )
