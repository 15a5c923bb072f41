"""Traces, as a real OTLP receiver on this machine gets them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from brainmvp_models.errors import InvalidSettings
from brainmvp_server.inference.stopwatch import Stopwatch
from brainmvp_server.observability.traces import Tracing, tracing

from ..conftest import Start


@pytest.fixture
def collector() -> Iterator[tuple[str, ExportTraceServiceRequest]]:
    """An OTLP receiver's address, and everything it has got."""
    got = ExportTraceServiceRequest()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            got.MergeFromString(body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/traces", got
    server.shutdown()
    thread.join()
    server.server_close()


def test_stages_are_spans_of_the_request_that_a_caller_began(
    collector: tuple[str, ExportTraceServiceRequest],
) -> None:
    address, got = collector
    tracing.begin(address)
    try:
        with tracing.span("request", f"00-{'a' * 32}-{'b' * 16}-01") as attributes:
            stopwatch = Stopwatch()
            with stopwatch.measure("read"):
                pass
            with pytest.raises(ValueError), stopwatch.measure("infer"):
                raise ValueError("Doe^Jane")
            attributes.update(name="POST /v1/models/{name}/predict", status=200, nothing=None)
    finally:
        tracing.end()
    spans = {s.name: s for r in got.resource_spans for i in r.scope_spans for s in i.spans}
    assert set(spans) == {"read", "infer", "POST /v1/models/{name}/predict"}
    request = spans["POST /v1/models/{name}/predict"]
    assert request.trace_id.hex() == "a" * 32 and request.parent_span_id.hex() == "b" * 16
    assert spans["read"].parent_span_id == request.span_id
    assert [a.key for a in request.attributes] == ["status"]
    assert "Doe" not in str(got)


def test_a_service_sends_the_stages_of_a_prediction_and_no_words_of_its_client(
    collector: tuple[str, ExportTraceServiceRequest],
    serve: Start,
    swift_models: Path,
    small_study: Path,
) -> None:
    address, got = collector
    service = serve(swift_models, otlp_endpoint=address)
    parent = f"00-{'c' * 32}-{'d' * 16}-01"
    with small_study.open("rb") as file:
        answer = service.http.post(
            "/v1/models/swift/predict",
            files={"t1": ("Doe^Jane.nii.gz", file)},
            params={"fill": "zeros", "prepare": "none"},
            headers={"traceparent": parent, "user-agent": "Doe^Jane"},
        )
        refused = service.http.post(
            "/v1/models/swift/predict",
            params={"note": "Doe^Jane"},
            headers={"traceparent": parent},
        )
    assert answer.status_code == 200 and refused.status_code == 422
    service.stop()
    spans = [s for r in got.resource_spans for i in r.scope_spans for s in i.spans]
    ours = {span.name for span in spans if span.trace_id.hex() == "c" * 32}
    assert {"POST /v1/models/{name}/predict", "read", "preprocess", "infer", "restore"} <= ours
    assert "Doe" not in str(got)


@pytest.mark.parametrize("parent", [None, "", "nonsense", "00-zz-1-01"])
def test_a_bad_parent_starts_a_trace_of_its_own(
    collector: tuple[str, ExportTraceServiceRequest], parent: str | None
) -> None:
    own = Tracing()
    own.begin(collector[0])
    with own.span("request", parent):
        pass
    own.end()
    (span,) = (s for r in collector[1].resource_spans for i in r.scope_spans for s in i.spans)
    assert span.parent_span_id == b"" and len(span.trace_id) == 16


def test_without_configuration_nothing_is_traced_and_with_packages_missing_it_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Tracing().span("request") as attributes:
        attributes["a"] = 1
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(InvalidSettings, match=r"brainmvp\[otel\]"):
        Tracing().begin("http://127.0.0.1:9")
