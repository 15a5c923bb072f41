"""Ports for what must be told one before it starts."""

from __future__ import annotations

import random
import socket

_RANGE = range(20_000, 32_000)
"""Below the ports that Linux hands out: what other tests open meanwhile cannot be given one."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, nor soon will."""
    for port in random.SystemRandom().sample(_RANGE, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port is free")
