"""Where a process keeps what it works on, so that nothing of it stays, even after a kill.

A process that is killed can clean up nothing, and what it leaves are patients' scans. So beside
each folder ``brainmvp-ID`` lies a file ``brainmvp-ID.lock``, which its process holds locked
(``flock``). The system lets go of the lock when the process dies, however it dies: whoever starts
next in the same place removes the folders whose lock nobody holds. Several services may share one
place, also over a network file system that knows locks.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from brainmvp_models.errors import InvalidSettings

log = logging.getLogger(__name__)

_PREFIX, _LOCK = "brainmvp-", ".lock"


@dataclass(frozen=True)
class Scratch:
    """Folders under ``parent``, by default the system's temporary folder."""

    parent: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))

    def empty(self) -> None:
        """Remove what processes that are dead left here, and see that folders can be made.

        Raises:
            InvalidSettings: they cannot.
        """
        try:
            for path in sorted(self.parent.glob(f"{_PREFIX}*{_LOCK}")):
                if (handle := _taken(path)) is not None:
                    log.warning("scratch: removing what a process left that was killed")
                    _remove(path, handle)
            with self.folder():
                pass
        except OSError as error:
            raise InvalidSettings(
                f"cannot be used for scratch ({error.strerror or type(error).__name__})",
                remedy="Give --scratch a folder that can be written, on a disk that knows locks",
                subject=str(self.parent),
            ) from None

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A new folder that only this user may look into; it is gone after the block.

        Raises:
            OSError: it cannot be made.
        """
        path, handle = self._made()
        try:
            yield path.with_suffix("")
        finally:
            _remove(path, handle)

    def _made(self) -> tuple[Path, int]:
        """A lock, and its folder; the lock first, so that no folder is ever without."""
        while True:
            path = self.parent / f"{_PREFIX}{secrets.token_hex(8)}{_LOCK}"
            os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
            handle = _taken(path)
            if handle is None:
                continue  # somebody who starts just now took it for a dead one's
            try:
                path.with_suffix("").mkdir(mode=0o700)
            except BaseException:
                _remove(path, handle)
                raise
            return path, handle


def _taken(path: Path) -> int | None:
    """A handle that holds the lock; None where somebody else does, or it is another user's.

    Raises:
        OSError: the file system knows no locks.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = os.fstat(handle)
        if held.st_uid == os.getuid() and os.path.samestat(held, path.stat()):
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None


def _remove(path: Path, handle: int) -> None:
    """Remove a folder, and then its lock, which is held."""
    try:
        shutil.rmtree(path.with_suffix(""), ignore_errors=True)
        path.unlink(missing_ok=True)
    finally:
        os.close(handle)
