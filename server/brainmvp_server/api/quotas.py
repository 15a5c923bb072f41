"""What a request takes of its caller's quotas, and the headers that tell how much is left.

The headers are those of draft-ietf-httpapi-ratelimit-headers-11. A request takes its study and the
bytes it says it will send before they are read; what did not come, and a study that never ran, is
given back.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import anyio
from anyio import CapacityLimiter
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brainmvp_models.errors import JobsUnavailable, QuotaExceeded
from brainmvp_server.api.access import access_of
from brainmvp_server.api.caller import OwnLimits
from brainmvp_server.api.openapi import owner_of
from brainmvp_server.api.problems import UploadTooLarge
from brainmvp_server.observability.metrics import Metrics
from brainmvp_server.runtime.quotas import BYTES, STUDIES, Ask, Ledger, Quota, Taken
from brainmvp_server.settings import LimitSettings

T = TypeVar("T")

log = logging.getLogger(__name__)

_KEY = "brainmvp.share"
_THREADS = 8


class Quotas:
    """The quotas of one service.

    Args:
        ledger: counts them.
        metrics: told what is refused, and what could not be counted.
    """

    def __init__(self, limits: LimitSettings, ledger: Ledger, metrics: Metrics) -> None:
        self._limits = limits
        self._ledger = ledger
        self._metrics = metrics
        self._threads = CapacityLimiter(_THREADS)

    async def share(self, request: Request, *, study: bool) -> Share:
        """What a request takes; it is the request's until :meth:`Share.close`.

        Where the database that counts does not answer, the request goes on uncounted: who sends
        studies should not have to wait for it.

        Args:
            study: whether the request has a study done, besides what it sends.

        Raises:
            QuotaExceeded: there is no room for it.
            UploadTooLarge: there never will be.
        """
        share = Share(self, owner_of(request), self._limits.upload_bytes)
        request.scope[_KEY] = share
        asks = tuple(self._asks(request, study=study))
        if asks:
            found = await self.counted(lambda: self._ledger.take(share.owner, asks))
            share.taken = found or ()
            self._check(share.taken)
        return share

    def _asks(self, request: Request, *, study: bool) -> list[Ask]:
        caller = access_of(request.scope).caller
        own = caller.limits if caller is not None else OwnLimits()
        studies, megabytes = own.studies_per_hour, own.mb_per_day
        studies = self._limits.key_studies_per_hour if studies is None else studies
        megabytes = self._limits.key_mb_per_day if megabytes is None else megabytes
        asks = [Ask(STUDIES, studies, 1, 1)] if studies and study else []
        if megabytes:
            asks.append(_bytes_asked(request, megabytes << 20, self._limits.upload_bytes))
        return asks

    def _check(self, taken: tuple[Taken, ...]) -> None:
        short = [one for one in taken if one.wait_s]
        for one in short:
            self._metrics.quota_refused(one.ask.quota.name)
        if short:
            longest = max(short, key=lambda one: one.wait_s)
            raise _exceeded(longest, longest.wait_s)

    async def give_back(self, owner: str, taken: Taken, amount: int) -> None:
        """Give back so much of what was taken."""
        await self.counted(lambda: self._ledger.give_back(owner, taken, amount))

    async def counted(self, work: Callable[[], T]) -> T | None:
        """What the ledger says; None where its database does not answer."""
        try:
            return await anyio.to_thread.run_sync(work, limiter=self._threads)
        except JobsUnavailable as error:
            self._metrics.quota_not_counted()
            log.warning("quotas are not counted: %s", error.problem)
            return None


@dataclass
class Share:
    """What one request has taken.

    Attributes:
        taken: one for each quota that its caller has; empty where nothing is counted.
        arrived: bytes of its body so far.
    """

    quotas: Quotas
    owner: str
    upload_bytes: int
    taken: tuple[Taken, ...] = ()
    arrived: int = 0
    _ran: bool = field(default=False, repr=False)
    _back: dict[str, int] = field(default_factory=dict, repr=False)

    def add(self, count: int) -> None:
        """So many more bytes have arrived.

        Raises:
            QuotaExceeded: more than the caller has left; only where the request did not say
                before how many come.
        """
        self.arrived += count
        for one in self.taken:
            if one.ask.quota is BYTES and one.amount < self.arrived <= self.upload_bytes:
                raise _exceeded(one, one.renews_s)

    def ran(self) -> None:
        """The study was worked on: it counts."""
        self._ran = True

    async def body_over(self) -> None:
        """No more of the body comes: give back the bytes that did not come."""
        await self._settle(BYTES, self.arrived)

    async def close(self) -> None:
        """Give back what did not come, and a study that never ran."""
        await self.body_over()
        await self._settle(STUDIES, int(self._ran))

    async def _settle(self, quota: Quota, needed: int) -> None:
        for one in self.taken:
            back = one.amount - needed - self._back.get(quota.name, 0)
            if one.ask.quota is quota and back > 0:
                self._back[quota.name] = self._back.get(quota.name, 0) + back
                await self.quotas.give_back(self.owner, one, back)

    @property
    def headers(self) -> dict[str, str]:
        """RateLimit-Policy and RateLimit; nothing where nothing is counted."""
        if not self.taken:
            return {}
        policies, limits = [], []
        for one in self.taken:
            quota = one.ask.quota
            unit = f';qu="{quota.unit}"' if quota.unit != "requests" else ""
            policies.append(f'"{quota.name}";q={one.ask.limit}{unit};w={quota.window_s}')
            left = one.left + self._back.get(quota.name, 0)
            limits.append(f'"{quota.name}";r={left};t={one.renews_s}')
        return {"ratelimit-policy": ", ".join(policies), "ratelimit": ", ".join(limits)}


class QuotaHeaders:
    """ASGI middleware that tells a caller what is left of its quotas, however a request ended."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            share: Share | None = scope.get(_KEY)
            if message["type"] == "http.response.start" and share is not None:
                MutableHeaders(scope=message).update(share.headers)
            await send(message)

        await self._app(scope, receive, with_headers)


def _bytes_asked(request: Request, limit: int, largest: int) -> Ask:
    """The bytes of a request's body: what it says it has, or what it may have."""
    length = request.headers.get("content-length", "")
    if not length.isdigit():
        return Ask(BYTES, limit, largest, 1) if _is_sent(request) else Ask(BYTES, limit, 0, 0)
    said = int(length)
    if said > largest:  # refused for its size, before anything of it is read
        return Ask(BYTES, limit, 0, 0)
    if said > limit:
        raise UploadTooLarge(
            f"the request is larger than the {limit >> 20} MiB that you may send in a day",
            remedy="Compress the volumes (.nii.gz), or ask the operator for a larger quota",
        )
    return Ask(BYTES, limit, said, said)


def _is_sent(request: Request) -> bool:
    return "transfer-encoding" in request.headers


def _exceeded(taken: Taken, wait_s: int) -> QuotaExceeded:
    limit = taken.ask.limit
    if taken.ask.quota is STUDIES:
        problem = f"you have had as many studies done in an hour as you may: {limit}"
    else:
        problem = f"you have sent as much in a day as you may: {limit >> 20} MiB"
    wait = f"{wait_s} s" if wait_s < 120 else f"{math.ceil(wait_s / 60)} min"
    return QuotaExceeded(
        problem,
        remedy=f"Send it again in {wait}, or ask the operator for a larger quota",
        retry_after_s=wait_s,
    )
