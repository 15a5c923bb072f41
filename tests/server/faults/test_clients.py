"""Clients that dawdle, vanish or ask for too much at once; health never waits for them."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from ..conftest import AS_IT_IS, Serving, Start


def head(length: int, path: str = "/v1/models/swift/predict") -> bytes:
    return (
        f"POST {path}?fill=zeros&prepare=none HTTP/1.1\r\nhost: localhost\r\n"
        f"content-type: multipart/form-data; boundary=b\r\ncontent-length: {length}\r\n\r\n"
    ).encode()


def body(study: Path) -> bytes:
    part = b'--b\r\ncontent-disposition: form-data; name="t1"; filename="t1"\r\n\r\n'
    return part + study.read_bytes() + b"\r\n--b--\r\n"


@contextmanager
def connected(service: Serving) -> Iterator[socket.socket]:
    url = service.http.base_url
    with socket.create_connection((url.host, url.port), timeout=120) as connection:
        yield connection


@pytest.fixture
def service(serve: Start, swift_models: Path, tmp_path: Path) -> Serving:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return serve(swift_models, scratch=scratch, upload_s=4, requests=40)


def test_a_slow_loris_is_sent_away_and_holds_nobody_up(
    service: Serving, tmp_path: Path, small_study: Path
) -> None:
    content = body(small_study)
    lorises = []
    for _ in range(30):
        url = service.http.base_url
        loris = socket.create_connection((url.host, url.port), timeout=120)
        loris.sendall(head(len(content)) + content[:200])
        lorises.append(loris)
    assert service.http.get("/health/ready", timeout=30).status_code == 200
    assert service.predicted(small_study)
    for loris in lorises:
        assert b" 408 " in loris.recv(4096)
        loris.close()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_heads_that_dribble_in_are_answered_408_and_whoever_speaks_is_served(
    serve: Start, swift_models: Path
) -> None:
    service = serve(swift_models, head_s=3)
    lorises = []
    with contextlib.ExitStack() as stack:
        for begun in (
            b"",
            b"GET /health/live HT",
            b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nx-y: ",
        ):
            lorises.append(stack.enter_context(connected(service)))
            lorises[-1].sendall(begun)
        # The second request of a connection is watched like the first.
        again = stack.enter_context(connected(service))
        again.sendall(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert b" 200 " in again.recv(4096)
        again.sendall(b"GET /health")
        for loris in (*lorises, again):
            said = b""
            with contextlib.suppress(OSError):
                for _ in range(200):
                    said += (piece := loris.recv(4096))
                    if not piece:
                        break
                    loris.sendall(b"x")
            assert b" 408 " in said
    answer = service.http.get("/health/live")
    assert answer.status_code == 200


def test_a_client_that_vanishes_stops_its_study(
    serve: Start, steady_models: Path, tmp_path: Path, large_study: Path, small_study: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    service = serve(steady_models, scratch=scratch)
    content = body(large_study)
    for _ in range(3):
        with connected(service) as connection:
            connection.sendall(head(len(content)) + content)
            service.until_metric("brainmvp_windows_waiting", 1)
        deadline = time.monotonic() + 120
        while list(scratch.iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert service.metric("brainmvp_studies_total") == 0
    assert service.predicted(small_study)


def test_more_requests_than_are_taken_are_told_when_to_come_back(
    serve: Start, steady_models: Path, large_study: Path
) -> None:
    service = serve(steady_models, requests=2, studies=1)
    answers: list[httpx.Response] = []

    def ask() -> None:
        with httpx.Client(base_url=service.http.base_url, timeout=300) as http:
            answers.append(
                http.post(
                    "/v1/models/swift/predict",
                    files={"t1": large_study.read_bytes()},
                    params=AS_IT_IS,
                )
            )

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert service.http.get("/health/live", timeout=30).status_code == 200
        time.sleep(0.1)
    codes = sorted(answer.status_code for answer in answers)
    assert set(codes) == {200, 503} and codes.count(200) >= 2
    assert all("retry-after" in a.headers for a in answers if a.status_code == 503)


def test_a_study_over_its_time_is_answered_504(
    serve: Start, steady_models: Path, large_study: Path
) -> None:
    service = serve(steady_models, study_s=0.2)
    with large_study.open("rb") as file:
        answer = service.http.post("/v1/models/swift/predict", files={"t1": file}, params=AS_IT_IS)
    assert answer.status_code == 504
    assert answer.json()["type"] == "urn:brainmvp:problem:study-timed-out"


def test_answers_that_nobody_reads_count_until_their_clients_are_sent_away(
    serve: Start, swift_models: Path, colin27: Path, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    service = serve(swift_models, scratch=scratch, requests=3, answer_s=15)
    content = body(colin27)
    ask = head(len(content)).replace(b"host:", b"accept: application/x-nifti\r\nhost:")
    url = service.http.base_url
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            deaf = stack.enter_context(socket.socket())
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect((url.host, url.port))
            deaf.sendall(ask + content)
        service.until_metric("brainmvp_studies_total", 3)
        assert service.metric("brainmvp_admitted") == 3
        assert service.metric("brainmvp_study_memory_bytes") == 0
        with colin27.open("rb") as file:
            refused = service.http.post(
                "/v1/models/swift/predict", files={"t1": file}, params=AS_IT_IS
            )
        assert refused.status_code == 503
        # Nobody waits for them for ever.
        deadline = time.monotonic() + 60
        while service.metric("brainmvp_admitted") or list(scratch.iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert service.predicted(colin27)
