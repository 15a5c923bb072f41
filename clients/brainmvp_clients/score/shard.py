"""A run divided among processes: each takes the studies whose identity falls to it.

The identity is a study's name at its source (a folder, a line of a worklist, a Study Instance UID),
never its files' times or places: the same study falls to the same shard on every machine, also when
it was changed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from brainmvp_clients.errors import ClientError

INDEX, COUNT = "JOB_COMPLETION_INDEX", "BRAINMVP_SHARDS"
"""Kubernetes tells every pod of an Indexed Job the first; nobody tells it how many there are."""

MOST = 10_000

_TEXT = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")
_FOLDER = re.compile(r"([0-9]{5})-of-([0-9]{5})")

Takes = Callable[[str], bool]
"""Whether the study of that name is wanted."""


def every_study(_: str) -> bool:
    """Wants them all."""
    return True


@dataclass(frozen=True)
class Shard:
    """Shard ``number`` of ``count``, from 0 on.

    Raises:
        ClientError: there is no such shard.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 0 < self.count <= MOST or not 0 <= self.number < self.count:
            raise ClientError(
                f"there is no shard {self.number} of {self.count}",
                remedy=f"Count from 0 to N-1, N at most {MOST}",
                subject="--shard",
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """``I/N``.

        Raises:
            ClientError: it is none.
        """
        found = _TEXT.fullmatch(text)
        if found is None:
            raise ClientError(
                "is no shard", remedy="Write it as I/N, such as 0/64", subject="--shard"
            )
        return cls(int(found[1]), int(found[2]))

    @classmethod
    def of_job(cls, environment: Mapping[str, str]) -> Shard | None:
        """The shard of a pod of an Indexed Job; None where no count of shards is set.

        Raises:
            ClientError: the count comes without an index, or one of them is no number.
        """
        count = environment.get(COUNT, "")
        if not count:
            return None
        index = environment.get(INDEX, "")
        if _TEXT.fullmatch(f"{index}/{count}") is None:
            raise ClientError(
                f"is set, but it and {INDEX} are not two numbers",
                remedy=f"Run it in an Indexed Job, or give --shard I/N and unset {COUNT}",
                subject=COUNT,
            )
        return cls(int(index), int(count))

    @classmethod
    def of_folder(cls, name: str) -> Shard | None:
        """The shard whose folder has that name, if it is one's."""
        found = _FOLDER.fullmatch(name)
        if found is None or not int(found[1]) < int(found[2]) <= MOST:
            return None
        return cls(int(found[1]), int(found[2]))

    @property
    def folder(self) -> str:
        """The name of its folder: ``00003-of-00064``."""
        return f"{self.number:05d}-of-{self.count:05d}"

    def takes(self, name: str) -> bool:
        """Whether the study of that name falls to this shard: the last 8 bytes of the name's
        SHA-256, modulo ``count``."""
        return int.from_bytes(_digest(name)[-8:], "big") % self.count == self.number

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def spread(name: str) -> PurePosixPath:
    """``ab/cd/NAME``: two folders by the first 2 bytes of the name's SHA-256, which say nothing of
    the shard, so that a million results are some fifteen a folder."""
    first, second = _digest(name)[:2]
    return PurePosixPath(f"{first:02x}", f"{second:02x}", name)


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
