"""Studies that a PACS sends, on disk until they are quiet, scored and old enough to go.

DICOM does not say when a study is complete, so one that has had no new image for a while is taken
to be. Everything is in the folder: after a kill the next process goes on from it.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from pynetdicom import evt

from brainmvp_clients.pacs.query import is_uid
from brainmvp_clients.pacs.storage import UNEXPECTED, file_name, written
from brainmvp_clients.score.ledger import State
from brainmvp_clients.score.study import Material, Study
from brainmvp_clients.storage import writing

_LOOK = 0.5
_HOUR = 3600.0
_UID = "study.json"


class Spool:
    """A source that grows: ``studies`` yields each study when it is quiet, until ``stop`` is set.

    A study is its images: if more of them come later it is another, and is scored again, whole.
    """

    dicom = True

    def __init__(
        self,
        root: Path,
        stop: threading.Event,
        *,
        quiet: float = 60.0,
        keep: float = 24.0,
        again: float = 300.0,
    ) -> None:
        """``quiet`` and ``again``, after which a failed study is offered again: seconds;
        ``keep`` hours."""
        self._root, self._stop = root, stop
        self._quiet, self._keep, self._again = quiet, keep, again
        self._offered: dict[str, float] = {}
        self._ended: set[str] = set()
        with writing(root):
            root.mkdir(parents=True, exist_ok=True)
            for path in root.rglob("*.partial"):
                path.unlink()

    def store(self, event: evt.Event) -> int:
        """Answer one C-STORE; for pynetdicom."""
        uid = str(event.dataset.get("StudyInstanceUID", ""))
        if not is_uid(uid):
            return UNEXPECTED
        folder = self._folder(uid)
        if not (folder / _UID).exists():
            folder.mkdir(parents=True, exist_ok=True)
            staging = folder / f"{threading.get_ident()}.partial"
            staging.write_text(json.dumps(uid))
            staging.replace(folder / _UID)
        return written(event, folder / file_name(event))

    def studies(self) -> Iterator[Study]:
        """Every quiet study, again when images came since or it failed a while ago."""
        while not self._stop.is_set():
            for folder in sorted(self._root.iterdir()):
                study = self._ready(folder)
                if study is not None:
                    yield study
                if self._stop.is_set():
                    return
            self._stop.wait(_LOOK)

    def ended(self, study: Study, state: State) -> None:
        """Hear that a study has a result, or will never have one."""
        if state in (State.DONE, State.REFUSED):
            self._ended.add(study.key)

    def fetch(self, study: Study, into: Path) -> Material:
        """The images where they lie."""
        return Material(files=tuple(_images(self._folder(study.name))), dicom=True)

    def close(self) -> None:
        """Nothing is held."""

    def _folder(self, uid: str) -> Path:
        return self._root / hashlib.sha256(uid.encode()).hexdigest()[:32]

    def _ready(self, folder: Path) -> Study | None:
        """The study, if it is quiet and it is time to offer it; old ones are removed."""
        images = _images(folder)
        if not images:
            return None
        idle = time.time() - max(path.stat().st_mtime for path in images)
        if idle < self._quiet:
            return None
        uid = json.loads((folder / _UID).read_text())
        study = Study(f"{uid}\0{_digest(images)}", uid)
        if study.key in self._ended:
            if idle > self._keep * _HOUR:
                shutil.rmtree(folder, ignore_errors=True)
                self._ended.discard(study.key)
            return None
        now = time.monotonic()
        if now - self._offered.get(study.key, -math.inf) < self._again:
            return None
        self._offered = {key: at for key, at in self._offered.items() if now - at < self._again}
        self._offered[study.key] = now
        return study


def _digest(images: list[Path]) -> str:
    return hashlib.sha256("".join(path.name for path in images).encode()).hexdigest()


def _images(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.dcm"))
