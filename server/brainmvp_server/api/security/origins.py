"""Which pages of the web may reach the service through somebody's browser.

A browser inside a hospital can reach what its pages' authors cannot. Two ways lead through it. A
page's own name may be pointed at this machine (DNS rebinding): the request then has that name as
``Host``, and only names that are ours are answered. And any page may send forms and requests
elsewhere: browsers say so by ``Sec-Fetch-Site`` or ``Origin``, and only pages of our own, or of
origins that the settings name, are answered. Programs that are no browsers send neither.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from brainmvp_server.api import problems
from brainmvp_server.api.access import access_of
from brainmvp_server.api.problems import ForeignOrigin, WrongHost
from brainmvp_server.api.root_path import path_of
from brainmvp_server.settings import Settings

_LOOPBACK = "localhost"
_PORTS = {"http": 80, "https": 443}
_OURS = ("same-origin", "none")
"""``Sec-Fetch-Site`` of our own pages, and of what a person typed."""


@dataclass(frozen=True)
class Reachable:
    """By which names, and from which other origins, the service may be reached.

    Attributes:
        hosts: names without ports; None for any.
        origins: such as ``https://viewer.example.org``.
    """

    hosts: frozenset[str] | None
    origins: frozenset[str] = frozenset()

    @classmethod
    def of(cls, settings: Settings, *, asks_for_keys: bool) -> Reachable:
        """As the settings say.

        By default a service that asks for keys answers to any name, as a page that is led here has
        none; one that does not answers to loopback names alone. Addresses are always answered to:
        no name that leads here is one.
        """
        security = settings.security
        hosts = frozenset(name.lower() for name in security.allowed_hosts)
        if "*" in hosts or (asks_for_keys and not hosts):
            return cls(None, frozenset(security.allowed_origins))
        return cls(hosts | {_LOOPBACK}, frozenset(security.allowed_origins))

    def check(self, scope: Scope) -> None:
        """See that a request comes by a name, and from an origin, that it may come from.

        Raises:
            WrongHost, ForeignOrigin: it does not.
        """
        headers = Headers(scope=scope)
        if not self._answers_to(headers.get("host", "")) and not _is_probe(scope):
            raise WrongHost(
                "the service does not answer to that name",
                remedy="Use its own name or address, or have --allowed-hosts name this one",
            )
        if not self._may_ask(scope, headers):
            raise ForeignOrigin(
                "the request comes from a page of another origin",
                remedy="Use the service's own page, or have --allowed-origins name that origin",
            )

    def _answers_to(self, host: str) -> bool:
        if self.hosts is None or not host:
            return True
        name = _name_of(host)
        if _is_address(name):
            return True
        return any(
            name == known or (known.startswith("*.") and name.endswith(known[1:]))
            for known in self.hosts
        )

    def _may_ask(self, scope: Scope, headers: Headers) -> bool:
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin in self.origins:
            return True
        if site is not None:
            return site in _OURS or (origin is None and _is_visit(scope, headers))
        if origin is None:
            return True
        # An old browser, or one to which plain HTTP is not worth the other header.
        place, scheme = _place(origin), origin.partition(":")[0]
        ours = (headers.get("host", ""), headers.get("x-forwarded-host", ""))
        return place is not None and place in [_place(f"{scheme}://{host}") for host in ours]


class Origins:
    """ASGI middleware that answers whoever may reach the service."""

    def __init__(self, app: ASGIApp, reachable: Reachable) -> None:
        self._app = app
        self._reachable = reachable

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._reachable.check(scope)
            except (WrongHost, ForeignOrigin) as error:
                response = problems.answer_error(error, access_of(scope))
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _is_probe(scope: Scope) -> bool:
    """Health is asked by whoever runs the service, by any name, and tells nothing of anyone."""
    return path_of(scope).startswith("/health/")


def _is_visit(scope: Scope, headers: Headers) -> bool:
    """A person follows a link here: the page that holds it can read nothing of ours."""
    return (
        scope["method"] in ("GET", "HEAD")
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )


def _name_of(host: str) -> str:
    """A ``Host`` without its port."""
    name = host.lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0].removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _place(origin: str) -> tuple[str, int] | None:
    """An origin's name and port; None of what is none, such as ``null``."""
    try:
        parts = urlsplit(origin.lower())
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname and port else None
