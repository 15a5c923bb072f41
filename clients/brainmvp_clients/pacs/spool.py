"""Studies that a PACS sends, on disk until they are quiet, scored and old enough to go.

DICOM does not say when a study is complete, so one that has had no new image for a while is taken
to be. Everything is in the folder: after a kill, or when the power went, the next process goes on
from it. A folder of images that does not say whose they are is asked again: its images know.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from pydicom import dcmread
from pynetdicom import evt

from brainmvp_clients.pacs.query import is_uid
from brainmvp_clients.pacs.storage_scp import (
    OUT_OF_RESOURCES,
    PROCESSING_FAILURE,
    file_name,
    write_durably,
    write_instance,
)
from brainmvp_clients.result_files import sync, writing
from brainmvp_clients.score.ledger import StudyState
from brainmvp_clients.score.private_files import make_private
from brainmvp_clients.score.study_files import Study, StudyFiles

_LOOK = 0.5
_HOUR = 3600.0
_UID = "study.json"
_OLD = ".old"
"""The ending of a folder that is being removed."""

log = logging.getLogger(__name__)


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
        self._unusable: set[Path] = set()
        with writing(root):
            make_private(root)
            for path in root.rglob("*.partial"):
                path.unlink()
            for path in root.glob(f"*{_OLD}"):
                shutil.rmtree(path, ignore_errors=True)

    def store(self, event: evt.Event) -> int:
        """Answer one C-STORE; for pynetdicom."""
        uid = str(event.dataset.get("StudyInstanceUID", ""))
        if not is_uid(uid):
            return PROCESSING_FAILURE
        folder = self._folder(uid)
        try:
            self._begin(folder, uid)
        except OSError as error:
            log.error("a study cannot be begun: %s", error.strerror or type(error).__name__)
            return OUT_OF_RESOURCES
        return write_instance(event, folder / file_name(event))

    def studies(self) -> Iterator[Study]:
        """Every quiet study, again when images came since or it failed a while ago."""
        while not self._stop.is_set():
            for folder in sorted(self._root.iterdir()):
                study = self._study_to_offer(folder)
                if study is not None:
                    yield study
                if self._stop.is_set():
                    return
            self._stop.wait(_LOOK)

    def ended(self, study: Study, state: StudyState) -> None:
        """Hear that a study has a result, or will never have one."""
        if state in (StudyState.DONE, StudyState.REFUSED):
            self._ended.add(study.key)

    def fetch(self, study: Study, into: Path) -> StudyFiles:
        """The images where they lie."""
        return StudyFiles(files=tuple(_images(self._folder(study.name))), dicom=True)

    def close(self) -> None:
        """Nothing is held."""

    def _folder(self, uid: str) -> Path:
        return self._root / hashlib.sha256(uid.encode()).hexdigest()[:32]

    def _begin(self, folder: Path, uid: str) -> None:
        """Have a folder on disk that says which study it is."""
        if self._uid_in_folder(folder) == uid:
            return
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync(self._root)
        write_durably(folder / _UID, json.dumps(uid).encode())

    def _study_to_offer(self, folder: Path) -> Study | None:
        """The study in a folder, if it is to be offered now; whatever is no study is passed over.

        What one folder is must not keep the others waiting.
        """
        if folder.suffix == _OLD or not folder.is_dir():
            return None
        try:
            return self._quiet_study(folder)
        except OSError as error:
            self._log_once(folder, error.strerror or type(error).__name__)
            return None

    def _log_once(self, folder: Path, problem: str) -> None:
        """Say once what is wrong with a folder; its name says nothing about the patient."""
        if folder not in self._unusable:
            self._unusable.add(folder)
            log.error("%s is passed over: %s", folder.name, problem)

    def _quiet_study(self, folder: Path) -> Study | None:
        """The study, if it is quiet and it is time to offer it; old ones are removed."""
        images = _images(folder)
        if not images:
            return None
        idle = time.time() - max(path.stat().st_mtime for path in images)
        if idle < self._quiet:
            return None
        uid = self._uid_in_folder(folder) or self._uid_from_images(folder, images)
        if uid is None:
            return None
        study = Study(f"{uid}\0{_digest(images)}", uid)
        if study.key in self._ended:
            if idle > self._keep * _HOUR:
                self._remove(folder)
                self._ended.discard(study.key)
            return None
        now = time.monotonic()
        if now - self._offered.get(study.key, -math.inf) < self._again:
            return None
        self._offered = {key: at for key, at in self._offered.items() if now - at < self._again}
        self._offered[study.key] = now
        return study

    def _uid_in_folder(self, folder: Path) -> str | None:
        """The study that a folder says it holds; None where its word is missing or not whole."""
        try:
            uid = json.loads((folder / _UID).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return uid if isinstance(uid, str) and self._folder(uid) == folder else None

    def _uid_from_images(self, folder: Path, images: list[Path]) -> str | None:
        """Which study a folder holds, by its images; written down again."""
        for path in images:
            uid = _uid_of_image(path)
            if uid is not None and self._folder(uid) == folder:
                self._begin(folder, uid)
                return uid
        self._log_once(folder, "neither it nor its images say which study it is")
        return None

    @staticmethod
    def _remove(folder: Path) -> None:
        """Remove a study at once: killed half-way, its rest would be taken for another study."""
        old = folder.with_suffix(_OLD)
        folder.rename(old)
        shutil.rmtree(old, ignore_errors=True)


def _uid_of_image(path: Path) -> str | None:
    try:
        header = dcmread(path, stop_before_pixels=True, specific_tags=["StudyInstanceUID"])
        uid = str(header.get("StudyInstanceUID", ""))
    except Exception as error:  # pydicom raises whatever the bytes make it raise
        log.debug("an image does not say its study: %s", type(error).__name__)
        return None
    return uid if is_uid(uid) else None


def _digest(images: list[Path]) -> str:
    return hashlib.sha256("".join(path.name for path in images).encode()).hexdigest()


def _images(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.dcm"))
