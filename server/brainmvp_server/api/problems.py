"""Errors as RFC 9457 problem details. The only module that knows HTTP status codes."""

from __future__ import annotations

import errno
import logging
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brainmvp_models import errors as domain
from brainmvp_models.errors import BrainMVPError
from brainmvp_server.api.access import Access, access_of
from brainmvp_server.observability.logs import kind_and_place

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


class UploadTooLarge(BrainMVPError):
    """The request body is larger than the limit."""

    code = "upload-too-large"
    title = "The upload is too large"


class UploadTooSlow(BrainMVPError):
    """The request body did not come in time."""

    code = "upload-too-slow"
    title = "The upload took too long"


class MalformedUpload(BrainMVPError):
    """The body is no well-formed multipart/form-data, or holds no file."""

    code = "malformed-upload"
    title = "The upload cannot be read"


class UnsupportedContentType(BrainMVPError):
    """The body is not multipart/form-data."""

    code = "unsupported-content-type"
    title = "The content type is not supported"


class NotAcceptable(BrainMVPError):
    """No answer of the asked-for type can be given."""

    code = "not-acceptable"
    title = "No such answer can be given"


class InvalidQuery(BrainMVPError):
    """A query parameter does not hold what it should."""

    code = "invalid-query"
    title = "A parameter is not valid"


class HeadTooLarge(BrainMVPError):
    """The request's line and headers are larger than the limit."""

    code = "head-too-large"
    title = "The request's head is too large"


class Unauthenticated(BrainMVPError):
    """No key or token was sent, or one that is not valid."""

    code = "unauthenticated"
    title = "Who are you?"


class Forbidden(BrainMVPError):
    """The key or token is valid, but not good for this call."""

    code = "forbidden"
    title = "You may not do this"


class IssuerUnavailable(BrainMVPError):
    """The issuer of tokens cannot be asked for its keys."""

    code = "issuer-unavailable"
    title = "Tokens cannot be checked now"


class UnknownCall(BrainMVPError):
    """The service has no such call."""

    code = "not-found"
    title = "Not Found"


class NoJobs(UnknownCall):
    """The service keeps no jobs: it was started without a place for them."""

    code = "no-jobs"
    title = "The service takes no jobs"


class UnknownImage(BrainMVPError):
    """A viewer's image or session that is not there, no longer there, or somebody else's."""

    code = "unknown-image"
    title = "No such image"


class PacsUnavailable(BrainMVPError):
    """The PACS that viewers' series are fetched from does not give them."""

    code = "pacs-unavailable"
    title = "The PACS does not answer"


class WrongMethod(BrainMVPError):
    """The call is not made by that method."""

    code = "method-not-allowed"
    title = "Method Not Allowed"


class WrongHost(BrainMVPError):
    """The request was sent to a name that is none of the service's."""

    code = "wrong-host"
    title = "Misdirected Request"


class ForeignOrigin(BrainMVPError):
    """A page of another origin sent the request through somebody's browser."""

    code = "foreign-origin"
    title = "Pages of that origin may not ask"


class InternalError(BrainMVPError):
    """Something that nobody foresaw; the log says where, and nobody says what."""

    code = "internal-error"
    title = "Something went wrong"


class NotLive(BrainMVPError):
    """The service cannot recover by itself."""

    code = "not-live"
    title = "The service must be started again"


class NotReady(BrainMVPError):
    """The service has no model to serve."""

    code = "not-ready"
    title = "The service is not ready"


STATUS: Mapping[type[BrainMVPError], HTTPStatus] = {
    domain.VolumeTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    domain.ArchiveTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    domain.InvalidInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    domain.UnknownModel: HTTPStatus.NOT_FOUND,
    domain.InvalidBundle: HTTPStatus.INTERNAL_SERVER_ERROR,
    domain.StudyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    domain.EngineUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    domain.EngineFailed: HTTPStatus.INTERNAL_SERVER_ERROR,
    domain.UnknownJob: HTTPStatus.NOT_FOUND,
    domain.DuplicateJob: HTTPStatus.UNPROCESSABLE_ENTITY,
    domain.JobsUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    domain.StorageFailed: HTTPStatus.INSUFFICIENT_STORAGE,
    domain.Overloaded: HTTPStatus.SERVICE_UNAVAILABLE,
    domain.TooManyRequests: HTTPStatus.TOO_MANY_REQUESTS,
    domain.StudyStopped: HTTPStatus.SERVICE_UNAVAILABLE,
    domain.StudyTimedOut: HTTPStatus.GATEWAY_TIMEOUT,
    UploadTooSlow: HTTPStatus.REQUEST_TIMEOUT,
    UploadTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    MalformedUpload: HTTPStatus.BAD_REQUEST,
    UnsupportedContentType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    NotAcceptable: HTTPStatus.NOT_ACCEPTABLE,
    InvalidQuery: HTTPStatus.UNPROCESSABLE_ENTITY,
    NotReady: HTTPStatus.SERVICE_UNAVAILABLE,
    NotLive: HTTPStatus.SERVICE_UNAVAILABLE,
    HeadTooLarge: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    Unauthenticated: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    IssuerUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    UnknownCall: HTTPStatus.NOT_FOUND,
    UnknownImage: HTTPStatus.NOT_FOUND,
    PacsUnavailable: HTTPStatus.BAD_GATEWAY,
    WrongMethod: HTTPStatus.METHOD_NOT_ALLOWED,
    WrongHost: HTTPStatus.MISDIRECTED_REQUEST,
    ForeignOrigin: HTTPStatus.FORBIDDEN,
    InternalError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""Status of each domain error; a kind without its own has that of its nearest ancestor."""

HEADERS: Mapping[type[BrainMVPError], Mapping[str, str]] = {
    Unauthenticated: {"www-authenticate": 'Bearer realm="brainmvp"'},
    Forbidden: {"www-authenticate": 'Bearer realm="brainmvp", error="insufficient_scope"'},
    IssuerUnavailable: {"retry-after": "30"},
    domain.ServiceClosing: {"retry-after": str(domain.Overloaded.retry_after_s)},
}
"""Headers that go with an error."""


class Problem(BaseModel):
    """The body of every error (RFC 9457), with the remedy and the part at fault added."""

    type: str
    title: str
    status: int
    detail: str
    remedy: str
    part: str | None = Field(default=None, description="The part of the upload at fault.")


def status_of(error: BrainMVPError) -> HTTPStatus:
    """The HTTP status of a domain error."""
    for kind in type(error).__mro__:
        if kind in STATUS:
            return STATUS[kind]
    return HTTPStatus.INTERNAL_SERVER_ERROR


def respond(
    status: int,
    *,
    code: str,
    title: str,
    detail: str,
    remedy: str,
    part: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A problem+json response."""
    problem = Problem(
        type=f"urn:brainmvp:problem:{code}",
        title=title,
        status=status,
        detail=detail,
        remedy=remedy,
        part=part,
    )
    return JSONResponse(
        problem.model_dump(exclude_none=True),
        status_code=status,
        headers=dict(headers or {}),
        media_type=MEDIA_TYPE,
    )


def install(app: FastAPI) -> None:
    """Make every error of ``app`` a problem, whoever raises it."""
    app.add_exception_handler(BrainMVPError, _domain_error)
    app.add_exception_handler(OSError, _full_disk)
    app.add_exception_handler(MemoryError, _full_memory)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_middleware(_LastResort)


def answer_error(error: BrainMVPError, access: Access) -> Response:
    """The problem that a domain error is, noted in the request's record."""
    access.problem = error.code
    return respond(
        status_of(error),
        code=error.code,
        title=error.title,
        detail=f"{error.subject}: {error.problem}" if error.subject else error.problem,
        remedy=error.remedy,
        part=error.subject or None,
        headers=_headers(error),
    )


def _headers(error: BrainMVPError) -> Mapping[str, str]:
    if isinstance(error, domain.Overloaded):
        return {"retry-after": str(error.retry_after_s)}
    return HEADERS.get(type(error), {})


async def _domain_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, BrainMVPError)
    return answer_error(error, access_of(request.scope))


async def _full_disk(request: Request, error: Exception) -> Response:
    """A disk without room is the operator's business, and no bug."""
    if not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT):
        raise error
    log.error("the disk for uploads is full")
    full = domain.StorageFailed(
        "the service has no room for the study", remedy="Send it again later; tell the operator"
    )
    return await _domain_error(request, full)


async def _full_memory(request: Request, error: Exception) -> Response:
    """Nor is memory without room."""
    log.error("the memory is full: %s", kind_and_place(error))
    return await _domain_error(request, domain.OutOfMemory.for_study())


_REMEDIES = {
    HTTPStatus.NOT_FOUND: "See /docs for the calls there are",
    HTTPStatus.METHOD_NOT_ALLOWED: "Use the method that the Allow header names; see /docs",
}


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    code = status.phrase.lower().replace(" ", "-")
    access_of(request.scope).problem = code
    return respond(
        status,
        code=code,
        title=status.phrase,
        detail=str(error.detail),
        remedy=_REMEDIES.get(status, "Correct the request; see /docs"),
        headers=error.headers,
    )


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    access_of(request.scope).problem = InvalidQuery.code
    faults = "; ".join(
        f"{'.'.join(str(step) for step in fault['loc'][1:])}: {fault['msg']}"
        for fault in error.errors()
    )
    return respond(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        code=InvalidQuery.code,
        title=InvalidQuery.title,
        detail=faults,
        remedy="Correct the parameter; see /docs",
    )


class _LastResort:
    """Answers what nobody foresaw, and logs where it happened but not what was said.

    A handler for ``Exception`` would do the first, but Starlette then raises the error again, and
    its message, which could quote a patient's file, would reach the log.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception as error:
            log.error("unexpected %s", kind_and_place(error))
            if scope["type"] == "http" and not started:
                response = answer_error(_internal_error(), access_of(scope))
                await response(scope, receive, send)


def _internal_error() -> InternalError:
    return InternalError(
        "the service failed in an unexpected way",
        remedy="Try again; if it stays so, report it with the X-Request-ID of the answer",
    )
