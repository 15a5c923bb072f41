"""API keys: random words, of which the server keeps salted hashes in one file.

A key is ``bmvp_ID_SECRET``. The secret is 256 random bits, so nobody can guess it from its hash
however fast the hash is; a slow one, as passwords need, would only make every request slow. The
file is read again when it changes, so keys come and go without a restart.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from brainmvp_models.durable import sync_folder
from brainmvp_models.errors import InvalidSettings
from brainmvp_server.api.caller import Caller, OwnLimits, Scope

log = logging.getLogger(__name__)

PREFIX = "bmvp_"
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class KeyRecord(BaseModel):
    """What is kept of a key: everything but its secret.

    Attributes:
        studies_per_hour, mb_per_day: its own quotas, 0 for none; None is the service's settings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    name: Name
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)]
    salt: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    created: AwareDatetime
    expires: AwareDatetime | None = None
    studies_per_hour: Annotated[int, Field(ge=0)] | None = None
    mb_per_day: Annotated[int, Field(ge=0)] | None = None

    @property
    def limits(self) -> OwnLimits:
        """Its own quotas."""
        return OwnLimits(self.studies_per_hour, self.mb_per_day)

    def expired(self, now: datetime) -> bool:
        """Is its time over?"""
        return self.expires is not None and now >= self.expires


class KeyFile(BaseModel):
    """The file of all keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    keys: tuple[KeyRecord, ...] = ()

    @model_validator(mode="after")
    def _unique(self) -> KeyFile:
        for field in ("id", "name"):
            values = [getattr(key, field) for key in self.keys]
            if len(set(values)) != len(values):
                raise ValueError(f"two keys have the same {field}")
        return self

    @classmethod
    def read(cls, path: Path) -> KeyFile:
        """The keys in a file.

        Raises:
            InvalidSettings: it cannot be read or is no file of keys.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            problem = f"cannot be read: {error.strerror}"
        except ValidationError as error:
            fault = error.errors(include_input=False)[0]
            place = ".".join(map(str, fault["loc"]))
            problem = f"is no file of keys ({place + ': ' if place else ''}{fault['msg']})"
        raise InvalidSettings(
            problem, remedy="Make one with 'brainmvp keys new NAME'", subject=str(path)
        )

    @classmethod
    def change(cls, path: Path, edit: Callable[[KeyFile], KeyFile]) -> None:
        """Read the keys, change them and write them back, while nobody else does the same.

        A server sees either all of the old keys or all of the new ones. Two who change the keys
        at one time would otherwise each write what they read, and the later one bring back what
        the earlier one revoked.

        Args:
            path: the file; no keys where there is none.
            edit: gives the new keys from those there are; what it raises changes nothing.

        Raises:
            InvalidSettings: the file or its folder refuses, or somebody else is writing.
        """
        try:
            with _held(path.parent):
                edit(cls.read(path) if path.exists() else cls()).write(path)
        except OSError as error:
            raise InvalidSettings(
                f"cannot be written: {error.strerror}",
                remedy="Name a file in a folder that can be written",
                subject=str(path),
            ) from None

    def write(self, path: Path) -> None:
        """Put the keys where a server sees either all of the old ones or all of the new ones.

        Raises:
            InvalidSettings: the folder refuses, or somebody else is writing.
        """
        aside = path.with_name(f".{path.name}.new")
        try:
            with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(self.model_dump_json(indent=2, exclude_none=True) + "\n")
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
            sync_folder(path.parent)
        except FileExistsError:
            raise InvalidSettings(
                "somebody else is changing the keys",
                remedy=f"Try again; if it stays so, remove {aside}",
                subject=str(path),
            ) from None
        except OSError as error:
            aside.unlink(missing_ok=True)
            raise InvalidSettings(
                f"cannot be written: {error.strerror}",
                remedy="Name a file in a folder that can be written",
                subject=str(path),
            ) from None


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The folder for one change of its keys; others wait, for the moment that a change takes.

    The operating system takes the lock back when the process dies, however it dies.
    """
    if os.name != "posix":
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def new_key(
    name: str,
    scopes: tuple[Scope, ...],
    lifetime: timedelta | None = None,
    limits: OwnLimits | None = None,
) -> tuple[str, KeyRecord]:
    """A new key, and what is kept of it.

    Raises:
        ValueError: the name does not fit, or there is no scope.
    """
    now = datetime.now(timezone.utc).replace(microsecond=0)
    number, secret, salt = secrets.token_hex(6), secrets.token_urlsafe(32), secrets.token_bytes(16)
    record = KeyRecord(
        id=number,
        name=name,
        scopes=scopes,
        salt=salt.hex(),
        digest=_digest(secret, salt).hex(),
        created=now,
        expires=now + lifetime if lifetime is not None else None,
        studies_per_hour=limits.studies_per_hour if limits else None,
        mb_per_day=limits.mb_per_day if limits else None,
    )
    return f"{PREFIX}{number}_{secret}", record


class KeyRing:
    """The keys of one file, followed as it changes."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            InvalidSettings: it cannot be read or is no file of keys.
        """
        self._path = path
        self._seen = _signature(path)
        self._records = _by_id(KeyFile.read(path))

    def caller(self, key: str) -> Caller | None:
        """Whose key it is; None where it is nobody's or its time is over."""
        self._follow()
        number, _, secret = key.removeprefix(PREFIX).partition("_")
        record = self._records.get(number, _NOBODY)
        digest = _digest(secret, bytes.fromhex(record.salt))
        right = hmac.compare_digest(digest, bytes.fromhex(record.digest))
        if not right or record is _NOBODY or record.expired(datetime.now(timezone.utc)):
            return None
        return Caller(record.name, frozenset(record.scopes), f"key:{record.name}", record.limits)

    def _follow(self) -> None:
        seen = _signature(self._path)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._records = _by_id(KeyFile.read(self._path))
        except InvalidSettings as error:
            log.error("the keys are kept as they were: %s", error.problem)
        else:
            log.info("%d keys read again", len(self._records))


def _digest(secret: str, salt: bytes) -> bytes:
    data = secret.encode("utf-8", "surrogateescape")
    return hashlib.blake2b(data, digest_size=32, salt=salt, person=b"brainmvp-api-key").digest()


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _by_id(file: KeyFile) -> dict[str, KeyRecord]:
    return {key.id: key for key in file.keys}


# An unknown id costs the same time as a known one.
_NOBODY = new_key("nobody", (Scope.PREDICT,))[1]
