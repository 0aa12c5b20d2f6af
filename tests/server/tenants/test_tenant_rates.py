"""Rates of tenants over sockets: what goes in is counted against a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omendb_ws.net.server import Server
from omendb_ws.wire import binary
from tests.patience import eventually
from tests.server.raw import Clock, Raw, batch, client, rows, running
from tests.server.tenant_files import limits, with_tenants

V = [1.0, 0.0]
#: Larger than what it takes to be sent and parsed in pieces.
MANY = 5000


async def outcome(raw: Raw, request: Any) -> str:
    """``ok``, or the code of the refusal, of one request."""
    reply = await raw.reply(await request)
    return reply["error"]["code"] if isinstance(reply, dict) and "error" in reply else "ok"


async def frame(raw: Raw, encode: Any) -> int:
    id = raw.next_id()
    await raw.send_binary(encode(id))
    return id


def asks(kind: str, raw: Raw, handle: int) -> tuple[Any, int]:
    """A request of that kind that is to be sent, and what it takes of its rate."""
    items: dict[str, Any] = {"collection": "items"}
    if kind == "search":
        return raw.send("search", **items, vector=V), 1
    if kind == "like":
        return raw.send("search", **items, like=1), 1
    if kind == "batch":
        return raw.send("search", **items, vectors=[V, V, V]), 3
    if kind == "plain":
        return frame(
            raw, lambda id: binary.encode_search(id, handle, np.ones((5, 2), "f4"), k=1)
        ), 5
    if kind == "live":
        return raw.send("subscribe", **items, kind="live", vector=V), 1
    if kind == "match":
        return raw.send("subscribe", **items, kind="match", vector=V, min_score=0.5), 1
    if kind == "many live":
        return frame(raw, lambda id: binary.encode_subscribe(id, handle, np.ones((4, 2), "f4"))), 4
    if kind == "add":
        return raw.send("add", **items, rows=rows(1, 2)), 2
    if kind == "binary add":
        return frame(raw, lambda id: binary.encode_add(id, handle, batch(1, 2, 3))), 3
    if kind == "update":
        changes = [{"id": id, "metadata": {"x": 1}} for id in (1, 2)]
        return raw.send("update", **items, rows=changes), 2
    assert kind == "ping"
    return raw.send("ping"), 1


QUERIES = ("search", "like", "batch", "plain", "live", "match", "many live")
ROWS = ("binary add", "add", "update")


@pytest.mark.parametrize(
    ("name", "kinds", "rate"),
    [
        ("queries_per_second", QUERIES, 20),
        ("rows_per_second", ROWS, 12.5),
        ("messages_per_second", ("ping", *QUERIES, *ROWS), 7),
    ],
)
async def test_what_goes_in_under_load_is_the_rate_over_all_connections_of_a_tenant(
    name: str, kinds: tuple[str, ...], rate: float, tmp_path: Path
) -> None:
    clock = Clock()
    server = Server(with_tenants(tmp_path, ""), clock_us=clock)
    async with running(server), AsyncExitStack() as stack:
        # Two principals of one tenant share what it has, and another tenant has none of it.
        clients = [
            await stack.enter_async_context(client(server, token=token))
            for token in ("token-root", "token-boss", "token-boss")
        ]
        other = await stack.enter_async_context(client(server, token="token-other"))
        await clients[0].create(capacity=100)
        await other.create(capacity=100)
        for raw in (clients[0], other):
            await raw.add(1, 2, 3, 4)
        handles = {raw: (await raw.ok("open", collection="items"))["handle"] for raw in clients}
        other_handle = (await other.ok("open", collection="items"))["handle"]
        (tmp_path / "tenants.toml").write_text(limits(**{name: rate}))
        await server.node.reloads.look()
        admitted, seconds = 0, 12
        codes: Counter[str] = Counter()
        for _ in range(seconds * 4):
            for kind in kinds:
                asked = [(raw, *asks(kind, raw, handles[raw])) for raw in clients]
                found = await asyncio.gather(*(outcome(raw, request) for raw, request, _ in asked))
                codes.update(found)
                takes = 1 if name.startswith("messages") else asked[0][2]
                admitted += takes * found.count("ok")
            clock.move(0.25)
        assert set(codes) == {"ok", "rate_limited"}
        assert codes["rate_limited"] > codes["ok"]
        # What is saved up at first, and at most one request beyond what there is.
        assert rate * seconds * 0.9 <= admitted <= rate * (seconds + 1) + 5
        for kind in kinds:
            for _ in range(20):
                assert await outcome(other, asks(kind, other, other_handle)[0]) == "ok"


async def test_what_is_over_its_rate_does_nothing_and_says_when_to_come_back(
    tmp_path: Path,
) -> None:
    clock = Clock()
    server = Server(with_tenants(tmp_path, limits(rows_per_second=10)), clock_us=clock)
    async with running(server), client(server, token="token-root") as raw:
        await raw.create(capacity=10_000)
        numbered = {"collection": "items", "producer": "p"}
        first = await raw.ok("add", **numbered, batch=1, rows=rows(*range(1, 36)))
        assert first["last_seq"] == 35, "a batch larger than the rate goes in whole"
        error = await raw.error("add", **numbered, batch=2, rows=rows(100))
        assert error["code"] == "rate_limited"
        assert error["retry"]
        assert error["retry_after_ms"] == 2501
        assert "rows_per_second: this tenant has had its 10 a second" in error["message"]
        assert await raw.code("update", collection="items", rows=[{"id": 1}]) == "rate_limited"
        assert (await raw.ok("describe", collection="items"))["version"] == 1
        assert (await raw.ok("search", collection="items", vector=V))["version"] == 1
        clock.move(2.4)
        assert await raw.code("add", **numbered, batch=2, rows=rows(100)) == "rate_limited"
        clock.move(0.101)
        assert (await raw.ok("add", **numbered, batch=2, rows=rows(100)))["last_seq"] == 36


async def test_what_is_parsed_in_pieces_is_counted_and_refused_too(tmp_path: Path) -> None:
    clock = Clock()
    server = Server(with_tenants(tmp_path, limits(rows_per_second=1000)), clock_us=clock)
    async with running(server), client(server, token="token-root") as raw:
        await raw.create(capacity=10_000)
        await raw.ok("add", collection="items", rows=rows(*range(MANY)))
        error = await raw.error("add", collection="items", rows=rows(*range(MANY)))
        assert (error["code"], error["retry_after_ms"]) == ("rate_limited", 4001)
        assert (await raw.ok("count", collection="items"))["count"] == MANY


async def test_a_move_is_a_query(tmp_path: Path) -> None:
    clock = Clock()
    server = Server(with_tenants(tmp_path, limits(queries_per_second=2)), clock_us=clock)
    async with running(server), client(server, token="token-root") as raw:
        await raw.create()
        sub = (await raw.ok("subscribe", kind="live", collection="items", vector=V))["sub"]
        await raw.ok("move", sub=sub, vector=[0.0, 1.0])
        assert await raw.code("move", sub=sub, vector=V) == "rate_limited"
        await raw.ok("subscribe", kind="feed", collection="items")
        await raw.ok("count", collection="items")


async def test_a_message_over_the_rate_is_not_read(tmp_path: Path) -> None:
    server = Server(with_tenants(tmp_path, limits(messages_per_second=3)), clock_us=Clock())
    async with running(server), client(server, token="token-root") as raw:
        assert [await outcome(raw, raw.send("ping")) for _ in range(3)] == ["ok"] * 3
        await raw.send_text('{"id": 50, "op": "no such op"}')
        assert (await raw.reply(50))["error"]["code"] == "rate_limited"
        assert server.metrics.requests["refused"] == 1


async def test_who_leaves_and_comes_back_owes_what_was_owed(tmp_path: Path) -> None:
    clock = Clock()
    server = Server(with_tenants(tmp_path, "[default]\nrows_per_second = 5"), clock_us=clock)
    async with running(server):
        async with client(server, token="token-other") as raw:
            await raw.create(capacity=100)
            await raw.ok("add", collection="items", rows=rows(*range(50)))
            await raw.ok("drop", collection="items")
        account = server.context.accounts.of("umbrella")
        await eventually(lambda: not account.connections)
        server.context.accounts.sample()
        async with client(server, token="token-other") as raw:
            await raw.create(capacity=100)
            error = await raw.error("add", collection="items", rows=rows(1))
            assert (error["code"], error["retry_after_ms"]) == ("rate_limited", 9001)


async def test_a_rate_of_its_own_holds_beside_that_of_each_connection(tmp_path: Path) -> None:
    text = limits(messages_per_second=6)
    server = Server(with_tenants(tmp_path, text, max_messages_per_second=4), clock_us=Clock())
    async with (
        running(server),
        client(server, token="token-root") as one,
        client(server, token="token-reader") as two,
    ):
        found = [await outcome(raw, raw.send("ping")) for raw in (one,) * 6 + (two,) * 6]
        assert found == ["ok"] * 4 + ["rate_limited"] * 2 + ["ok"] * 2 + ["rate_limited"] * 4


async def test_who_took_more_of_the_engines_time_than_it_may_waits_until_that_is_paid_back(
    tmp_path: Path,
) -> None:
    clock = Clock()
    server = Server(with_tenants(tmp_path, limits(engine_ms_per_second=1000)), clock_us=clock)
    async with (
        running(server),
        client(server, token="token-root") as raw,
        client(server, token="token-boss") as boss,
        client(server, token="token-other") as other,
    ):
        await raw.create()
        await other.create()
        sub = (await raw.ok("subscribe", kind="feed", collection="items"))["sub"]
        share = server.context.accounts.of("acme").share
        assert 0.0 < share.used_us < 1e6
        share.used_us += 3e6  # one long request is through
        error = await raw.error("search", collection="items", vector=V)
        assert error["code"] == "rate_limited"
        assert 2_000 < error["retry_after_ms"] < 2_100
        assert await boss.code("add", collection="items", rows=rows(1)) == "rate_limited"
        await raw.ok("ping")
        await raw.ok("usage")
        await raw.ok("unsubscribe", sub=sub)
        await other.ok("search", collection="items", vector=V)
        assert (await other.ok("count", collection="items"))["count"] == 0
        clock.move(2.2)
        assert (await raw.ok("count", collection="items"))["count"] == 0


@pytest.mark.parametrize("kind", ["search", "plain", "batch", "binary add", "add", "update"])
async def test_whatever_the_engine_does_for_a_tenant_is_counted_for_it_alone(
    kind: str, tmp_path: Path
) -> None:
    server = Server(with_tenants(tmp_path, ""))
    async with (
        running(server),
        client(server, token="token-root") as raw,
        client(server, token="token-other"),
    ):
        await raw.create()
        await raw.add(1, 2)
        handle = (await raw.ok("open", collection="items"))["handle"]
        shares = [server.context.accounts.of(tenant).share for tenant in ("acme", "umbrella")]
        before = shares[0].used_us
        assert await outcome(raw, asks(kind, raw, handle)[0]) == "ok"
        assert shares[0].used_us > before
        assert shares[1].used_us == 0.0


async def test_what_is_refused_takes_nothing_of_its_rate(tmp_path: Path) -> None:
    text = limits(rows_per_second=10, queries_per_second=10)
    server = Server(with_tenants(tmp_path, text), clock_us=Clock())
    async with (
        running(server),
        client(server, token="token-root") as raw,
        client(server, token="token-reader") as reader,
    ):
        await raw.create(capacity=100)
        sub = (await raw.ok("subscribe", kind="live", collection="items", vector=V))["sub"]
        account = server.context.accounts.of("acme")
        buckets, now_us = (account.rows.bucket, account.queries.bucket), server.context.clock_us()
        before = [bucket.full_in_seconds(now_us) for bucket in buckets]
        for code, op, fields in REFUSED:
            for _ in range(20):
                assert await raw.code(op, **{"collection": "items", **fields}) == code
        assert await raw.code("move", sub=sub, vector=[1.0]) == "dim_mismatch"
        assert await reader.code("add", collection="items", rows=rows(*range(50))) == "forbidden"
        late = {"collection": "items", "producer": "p", "batch": 7, "rows": rows(*range(50))}
        for _ in range(20):
            assert await raw.code("add", **late) == "out_of_order"
        assert [bucket.full_in_seconds(now_us) for bucket in buckets] == pytest.approx(before)
        assert (account.rows.count, account.queries.count) == (0, 1)


REFUSED: list[tuple[str, str, dict[str, Any]]] = [
    ("not_found", "add", {"collection": "none", "rows": rows(1, 2)}),
    ("dim_mismatch", "add", {"rows": rows(*range(9), dim=3)}),
    ("duplicate_id", "add", {"rows": rows(1, 1)}),
    ("not_found", "update", {"rows": [{"id": 5, "metadata": {}}]}),
    ("dim_mismatch", "search", {"vectors": [[1.0]] * 9}),
    ("not_found", "search", {"like": 5}),
    ("bad_filter", "search", {"vector": V, "filter": {"x": 1}}),
    ("not_found", "subscribe", {"kind": "live", "positive": [5]}),
    ("wrong_epoch", "subscribe",
     {"kind": "match", "vector": V, "min_score": 0.5, "from_seq": 1, "epoch": "other"}),
]  # fmt: skip
