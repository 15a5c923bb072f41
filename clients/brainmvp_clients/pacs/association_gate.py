"""Guards our storage SCP: a connection costs next to nothing until it asks for an association.

pynetdicom gives a thread and a place to every connection for half a minute, and believes whatever
length a PDU claims. So one thread of ours holds the connections until an association is asked for
(PS3.8, 9.3.2), whole, small and in time; only then does pynetdicom hear of them. From there on no
PDU is larger than what was negotiated, and no message, which pynetdicom gathers in memory, larger
than a limit.
"""

from __future__ import annotations

import logging
import selectors
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.transport import AssociationServer, AssociationSocket, RequestHandler

from brainmvp_clients.pacs.limits import MAX_IMAGE_MB

log = logging.getLogger(__name__)

REQUEST_TIMEOUT_S = 5.0
"""From the connection's first moment until the association is asked for, TLS included."""
MAX_REQUEST_BYTES = 1 << 17
"""128 contexts with every transfer syntax that there is fit."""
MAX_PENDING_CONNECTIONS = 64
"""Connections that have not asked yet; then the oldest one of whoever has most of them goes."""
MAX_ASSOCIATIONS, MAX_ASSOCIATIONS_PER_ADDRESS = 40, 20
"""Associations in all, and of one address."""

_ASSOCIATE_RQ, _DATA, _HEADER_BYTES = 0x01, 0x04, 6
_COMMAND, _LAST = 0b01, 0b10
"""Bits of a fragment's control header (PS3.8, annex E)."""
_MAX_WAITING = 2
"""Messages that wait for those before them; meanwhile nothing is read."""
_POLL_S = 0.5
_BACKLOG = 128


class Rejection(NamedTuple):
    """Result, source and reason of an A-ASSOCIATE-RJ (PS3.8, 9.3.4)."""

    result: int
    source: int
    reason: int

    def encoded(self) -> bytes:
        return struct.pack(">BBIBBBB", 0x03, 0, 4, 0, *self)


_LOCAL_LIMIT_EXCEEDED = Rejection(2, 3, 2)
_UNKNOWN_CALLER, _UNKNOWN_CALLED = Rejection(1, 1, 3), Rejection(1, 1, 7)


class _NotARequest(Exception):
    """No request for an association."""


class _RequestedAssociation(NamedTuple):
    """A connection and the request that came over it."""

    connection: socket.socket
    request: bytes
    max_message_bytes: int


@dataclass(eq=False)
class _PendingConnection:
    """A connection that has not asked for an association yet."""

    connection: socket.socket
    address: Any
    deadline: float
    received: bytearray = field(default_factory=bytearray)
    handshake_done: bool = False

    def read_request(self) -> None:
        """Read what has arrived; the request is whole when this returns.

        Raises:
            BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError: it is not, yet.
            _NotARequest, OSError: it will never be.
        """
        if isinstance(self.connection, ssl.SSLSocket) and not self.handshake_done:
            self.connection.do_handshake()
            self.handshake_done = True
        while missing := self._missing():
            piece = self.connection.recv(missing)
            if not piece:
                raise _NotARequest
            self.received += piece

    def _missing(self) -> int:
        if len(self.received) < _HEADER_BYTES:
            return _HEADER_BYTES - len(self.received)
        kind, _, length = struct.unpack_from(">BBL", self.received)
        if kind != _ASSOCIATE_RQ or length > MAX_REQUEST_BYTES:
            raise _NotARequest
        return int(_HEADER_BYTES + length - len(self.received))

    def close(self, answer: bytes = b"") -> None:
        """Send the answer, if there is one, and hang up."""
        with suppress(OSError):
            if answer:
                self.connection.send(answer)
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()


class AssociationGate:
    """Listens for an entity, in a thread of its own, and admits associations.

    Args:
        store: answers a C-STORE.
        tls: speaks TLS with everybody, if given.
        image_mb: MiB that one image may have; the association that sends more is ended.

    Raises:
        OSError: the address cannot be had.
    """

    def __init__(
        self,
        entity: AE,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        store: Any,
        image_mb: int = MAX_IMAGE_MB,
    ) -> None:
        self._entity, self._tls, self._max_message_bytes = entity, tls, image_mb << 20
        self._server: AssociationServer = entity.make_server(
            (host, port),
            evt_handlers=[(evt.EVT_C_STORE, store)],
            request_handler=_GatedRequestHandler,
        )
        listener = self._server.socket
        assert listener is not None
        self._listener: socket.socket = listener
        self._listener.setblocking(False)
        self._listener.listen(_BACKLOG)
        self._pending: dict[_PendingConnection, None] = {}  # the oldest first
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="association-gate", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop listening, and end what is under way."""
        self._closing.set()
        self._thread.join()
        for pending in [*self._pending]:
            self._forget(pending)
            pending.close()
        self._selector.close()
        self._server.server_close()
        self._entity.shutdown()

    def _run(self) -> None:
        while not self._closing.is_set():
            for key, _ in self._selector.select(_POLL_S):
                if key.data is None:
                    self._accept()
                elif key.data in self._pending:
                    self._read(key.data)
            now = time.monotonic()
            for pending in [one for one in self._pending if one.deadline < now]:
                self._forget(pending)
                pending.close()

    def _accept(self) -> None:
        """Accept every connection that waits."""
        for _ in range(_BACKLOG):
            try:
                connection, address = self._listener.accept()
            except OSError:  # nobody; or no more files: the oldest go in their time
                return
            connection.setblocking(False)
            if self._tls is not None:
                connection = self._tls.wrap_socket(
                    connection, server_side=True, do_handshake_on_connect=False
                )
            pending = _PendingConnection(connection, address, time.monotonic() + REQUEST_TIMEOUT_S)
            self._pending[pending] = None
            self._selector.register(connection, selectors.EVENT_READ, pending)
            if len(self._pending) > MAX_PENDING_CONNECTIONS:
                self._drop_oldest()
            if pending in self._pending:
                self._read(pending)

    def _drop_oldest(self) -> None:
        counted = Counter(pending.address[0] for pending in self._pending)
        ((most, _),) = counted.most_common(1)
        oldest = next(one for one in self._pending if one.address[0] == most)
        self._forget(oldest)
        oldest.close()

    def _read(self, pending: _PendingConnection) -> None:
        try:
            pending.read_request()
        except (BlockingIOError, ssl.SSLWantReadError):
            self._selector.modify(pending.connection, selectors.EVENT_READ, pending)
        except ssl.SSLWantWriteError:
            self._selector.modify(pending.connection, selectors.EVENT_WRITE, pending)
        except (_NotARequest, OSError):
            self._forget(pending)
            pending.close()
        else:
            self._forget(pending)
            self._start_association(pending)

    def _start_association(self, pending: _PendingConnection) -> None:
        """Hand the request to pynetdicom, or reject it with the reason."""
        request = bytes(pending.received)
        try:
            refusal = self._refusal(request, pending.address[0])
        except Exception as error:  # whatever pynetdicom's reader trips over
            log.warning("a request for an association cannot be read: %s", type(error).__name__)
            pending.close()
            return
        if refusal is not None:
            pending.close(refusal.encoded())
            return
        pending.connection.settimeout(self._entity.network_timeout)
        try:
            # Not in a thread: when this returns, the association has its own, and is counted.
            self._server.process_request(
                _RequestedAssociation(  # type: ignore[arg-type]
                    pending.connection, request, self._max_message_bytes
                ),
                pending.address,
            )
        except Exception as error:
            log.error("an association cannot be begun: %s", type(error).__name__)
            pending.close()

    def _refusal(self, request: bytes, address: str) -> Rejection | None:
        pdu = A_ASSOCIATE_RQ()
        pdu.decode(request)
        asked = pdu.to_primitive()
        callers = [title.strip() for title in self._entity.require_calling_aet]
        if callers and asked.calling_ae_title not in callers:
            return _UNKNOWN_CALLER
        if self._entity.require_called_aet and asked.called_ae_title != self._entity.ae_title:
            return _UNKNOWN_CALLED
        under_way = [one.requestor.address for one in self._server.active_associations]
        if (
            len(under_way) >= MAX_ASSOCIATIONS
            or under_way.count(address) >= MAX_ASSOCIATIONS_PER_ADDRESS
        ):
            log.warning("a sender is turned away: %d associations are open", len(under_way))
            return _LOCAL_LIMIT_EXCEEDED
        return None

    def _forget(self, pending: _PendingConnection) -> None:
        del self._pending[pending]
        self._selector.unregister(pending.connection)


class _GatedRequestHandler(RequestHandler):
    """Begins an association whose request has been read."""

    def _create_association(self) -> Association:
        asked: _RequestedAssociation = self.request
        self.request = asked.connection
        association = super()._create_association()
        association.dul.event_queue.get_nowait()  # the plain socket's "connected"; ours says it
        association.dul.socket = _BoundedSocket(association, asked)
        return association


@dataclass
class _MessageSize:
    """Counts the bytes of the message whose fragments go by (PS3.8, 9.3.5 and annex E)."""

    limit: int
    bytes: int = 0
    ended: bool = True

    def add(self, items: bytearray) -> None:
        """Count the presentation data values of one P-DATA-TF PDU.

        Raises:
            OSError: the message is larger than the limit.
        """
        place = 0
        while place + _HEADER_BYTES <= len(items):
            (length,) = struct.unpack_from(">L", items, place)
            control = items[place + 5]
            if control & _COMMAND and self.ended:
                self.bytes = 0
            self.bytes += length
            self.ended = bool(control & _LAST)
            place += 4 + length
        if self.bytes > self.limit:
            log.error("an image of more than %d MiB was not taken", self.limit >> 20)
            raise OSError("a message larger than the limit")


class _BoundedSocket(AssociationSocket):
    """Reads the request first, no PDU larger than what was negotiated, and no message larger than
    the limit."""

    def __init__(self, association: Association, asked: _RequestedAssociation) -> None:
        super().__init__(association, client_socket=asked.connection)
        self._request = bytearray(asked.request)
        self._message = _MessageSize(asked.max_message_bytes)
        self._in_data = False

    @property
    def ready(self) -> bool:
        """Whether there is something to read, and room for it."""
        if self._request:
            return True
        return self.assoc.dimse.msg_queue.qsize() < _MAX_WAITING and super().ready

    def recv(self, nr_bytes: int) -> bytearray:
        """So many bytes, or fewer where the connection ends.

        Raises:
            OSError: more than a PDU or an image may have, or nothing came in time; the connection
                is closed.
        """
        if self._request:
            piece = self._request[:nr_bytes]
            del self._request[:nr_bytes]
            return piece
        try:
            if nr_bytes > max(self.assoc.acceptor.maximum_length or 0, _HEADER_BYTES):
                raise OSError("a PDU larger than negotiated")
            piece = super().recv(nr_bytes)
            if self._in_data:
                self._message.add(piece)
            self._in_data = not self._in_data and piece[:1] == bytes([_DATA])
            return piece
        except OSError:
            self._shutdown_socket()
            raise
