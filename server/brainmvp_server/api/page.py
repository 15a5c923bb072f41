"""The page at ``/`` and the description of the calls at ``/docs``, from files in the package.

The files are built from ``server/page`` (``make page``). Their names hold a digest of their
content, so a browser may keep them for ever; the two HTML files are asked for anew each time.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from fastapi import APIRouter, Request
from fastapi.responses import Response
from isal import igzip

from brainmvp_server.api.problems import UnknownCall
from brainmvp_server.results.report import style_source

PAGE, DOCS = "index.html", "docs.html"

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
    f"style-src 'self' {style_source()}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Our own scripts and styles, and the report's style: a report opens in a tab of its own."""

DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Swagger UI writes styles into its elements."""

_FOR_EVER = "public, max-age=31536000, immutable"
_ANEW = "no-cache"


@dataclass(frozen=True)
class Asset:
    """A built file, as it is and compressed."""

    media_type: str
    plain: bytes
    packed: bytes


@cache
def assets() -> Mapping[str, Asset]:
    """Every built file by its name."""
    folder = resources.files("brainmvp_server").joinpath("page")
    return {
        entry.name: _asset(entry.name, entry.read_bytes())
        for entry in folder.iterdir()
        if entry.is_file()
    }


def build_page_router() -> APIRouter:
    """The routes of the page; they are open to everyone, as they hold nothing of anyone."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    def page(request: Request) -> Response:
        return _answer(request, PAGE, _ANEW, PAGE_POLICY)

    @router.get("/docs")
    def docs(request: Request) -> Response:
        return _answer(request, DOCS, _ANEW, DOCS_POLICY)

    @router.get("/page/{file}")
    def asset(request: Request, file: str) -> Response:
        return _answer(request, file, _FOR_EVER)

    return router


def _answer(request: Request, name: str, cache_control: str, policy: str = "") -> Response:
    asset = assets().get(name)
    if asset is None:
        raise UnknownCall("the page has no such file", remedy="Load the page again")
    headers = {"cache-control": cache_control, "vary": "accept-encoding"}
    if policy:
        headers["content-security-policy"] = policy
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
        return Response(asset.packed, media_type=asset.media_type, headers=headers)
    return Response(asset.plain, media_type=asset.media_type, headers=headers)


def _asset(name: str, content: bytes) -> Asset:
    kind = "text/javascript" if name.endswith(".js") else mimetypes.guess_type(name)[0]
    return Asset(kind or "application/octet-stream", content, igzip.compress(content, 3, mtime=0))
