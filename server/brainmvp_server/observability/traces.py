"""OpenTelemetry traces: a span a request and a stage, sent by OTLP where that is configured.

Without it nothing of OpenTelemetry is imported. Spans hold the call, the model and the status, and
nothing that a client wrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from brainmvp_models import __version__
from brainmvp_models.errors import InvalidSettings


class Tracing:
    """The process's tracer; there is none until :meth:`begin`."""

    def __init__(self) -> None:
        self._provider: Any = None
        self._tracer: Any = None

    def begin(self, endpoint: str) -> None:
        """Send spans to an OTLP collector, such as ``http://collector:4318/v1/traces``.

        Raises:
            InvalidSettings: the packages are not installed.
        """
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError:
            raise InvalidSettings(
                "traces need packages that are not installed",
                remedy="pip install 'brainmvp[otel]'",
                subject="otlp_endpoint",
            ) from None
        resource = Resource.create({"service.name": "brainmvp", "service.version": __version__})
        self._provider = TracerProvider(resource=resource)
        exporter = OTLPSpanExporter(endpoint=endpoint, timeout=5)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("brainmvp")

    def end(self) -> None:
        """Send what is left, and stop."""
        provider, self._provider, self._tracer = self._provider, None, None
        if provider is not None:
            provider.shutdown()

    @contextmanager
    def span(self, name: str, parent: str | None = None) -> Iterator[dict[str, Any]]:
        """A span around what happens inside; what is put into the dict becomes its attributes.

        Args:
            parent: a ``traceparent`` header (W3C Trace Context); else the span around this one.
        """
        attributes: dict[str, Any] = {}
        if self._tracer is None:
            yield attributes
            return
        # An exception's message could quote a patient's file: it is not recorded.
        with self._tracer.start_as_current_span(
            name,
            context=_remote(parent),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield attributes
            finally:
                span.update_name(str(attributes.pop("name", name)))
                span.set_attributes(_given(attributes))


def _remote(parent: str | None) -> Any:
    if parent is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": parent})


def _given(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}


tracing = Tracing()
"""OpenTelemetry's tracer is the process's, so this is too."""
