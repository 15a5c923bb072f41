"""What travels: a study as its source names it, and its files once they are here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from brainmvp_clients.errors import ClientError

FILES = "files"
"""The part that carries files whose modality the server finds out."""

_STEP = re.compile(r"[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]{0,199}")


class UnusableStudy(ClientError):
    """A study that cannot be sent as it is: trying again would not help."""


@dataclass(frozen=True)
class Study:
    """One study of a source.

    ``key`` tells it from every other study for ever (a UID; a path and what lies there) and is
    never shown; ``name`` is what its folder of results is called. ``behind`` is the study of which
    this one is the pseudonym.
    """

    key: str
    name: str
    behind: Study | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        steps = self.name.split("/")
        if not all(_STEP.fullmatch(step) for step in steps):
            raise UnusableStudy(
                "a study's name cannot be a folder's name",
                remedy="Use letters, digits, '-', '_' and '.', and '/' between folders",
            )


@dataclass(frozen=True)
class StudyFiles:
    """A study's files on this disk.

    Attributes:
        volumes: one file a modality.
        files: those that the server is to identify.
        dicom: whether these are DICOM.
        brain: a brain mask of the user's own, NIfTI.
    """

    volumes: Mapping[str, Path] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    dicom: bool = False
    brain: Path | None = None

    def __post_init__(self) -> None:
        if bool(self.volumes) == bool(self.files):
            raise UnusableStudy(
                "no usable image was found" if not self.files else "files are named and unnamed",
                remedy="Check what the study holds",
            )
