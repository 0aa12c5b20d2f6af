"""Event streams over real sockets: they say what the WebSocket says (PROTOCOL section 10)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from omendb_ws.http.api import events
from omendb_ws.net.server import Server
from tests.patience import eventually
from tests.server.http.api.event_client import Streamed, streaming
from tests.server.http.api.event_reader import Read
from tests.server.live_view import view_of
from tests.server.raw import Raw, client, rows, running, with_keys

ITEMS = "/v1/collections/items"
METHODS = ("GET", "POST")


@asynccontextmanager
async def served(server: Server | None = None, **fields: Any) -> AsyncIterator[tuple[Server, Raw]]:
    """A server with its HTTP port, and a WebSocket to it."""
    async with running(server, http_port=0, **fields) as there, client(there) as raw:
        yield there, raw


def items(server: Server, kind: str, **fields: Any) -> Any:
    return streaming(server.http_url, f"{ITEMS}/{kind}", **fields)


def said(event: Read) -> Any:
    body = orjson.loads(event.data)
    assert body.get("event", event.name) == event.name
    return body


def without_sub(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "sub"}


async def rows_until(stream: Streamed, seq: int) -> list[dict[str, Any]]:
    """The rows of a stream up to ``seq``, each event held to its id."""
    found: list[dict[str, Any]] = []
    to_seq = -1
    while to_seq < seq:
        event = await stream.event()
        body = said(event)
        to_seq = body["to_seq"]
        assert event.id.rpartition(":")[2] == str(to_seq)
        found += body.get("rows", [])
    return found


KINDS: dict[str, dict[str, Any]] = {
    "live": {"vector": [1.0, 0.5], "k": 3, "include": ["metadata"]},
    "match": {"vector": [1.0, 0.0], "min_score": 2.5, "include": ["vector"]},
    "feed": {"filter": {"even": True}, "include": ["metadata", "vector"]},
    "novel": {"below": 1000.0},
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_stream_says_what_the_websocket_says(kind: str, method: str) -> None:
    """One change at a time, each heard by both before the next: their pushes are the same."""
    async with served() as (server, raw):
        await raw.create(capacity=4, columns={"even": "bool"})
        await raw.add(1, 2)
        fields = KINDS[kind]
        ok = await raw.ok("subscribe", kind=kind, collection="items", **fields)
        async with items(server, kind, method=method, **fields) as stream:
            assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream")
            assert stream.headers["cache-control"] == "no-store"
            first = await stream.event()
            if kind == "live":
                assert first.name == "snapshot"
                assert without_sub(said(first)) == without_sub(ok)
                assert first.id == f"{ok['epoch']}:{ok['version']}"
            else:
                assert first.name == kind
                assert first.id == f"{ok['epoch']}:{ok['to_seq']}"
                assert said(first)["rows"] == []
            for number in range(3, 12):
                row = {**rows(number)[0], "metadata": {"even": number % 2 == 0, "n": "a\nb"}}
                await raw.ok("add", collection="items", rows=[row])
                if kind == "feed" and number % 2:
                    continue
                pushed = await raw.named(kind)
                event = await stream.event()
                assert without_sub(said(event)) == without_sub(pushed)
                at = pushed["version"] if kind == "live" else pushed["to_seq"]
                assert event.id == f"{ok['epoch']}:{at}"


@pytest.mark.parametrize("method", METHODS)
async def test_statistics_come_at_once_and_again(method: str) -> None:
    async with served() as (server, raw):
        await raw.create()
        await raw.add(1, 2)
        async with items(server, "stats", method=method, every=100) as stream:
            for _ in range(2):
                event = await stream.event("stats")
                assert (said(event)["rows"], said(event)["collection"]) == (2, "items")


async def test_a_stream_goes_on_behind_the_last_event() -> None:
    async with served() as (server, raw):
        await raw.create(capacity=100)
        async with items(server, "feed") as stream:
            await raw.add(1, 2, 3)
            assert [row["id"] for row in await rows_until(stream, 3)] == [1, 2, 3]
        await raw.add(4, 5)
        # The address and the body are those of the first time: a page repeats them.
        for last_id, fields in (
            (stream.last_id, {}),
            (stream.last_id, {"from_seq": 1, "epoch": "x"}),
        ):
            async with items(server, "feed", last_id=last_id, **fields) as stream_2:
                assert [row["id"] for row in await rows_until(stream_2, 5)] == [4, 5]


async def test_a_stream_that_was_cut_before_its_first_row_misses_none() -> None:
    async with served() as (server, raw):
        await raw.create()
        async with items(server, "feed") as stream:
            await stream.event()
        await raw.add(1)
        async with items(server, "feed", last_id=stream.last_id) as again:
            assert [row["id"] for row in await rows_until(again, 1)] == [1]


async def test_what_left_meanwhile_is_a_gap_with_an_id() -> None:
    async with served() as (server, raw):
        epoch = (await raw.create(capacity=3))["epoch"]
        await raw.add(*range(1, 4))
        await raw.add(*range(4, 7))
        async with items(server, "feed", last_id=f"{epoch}:1") as stream:
            await stream.event("feed")
            gap = await stream.event()
            assert (gap.name, gap.id) == ("gap", f"{epoch}:3")
            assert said(gap)["from_seq"] == 2
            assert [row["id"] for row in await rows_until(stream, 6)] == [4, 5, 6]


async def test_a_live_stream_begins_again_with_a_snapshot() -> None:
    async with served() as (server, raw):
        epoch = (await raw.create())["epoch"]
        await raw.add(1, 2)
        for last_id in (f"{epoch}:1", "another:77"):
            async with items(server, "live", vector=[1, 0], k=1, last_id=last_id) as stream:
                event = await stream.event()
                assert event.name == "snapshot"
                assert [row["id"] for row in said(event)["results"]] == [2]


async def test_another_epoch_is_refused_with_the_one_of_now() -> None:
    async with served() as (server, raw):
        epoch = (await raw.create())["epoch"]
        async with items(server, "feed", last_id="another:7") as stream:
            error = (await stream.body())["error"]
            assert (stream.status, error["code"], error["epoch"]) == (409, "wrong_epoch", epoch)
            assert error["message"].startswith("Last-Event-ID:")


@pytest.mark.parametrize("seq", [1, 2**53 - 1])
async def test_a_place_that_is_not_there_yet_is_refused_by_the_header_that_names_it(
    seq: int,
) -> None:
    async with served() as (server, raw):
        epoch = (await raw.create())["epoch"]
        for kind in ("feed", "match", "novel"):
            fields = {**KINDS[kind], "include": []}
            fields.pop("filter", None)
            async with items(server, kind, last_id=f"{epoch}:{seq}", **fields) as stream:
                error = (await stream.body())["error"]
                assert (stream.status, error["code"]) == (400, "bad_request")
                assert error["message"] == (
                    f"Last-Event-ID: {epoch}:{seq} is beyond the newest row"
                )


@pytest.mark.parametrize("kind", [*KINDS, "stats"])
async def test_a_stream_ends_with_its_collection_and_is_not_begun_again(kind: str) -> None:
    async with served() as (server, raw):
        await raw.create()
        fields = KINDS.get(kind, {})
        fields = {name: value for name, value in fields.items() if name != "filter"}
        async with items(server, kind, **fields) as stream:
            await stream.event()
            before = stream.last_id
            await raw.ok("drop", collection="items")
            event = await stream.event("ended")
            assert said(event)["reason"] == "dropped"
            assert await stream.next() is None
        for last_id in filter(None, (stream.last_id, before)):
            async with items(server, kind, last_id=last_id, **fields) as again:
                assert (again.status, await again.body()) == (204, None)
        async with items(server, kind, **fields) as anew:
            assert (anew.status, (await anew.body())["error"]["code"]) == (404, "not_found")
        await raw.create()
        async with items(server, kind, last_id=stream.last_id, **fields) as again:
            assert again.status == 204


async def test_a_client_that_goes_takes_its_subscription_along() -> None:
    async with served() as (server, raw):
        await raw.create()
        memory = server.context.accounts.of("default").memory
        before = memory.taken_bytes
        for kind, fields in KINDS.items():
            fields = {name: value for name, value in fields.items() if name != "filter"}
            async with items(server, kind, **fields) as stream:
                await stream.event()
                assert server.metrics.subscriptions[kind] == 1
                assert b"omendb_event_streams 1.0" in server.metrics_page().body
                assert memory.taken_bytes > before
                await stream.cut()
                await eventually(lambda kind=kind: server.metrics.subscriptions[kind] == 0)  # type: ignore[misc]
                await eventually(lambda: memory.taken_bytes == before)
        await eventually(lambda: server.metrics.connections == 1)
        assert server.metrics.http.event_streams == 0


async def test_comments_tell_that_an_idle_stream_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "COMMENT_SECONDS", 0.02)
    async with served() as (server, raw):
        await raw.create()
        async with items(server, "feed") as stream:
            await stream.until_comment(3)
            await raw.add(1)
            assert [row["id"] for row in await rows_until(stream, 1)] == [1]


# -- what is refused ------------------------------------------------------------------------------

WRONG: list[tuple[str, dict[str, Any], int, str, str]] = [
    ("live", {}, 400, "bad_request", "vector"),
    ("live", {"vector": [1, 2, 3]}, 400, "dim_mismatch", "vector"),
    ("live", {"vector": {"a": 1}}, 400, "bad_vector", "vector"),
    ("live", {"vector": [1, 2], "k": 0}, 400, "bad_k", "k"),
    ("live", {"vector": [1, 2], "k": 1.5}, 400, "bad_k", "k"),
    ("live", {"vector": [1, 2], "filter": {"none": 1}}, 400, "bad_filter", ""),
    ("live", {"vector": [1, 2], "rank": {"$log": 1, "$exp": 2}}, 400, "bad_rank", "rank"),
    ("live", {"positive": [77]}, 404, "not_found", "positive"),
    ("live", {"vector": [1, 2], "encoding": "binary"}, 400, "bad_request", "encoding"),
    ("live", {"vector": [1, 2], "mmr": {}}, 400, "bad_request", "mmr"),
    ("match", {"vector": [1, 2]}, 400, "bad_request", "min_score"),
    ("feed", {"from_seq": 1}, 400, "bad_request", "epoch"),
    ("feed", {"from_seq": 0, "epoch": "x"}, 400, "bad_request", "from_seq"),
    ("feed", {"collection": "other"}, 400, "bad_request", "collection"),
    ("feed", {"api_key": "x"}, 400, "bad_request", "api_key"),
    ("novel", {}, 400, "bad_request", "below"),
    ("stats", {"every": 5}, 400, "bad_request", "every"),
]  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
async def test_what_is_wrong_is_said_before_a_stream_begins(method: str) -> None:
    async with served() as (server, raw):
        await raw.create()
        for kind, fields, status, code, field in WRONG:
            async with items(server, kind, method=method, **fields) as stream:
                error = (await stream.body())["error"]
                assert (stream.status, error["code"]) == (status, code), (kind, fields, error)
                assert error["message"].startswith(field), (kind, fields, error)
        async with streaming(server.http_url, "/v1/collections/none/feed", method=method) as stream:
            assert (stream.status, (await stream.body())["error"]["code"]) == (404, "not_found")
        async with items(server, "feed", last_id="nonsense", method=method) as stream:
            error = (await stream.body())["error"]
            assert (stream.status, error["code"]) == (400, "bad_request")
            assert error["message"].startswith("Last-Event-ID:")
        await eventually(lambda: not any(server.metrics.subscriptions.values()))


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"1", b'{"vector":[1,2]}x', b"\xff"])
async def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    async with served() as (server, raw):
        await raw.create()
        async with items(server, "live", method="POST", body=body) as stream:
            assert (stream.status, (await stream.body())["error"]["code"]) == (400, "bad_request")


async def test_tokens_come_in_headers_and_rights_are_those_of_a_subscription(
    tmp_path: Path,
) -> None:
    async with running(Server(with_keys(tmp_path, http_port=0))) as server:
        async with client(server, token="token-root") as raw:
            await raw.create()
        for token, status in ((None, 401), ("token-nobody", 401), ("token-writer", 403),
                              ("token-other", 404), ("token-reader", 200)):  # fmt: skip
            async with items(server, "feed", token=token) as stream:
                assert stream.status == status, token
        async with items(server, "feed", headers={"X-API-Key": "token-reader"}) as stream:
            assert stream.status == 200
        async with items(server, "feed", last_id="e:ended") as stream:
            assert stream.status == 401


async def test_a_subscription_too_many_is_refused() -> None:
    async with served(max_server_subscriptions=1) as (server, raw):
        await raw.create()
        async with items(server, "feed") as stream:
            await stream.event()
            async with items(server, "feed") as refused:
                error = (await refused.body())["error"]
                assert (refused.status, error["code"]) == (429, "quota")
                assert "retry-after" in refused.headers


async def test_a_server_that_leaves_ends_its_streams_in_order() -> None:
    async with served() as (server, raw):
        await raw.create()
        async with items(server, "feed") as stream:
            await raw.add(1)
            assert [row["id"] for row in await rows_until(stream, 1)] == [1]
            await server.drain()
            assert await stream.next() is None


async def test_who_comes_back_while_a_server_leaves_finds_nobody_and_not_a_refusal() -> None:
    """At a status that is not 200 an ``EventSource`` gives up; it comes back from this."""
    async with served() as (server, raw):
        await raw.create()
        address = urlsplit(server.http_url)
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(
            b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 9\r\n\r\n{"
        )
        async with items(server, "feed") as stream:
            await stream.event()
            await eventually(lambda: server.metrics.connections == 3)
            leaving = asyncio.create_task(server.drain())
            assert await stream.next() is None
            assert not leaving.done(), "half a request is waited for"
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(address.hostname, address.port)
        writer.close()
        await leaving


async def test_a_live_view_follows() -> None:
    async with served() as (server, raw):
        await raw.create()
        async with items(server, "live", vector=[1, 0], k=2) as stream:
            ok = said(await stream.event())
            view = view_of(raw, ok)
            for number in range(1, 6):
                done = await raw.add(number)
                while view.version < done["version"]:
                    view.apply(said(await stream.event()))
                assert [hit[0] for hit in view.hits] == [number, number - 1][: len(view.hits)]
