"""Overload over sockets: whoever is refused hears of it at once, and each request has one reply."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import numpy as np
import orjson
import pytest

from omendb_ws.net.server import Server
from omendb_ws.sessions import overload
from omendb_ws.sessions.overload import Load, Overload
from omendb_ws.telemetry.exposition import render
from omendb_ws.wire import binary, text
from tests.server.raw import (
    PATIENCE_SECONDS,
    Clock,
    Raw,
    batch,
    client,
    engine_held,
    running,
    settings,
)

V = [1.0, 0.0]
LONG = "x" * 5_000
#: Less than what ``engine_held`` lasts.
HANGS_SECONDS = PATIENCE_SECONDS / 2


def always(server: Server) -> None:
    """It sheds from now on, whatever there is to do."""
    server.context.overload.is_shedding = True


@pytest.fixture
def shedding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks is refused while it sheds, and it goes on shedding."""
    monkeypatch.setattr(Overload, "refuses", lambda self, load: True)
    monkeypatch.setattr(Overload, "_look", lambda self, late_us: None)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request is taken to take a millisecond."""

    def learn(load: Load) -> None:
        load.request_us, load.answered = 1_000.0, 0

    monkeypatch.setattr(overload, "_REQUEST_US", 1_000.0)
    monkeypatch.setattr(Load, "learn", learn)


def refusal_of(reply: Any) -> dict[str, Any] | None:
    return reply["error"] if isinstance(reply, dict) and "error" in reply else None


@pytest.mark.usefixtures("shedding")
async def test_a_refusal_says_what_it_is_for_and_when_to_ask_again() -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create())["handle"]
        always(server)
        error = await raw.error("search", collection="items", vector=V)
        id = raw.next_id()
        await raw.send_binary(binary.encode_search(id, handle, np.ones((1, 2), np.float32)))
        assert (await raw.reply(id))["error"] == error
        assert error["code"] == "overloaded"
        assert error["retry"] is True
        assert isinstance(error["retry_after_ms"], int)
        assert error["retry_after_ms"] >= 1
        assert server.context.metrics.shed_unread == 2
        assert server.context.metrics.errors["overloaded"] == 2


@pytest.mark.usefixtures("shedding")
async def test_what_is_refused_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = text.decode_request
    async with running() as server, client(server) as raw:
        await raw.create()
        always(server)
        monkeypatch.setattr(
            text, "decode_request", lambda *given: read.append(given[0]) or real(*given)
        )
        assert await raw.code("get", collection="items", ids=[1]) == "overloaded"
        assert (
            await raw.code("add", collection="items", rows=[{"id": 1, "vector": V}]) == "overloaded"
        )
        assert await raw.code("count", collection="items", more=LONG) == "overloaded"
        assert read == []


@pytest.mark.usefixtures("shedding")
async def test_what_gives_something_back_or_cannot_be_named_is_let_in() -> None:
    async with running() as server, client(server) as raw:
        await raw.create()
        sub = (await raw.ok("subscribe", kind="feed", collection="items"))["sub"]
        always(server)
        assert await raw.ok("ping") == {}
        assert await raw.ok("unsubscribe", sub=sub) == {}
        await raw.ok("drop", collection="items")
        await raw.send_text(b"{no json")
        assert (await raw.named("error"))["code"] == "bad_request"
        await raw.send_text(b'{"op":"list"}')
        assert (await raw.named("error"))["code"] == "bad_request"
        await raw.send_binary(b"\x00\x00")
        assert (await raw.named("error"))["code"] == "bad_frame"


@pytest.mark.usefixtures("shedding")
@pytest.mark.parametrize("count", [100, 3_000])
async def test_a_text_in_which_no_id_is_found_unread_is_read_and_refused_then(count: int) -> None:
    rows = [{"id": id, "vector": V, "metadata": {"text": "x" * 50}} for id in range(count)]
    add = {"op": "add", "collection": "items", "rows": rows}
    async with running() as server, client(server) as raw:
        await raw.create(capacity=count)
        always(server)
        await raw.send_text(orjson.dumps(add | {"id": 99}))
        error = (await raw.reply(99))["error"]
        assert (error["code"], error["retry"]) == ("overloaded", True)
        assert error["retry_after_ms"] >= 1
        assert server.context.metrics.shed_unread == 1
        assert server.context.metrics.errors["overloaded"] == 1
        await raw.send_text(orjson.dumps({"more": LONG, "op": "unsubscribe", "sub": 1, "id": 98}))
        assert (await raw.reply(98))["error"]["code"] != "overloaded"
        server.context.overload.is_shedding = False
        await raw.send_text(orjson.dumps(add | {"id": 97}))
        assert "ok" in await raw.reply(97)


@pytest.mark.usefixtures("shedding")
async def test_each_of_many_that_come_at_once_hears_that_it_is_refused() -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create())["handle"]
        always(server)
        metrics = server.context.metrics
        received, sent = metrics.received_messages, metrics.sent_messages
        ids = await some(raw, handle, 500)
        codes = [(await raw.reply(id))["error"]["code"] for id in ids]
        assert codes == ["overloaded"] * 500
        assert metrics.received_messages - received == 500
        assert metrics.sent_messages - sent == 500
        assert metrics.shed_unread == metrics.errors["overloaded"] == 500
        assert metrics.requests["refused"] == 500
        assert await raw.ok("ping") == {}
        assert raw.replies == {}


@pytest.mark.usefixtures("shedding")
async def test_texts_that_come_at_once_are_refused_but_those_that_give_something_back() -> None:
    async with running() as server, client(server) as raw:
        await raw.create()
        subs = [
            (await raw.ok("subscribe", kind="feed", collection="items"))["sub"] for _ in range(5)
        ]
        always(server)
        metrics = server.context.metrics
        received, sent, sent_bytes = (
            metrics.received_messages, metrics.sent_messages, metrics.sent_bytes,
        )  # fmt: skip
        refused: list[int] = []
        let_in: list[int] = []
        for sub in subs:
            refused += [await raw.send("search", collection="items", vector=V) for _ in range(50)]
            let_in.append(await raw.send("unsubscribe", sub=sub))
            refused.append(await raw.send("search", more=LONG, collection="items", vector=V))
            let_in.append(await raw.send("ping"))
        errors = [await raw.reply(id) for id in refused]
        assert {one["error"]["code"] for one in errors} == {"overloaded"}
        assert ["ok" in await raw.reply(id) for id in let_in] == [True] * 10
        assert raw.replies == {}
        assert metrics.shed_unread == metrics.errors["overloaded"] == len(refused) == 255
        assert metrics.received_messages - received == 265
        assert metrics.sent_messages - sent == 265
        assert metrics.sent_bytes - sent_bytes >= sum(len(orjson.dumps(one)) for one in errors)


@pytest.mark.usefixtures("shedding")
async def test_whoever_may_send_so_many_a_second_is_told_so_also_while_it_sheds() -> None:
    server = Server(settings(max_messages_per_second=5), clock_us=Clock())
    async with running(server), client(server) as raw:
        handle = (await raw.create())["handle"]
        always(server)
        ids = await some(raw, handle, 50)
        codes = Counter([(await raw.reply(id))["error"]["code"] for id in ids])
        assert set(codes) == {"overloaded", "rate_limited"}
        assert codes["overloaded"] < 5


async def requests(raw: Raw, handle: int, one: int) -> dict[int, tuple[str, int]]:
    """One of every kind, in both encodings; which of them add and delete ``one``, or the next."""
    items: dict[str, Any] = {"collection": "items"}
    vectors = np.ones((3, 2), np.float32)
    changes = {await raw.send("add", **items, rows=[{"id": one, "vector": V}]): ("add", one)}
    id = raw.next_id()
    changes[id] = "add", one + 1
    await raw.send_binary(binary.encode_add(id, handle, batch(one + 1)))
    await raw.send("search", **items, vector=V)
    await raw.send_binary(binary.encode_search(raw.next_id(), handle, vectors))
    await raw.send_binary(binary.encode_search(raw.next_id(), handle, vectors[:1], k=3))
    await raw.send("get", **items, ids=[one])
    await raw.send("count", **items)
    await raw.send("update", **items, rows=[{"id": one, "metadata": {"x": 1}}])
    changes[await raw.send("delete", **items, ids=[one])] = "delete", one
    await raw.send("describe", **items)
    await raw.send("list")
    await raw.send("stats", **items)
    await raw.send("ping")
    await raw.send("subscribe", kind="live", **items, vector=V)
    await raw.send_binary(binary.encode_subscribe(raw.next_id(), handle, vectors))
    await raw.send("subscribe", kind="feed", **items)
    await raw.send("unsubscribe", sub=1)
    await raw.send("create", collection=f"other-{one}", dim=2, capacity=4)
    await raw.send("nonsense")
    await raw.send("search", **items, vector=[1.0], more=LONG)
    await raw.send("search", **items, vector=[1.0] * 20_000)
    return changes


@pytest.mark.parametrize("seed", range(3))
async def test_each_request_has_one_reply_whoever_is_shed(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was refused did nothing: those rows are there that were acknowledged."""
    chance = random.Random(seed)
    monkeypatch.setattr(Overload, "refuses", lambda self, load: chance.random() < 0.4)
    monkeypatch.setattr(Overload, "_look", lambda self, late_us: None)
    async with running() as server, client(server) as first, client(server) as second:
        handle = (await first.create(capacity=1000))["handle"]
        assert (await second.ok("open", collection="items"))["handle"] == handle
        always(server)
        codes: Counter[str] = Counter()
        there: set[int] = set()
        for number, raw in enumerate((first, second)):
            changes: dict[int, tuple[str, int]] = {}
            for turn in range(12):
                changes |= await requests(raw, handle, 1 + 500 * number + 2 * turn)
            for id in range(2, raw._last_id + 1):
                reply = await raw.reply(id)
                error = refusal_of(reply)
                if error is not None:
                    codes[error["code"]] += 1
                    assert error["code"] != "overloaded" or error["retry_after_ms"] >= 1
                elif id in changes:
                    what, row = changes[id]
                    there.add(row) if what == "add" else there.discard(row)
            assert raw.replies == {}, "nothing was answered twice"
        assert codes["overloaded"] > 50
        assert server.context.overload.waiting == 0
        server.context.overload.is_shedding = False
        ids = [*range(1, 30), *range(501, 530)]
        rows = (await first.ok("get", collection="items", ids=ids))["rows"]
        assert {row["id"] for row in rows if row is not None} == there
        assert first.replies == {}


async def some(raw: Raw, handle: int, count: int) -> list[int]:
    """So many searches, without waiting."""
    ids = [raw.next_id() for _ in range(count)]
    for id in ids:
        await raw.send_binary(binary.encode_search(id, handle, np.ones((1, 2), np.float32)))
    return ids


@pytest.mark.usefixtures("slow")
async def test_who_asks_for_too_much_is_refused_at_once_and_who_asks_for_little_is_not() -> None:
    """While the engine does nothing at all: refusals need it not."""
    server = Server(settings(queue_deadline_ms=1000), clock_us=Clock())
    async with (
        running(server), client(server) as one, client(server) as other, client(server) as third
    ):  # fmt: skip
        handle = (await one.create())["handle"]
        for raw in (other, third):
            await raw.ok("open", collection="items")
        async with engine_held(server):
            asked = [await some(raw, handle, 500) for raw in (one, other)]
            async with asyncio.timeout(HANGS_SECONDS):
                for raw in (one, other):
                    while not raw.replies:
                        await raw.message()
            (modest,) = await some(third, handle, 1)
            early = [set(raw.replies) for raw in (one, other)]
            assert server.context.overload.is_shedding
        assert not isinstance(await third.reply(modest), dict), "it was answered"
        for raw, ids, refused in zip((one, other), asked, early, strict=True):
            found = {id: refusal_of(await raw.reply(id)) for id in ids}
            assert {found[id]["code"] for id in refused if found[id]} == {"overloaded"}
            let_in = [id for id in ids if found[id] is None]
            assert 50 <= len(let_in) < 400
            assert max(let_in[:50]) < min(id for id in ids if found[id]), "the newest are refused"
            assert raw.replies == {}
        assert server.context.overload.waiting == 0


@pytest.mark.usefixtures("slow")
async def test_when_it_is_over_whoever_was_refused_is_let_in() -> None:
    clock = Clock()
    server = Server(settings(queue_deadline_ms=1000), clock_us=clock)
    async with running(server), client(server) as one, client(server) as other:
        handle = (await one.create())["handle"]
        await other.ok("open", collection="items")
        async with engine_held(server):
            asked = [await some(raw, handle, 500) for raw in (one, other)]
            async with asyncio.timeout(HANGS_SECONDS):
                while not one.replies:
                    await one.message()
        for raw, ids in zip((one, other), asked, strict=True):
            for id in ids:
                await raw.reply(id)
        clock.move(1)
        async with asyncio.timeout(HANGS_SECONDS):
            while server.context.overload.is_shedding:  # noqa: ASYNC110 - a timer's
                await asyncio.sleep(0.001)
        assert not isinstance(await one.reply((await some(one, handle, 1))[0]), dict)


@pytest.mark.usefixtures("slow")
async def test_one_client_that_asks_for_very_much_alone_is_not_refused() -> None:
    """3,000 searches in one piece."""
    server = Server(settings(queue_deadline_ms=1000), clock_us=Clock())
    async with running(server), client(server) as raw:
        handle = (await raw.create())["handle"]
        ids = await some(raw, handle, 3_000)
        assert [refusal_of(await raw.reply(id)) for id in ids] == [None] * 3_000


async def test_a_connection_that_ends_leaves_nothing_waiting() -> None:
    async with running() as server, client(server) as stays:
        handle = (await stays.create())["handle"]
        async with engine_held(server):
            async with client(server) as goes:
                await goes.ok("ping")
                await goes.send("open", collection="items")
                await some(goes, handle, 20)
                await goes.ok("ping")
                assert server.context.overload.waiting > 0
            async with asyncio.timeout(HANGS_SECONDS):
                while server.context.overload.waiting:  # noqa: ASYNC110 - the server's side
                    await asyncio.sleep(0.001)
        assert await stays.ok("ping") == {}
        await stays.ok("count", collection="items")
        assert server.context.overload.waiting == 0


async def test_stats_and_metrics_say_how_long_requests_wait_and_what_was_shed() -> None:
    async with running() as server, client(server) as raw:
        metrics = server.context.metrics
        metrics.shed_unread, metrics.queue_wait_seconds = 7, 0.25
        assert (await raw.ok("stats"))["queue_wait_ms"] == 250.0
        page = render(metrics).body.decode()
        assert 'omendb_shed_total{reason="unread"} 7.0' in page
        assert 'omendb_shed_total{reason="waited"} 0.0' in page
        assert "omendb_queue_wait_seconds 0.25" in page
        assert "omendb_shedding 0.0" in page
