"""Traces of requests: what a span says, and where spans go. Needs the extra ``otel``.

``Traces`` begins spans, on the loop's thread; ``EngineTraces`` is told by the engine's of what was
done when. A span belongs to the ticket that the engine answers its request by. Nothing of it is
there while nobody traces: the server's objects are others then (``sessions/traced.py``), or ask
whether there is one, once a scan. OpenTelemetry is loaded when somebody traces.

Invariant: every span that was begun ends, with its reply or with its connection.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from .._version import VERSION
from ..runtime.extras import load

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span

_EXPORTER: Final = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
#: Links of a tick to requests; OpenTelemetry drops what is beyond.
_MOST_LINKS: Final = 128


def check_extra() -> None:
    """ExtraMissing without what traces need."""
    load("trace_endpoint: traces need", "otel", _EXPORTER, "opentelemetry.sdk.trace")


def exporting(endpoint: str | None, sample_ratio: float) -> Traces | None:
    """Traces that go to ``endpoint`` by OTLP over HTTP; None without one. ExtraMissing."""
    if endpoint is None:
        return None
    check_extra()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return Traces(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)), sample_ratio)


class EngineTraces:
    """What the engine tells of, on the thread that holds the windows."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    def event(self, ticket: Any, name: str, **attributes: int) -> None:
        """Something of a request is done."""
        span = span_of(ticket)
        if span is not None:
            span.add_event(name, {f"omendb.{key}": value for key, value in attributes.items()})

    def scanned(self, tickets: Iterable[Any]) -> None:
        """Searches have been looked for in one scan."""
        for ticket in tickets:
            self.event(ticket, "scan")

    def encoded(self, tickets: Iterable[Any]) -> None:
        """Their answers are made."""
        for ticket in tickets:
            self.event(ticket, "encode")

    @contextmanager
    def within(self, ticket: Any) -> Iterator[None]:
        """What is logged meanwhile is of that request."""
        with self._traces.within(span_of(ticket)):
            yield

    def tick(self, effects: Iterable[Any], took_us: int) -> None:
        """A tick is over, and led to ``effects``: a span of its own, linked with those of the
        requests that it answered, both ways."""
        spans = [span_of(getattr(effect, "ticket", None)) for effect in effects]
        answered = [span for span in spans if span is not None]
        if answered:
            self._traces.tick(answered, took_us)


class Traces:
    """Begins spans. ``processor`` takes what has ended; ``sample_ratio`` of requests that are part
    of no trace yet are traced, and of others those whose caller says so.
    """

    def __init__(self, processor: SpanProcessor, sample_ratio: float) -> None:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider, sampling
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._api = trace
        self._propagator = TraceContextTextMapPropagator()
        resource = Resource.create({"service.version": VERSION})
        if "OTEL_SERVICE_NAME" not in os.environ:
            resource = resource.merge(Resource({"service.name": "omendb-ws"}))
        ratio = sampling.TraceIdRatioBased(sample_ratio)
        requests = TracerProvider(sampler=sampling.ParentBased(ratio), resource=resource)
        ticks = TracerProvider(sampler=sampling.ALWAYS_ON, resource=resource)
        for provider in (requests, ticks):
            provider.add_span_processor(processor)
        self._requests = requests.get_tracer("omendb_ws", VERSION)
        self._ticks = ticks.get_tracer("omendb_ws", VERSION)
        self._processor = processor
        self.engine = EngineTraces(self)

    def begin(self, traceparent: str | None, late_us: int) -> Span | None:
        """A span of a request that came ``late_us`` ago; None if it is not traced."""
        parent = None
        if traceparent is not None:
            parent = self._propagator.extract({"traceparent": traceparent})
        span = self._requests.start_span(
            "omendb",
            context=parent,
            kind=self._api.SpanKind.SERVER,
            start_time=time.time_ns() - late_us * 1000,
        )
        return span if span.is_recording() else None

    def tick(self, answered: list[Span], took_us: int) -> None:
        """See ``EngineTraces.tick``."""
        links = [self._api.Link(span.get_span_context()) for span in answered[:_MOST_LINKS]]
        began_ns = time.time_ns() - took_us * 1000
        from opentelemetry.context import Context

        tick = self._ticks.start_span(
            "omendb tick",
            context=Context(),
            links=links,
            start_time=began_ns,
            attributes={"omendb.traced_requests": len(answered)},
        )
        tick.end()
        for span in answered:
            span.add_link(tick.get_span_context())

    @contextmanager
    def within(self, span: Span | None) -> Iterator[None]:
        """What is logged meanwhile carries its ids."""
        if span is None:
            yield
            return
        with self._api.use_span(span, record_exception=False, set_status_on_exception=False):
            yield

    def fail(self, span: Span, why: str) -> None:
        """Its request was refused."""
        span.set_status(self._api.Status(self._api.StatusCode.ERROR, why))

    def stop(self) -> None:
        """Hand on what has ended. Blocks."""
        self._processor.shutdown()


def span_of(ticket: Any) -> Span | None:
    """Of a request that is traced."""
    span: Span | None = getattr(ticket, "span", None)
    return span


def trace_id_of(span: Span) -> str:
    """As it is written."""
    return f"{span.get_span_context().trace_id:032x}"


class TraceIds(logging.Filter):
    """Gives log records the ids of the span within which they are made."""

    def filter(self, record: logging.LogRecord) -> bool:
        """See logging.Filter."""
        from opentelemetry import trace

        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            record.trace_id = f"{context.trace_id:032x}"
            record.span_id = f"{context.span_id:016x}"
        return True


def name_traces_in_logs() -> None:
    """From now on, in a program that has set up its log."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(TraceIds())
