"""From an exception to the one line that a user sees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import typer

from brainmvp_clients.dicom import as_option
from brainmvp_clients.errors import ClientError, one_line, sentence


class UsageProblem(ClientError):
    """A command line that cannot be meant."""


class MissingExtra(ClientError):
    """A command whose packages are not installed."""

    def __init__(self, needed_for: str, extras: str, missing: str) -> None:
        super().__init__(
            f"{needed_for} needs the '{extras.partition(',')[0]}' extra",
            remedy=f"pip install 'brainmvp[{extras}]'",
        )
        self.missing = missing

    def __str__(self) -> str:
        return f"{self.problem}: {self.remedy} ({one_line(self.missing)})"


def user_message(error: Exception) -> str | None:
    """The line for an error that a user can mend; none for a fault of the program."""
    if isinstance(error, ClientError):
        return as_option(str(error))
    if isinstance(error, typer.TyperException):
        return _usage(error)
    parts = user_error(error)
    return as_option(sentence(*parts)) if parts else None


def user_error(error: BaseException) -> tuple[str, str, str] | None:
    """Subject, problem and remedy of an error that has them, whichever package raised it."""
    subject, problem, remedy = (
        getattr(error, name, None) for name in ("subject", "problem", "remedy")
    )
    if isinstance(subject, str) and isinstance(problem, str) and isinstance(remedy, str):
        return subject, problem, remedy
    return None


@contextmanager
def naming_files(study: Mapping[str, Path]) -> Iterator[None]:
    """Adds the file to an error whose subject is a modality of ``study``."""
    try:
        yield
    except Exception as error:
        parts = user_error(error)
        if parts is None or parts[0] not in study:
            raise
        subject, problem, remedy = parts
        raise ClientError(
            problem, remedy=remedy, subject=f"{subject} ({study[subject]})"
        ) from error


def _usage(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    path = getattr(context, "command_path", None)
    hint = f" See '{path} --help'." if path else ""
    return f"{one_line(error.format_message()).rstrip('.?')}.{hint}"
