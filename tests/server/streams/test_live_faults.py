"""Faults of the server in the middle of standing queries: nobody else is harmed, nobody is misled.

After a fault a reader hears the truth, or nothing; what it was told before stays what it was told.
"""

from __future__ import annotations

from typing import Any

import pytest

from omendb_ws.engine.streams import feeds, live_pushes, matches, queues
from omendb_ws.engine.streams.live_query import LiveQuery
from omendb_ws.net.server import Server
from omendb_ws.wire import live as live_wire
from tests.patience import eventually
from tests.server.live_view import live, match
from tests.server.raw import Clock, Raw, client, engine_held, queued, rows, running, settings
from tests.server.streams.test_feeds import follow

V = [1.0, 0.0]


def boom(*_: Any, **__: Any) -> Any:
    raise RuntimeError("a bug, on purpose")


def collection_of(server: Server, name: str = "items") -> Any:
    return server.context.catalog.find("default", name).shard


async def is_alive(raw: Raw, name: str) -> None:
    """A collection where everything works: adds, searches, live queries."""
    view = await live(raw, V, name=name, k=1)
    before = (await raw.ok("describe", collection=name))["rows"]
    done = await raw.add(100 + before, name=name)
    await view.until_version(done["version"])
    assert view.answer[0].id == 100 + before


@pytest.mark.parametrize("where", ["step", "matched"])
async def test_queries_that_cannot_catch_up_take_their_collection_with_them_and_nothing_else(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    server = Server(settings(), clock_us=clock)
    async with running(server), client(server) as raw, client(server) as other:
        await raw.create()
        await raw.create("else")
        await raw.add(1, 2)
        mine, near = await live(raw, V, k=2), await match(raw, V, 0.0)
        theirs = await live(other, V, name="else", k=2)
        with monkeypatch.context() as patch:
            if where == "step":
                patch.setattr(collection_of(server).window.standing, "step", boom)
            else:
                patch.setattr(server.context.engine.matches, "matched", boom)
            await raw.add(3)  # it was applied: that is the truth
            for op, fields in {
                "subscribe": {"kind": "live", "collection": "items", "vector": V},
                "search": {"collection": "items", "vector": V},
                "add": {"collection": "items", "rows": rows(4)},
            }.items():
                error = await raw.error(op, **fields)
                assert (error["code"], error["retry"]) == ("unavailable", True), op
        assert server.metrics.faults == 1
        # They end, and no time makes them say what nobody knows: that row 3 was no match, say.
        clock.move(10)
        for _ in range(20):
            await raw.ok("count", collection="else")
        assert sorted(raw.events, key=lambda one: one["sub"]) == [
            {"event": "ended", "sub": sub, "reason": "unavailable"} for sub in (mine.sub, near.sub)
        ]
        await is_alive(raw, "else")
        await theirs.step()
        for one in (mine, near):
            assert await raw.code("move", sub=one.sub, vector=V) == "not_found"
        # A drop starts it anew.
        await raw.ok("drop", collection="items")
        await raw.create()
        await is_alive(raw, "items")


@pytest.mark.parametrize("include", [[], ["metadata"]])
async def test_one_live_query_that_cannot_be_told_harms_no_other(
    include: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running() as server, client(server) as raw:
        await raw.create()
        views = [await live(raw, V, k=2, include=include) for _ in range(5)]
        bad = views[2]
        difference = live_pushes._difference

        def poisoned(window: Any, query: LiveQuery, *rest: Any) -> Any:
            if query.sub == bad.sub:
                boom()
            return difference(window, query, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(live_pushes, "_difference", poisoned)
            await raw.add(1, 2)
            for view in views:
                if view is not bad:
                    await view.until_version(1)
            assert server.metrics.faults == 1
        # It is told with the next change, all of it.
        await raw.add(3)
        for view in views:
            await view.until_version(2)
            assert [row.id for row in view.answer] == [3, 2]
        assert bad.pushes == 1


@pytest.mark.parametrize("kind", ["live", "feed", "match"])
@pytest.mark.parametrize("at", [0, 2, 4])
async def test_a_push_that_cannot_be_written_is_made_again_and_the_others_come(
    kind: str, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was made before the fault is sent, and nothing that was lost was noted as told."""
    async with running() as server, client(server) as raw:
        await raw.create(capacity=100)
        readers: list[Any] = []
        for number in range(5):
            # Other points of view and filters: nothing is shared.
            if kind == "live":
                readers.append(await live(raw, V, k=number + 1))
            elif kind == "match":
                readers.append(await match(raw, V, -float(number)))
            else:
                readers.append(await follow(raw, include=["vector"][: number % 2]))
        sub = readers[at].sub
        room, name = {
            "live": (live_pushes, "_messages"),
            "feed": (feeds, "_readdressed"),
            "match": (queues, "encode"),
        }[kind]
        write = getattr(room, name)

        def poisoned(first: Any, *rest: Any) -> Any:
            if kind == "live":
                subs = [query.sub for query in first]
            else:
                subs = [rest[0].sub if kind == "feed" else first.sub]
            if sub in subs:
                boom()
            return write(first, *rest)

        def poisoned_together(alike: Any, queries: Any) -> Any:
            if sub in [query.sub for query in queries]:
                boom()
            return told(alike, queries)

        told = matches.told
        with monkeypatch.context() as patch:
            patch.setattr(room, name, poisoned)
            patch.setattr(matches, "told", poisoned_together)
            async with engine_held(server):
                await raw.send("add", collection="items", rows=rows(1, 2))
                await queued(server, 1)
            for reader in readers:
                if reader.sub != sub:
                    await reader.step()
            await eventually(lambda: server.metrics.faults >= 1)
        await raw.add(3)
        for reader in readers:
            if kind == "live":
                await reader.until_version(2)
                expected = [3, 2, 1][: readers.index(reader) + 1]
                assert [row.id for row in reader.answer] == expected
            else:
                await reader.until(3)
                assert sorted(reader.rows) == [1, 2, 3]


@pytest.mark.parametrize("kind", ["feed", "match"])
async def test_a_gap_that_was_stated_before_a_fault_is_stated_after_it(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running() as server, client(server) as raw:
        await raw.create(capacity=4)
        reader = await follow(raw) if kind == "feed" else await match(raw, V, 0.0)
        room = feeds if kind == "feed" else queues
        with monkeypatch.context() as patch:
            patch.setattr(room, "encode", boom)
            async with engine_held(server):
                for number in range(1, 11):
                    await raw.send("add", collection="items", rows=rows(number))
                await queued(server, 10)
            await eventually(lambda: server.metrics.faults > 0)
        await raw.add(11)
        await reader.until(11)
        missed = {seq for first, last, _ in reader.gaps for seq in range(first, last + 1)}
        assert missed | reader.rows.keys() == set(range(1, 12))


@pytest.mark.parametrize("where", ["start", "answers"])
async def test_a_fault_while_a_query_begins_is_that_subscribers_alone(
    where: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        await raw.create()
        await raw.add(1, 2)
        await raw.ok("ping")
        engine, catalog = server.context.engine, server.context.catalog
        before = catalog.reserved_bytes
        begin = getattr(engine.live, where)

        def poisoned(*given: Any) -> Any:
            if any(query.query.k == 7 for query in given[0]):
                boom()
            return begin(*given)

        monkeypatch.setattr(engine.live, where, poisoned)
        asked = {"kind": "live", "collection": "items", "vector": V}
        async with engine_held(server):
            good = [await other.send("subscribe", k=2, **asked) for _ in range(3)]
            bad = await raw.send("subscribe", k=7, **asked)
            good += [await other.send("subscribe", k=2, **asked) for _ in range(3)]
            await queued(server, 7)
        assert (await raw.reply(bad))["error"]["code"] == "internal"
        for id_ in good:
            assert len((await other.reply(id_))["ok"]["results"]) == 2
        assert server.metrics.subscriptions["live"] == 6
        assert len(collection_of(server).window.standing) == 6
        assert await raw.code("unsubscribe", sub=1) == "not_found"
        for sub in range(1, 7):
            await other.ok("unsubscribe", sub=sub)
        assert catalog.reserved_bytes == before


async def test_a_move_that_meets_a_fault_moves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as server, client(server) as raw:
        await raw.create(capacity=100)
        await raw.add(1, 2, 3)
        view = await live(raw, V, k=2)
        with monkeypatch.context() as patch:
            patch.setattr(collection_of(server).window.standing.lists, "_make_lists", boom)
            error = await raw.error("move", sub=view.sub, vector=[-1.0, 0.0])
            assert (error["code"], error["retry"]) == ("internal", True)
            assert (
                await raw.code("subscribe", kind="live", collection="items", vector=V) == "internal"
            )
        assert len(collection_of(server).window.standing) == 1
        await raw.add(4)
        await view.step()
        assert view.hits == [(4, 4, 4.0), (3, 3, 3.0)]
        ok = await raw.ok("move", sub=view.sub, vector=[-1.0, 0.0])
        assert [one["id"] for one in ok["results"]] == [1, 2]


@pytest.mark.parametrize("where", ["lists", "answers", "reply"])
async def test_a_move_of_everything_that_meets_a_fault_changes_nothing(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running() as server, client(server) as raw:
        await raw.create(capacity=100, columns={"n": "i64"})
        rows = [{"id": n, "vector": [n, 1], "metadata": {"n": n}} for n in range(8)]
        await raw.ok("add", collection="items", rows=rows)
        asked = {"exclude": [7], "filter": {"n": {"$gt": 1}}, "min_score": 2.0}
        shape = {"group": {"by": "n"}, "rank": {"$neg": "n"}}
        view = await live(raw, V, k=3, **asked, **shape)
        assert [hit[0] for hit in view.hits] == [2, 3, 4]
        held = server.context.catalog.reserved_bytes
        moved = {
            "positive": [1, 2], "exclude": list(range(2000)), "filter": {}, "min_score": None,
        }  # fmt: skip
        with monkeypatch.context() as patch:
            faults = {
                "lists": (collection_of(server).window.standing.lists, "_make_lists"),
                "answers": (server.context.engine.live, "answers"),
                "reply": (live_wire, "encode_snapshot"),
            }
            patch.setattr(*faults[where], boom)
            error = await raw.error("move", sub=view.sub, **moved)
            assert (error["code"], error["retry"]) == ("internal", True)
        assert server.context.catalog.reserved_bytes == held
        await raw.ok("update", collection="items", rows=[{"id": 2, "metadata": {"n": 0}}])
        await raw.ok("update", collection="items", rows=[{"id": 5, "metadata": {"n": 3}}])
        await view.until(lambda one: [hit[0] for hit in one.hits] == [5, 4, 6])
        expected = await raw.ok("search", collection="items", vector=V, k=3, **asked, **shape)
        assert [one["id"] for one in expected["results"]] == [5, 4, 6]
        moved["exclude"] = [0]
        ok = await raw.ok("move", sub=view.sub, **moved)
        like = {"positive": [1, 2], "exclude": [0], "k": 3}
        expected = await raw.ok("search", collection="items", **like, **shape)
        assert ok["results"] == expected["results"]


async def test_subscriptions_that_came_and_went_are_not_waited_for() -> None:
    """A match query is looked at every few seconds; one that ended must not be kept till then."""
    async with running() as server, client(server) as raw:
        await raw.create()
        for _ in range(40):
            subs = [
                await raw.send(
                    "subscribe", kind="match", collection="items", vector=V, min_score=0.0
                )
                for _ in range(100)
            ]
            for id_ in subs:
                sub = (await raw.reply(id_))["ok"]["sub"]
                await raw.send("unsubscribe", sub=sub)
            await raw.ok("ping")
        await eventually(lambda: server.metrics.subscriptions.total() == 0)
        assert len(server.context.engine.tick.deliveries._delayed) <= 1100


async def test_one_stream_that_cannot_be_let_go_of_keeps_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running() as server, client(server) as raw:
        await raw.create()
        ends = server.context.engine.tick.ends
        stop_many, told = ends.stop_many, []

        def stop_or_fault(stream: Any) -> None:
            told.append(stream)
            if len([one for one in told if isinstance(one, LiveQuery)]) == 1:
                raise MemoryError("on purpose")
            stop_many([stream])

        async with client(server) as other:
            for _ in range(3):
                await other.ok("subscribe", kind="live", collection="items", vector=[1, 0])
            monkeypatch.setattr(ends, "stop_many", boom)
            monkeypatch.setattr(ends, "stop", stop_or_fault)
            async with engine_held(server):  # all of them are let go of in one tick
                other.socket.transport.abort()
                await eventually(lambda: not server.metrics.subscriptions.total())
        await eventually(lambda: len(collection_of(server).window.standing) == 1)
        await raw.ok("ping")
