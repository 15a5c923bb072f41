"""TLS in front of a plain service, as a hospital's reverse proxy has it."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from certificates import Certificates


@contextmanager
def tls_in_front_of(port: int, pem: Certificates) -> Iterator[int]:
    """The port where the service on ``port`` answers over TLS, for the time of the block."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem.cert, pem.key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_accept, args=(listener, context, port))
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def _accept(listener: socket.socket, context: ssl.SSLContext, port: int) -> None:
    threads = []
    with suppress(OSError):
        while True:
            plain, _ = listener.accept()
            thread = threading.Thread(target=_serve, args=(plain, context, port))
            thread.start()
            threads.append(thread)
    for thread in threads:
        thread.join()


def _serve(plain: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with plain, suppress(OSError):
        plain.settimeout(30)
        with (
            context.wrap_socket(plain, server_side=True) as client,
            socket.create_connection(("127.0.0.1", port)) as service,
        ):
            back = threading.Thread(target=_relay, args=(service, client))
            back.start()
            _relay(client, service)
            back.join()


def _relay(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(1 << 16):
            sink.sendall(piece)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
