"""Where jobs keep studies and results: a folder, or a bucket through fsspec."""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO, Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from brainmvp_models.errors import InvalidSettings
from brainmvp_server.inference.checked_study import BRAIN
from brainmvp_server.jobs.job import JobSpec, KeptStudy
from brainmvp_server.results.findings import Findings

_PIECE = 1 << 20
_FINDINGS = "findings.json"


class JobFiles:
    """Files of jobs under one address.

    ``ID/study/DIGEST/MODALITY`` is a study, with ``brain`` where a mask of it came along, and
    ``findings.json`` where it was identified;
    ``ID/results/…`` is a result. Every file is written before anything in the database points at
    it. In a folder, only its owner may look at any of it.

    Args:
        address: a folder, or a URL that fsspec knows, such as ``s3://bucket/prefix``.

    Raises:
        InvalidSettings: the address cannot be used.
    """

    def __init__(self, address: str) -> None:
        try:
            self._fs, self._root = url_to_fs(address)
            self._make(PurePosixPath(self._root))
        except (ValueError, ImportError, OSError) as error:
            raise InvalidSettings(
                f"the jobs' storage cannot be used ({type(error).__name__})",
                remedy="Give a folder that can be written, or an s3:// URL and pip install s3fs",
                subject="jobs_storage",
            ) from error
        self._root = self._root.rstrip("/")

    def put_study(self, spec: JobSpec, study: KeptStudy) -> None:
        """Keep a study's files."""
        for modality, path in study.files.items():
            self._put(path, f"{_study(spec)}/{modality.value}")
        if study.brain is not None:
            self._put(study.brain, f"{_study(spec)}/{BRAIN}")
        if study.findings is not None:
            findings = f"{_study(spec)}/{_FINDINGS}"
            with self._open(findings, "wb") as file:
                file.write(study.findings.model_dump_json().encode())
            self._close_to_others(PurePosixPath(self._at(findings)))

    def fetch_study(self, spec: JobSpec, folder: Path) -> KeptStudy:
        """Copy a study's files into ``folder``.

        Raises:
            FileNotFoundError: it is no longer there.
        """
        files = {}
        for modality in spec.modalities:
            files[modality] = folder / modality.value
            self._fs.get_file(self._at(f"{_study(spec)}/{modality.value}"), str(files[modality]))
        brain = folder / BRAIN if spec.brain else None
        if brain is not None:
            self._fs.get_file(self._at(f"{_study(spec)}/{BRAIN}"), str(brain))
        findings = None
        with suppress(FileNotFoundError), self._open(f"{_study(spec)}/{_FINDINGS}", "rb") as file:
            findings = Findings.model_validate_json(file.read())
        return KeptStudy(files, findings, brain)

    def drop_study(self, spec: JobSpec) -> None:
        """Forget one study; another one of the same job, if there is one, stays."""
        self._drop(_study(spec))

    def put_results(self, job: str, folder: Path) -> tuple[str, ...]:
        """Keep every file under ``folder``; returns their names, which are there from now on."""
        names = []
        for path in sorted(entry for entry in folder.rglob("*") if entry.is_file()):
            name = path.relative_to(folder).as_posix()
            self._put(path, f"{job}/results/{name}")
            names.append(name)
        return tuple(names)

    def size(self, job: str, name: str) -> int:
        """Bytes of a result file.

        Raises:
            FileNotFoundError: there is none.
        """
        return int(self._fs.size(self._at(f"{job}/results/{name}")))

    def pieces(self, job: str, name: str) -> Iterator[bytes]:
        """A result file's bytes."""
        with self._open(f"{job}/results/{name}", "rb") as file:
            while piece := file.read(_PIECE):
                yield piece

    def pack(self, job: str, names: Sequence[str], archive: Path) -> None:
        """Write result files into a zip; what is compressed already is only stored."""
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as pack:
            for name in names:
                with pack.open(zipfile.ZipInfo(name), "w", force_zip64=True) as entry:
                    for piece in self.pieces(job, name):
                        entry.write(piece)

    def drop(self, job: str) -> None:
        """Forget everything of a job."""
        self._drop(job)

    def left_behind(self, known: set[str], older_than_s: float) -> list[str]:
        """Jobs that have files here but that nobody knows, and that nobody is just making."""
        self._fs.invalidate_cache()
        now, found = time.time(), []
        for entry in self._fs.ls(self._root, detail=True):
            job = PurePosixPath(entry["name"].rstrip("/")).name
            ours = entry["type"] == "directory" and _is_job(job) and job not in known
            if ours and now - self._newest(job) > older_than_s:
                found.append(job)
        return found

    def _newest(self, job: str) -> float:
        """When a file of the job was written last, in seconds since 1970; 0 if it has none."""
        files = self._fs.find(self._at(job), detail=True)
        return max((self._fs.modified(name).timestamp() for name in files), default=0.0)

    def _put(self, path: Path, name: str) -> None:
        target = PurePosixPath(self._at(name))
        self._make(target.parent)
        self._fs.put_file(str(path), str(target))
        self._close_to_others(target)

    def _open(self, name: str, mode: str) -> IO[Any]:
        file: IO[Any] = self._fs.open(self._at(name), mode)
        return file

    def _make(self, folder: PurePosixPath) -> None:
        """Make a folder and those between it and the root, which only their owner may enter."""
        self._fs.makedirs(str(folder), exist_ok=True)
        root = PurePosixPath(self._root)
        for path in (folder, *folder.parents):
            if path.is_relative_to(root):
                self._close_to_others(path)

    def _close_to_others(self, path: PurePosixPath) -> None:
        """Let nobody but the owner at a file or folder; a bucket has rules of its own."""
        if isinstance(self._fs, LocalFileSystem):
            with suppress(PermissionError):  # the root was made by somebody else, for us
                os.chmod(path, 0o700 if os.path.isdir(path) else 0o600)

    def _drop(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._fs.rm(self._at(name), recursive=True)

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"


def _study(spec: JobSpec) -> str:
    return f"{spec.id}/study/{spec.digest}"


def _is_job(name: str) -> bool:
    return len(name) == 32 and all(letter in "0123456789abcdef" for letter in name)
