"""What both clients say and understand, without sending anything themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from brainmvp_clients.dicom import AS_SERVED, DicomOptions
from brainmvp_clients.errors import (
    ClientError,
    Problem,
    Refused,
    ServerFault,
    ServerUnreachable,
    UnexpectedAnswer,
    one_line,
)
from brainmvp_clients.version import version

DEFAULT_SERVER = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT = httpx.Timeout(10.0, read=1800.0, write=60.0)
"""Seconds. Reading waits for the inference, which takes minutes on a CPU."""

Timeout = httpx.Timeout | float | None

JSON = "application/json"
GZIP = "application/gzip"
ZIP = "application/zip"
EVENTS = "text/event-stream"
PROBLEM = "application/problem+json"

MAX_TEXT = 16 << 20
CHUNK = 1 << 20

WATCH_PAUSE_S = 1.0
WATCH_TRIES = 60
"""How often in a row a job's events may be out of reach."""


@dataclass(frozen=True)
class Call:
    """One request: where it goes and the one kind of answer it takes."""

    path: str
    params: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    accept: str = JSON
    method: str = "GET"
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        """Binary answers are compressed already."""
        encoding = {} if self.accept == JSON else {"Accept-Encoding": "identity"}
        return {"Accept": self.accept, **encoding, **self.extra}


READY = Call("/health/ready")
MODELS = Call("/v1/models")


def model_call(name: str, version: str | None) -> Call:
    """Asks about one model."""
    return Call(f"/v1/models/{quote(name, safe='')}", _given(version=version))


def predict_call(
    model: str,
    version: str | None,
    fill: str | None,
    *,
    accept: str = JSON,
    probabilities: bool = False,
    resample: bool = False,
    form: str | None = None,
    prepare: str | None = None,
    space: str | None = None,
    not_determinable: bool = False,
    profile: str | None = None,
    dicom: DicomOptions = AS_SERVED,
) -> Call:
    """Asks for one study's result."""
    params = _wanted(
        version,
        fill,
        probabilities=probabilities,
        resample=resample,
        form=form,
        prepare=prepare,
        space=space,
        not_determinable=not_determinable,
        profile=profile,
    )
    path = f"/v1/models/{quote(model, safe='')}/predict"
    return Call(path, {**params, **dicom.query}, accept, "POST")


def identify_call(dicom: DicomOptions) -> Call:
    """Asks what a study holds."""
    return Call("/v1/studies/identify", dicom.reading, method="POST")


def compare_call(
    model: str | None, version: str | None, *, accept: str = JSON, dicom: DicomOptions
) -> Call:
    """Asks what changed between two studies."""
    params = {**_given(model=model, version=version), **dicom.reading}
    return Call("/v1/compare", params, accept, "POST")


def job_post(
    model: str,
    version: str | None,
    fill: str | None,
    *,
    probabilities: bool,
    resample: bool,
    form: str | None,
    prepare: str | None,
    space: str | None,
    not_determinable: bool,
    profile: str | None,
    interactive: bool,
    key: str | None,
    dicom: DicomOptions,
) -> Call:
    """Posts one study as a job."""
    params = {
        **_wanted(
            version,
            fill,
            probabilities=probabilities,
            resample=resample,
            form=form,
            prepare=prepare,
            space=space,
            not_determinable=not_determinable,
            profile=profile,
        ),
        **_given(priority="interactive" if interactive else None),
    }
    path = f"/v1/models/{quote(model, safe='')}/jobs"
    headers = _given(**{"Idempotency-Key": key})
    return Call(path, {**params, **dicom.query}, JSON, "POST", headers)


def job_call(job: str, *, results: bool = False) -> Call:
    """Asks about one job, or for its results."""
    path = f"/v1/jobs/{quote(job, safe='')}"
    return Call(f"{path}/results", accept=ZIP) if results else Call(path)


def job_events(job: str) -> Call:
    """Asks to be told of a job's changes."""
    return Call(f"/v1/jobs/{quote(job, safe='')}/events", accept=EVENTS)


def event_data(line: str) -> str | None:
    """The job that a line of server-sent events holds, as JSON, if it holds one."""
    return line.removeprefix("data:") if line.startswith("data:") else None


def job_end(job: str) -> Call:
    """Cancels a job, or forgets one that is over."""
    return Call(f"/v1/jobs/{quote(job, safe='')}", method="DELETE")


JOBS = Call("/v1/jobs")


def address(server: str) -> httpx.URL:
    """The server's address.

    Raises:
        ServerUnreachable: it is none.
    """
    try:
        url = httpx.URL(server)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.userinfo:
        raise ServerUnreachable(
            "has credentials in it, which lists of processes would show",
            remedy="Give the address alone, http://HOST:PORT, and the key in BRAINMVP_API_KEY; "
            "whatever else a proxy asks for goes into the headers of a Client",
            subject=display_address(url),
        )
    if url.query or url.fragment:
        part = "query" if url.query else "fragment"
        raise ServerUnreachable(
            f"has a {part}, which no call would keep",
            remedy="Give the address alone, http://HOST:PORT; options such as --fill and "
            "--resample say the rest",
            subject=display_address(url),
        )
    port = 80 if url.port is None else url.port
    if url.scheme not in ("http", "https") or not url.host or not 0 < port < 1 << 16:
        raise ServerUnreachable(
            "is not a server's address",
            remedy="Write it as http://HOST:PORT",
            subject=one_line(server, 80).rpartition("@")[2],
        )
    return url


def display_address(url: httpx.URL) -> str:
    """The address without credentials, fit for a message."""
    return f"{url.scheme}://{url.netloc.decode('ascii')}{url.path.rstrip('/')}"


def request_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """The caller's headers and our name."""
    return {"User-Agent": f"brainmvp-clients/{version()}", **(headers or {})}


@contextmanager
def transport_errors(server: str) -> Iterator[None]:
    """Turns what httpx raises into this package's errors."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
        raise ServerUnreachable(
            f"cannot be reached ({one_line(str(error), 120) or type(error).__name__})",
            remedy="Start it with 'brainmvp serve', or check the address",
            subject=server,
        ) from error
    except httpx.TimeoutException as error:
        raise ServerUnreachable(
            "did not answer in time",
            remedy="Give a longer timeout, or see what keeps the server busy",
            subject=server,
        ) from error
    except httpx.TransportError as error:
        raise ServerUnreachable(
            f"broke off the connection ({type(error).__name__})",
            remedy="Try again; if it lasts, look at the server's log",
            subject=server,
        ) from error
    except httpx.RequestError as error:
        raise _unexpected(
            f"sent what cannot be decoded ({type(error).__name__})", server
        ) from error


def check_kind(response: httpx.Response, call: Call, server: str) -> None:
    """Make sure that a good answer is of the kind asked for.

    Raises:
        UnexpectedAnswer: it is not.
    """
    if response.status_code == httpx.codes.NO_CONTENT:
        return
    kind = _media_type(response)
    if kind != call.accept:
        sent = one_line(kind, 60) or "an answer of no type"
        raise _unexpected(f"sent {sent} instead of {call.accept}", server)


def refusal(response: httpx.Response, body: bytes, server: str) -> ClientError:
    """The error that a bad answer stands for."""
    status = response.status_code
    if not 400 <= status < 600:
        return _unexpected(f"answered HTTP {status}", server)
    details = _problem(response, body) or Problem(status=status)
    if status < 500 and status != httpx.codes.TOO_MANY_REQUESTS:
        return Refused(details, server=server)
    wait = seconds_asked(response.headers.get("Retry-After", ""))
    return ServerFault(details, server=server, retry_after=wait)


def seconds_asked(text: str) -> float | None:
    """The seconds that a ``Retry-After`` asks for, a number or a date (RFC 9110, 10.2.3)."""
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    return max(0.0, (moment - datetime.now(timezone.utc)).total_seconds())


def add_piece(pieces: list[bytes], piece: bytes, server: str) -> None:
    """Add a piece of a text answer.

    Raises:
        UnexpectedAnswer: the text does not end.
    """
    pieces.append(piece)
    if sum(map(len, pieces)) > MAX_TEXT:
        raise _unexpected(f"sent a text of more than {MAX_TEXT >> 20} MiB", server)


def _problem(response: httpx.Response, body: bytes) -> Problem | None:
    if _media_type(response) != PROBLEM:
        return None
    try:
        problem = Problem.model_validate_json(body)
    except ValidationError:
        return None
    return problem.model_copy(update={"status": response.status_code})


def _media_type(response: httpx.Response) -> str:
    kind: str = response.headers.get("Content-Type", "")
    return kind.partition(";")[0].strip().lower()


def _set(switch: bool) -> str | None:
    return "true" if switch else None


def _wanted(
    version: str | None,
    fill: str | None,
    *,
    probabilities: bool,
    resample: bool,
    form: str | None,
    prepare: str | None,
    space: str | None,
    not_determinable: bool,
    profile: str | None,
) -> dict[str, str]:
    """What is asked of a study, whether its client waits or not."""
    return _given(
        version=version,
        fill=fill,
        probabilities=_set(probabilities),
        resample=_set(resample),
        form=form,
        prepare=prepare if prepare != "auto" else None,  # an older server knows no such word
        space=space,
        not_determinable=_set(not_determinable),
        profile=profile,
    )


def _given(**params: str | None) -> dict[str, str]:
    return {name: value for name, value in params.items() if value is not None}


def _unexpected(what: str, server: str) -> UnexpectedAnswer:
    return UnexpectedAnswer(
        what, remedy="Check that the address is a BrainMVP server's", subject=server
    )
