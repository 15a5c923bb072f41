"""HTTP connections whose clients must tell what they want, and take it, in time."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_AFTER_A_LOOK = 0.0
"""A timer that is set for at once comes after everything that can be read and written now."""


class PromptProtocol(H11Protocol):
    """uvicorn's protocol, with limits on the waits for a client.

    uvicorn itself waits for ever: thousands of connections that each send a byte a minute would
    take all that a process may have. A head that is late is answered 408, and the connection ends;
    so does one whose client takes nothing of its answer.

    Where the loop itself stood still, a time may be over while what the client sent, or made room
    for, has not been seen. So whoever is late is judged after one more look at the connection.

    Args:
        head_s: seconds from the connection's first moment, or from the first byte of a later
            request, until the head is there.
        answer_s: seconds in which a client must take the next piece of its answer.
    """

    def __init__(self, *args: Any, head_s: float, answer_s: float, **named: Any) -> None:
        super().__init__(*args, **named)
        self._head_s = head_s
        self._answer_s = answer_s
        self._late: asyncio.TimerHandle | None = None
        self._deaf: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        self._taking()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """What the system takes of the answer is full: the client does not read."""
        super().pause_writing()
        self._taking()
        self._deaf = self.loop.call_later(self._answer_s, self._not_taking)

    def resume_writing(self) -> None:
        """The client has read."""
        self._taking()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._unwatch()
        elif self._late is None:
            self._watch()

    def _taking(self) -> None:
        if self._deaf is not None:
            self._deaf.cancel()
            self._deaf = None

    def _watch(self) -> None:
        self._late = self.loop.call_later(self._head_s, self._too_late)

    def _unwatch(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def timeout_keep_alive_handler(self) -> None:
        """uvicorn's end of an idle connection; a request that begins meanwhile cancels it."""
        end = super().timeout_keep_alive_handler
        self.timeout_keep_alive_task = self.loop.call_later(_AFTER_A_LOOK, end)

    def _not_taking(self) -> None:
        self._deaf = self.loop.call_later(_AFTER_A_LOOK, self.transport.abort)

    def _too_late(self) -> None:
        self._late = self.loop.call_later(_AFTER_A_LOOK, self._refuse)

    def _refuse(self) -> None:
        self._late = None
        if self.transport.is_closing() or self.conn.their_state is not h11.IDLE:
            return
        answer = h11.Response(
            status_code=408,
            headers=[(b"content-length", b"0"), (b"connection", b"close")],
            reason=b"Request Timeout",
        )
        for event in (answer, h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
