"""The two seams of batch scoring. One contract suite runs over every implementation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from brainmvp_clients.score.study_files import Study, StudyFiles


class Source(Protocol):
    """Where studies come from. Its methods are called from several threads at once."""

    @property
    def dicom(self) -> bool:
        """Whether all its studies are DICOM."""

    def studies(self) -> Iterator[Study]:
        """Every study, in an order that stays the same.

        Raises:
            ClientError: the source cannot be read.
        """

    def fetch(self, study: Study, into: Path) -> StudyFiles:
        """Bring a study's images into the empty folder ``into``, or tell where they lie.

        Raises:
            ClientError: the study cannot be had, or not now.
        """

    def close(self) -> None:
        """Let go of connections and ports."""


class Sink(Protocol):
    """Where results go. Its methods are called from several threads at once."""

    @property
    def label(self) -> str:
        """What it is and where, without credentials: part of what makes a result the same."""

    @property
    def dicom(self) -> bool:
        """Whether it takes DICOM objects."""

    def deliver(self, study: Study, result: Path) -> None:
        """Put the result, a folder, in its place whole; an earlier one is replaced.

        Raises:
            ClientError: it is not there afterwards.
        """

    def close(self) -> None:
        """Let go of connections."""
