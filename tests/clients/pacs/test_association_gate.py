"""The listener's gate: junk costs nothing, keeps no place, and never shuts out who really sends."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, FileMetaDataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_ECHO_RQ
from pynetdicom.dimse_primitives import C_ECHO
from pynetdicom.pdu import A_ASSOCIATE_RQ, P_DATA_TF
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import MRImageStorage, Verification

from brainmvp_clients.errors import ClientError
from brainmvp_clients.pacs import association_gate as gate_module
from brainmvp_clients.pacs.association_gate import (
    MAX_ASSOCIATIONS_PER_ADDRESS,
    MAX_PENDING_CONNECTIONS,
    AssociationGate,
)
from brainmvp_clients.pacs.dimse import Caller, Dimse, Peer
from brainmvp_clients.pacs.limits import MAX_IMAGE_MB
from brainmvp_clients.pacs.storage_scp import Receiver, start_gate, storage_entity
from brainmvp_clients.pacs.tls import Tls
from brainmvp_clients.pacs.transfer import Instance
from certificates import Certificates, certificates
from dicom_studies import Study as Written

SENDER = "SENDER"
WAIT_S = 30.0


@pytest.fixture
def receiver(tmp_path: Path) -> Receiver:
    (tmp_path / "in").mkdir()
    return Receiver(tmp_path / "in")


@contextmanager
def listening(
    receiver: Receiver, tls: Tls | None = None, image_mb: int = MAX_IMAGE_MB
) -> Iterator[AssociationGate]:
    entity = storage_entity("BRAINMVP", (SENDER,))
    gate = start_gate(entity, "127.0.0.1", 0, tls, receiver.store, image_mb)
    try:
        yield gate
    finally:
        gate.close()


@pytest.fixture
def gate(receiver: Receiver) -> Iterator[AssociationGate]:
    with listening(receiver) as gate:
        yield gate


@pytest.fixture
def pem(program: Callable[[str], Path], tmp_path: Path) -> Certificates:
    return certificates(program, tmp_path / "pem")


def request(calling: str = SENDER) -> bytes:
    asked = A_ASSOCIATE()
    asked.application_context_name = "1.2.840.10008.3.1.1.1"
    asked.calling_ae_title, asked.called_ae_title = calling, "BRAINMVP"
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = 16382
    implementation.implementation_class_uid = "1.2.3"
    asked.user_information = [length, implementation]
    context = build_context(Verification)
    context.context_id = 1
    asked.presentation_context_definition_list = [context]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(asked)
    return bytes(pdu.encode())


def header(kind: int, length: int) -> bytes:
    return struct.pack(">BBL", kind, 0, length)


JUNK: dict[str, bytes] = {
    "nothing": b"",
    "half a header": b"\1\0\0",
    "another protocol": b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    "a greeting of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "4 GiB": header(1, 0xFFFFFFFF) + bytes(1 << 16),
    "data before anything": header(4, 1 << 20) + bytes(1 << 16),
    "half a request": request()[:100],
    "no request inside": header(1, 500) + b"\xff" * 500,
    "a stranger": request("STRANGER"),
    "a sender who leaves": request(),
}


def connected(gate: AssociationGate) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gate.port), timeout=WAIT_S)


def end_of(connection: socket.socket) -> bytes:
    """All that is still said until the connection ends."""
    said = b""
    with suppress(ConnectionError):
        while piece := connection.recv(4096):
            said += piece
    return said


def send(gate: AssociationGate, files: tuple[Path, ...], tls: Tls | None = None) -> None:
    target = Dimse(Peer("BRAINMVP", "127.0.0.1", gate.port), Caller(SENDER, tls))
    target._there = lambda _: True  # type: ignore[method-assign]  # we answer no query
    target.store(tuple(Instance(path, "", "", "", MRImageStorage, "1.2.840.10008.1.2.1")
                       for path in files))  # fmt: skip


def associated(gate: AssociationGate, address: str = "127.0.0.1") -> Association:
    entity = AE(SENDER)
    entity.add_requested_context(Verification)
    return entity.associate("127.0.0.1", gate.port, ae_title="BRAINMVP", bind_address=(address, 0))


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_a_study_arrives_whole_beside_a_thousand_junk_connections(
    receiver: Receiver, dicom_files: tuple[Written, ...], pem: Certificates, secure: bool
) -> None:
    tls = Tls(pem.ca, pem.cert, pem.key) if secure else None
    files = dicom_files[0].files
    threads = threading.active_count()
    with listening(receiver, tls) as gate, ThreadPoolExecutor(1) as pool, ExitStack() as stack:
        sent = pool.submit(send, gate, files, tls)
        most = 0
        for number in range(1000):
            junk = [*JUNK.values()][number % len(JUNK)]
            with suppress(OSError):
                connection = stack.enter_context(connected(gate))
                connection.sendall(junk)
                if number % 3 or junk == request():  # the others stay
                    connection.close()
            most = max(most, threading.active_count())
        sent.result(timeout=120)
        until(lambda: not gate._server.active_associations)
        send(gate, files[:1], tls)
    assert receiver.count == len(files)
    assert most - threads < 2 * MAX_ASSOCIATIONS_PER_ADDRESS + 10


@pytest.mark.parametrize("junk", JUNK)
def test_a_connection_that_closes_is_forgotten_at_once(gate: AssociationGate, junk: str) -> None:
    for _ in range(MAX_PENDING_CONNECTIONS + MAX_ASSOCIATIONS_PER_ADDRESS):
        with connected(gate) as connection, suppress(OSError):
            connection.sendall(JUNK[junk])
    began = time.monotonic()
    until(lambda: not gate._server.active_associations and not gate._pending)
    assert time.monotonic() - began < 10
    association = associated(gate)
    assert association.is_established
    association.release()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("junk", ["another protocol", "4 GiB", "data before anything",
                                  "no request inside"])  # fmt: skip
def test_what_is_no_request_is_hung_up_on_without_being_read(
    gate: AssociationGate, junk: str
) -> None:
    with connected(gate) as connection:
        connection.sendall(JUNK[junk][:600])
        assert end_of(connection) == b""


def test_who_does_not_ask_in_time_is_hung_up_on(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_module, "REQUEST_TIMEOUT_S", 0.2)
    with listening(receiver) as gate, connected(gate) as silent, connected(gate) as slow:
        slow.sendall(request()[:50])
        assert end_of(silent) == end_of(slow) == b""
        with connected(gate) as prompt:
            prompt.sendall(request())
            assert prompt.recv(1) == b"\2"


def test_a_silent_partner_in_tls_is_hung_up_on(
    receiver: Receiver, pem: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_module, "REQUEST_TIMEOUT_S", 0.2)
    tls = Tls(pem.ca, pem.cert, pem.key)
    with listening(receiver, tls) as gate, connected(gate) as silent:
        assert end_of(silent) == b""
        with (
            suppress(ssl.SSLError, ConnectionError),
            connected(gate) as plain,
            tls.client().wrap_socket(plain, server_hostname="127.0.0.1") as secured,
        ):
            assert end_of(secured) == b""


def test_a_stranger_is_told_why(gate: AssociationGate) -> None:
    with connected(gate) as connection:
        connection.sendall(request("STRANGER"))
        assert end_of(connection) == bytes([3, 0, 0, 0, 0, 4, 0, 1, 1, 3])


@pytest.mark.parametrize("length", [16_383, 1 << 20, 0xFFFFFFFF])
def test_no_pdu_of_a_sender_is_larger_than_was_negotiated(
    gate: AssociationGate, length: int
) -> None:
    with connected(gate) as connection:
        connection.sendall(request())
        assert connection.recv(1) == b"\2"
        with suppress(OSError):
            connection.sendall(header(4, length) + bytes(1 << 20))
        end_of(connection)
        until(lambda: not gate._server.active_associations)


def image_of(tmp_path: Path, mib: int) -> Path:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = MRImageStorage, "1.2.3.4"
    dataset.Rows = dataset.Columns = 1
    dataset.PixelData = bytes(mib << 20)
    dataset["PixelData"].VR = "OB"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    dataset.save_as(tmp_path / "image.dcm", enforce_file_format=True)
    return tmp_path / "image.dcm"


def test_an_image_of_more_than_the_limit_ends_the_association_and_is_not_gathered(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with listening(receiver, image_mb=2) as gate:
        with pytest.raises(ClientError):
            send(gate, (image_of(tmp_path, 3),))
        assert receiver.count == 0 and "more than 2 MiB" in caplog.text
        until(lambda: not gate._server.active_associations)
        send(gate, (image_of(tmp_path, 1),) * 3)  # the limit is that of one
    assert receiver.count == 1


def test_a_sender_who_never_ends_an_image_is_not_listened_to(gate: AssociationGate) -> None:
    """Fragments of a command are counted as those of an image are."""
    fragment = struct.pack(">LBB", 16_002, 1, 1) + bytes(16_000)
    association = associated(gate)
    (served,) = gate._server.active_associations
    served.dul.socket._message.limit = 1 << 20
    connection = association.dul.socket.socket
    with suppress(OSError):
        for _ in range(1000):
            connection.sendall(header(4, len(fragment)) + fragment)
    until(lambda: not gate._server.active_associations)
    association.abort()


def test_messages_that_wait_are_few_whatever_a_sender_sends(
    tmp_path: Path, receiver: Receiver
) -> None:
    """A sender need not wait for an answer before it sends the next image."""
    go_on, most = threading.Event(), 0
    echo = C_ECHO()
    echo.MessageID, echo.AffectedSOPClassUID = 1, Verification
    message = C_ECHO_RQ()
    message.primitive_to_message(echo)
    pieces = b""
    for data in message.encode_msg(1, 16_382):
        pdu = P_DATA_TF()
        pdu.from_primitive(data)
        pieces += pdu.encode()

    def slow(_: Any) -> int:
        go_on.wait(WAIT_S)
        return 0

    entity = storage_entity("BRAINMVP", (SENDER,))
    gate = start_gate(entity, "127.0.0.1", 0, None, receiver.store)
    try:
        association = associated(gate)
        (served,) = gate._server.active_associations
        served.bind(evt.EVT_C_ECHO, slow)
        association.dul.socket.socket.sendall(pieces * 200)
        end = time.monotonic() + 1
        while time.monotonic() < end:
            most = max(most, served.dimse.msg_queue.qsize())
            time.sleep(0.01)
        association.abort()
    finally:
        go_on.set()
        gate.close()
    assert 0 < most <= 3


def test_one_sender_cannot_take_the_places_of_another(gate: AssociationGate) -> None:
    held: list[Any] = []
    try:
        held += [associated(gate) for _ in range(MAX_ASSOCIATIONS_PER_ADDRESS)]
        assert all(one.is_established for one in held)
        assert associated(gate).is_rejected
        held.append(associated(gate, "127.0.0.2"))
        assert held[-1].is_established
        held.pop(0).release()
        until(lambda: len(gate._server.active_associations) <= MAX_ASSOCIATIONS_PER_ADDRESS)
        held.append(associated(gate))
        assert held[-1].is_established
    finally:
        for one in held:
            one.abort()


def test_connections_from_one_address_do_not_shut_out_another(gate: AssociationGate) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(
            socket.create_connection(
                ("127.0.0.1", gate.port), timeout=WAIT_S, source_address=("127.0.0.2", 0)
            )
        )
        until(lambda: len(gate._pending) == 1)
        for _ in range(3 * MAX_PENDING_CONNECTIONS):
            stack.enter_context(connected(gate))
        until(lambda: len(gate._pending) == MAX_PENDING_CONNECTIONS)
        first.sendall(request())
        assert first.recv(1) == b"\2"
