"""The wait for a request's head is the client's; a stall of our own loop is nobody's fault."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from brainmvp_server.runtime.http_timeouts import PromptProtocol

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]}
    )
    await send({"type": "http.response.body", "body": b""})


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


async def begun(ours: socket.socket) -> PromptProtocol:
    config = uvicorn.Config(app, log_config=None, lifespan="off", access_log=False)
    config.load()
    loop = asyncio.get_running_loop()
    _, protocol = await loop.connect_accepted_socket(
        lambda: PromptProtocol(config, ServerState(), {}, head_s=60, answer_s=60), ours
    )
    return protocol


async def answer(theirs: socket.socket) -> bytes:
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(theirs, 4096), 10)


def first_head(protocol: PromptProtocol) -> None:
    protocol._too_late()


def kept_alive(protocol: PromptProtocol) -> None:
    protocol.timeout_keep_alive_handler()


@pytest.mark.parametrize(("due", "before"), [(first_head, b"GET / HT"), (kept_alive, REQUEST)])
def test_what_came_while_our_loop_stood_still_is_read_before_a_client_is_late(
    due: Callable[[PromptProtocol], None], before: bytes
) -> None:
    """The timer comes due, and what the client sent in time has not been read."""

    async def run() -> bytes:
        with pair() as (ours, theirs):
            protocol = await begun(ours)
            theirs.send(before)
            if before == REQUEST:
                assert b" 200 " in await answer(theirs)
            else:
                await asyncio.sleep(0.05)
            theirs.send(REQUEST[len(before) :] or REQUEST)
            due(protocol)
            said = await answer(theirs)
            protocol.transport.abort()
            return said

    assert b" 200 " in asyncio.run(run())


@pytest.mark.parametrize(
    ("due", "before", "said"), [(first_head, b"GET / HT", b" 408 "), (kept_alive, REQUEST, b"")]
)
def test_who_sent_nothing_is_late_all_the_same(
    due: Callable[[PromptProtocol], None], before: bytes, said: bytes
) -> None:
    async def run() -> bytes:
        with pair() as (ours, theirs):
            protocol = await begun(ours)
            theirs.send(before)
            if before == REQUEST:
                assert b" 200 " in await answer(theirs)
            due(protocol)
            return await answer(theirs)

    assert said in asyncio.run(run())


@pytest.mark.parametrize("takes", [True, False])
def test_an_answer_that_was_taken_while_our_loop_stood_still_is_not_cut_off(takes: bool) -> None:
    async def run() -> bool:
        with pair() as (ours, theirs):
            protocol = await begun(ours)
            while protocol.flow.write_paused is False:
                protocol.transport.write(bytes(1 << 16))
            while takes:
                try:
                    theirs.recv(1 << 20)
                except BlockingIOError:
                    break
            protocol._not_taking()
            for _ in range(5):
                await asyncio.sleep(0)
            cut = protocol.transport.is_closing()
            protocol.transport.abort()
            return cut

    assert asyncio.run(run()) is not takes
