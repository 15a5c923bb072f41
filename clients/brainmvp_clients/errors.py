"""Everything that can go wrong between a study on disk and its result, as one tree.

::

    ClientError
    ├── ServerUnreachable   no such address, no answer, or a connection that broke off
    ├── Refused             the server understood and said no: a 4xx with its reason
    ├── ServerFault         the server failed or is too busy: a 5xx, or 429
    ├── UnexpectedAnswer    an answer that is not what a BrainMVP server sends
    ├── LocalFileError      a file here that cannot be read, or a place that cannot be written
    └── OutputExists        there is already something where the result should go

Each carries a *subject*, a *problem* and a *remedy*; ``str()`` is one plain line made of the three.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Problem(BaseModel):
    """The server's reason, as it came in ``application/problem+json`` (RFC 9457)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: str = "about:blank"
    title: str = ""
    status: int
    detail: str = ""
    remedy: str = ""
    part: str | None = None


class ClientError(Exception):
    """An error fit to be shown to a user as it is."""

    def __init__(self, problem: str, *, remedy: str, subject: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy
        self.subject = subject

    def __str__(self) -> str:
        return sentence(self.subject, self.problem, self.remedy)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.args, self.__dict__))


class ServerUnreachable(ClientError):
    """No server answers at the address, or the connection broke off."""


class Refused(ClientError):
    """The server refused the request and said why."""

    def __init__(self, details: Problem, *, server: str) -> None:
        problem = details.detail or details.title or f"refused the request (HTTP {details.status})"
        super().__init__(
            # The detail begins with the part, and so does the line.
            problem.removeprefix(f"{details.part}: "),
            remedy=details.remedy or _remedy_for(details.status),
            subject=details.part or server,
        )
        self.details = details

    @property
    def status(self) -> int:
        """The HTTP status code."""
        return self.details.status

    @property
    def title(self) -> str:
        """The kind of problem, the same for every occurrence."""
        return self.details.title

    @property
    def detail(self) -> str:
        """What is wrong this time."""
        return self.details.detail

    @property
    def part(self) -> str | None:
        """The modality at fault, if one is."""
        return self.details.part


class ServerFault(ClientError):
    """The server failed, or has no room for the study now."""

    def __init__(self, details: Problem, *, server: str, retry_after: float | None = None) -> None:
        waiting = f"Try again in {retry_after:g} s" if retry_after is not None else ""
        super().__init__(
            details.detail or details.title or f"failed (HTTP {details.status})",
            remedy=details.remedy or waiting or "Try again; if it lasts, look at the server's log",
            subject=server,
        )
        self.details = details
        self.retry_after = retry_after

    @property
    def status(self) -> int:
        """The HTTP status code."""
        return self.details.status


class UnexpectedAnswer(ClientError):
    """What came back is not an answer of a BrainMVP server, or not a whole one."""


class LocalFileError(ClientError):
    """A file of this machine that cannot be read, or a place that cannot be written."""


class Unwritable(LocalFileError):
    """A place that cannot be written; once there is room again, it may be."""


class OutputExists(ClientError):
    """The result would replace something that is already there."""


def sentence(subject: str, problem: str, remedy: str) -> str:
    """``SUBJECT: problem. Remedy.`` on one line."""
    start = f"{one_line(subject)}: " if subject else ""
    return f"{start}{one_line(problem).rstrip('.')}. {one_line(remedy).rstrip('.')}."


def one_line(text: str, limit: int = 600) -> str:
    """``text`` made safe for a terminal: no line breaks, printable characters only, not endless."""
    words = " ".join(text.split())
    clean = "".join(character if character.isprintable() else "?" for character in words)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def _remedy_for(status: int) -> str:
    if status in (401, 403):
        return "Give the credentials that the server asks for"
    if status == 404:
        return "Check the server's address and the model's name"
    return "Change the request; the server's documentation is at /docs"


def _rebuild(
    kind: type[ClientError], args: tuple[object, ...], state: dict[str, object]
) -> ClientError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error
