"""Results in a bucket, through fsspec; needs the ``s3`` extra, or another file system of fsspec.

A bucket renames nothing: the summary is written last and taken away first, so a result is whole
where its ``summary.json`` is. Folders are never made: s3fs would make a bucket of a misspelt name.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from fsspec.core import url_to_fs
from fsspec.utils import get_protocol

from brainmvp_clients.errors import ClientError, one_line
from brainmvp_clients.result_files import SUMMARY
from brainmvp_clients.score.output_folder import STUDIES
from brainmvp_clients.score.retry import Unavailable
from brainmvp_clients.score.study_files import Study


class BucketSink:
    """``URL/studies/PLACE`` holds the mask, the summary and whatever else the server gave.

    Args:
        url: what fsspec knows, such as ``s3://bucket/prefix``; credentials are in the environment.
        place: where below that a study's result lies, by its name.

    Raises:
        ClientError: it is no such address, or cannot be written to.
    """

    dicom = False

    def __init__(self, url: str, place: Callable[[str], PurePosixPath] = PurePosixPath) -> None:
        self._place = place
        self.label = "bucket"
        self._fs, self._root = file_system(url)
        self._try()

    def deliver(self, study: Study, result: Path) -> None:
        """Copy the result into its place, over an earlier one."""
        target = f"{self._root}/{self._place(study.name)}"
        files = {
            path.relative_to(result).as_posix(): path
            for path in sorted(result.rglob("*"))
            if path.is_file()
        }
        with _answering():
            for stale in self._there(target, files):
                self._fs.rm_file(stale)
            for name in sorted(files, key=lambda name: name == SUMMARY):
                self._fs.put_file(str(files[name]), f"{target}/{name}")

    def close(self) -> None:
        """Nothing is held."""

    def _there(self, target: str, files: dict[str, Path]) -> list[str]:
        """What is to go before a result is written: its summary, then what it has no more."""
        self._fs.invalidate_cache()
        there = [str(path) for path in self._fs.find(target)]
        summary, kept = f"/{SUMMARY}", tuple(f"/{name}" for name in files if name != SUMMARY)
        gone = [path for path in there if path.endswith(summary) or not path.endswith(kept)]
        return sorted(gone, key=lambda path: not path.endswith(summary))

    def _try(self) -> None:
        """Write something and take it away, before a study is sent."""
        probe = f"{self._root}/.brainmvp-{secrets.token_hex(8)}"
        try:
            self._fs.pipe_file(probe, b"")
            self._fs.rm_file(probe)
        except Exception as error:  # whatever the file system's library raises
            raise ClientError(
                f"cannot be written to ({why(error)})",
                remedy="Check the address, that the bucket is there, and the credentials",
                subject="--bucket",
            ) from error


@contextmanager
def _answering() -> Iterator[None]:
    """Whatever goes wrong may pass: no study is refused because of a bucket.

    Raises:
        Unavailable: something did.
    """
    try:
        yield
    except Exception as error:  # each file system has errors of its own
        raise Unavailable(
            f"the bucket cannot be written ({why(error)})",
            remedy="Check that it is there, its room and the credentials",
        ) from error


def file_system(url: str) -> tuple[Any, str]:
    """The file system of an address, and the path there below which results lie.

    Raises:
        ClientError: it is no address of a bucket, does not answer, or needs a package that is
            missing.
    """
    try:
        # A bucket's folders are names alone; those of a disk have to be made.
        local = get_protocol(url) in ("file", "local")
        fs, root = url_to_fs(url, **({"auto_mkdir": True} if local else {}))
    except (ValueError, ImportError, OSError) as error:
        raise ClientError(
            f"is no address of a bucket that can be used ({type(error).__name__})",
            remedy="Write it as s3://BUCKET/PREFIX, and install what fsspec needs for it",
            subject="--bucket",
        ) from None
    return fs, f"{root.rstrip('/')}/{STUDIES}"


def why(error: Exception) -> str:
    """The kind of error alone: its words can name the study's place."""
    return one_line(type(error).__name__)
