"""Traces: a span a request, its context, links with ticks, events, logs, exemplars."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from omendb_ws import connect
from omendb_ws.net.server import Server
from omendb_ws.runtime.extras import ExtraMissing
from omendb_ws.sessions.session import Session
from omendb_ws.sessions.traced import TracedSession
from omendb_ws.telemetry.tracing import TraceIds, Traces
from omendb_ws.wire import binary, traceparent
from tests.patience import PATIENCE_SECONDS
from tests.server.raw import batch, client, engine_held, queued, running, settings

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{CALLER}-01"
NOT_SAMPLED = f"00-{TRACE}-{CALLER}-00"


class Exported:
    """What a server has exported."""

    def __init__(self, ratio: float) -> None:
        self.exporter = InMemorySpanExporter()
        self.traces = Traces(SimpleSpanProcessor(self.exporter), ratio)

    def spans(self, name: str = "") -> list[ReadableSpan]:
        found = self.exporter.get_finished_spans()
        return [one for one in found if not name or one.name == name]

    async def one(self, name: str) -> ReadableSpan:
        """The only span of that name, once it has ended."""
        await self.until(lambda: bool(self.spans(name)))
        (span,) = self.spans(name)
        return span

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not is_so():  # noqa: ASYNC110 - another thread
                await asyncio.sleep(0.001)


@asynccontextmanager
async def traced(ratio: float = 1.0, **fields: Any) -> AsyncIterator[tuple[Server, Exported]]:
    exported = Exported(ratio)
    async with running(Server(settings(**fields), traces=exported.traces)) as server:
        yield server, exported


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return {key.removeprefix("omendb."): value for key, value in (span.attributes or {}).items()}


def events(span: ReadableSpan) -> list[str]:
    return [one.name for one in span.events]


def trace_id(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


async def test_each_request_has_a_span_that_says_what_was_asked_and_of_which_version() -> None:
    async with traced() as (_, exported), client(_) as raw:
        handle = (await raw.create())["handle"]
        await raw.add_binary(handle, batch(1, 2, 3))
        await raw.search_binary(handle, [[1, 0], [0, 1]])
        await raw.ok("count", collection="items")
        assert await raw.code("search", collection="none", vector=[1, 0]) == "not_found"
        await raw.ok("ping")
        add = await exported.one("omendb add")
        assert attributes(add) == {"op": "add", "collection": "items", "rows": 3, "version": 1}
        assert "queue" in events(add)
        assert add.kind is trace.SpanKind.SERVER
        await exported.until(lambda: len(exported.spans("omendb search")) == 2)
        found, refused = exported.spans("omendb search")
        said = attributes(found)
        assert said == {"op": "search", "collection": "items", "queries": 2, "version": 1}
        assert events(found)[-2:] == ["scan", "encode"]
        assert refused.status.status_code is trace.StatusCode.ERROR
        assert refused.status.description == "not_found"
        assert attributes(await exported.one("omendb count"))["version"] == 1
        await exported.one("omendb ping")
        assert all(one.end_time and one.start_time <= one.end_time for one in exported.spans())


async def test_a_durable_add_says_when_its_log_was_through(tmp_path: Path) -> None:
    async with traced(data_dir=str(tmp_path)) as (server, exported), client(server) as raw:
        await raw.create(durability="always")
        await raw.add(1)
        add = await exported.one("omendb add")
        assert [one for one in events(add) if one != "queue"] == ["journal"]


async def test_a_tick_and_the_requests_that_it_answered_are_linked_both_ways() -> None:
    async with traced() as (server, exported), client(server) as raw:
        await raw.create()
        await raw.add(1)
        add = await exported.one("omendb add")
        ticks = exported.spans("omendb tick")
        (link,) = add.links
        (tick,) = [one for one in ticks if one.context == link.context]
        assert add.context in [one.context for one in tick.links]
        assert tick.parent is None
        assert trace_id(tick) != trace_id(add)
        assert tick.start_time is not None
        assert tick.end_time is not None
        assert tick.start_time <= tick.end_time


@pytest.mark.parametrize("is_binary", [False, True])
async def test_a_request_is_part_of_its_callers_trace(is_binary: bool) -> None:
    async with traced(0.0) as (server, exported), client(server) as raw:
        handle = (await raw.create())["handle"]
        if is_binary:
            frame = binary.encode_search(77, handle, np.zeros((1, 2), np.float32) + 1)
            await raw.send_binary(traceparent.put_into(frame, SAMPLED))
            await raw.reply(77)
        else:
            await raw.ok("search", collection="items", vector=[1, 0], traceparent=SAMPLED)
        span = await exported.one("omendb search")
        assert trace_id(span) == TRACE
        assert span.parent is not None
        assert f"{span.parent.span_id:016x}" == CALLER
        assert span.parent.is_remote


async def test_what_its_caller_does_not_sample_is_not_traced() -> None:
    async with traced(1.0) as (server, exported), client(server) as raw:
        await raw.ok("list", traceparent=NOT_SAMPLED)
        await raw.ok("list")
        await exported.one("omendb list")


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "x",
        SAMPLED.upper(),
        f"ff-{TRACE}-{CALLER}-01",
        f"00-{'0' * 32}-{CALLER}-01",
        f"{SAMPLED}-x",
    ],
)
async def test_a_malformed_one_begins_a_new_trace_and_is_no_error(bad: str) -> None:
    async with traced(1.0) as (server, exported), client(server) as raw:
        await raw.ok("list", traceparent=bad)
        span = await exported.one("omendb list")
        assert span.parent is None
        assert trace_id(span) != TRACE


@pytest.mark.parametrize("ratio", [None, 1.0])
async def test_one_that_is_no_string_is_refused_whoever_traces(ratio: float | None) -> None:
    exported = None if ratio is None else Exported(ratio)
    server = Server(settings(), traces=None if exported is None else exported.traces)
    async with running(server), client(server) as raw:
        error = await raw.error("list", traceparent=7)
        assert (error["code"], error["message"]) == ("bad_request", "traceparent: must be a string")
        await raw.ok("list", traceparent=SAMPLED)


async def test_the_http_header_says_it_for_http() -> None:
    async with traced(0.0, http_port=0) as (server, exported):
        async with httpx.AsyncClient(base_url=server.http_url or "") as http:
            header = {"traceparent": SAMPLED}
            assert (await http.get("/v1/collections", headers=header)).status_code == 200
            assert (await http.get("/v1/collections")).status_code == 200
            twice = [("traceparent", SAMPLED), ("traceparent", SAMPLED)]
            assert (await http.get("/v1/collections", headers=twice)).status_code == 200
        span = await exported.one("omendb list")
        assert trace_id(span) == TRACE


async def test_a_long_request_is_traced_too_and_says_it_at_its_beginning() -> None:
    async with traced(0.0) as (server, exported), client(server) as raw:
        await raw.create(capacity=5_000)
        rows = [{"id": one, "vector": [1.0, float(one)]} for one in range(4_000)]
        await raw.ok("add", traceparent=SAMPLED, collection="items", rows=rows)
        span = await exported.one("omendb add")
        assert trace_id(span) == TRACE
        assert attributes(span)["rows"] == 4_000


async def test_a_connection_that_goes_ends_its_spans() -> None:
    exported = Exported(1.0)
    async with running(Server(settings(), traces=exported.traces)) as server:
        async with client(server) as raw:
            await raw.create()
            async with engine_held(server):
                await raw.send("count", collection="items")
                await queued(server, 1)
                await raw.socket.close()
                span = await exported.one("omendb count")
        assert span.status.description == "the connection is gone"


async def test_lines_of_the_log_carry_the_ids(caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.addFilter(TraceIds())
    async with traced(0.0) as (server, exported), client(server) as raw:
        with caplog.at_level(logging.INFO):
            await raw.create("seen", traceparent=SAMPLED)
            await raw.create("unseen")
        await exported.one("omendb create")
    ids = {
        name: {getattr(one, "trace_id", None) for one in caplog.records if name in one.getMessage()}
        for name in (" seen", "unseen")
    }
    assert ids == {" seen": {TRACE}, "unseen": {None}}


async def test_a_histogram_has_the_last_trace_of_a_bucket_as_its_exemplar() -> None:
    async with traced(0.0) as (server, exported), client(server) as raw:
        await raw.create()
        await raw.ok("search", collection="items", vector=[1, 0], traceparent=SAMPLED)
        await exported.one("omendb search")
        openmetrics = "application/openmetrics-text;version=1.0.0"
        lines = server.metrics_page(accept=openmetrics).body.decode().splitlines()
        with_it = [one for one in lines if "trace_id" in one]
        assert len(with_it) == 1
        assert with_it[0].startswith("omendb_search_seconds_bucket{")
        assert f'# {{trace_id="{TRACE}"}}' in with_it[0]
        assert "trace_id" not in server.metrics_page().body.decode()


async def test_a_client_says_which_trace_its_caller_is_in() -> None:
    mine = TracerProvider().get_tracer("test")
    async with traced(0.0) as (server, exported), connect(server.url) as db:
        await db.create("items", dim=2, capacity=9)
        with mine.start_as_current_span("mine") as span:
            await db.add("items", [[1.0, 0.0]], ids=[1])
            await db.search("items", [1.0, 0.0])
            await db.count("items")
        await db.search("items", [1.0, 0.0])
        its = f"{span.get_span_context().trace_id:032x}"
        for op in ("add", "search", "count"):
            assert trace_id(await exported.one(f"omendb {op}")) == its


async def test_a_server_that_does_not_trace_has_the_plain_objects() -> None:
    async with running() as server, client(server) as raw:
        await raw.ok("ping")
        (session,) = server._sessions.values()
        assert type(session) is Session
        assert server.context.engine.moment.traces is None
    exported = Exported(1.0)
    async with running(Server(settings(), traces=exported.traces)) as server, client(server) as raw:
        await raw.ok("ping")
        (session,) = server._sessions.values()
        assert type(session) is TracedSession


async def test_spans_go_to_a_collector_by_otlp_and_the_last_as_the_server_leaves() -> None:
    got: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    collector = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=collector.serve_forever, args=(0.01,))
    thread.start()
    try:
        url = f"http://127.0.0.1:{collector.server_port}/v1/traces"
        given = settings(trace_endpoint=url, trace_sample_ratio=1.0)
        async with running(Server(given)) as server, client(server) as raw:
            await raw.ok("list")
    finally:
        collector.shutdown()
        thread.join()
        collector.server_close()
    assert {path for path, _ in got} == {"/v1/traces"}
    spans: list[str] = []
    services = set()
    for _, body in got:
        for of in ExportTraceServiceRequest.FromString(body).resource_spans:
            services |= {
                one.value.string_value
                for one in of.resource.attributes
                if one.key == "service.name"
            }
            spans += [span.name for scope in of.scope_spans for span in scope.spans]
    assert sorted(spans) == ["omendb list", "omendb tick"]
    assert services == {"omendb-ws"}


def test_without_the_extra_a_server_that_should_trace_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ExtraMissing, match=r"trace_endpoint: .* pip install 'omendb-ws\[otel\]'"):
        Server(settings(trace_endpoint="http://127.0.0.1:1/v1/traces"))
    Server(settings())


def test_a_server_that_does_not_trace_loads_nothing_for_it() -> None:
    code = (
        "import sys, omendb_ws.net.server as s\n"
        "from omendb_ws.node.config import Settings\n"
        "s.Server(Settings(port=0))\n"
        "print([one for one in sys.modules if one.startswith('opentelemetry')])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"
