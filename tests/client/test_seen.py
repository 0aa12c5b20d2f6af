"""After a reconnect a client asks for what it has seen: time does not run backwards for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from omendb_core.model.errors import Behind, WrongEpoch
from omendb_core.model.types import Hits

from omendb_ws.client import backoff
from omendb_ws.client.aio import Client
from omendb_ws.wire import binary_replies, messages

from .fake import AT_ONCE, FakeServer, FakeTransport, client_of, eventually
from .world import description

VECTOR = [1.0, 0.0]
NOTHING = Hits(np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, np.float32))


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "RETRY", AT_ONCE)


class Collection(FakeServer):
    """A fake that answers at ``version``, of any window that is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.version = 7
        self.handlers |= {
            messages.Count: self._count,
            messages.Get: lambda _, request: {"version": self.version, "rows": [None]},
            messages.Delete: lambda _, request: {"version": self.version, "deleted": 1},
            messages.Search: self._search,
            messages.Add: self._add,
            messages.Subscribe: self._subscribe,
        }

    def _count(self, _: FakeTransport, request: Any) -> Any:
        if request.epoch not in (None, self.description.epoch):
            return WrongEpoch("epoch: another", epoch=self.description.epoch)
        return {"version": self.version, "count": 1}

    def _search(self, _: FakeTransport, request: Any) -> Any:
        if request.like is not None:
            return {"version": self.version, "results": [], "took_us": 1}
        found = messages.Results(self.version, np.zeros(1, np.uint32), NOTHING, took_us=1)
        return binary_replies.encode_results(request.id, found)

    def _add(self, _: FakeTransport, request: Any) -> bytes:
        return binary_replies.encode_added(request.id, messages.Added(self.version, 1, 1))

    def _subscribe(self, _: FakeTransport, request: Any) -> Any:
        ok = {"sub": 1, "epoch": self.description.epoch, "version": self.version}
        if request.kind == "count":
            return ok | {"count": 1}
        return ok | {"to_seq": 3}

    def asked(self, kind: type) -> list[tuple[int | None, str | None]]:
        """What the requests of one kind asked for."""
        return [(one.min_version, one.epoch) for one in self.of(kind)]

    async def reconnect(self) -> None:
        """Take the connection away; return once the client has another."""
        before = len(self.connections)
        self.connection.cut()
        await eventually(lambda: len(self.connections) > before)


async def count(db: Client) -> Any:
    return await db.count("items")


READS = {
    "count": (messages.Count, count),
    "get": (messages.Get, lambda db: db.get("items", [1])),
    "search": (messages.Search, lambda db: db.search("items", VECTOR)),
    "search with options": (messages.Search, lambda db: db.search("items", VECTOR, min_score=0.5)),
    "search by a row": (messages.Search, lambda db: db.search("items", like=1)),
    "feed": (messages.Subscribe, lambda db: db.feed("items").__aenter__()),
    "watch count": (messages.Subscribe, lambda db: db.watch_count("items").__aenter__()),
    "watch stats": (messages.Subscribe, lambda db: db.watch_stats("items").__aenter__()),
}


@pytest.mark.parametrize("name", READS)
async def test_reads_ask_for_the_version_that_was_seen_until_one_is_there(name: str) -> None:
    kind, read = READS[name]
    server = Collection()
    async with client_of(server) as db:
        await read(db)
        await read(db)
        await server.reconnect()
        await read(db)
        await read(db)
    assert server.asked(kind) == [(None, None)] * 2 + [(7, "e1"), (None, None)]


@pytest.mark.parametrize(
    "change",
    [lambda db: db.add("items", [VECTOR], [1]), lambda db: db.delete("items", [1])],
    ids=["add", "delete"],
)
async def test_what_a_client_wrote_it_asks_for_elsewhere(change: Any) -> None:
    server = Collection()
    async with client_of(server) as db:
        await change(db)
        await server.reconnect()
        await db.count("items")
    assert server.asked(messages.Count) == [(7, "e1")]


async def test_what_was_pushed_counts_as_seen() -> None:
    server = Collection()
    async with client_of(server) as db, db.feed("items") as feed:
        hits = Hits(np.array([1], np.uint64), np.array([4], np.uint64))
        server.connection.push(binary_replies.encode_rows(messages.Rows(1, "feed", 9, 4, hits)))
        assert (await anext(feed)).version == 9
        await server.reconnect()
        await db.count("items")
    assert server.asked(messages.Count) == [(9, "e1")]


async def test_an_answer_that_is_not_there_yet_is_waited_for() -> None:
    server = Collection()
    late = [Behind("min_version: not yet", version=5)] * 20
    async with client_of(server) as db:
        await db.count("items")
        answer = server.handlers[messages.Count]
        server.handlers[messages.Count] = lambda transport, request: (
            late.pop() if late else answer(transport, request)
        )
        await server.reconnect()
        assert await db.count("items") == 1
    assert server.asked(messages.Count) == [(None, None)] + [(7, "e1")] * 21


async def test_a_collection_that_began_anew_is_read_as_it_is() -> None:
    server = Collection()
    async with client_of(server) as db:
        await db.count("items")
        server.description, server.version = description("e2"), 1
        await server.reconnect()
        assert await db.count("items") == 1
        await server.reconnect()
        assert await db.count("items") == 1
    assert server.asked(messages.Count) == [(None, None), (7, "e1"), (None, None), (1, "e2")]


async def test_a_subscription_to_a_collection_that_began_anew_is_asked_for_again() -> None:
    server = Collection()
    async with client_of(server) as db:
        await db.count("items")
        server.description, server.version = description("e2"), 1
        subscribe = server.handlers[messages.Subscribe]
        server.handlers[messages.Subscribe] = lambda transport, request: (
            WrongEpoch("epoch: another", epoch="e2")
            if request.epoch == "e1"
            else subscribe(transport, request)
        )
        await server.reconnect()
        async with db.watch_count("items") as watch:
            assert (await anext(watch)).version == 1
        async with db.feed("items") as feed:
            assert feed.epoch == "e2"
    assert server.asked(messages.Subscribe) == [(7, "e1"), (None, None), (None, None)]


async def test_a_feed_of_an_epoch_that_is_over_is_told_so() -> None:
    """And does not wait for versions of one that it is not of."""
    server = Collection()
    async with client_of(server) as db:
        await db.count("items")
        await server.reconnect()
        async with db.feed("items", from_seq=4, epoch="e0"):
            pass
    assert server.asked(messages.Subscribe) == [(None, "e0")]
