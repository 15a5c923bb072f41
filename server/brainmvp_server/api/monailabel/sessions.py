"""What viewers have sent, kept for as long as they work on it.

A session is a few files in a scratch folder, and somebody's own. It ends so many seconds after its
last use, when its owner removes it, or with the process; a timer sees to the first, so that nothing
is kept longer because nobody asks.
"""

from __future__ import annotations

import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from brainmvp_models.errors import Overloaded
from brainmvp_server.api.problems import UnknownImage
from brainmvp_server.imaging.archive import Unpacked
from brainmvp_server.runtime.scratch import Scratch


@dataclass
class _Session:
    owner: str
    files: tuple[Unpacked, ...]
    folder: ExitStack = field(repr=False)
    used: int = 0
    ended: bool = False
    timer: threading.Timer | None = None


class Sessions:
    """Every viewer's sessions; safe to use from several threads.

    Args:
        keep_s: seconds from its last use that a session is kept.
        most: sessions that may be kept at once.
    """

    def __init__(self, scratch: Scratch, keep_s: float, most: int) -> None:
        self.keep_s = keep_s
        self._scratch = scratch
        self._most = most
        self._kept: dict[tuple[str, str], _Session] = {}
        self._lock = threading.Lock()

    def add(self, owner: str, files: tuple[Unpacked, ...], name: str | None = None) -> str:
        """Keep files, which are moved; the session's name.

        Args:
            name: what its owner calls it; one of that name before is replaced.

        Raises:
            Overloaded: there are enough sessions.
        """
        name = name or secrets.token_hex(16)
        with ExitStack() as stack:
            folder = stack.enter_context(self._scratch.folder())
            moved = tuple(_moved(file, folder, n) for n, file in enumerate(files))
            with self._lock:
                before = self._kept.pop((owner, name), None)
                if before is None and len(self._kept) >= self._most:
                    raise Overloaded(
                        f"{self._most} sessions are open, as many as may be",
                        remedy="Close one, or try again later; the setting monailabel_sessions is "
                        "the limit",
                    )
                session = _Session(owner, moved, stack.pop_all())
                self._kept[owner, name] = session
                self._wait(owner, name, session)
                unused = self._ended(before)
        _close(unused)
        return name

    @contextmanager
    def files(self, owner: str, name: str) -> Iterator[tuple[Unpacked, ...]]:
        """A session's files, which stay until the block ends.

        Raises:
            UnknownImage: its owner has no session of that name.
        """
        with self._lock:
            session = self._known(owner, name)
            session.used += 1
            _stop(session)
        try:
            yield session.files
        finally:
            with self._lock:
                session.used -= 1
                if not session.ended and not session.used:
                    self._wait(owner, name, session)
                unused = session if session.ended and not session.used else None
            _close(unused)

    def has(self, owner: str, name: str) -> bool:
        """Whether there is a session of that name."""
        with self._lock:
            return (owner, name) in self._kept

    def remove(self, owner: str, name: str) -> None:
        """End a session; who works on it keeps its files until it is done.

        Raises:
            UnknownImage: its owner has no session of that name.
        """
        with self._lock:
            self._known(owner, name)
            unused = self._ended(self._kept.pop((owner, name)))
        _close(unused)

    def close(self) -> None:
        """End all."""
        with self._lock:
            unused = [self._ended(session) for session in self._kept.values()]
            self._kept.clear()
        for session in unused:
            _close(session)

    def _known(self, owner: str, name: str) -> _Session:
        session = self._kept.get((owner, name))
        if session is None:
            raise UnknownImage(
                "there is no session of that name, or its time is over",
                remedy="Send the image again",
            )
        return session

    def _wait(self, owner: str, name: str, session: _Session) -> None:
        """Begin the time until the session's end anew."""
        _stop(session)
        session.timer = threading.Timer(self.keep_s, self._expire, (owner, name, session))
        session.timer.daemon = True
        session.timer.start()

    def _expire(self, owner: str, name: str, session: _Session) -> None:
        with self._lock:
            if self._kept.get((owner, name)) is not session or session.used:
                return  # removed, or taken up, as its time was over
            unused = self._ended(self._kept.pop((owner, name)))
        _close(unused)

    def _ended(self, session: _Session | None) -> _Session | None:
        """The session, if nobody works on it and its folder can go."""
        if session is None:
            return None
        session.ended = True
        _stop(session)
        return None if session.used else session


def _stop(session: _Session) -> None:
    if session.timer is not None:
        session.timer.cancel()


def _close(session: _Session | None) -> None:
    if session is not None:
        session.folder.close()


def _moved(file: Unpacked, folder: Path, number: int) -> Unpacked:
    path = folder / f"{number:06d}"
    shutil.move(file.path, path)
    return Unpacked(path, file.name)
