"""SUBSCRIBE of kind ``match``: many queries begin over several ticks, at one version, or none does.

No test here goes by time: a slice is one piece of a few queries, so every tick does just that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from omendb_ws.engine import tick
from omendb_ws.engine.pieces import long_reads as pieces
from omendb_ws.engine.streams import beginning_matches, ends
from omendb_ws.engine.streams.matches import Matches
from omendb_ws.net.server import Server
from omendb_ws.wire import binary
from omendb_ws.wire.messages import Results
from tests.patience import eventually
from tests.server.live_view import Matched
from tests.server.raw import Raw, batch, client, engine_held, queued, running
from tests.server.streams.test_beginning import Gate

MANY = 40


@pytest.fixture(autouse=True)
def few_queries_a_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beginning_matches, "MOST_AT_ONCE", 3)
    monkeypatch.setattr(beginning_matches, "_LEAST_QUERIES", 3)
    monkeypatch.setattr(beginning_matches, "_MOST_QUERIES", 3)
    monkeypatch.setattr(pieces, "SLICE_US", 0)


def directions(count: int) -> Any:
    """Vectors of length 1, all around."""
    angles = np.arange(count) * (2 * np.pi / count)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


async def send(raw: Raw, handle: int, vectors: Any, min_score: float = 0.9, **fields: Any) -> int:
    """Send SUBSCRIBE; the id of the request."""
    id = raw.next_id()
    await raw.send_binary(binary.encode_subscribe_match(id, handle, vectors, min_score, **fields))
    return id


async def begun(raw: Raw, id: int) -> list[Matched]:
    """What the reply to SUBSCRIBE begins."""
    reply = await raw.reply(id)
    assert isinstance(reply, Results), reply
    assert reply.subs is not None
    assert reply.to_seq is not None
    assert not len(reply.hits.seqs)
    assert reply.counts.tolist() == [0] * len(reply.subs)
    return [Matched(raw, sub, reply.to_seq) for sub in reply.subs]


async def nothing_is_left(server: Server, reserved_bytes: int) -> None:
    (collection,) = server.context.catalog.shards()
    await eventually(lambda: not len(collection.window.standing))
    await eventually(lambda: server.context.catalog.reserved_bytes == reserved_bytes)
    assert not server.context.engine.matches.of(collection)
    assert not server.context.metrics.subscriptions["match"]


@pytest.mark.parametrize("encoding", ["json", "binary"])
@pytest.mark.parametrize("ids", ["u64", "str", "auto"])
async def test_each_hears_of_exactly_the_rows_that_reach_it(ids: str, encoding: Any) -> None:
    async with running() as server, client(server) as raw, client(server) as writer:
        handle = (await raw.create(ids=ids, capacity=1000))["handle"]
        vectors = directions(MANY)
        matches = await begun(raw, await send(raw, handle, vectors, encoding=encoding))
        assert [one.to_seq for one in matches] == [0] * MANY
        rows = directions(97)
        for place, row in enumerate(rows.tolist()):
            asked: dict[str, Any] = {"vector": row}
            if ids != "auto":
                asked["id"] = str(place) if ids == "str" else place
            await writer.ok("add", collection="items", rows=[asked])
        for vector, one in zip(vectors, matches, strict=True):
            wanted = {seq for seq, row in enumerate(rows, 1) if float(row @ vector) >= 0.9}
            await one.until(max(wanted))
            assert set(one.rows) == wanted
            assert one.gaps == []


async def test_they_begin_at_one_version_whatever_changes_while_they_are_taken_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    take_in, rows_at = Matches.take_in, []

    async with running() as server, client(server) as raw, client(server) as writer:
        handle = (await raw.create(capacity=1000))["handle"]
        await writer.add(1)
        (collection,) = server.context.catalog.shards()

        def noted(*arguments: Any) -> None:
            rows_at.append(collection.window.last_seq)
            take_in(*arguments)

        monkeypatch.setattr(Matches, "take_in", noted)
        gate = Gate(server)
        gate.is_closed = True  # a piece after each add
        id = await send(raw, handle, np.tile(np.float32([1, 0]), (MANY, 1)), min_score=0)
        for number in range(2, 10):
            row = {"id": number, "vector": [1, 0]}
            await writer.ok("add", collection="items", rows=[row])
        assert id not in raw.replies
        gate.is_closed = False
        matches = await begun(raw, id)
        (to_seq,) = {one.to_seq for one in matches}
        assert to_seq >= rows_at[-1] > rows_at[0]
        row = {"id": 99, "vector": [1, 0]}
        last_seq = (await writer.ok("add", collection="items", rows=[row]))["last_seq"]
        for one in matches:
            await one.until(last_seq)
            assert sorted(one.rows) == list(range(to_seq + 1, last_seq + 1))
            assert one.gaps == []


async def test_an_unsubscribe_right_behind_it_ends_one_of_them() -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create())["handle"]
        id = await send(raw, handle, directions(MANY))
        left = await raw.send("unsubscribe", sub=7)
        assert len(await begun(raw, id)) == MANY
        assert (await raw.reply(left))["ok"] == {}
        (collection,) = server.context.catalog.shards()
        assert len(collection.window.standing) == MANY - 1


async def test_of_what_is_refused_nothing_is_left() -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create(metric="cosine"))["handle"]
        await raw.add_binary(handle, batch(1, 2, 3))
        reserved_bytes = server.context.catalog.reserved_bytes
        vectors = directions(MANY)
        vectors[17] = 0
        error = (await raw.reply(await send(raw, handle, vectors)))["error"]
        assert (error["code"], error["row"]) == ("zero_norm", 17)
        error = (await raw.reply(await send(raw, handle, np.ones((MANY, 3), np.float32))))["error"]
        assert error["code"] == "dim_mismatch"
        await nothing_is_left(server, reserved_bytes)


async def test_of_those_that_a_fault_interrupts_nothing_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    take_in, taken = Matches.take_in, []

    def faulty(*arguments: Any) -> None:
        take_in(*arguments)
        taken.append(arguments)
        if len(taken) == 3:
            raise MemoryError("on purpose")

    monkeypatch.setattr(Matches, "take_in", faulty)
    async with running() as server, client(server) as raw:
        handle = (await raw.create())["handle"]
        reserved_bytes = server.context.catalog.reserved_bytes
        error = (await raw.reply(await send(raw, handle, directions(MANY))))["error"]
        assert error["code"] == "internal"
        await nothing_is_left(server, reserved_bytes)
        assert len(await begun(raw, await send(raw, handle, directions(MANY)))) == MANY


async def test_of_those_whose_connection_ends_while_they_begin_nothing_is_left() -> None:
    async with running() as server, client(server) as other:
        handle = (await other.create())["handle"]
        reserved_bytes = server.context.catalog.reserved_bytes
        async with client(server) as raw:
            assert (await raw.ok("open", collection="items"))["handle"] == handle
            async with engine_held(server):
                await send(raw, handle, directions(MANY))
                await eventually(lambda: server.context.metrics.subscriptions["match"] == MANY)
                raw.socket.transport.abort()
                await eventually(lambda: not server.context.metrics.subscriptions["match"])
        await nothing_is_left(server, reserved_bytes)


@pytest.mark.parametrize("is_one_refused", [False, True])
async def test_requests_for_one_each_that_come_together_begin_together_each_by_its_filter(
    is_one_refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running() as server, client(server) as raw, client(server) as writer:
        await raw.create(metric="cosine", columns={"on": "bool"})
        asked: dict[str, Any] = {"kind": "match", "collection": "items", "vector": [1, 0]}
        start, together = Matches.start, []

        def counted(*arguments: Any) -> int:
            together.append(len(arguments[1]))
            return start(*arguments)

        monkeypatch.setattr(Matches, "start", counted)
        async with engine_held(server):
            sent = [
                await raw.send("subscribe", min_score=0, filter={"on": number % 2 == 0}, **asked)
                for number in range(6)
            ]
            if is_one_refused:
                zero = {**asked, "vector": [0, 0]}
                sent.append(await raw.send("subscribe", min_score=0, **zero))
            await queued(server, len(sent))
        replies = [await raw.reply(one) for one in sent]
        if is_one_refused:  # then each is tried by itself
            assert replies.pop()["error"]["code"] == "zero_norm"
        assert together == ([1] * 6 if is_one_refused else [6])
        matches = [Matched(raw, one["ok"]["sub"], one["ok"]["to_seq"]) for one in replies]
        for id, is_on in ((1, True), (2, False)):
            row = {"id": id, "vector": [1, 0], "metadata": {"on": is_on}}
            await writer.ok("add", collection="items", rows=[row])
        for number, one in enumerate(matches):
            wanted = 1 if number % 2 == 0 else 2
            await one.until(wanted)
            assert list(one.rows) == [wanted]


async def test_many_of_a_collection_that_is_dropped_end_over_several_ticks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ends, "ENDED_AT_ONCE", 3)
    monkeypatch.setattr(tick, "ENDED_AT_ONCE", 3)
    async with running() as server, client(server) as raw, client(server) as other:
        before_bytes = server.context.catalog.reserved_bytes
        handle = (await raw.create())["handle"]
        matches = await begun(raw, await send(raw, handle, directions(MANY)))
        for kind in ({"kind": "live", "vector": [1, 0]}, {"kind": "feed"}):
            await raw.ok("subscribe", collection="items", **kind)
        stop_many, most = server.context.engine.tick.ends.stop_many, 0

        def counted(streams: Any) -> None:
            nonlocal most
            most = max(most, len(streams))
            stop_many(streams)

        monkeypatch.setattr(server.context.engine.tick.ends, "stop_many", counted)
        await other.add(1)
        await other.ok("drop", collection="items")
        ended = [await raw.event(lambda said: said.get("event") == "ended") for _ in matches]
        assert {one["reason"] for one in ended} == {"dropped"}
        await eventually(lambda: server.context.catalog.reserved_bytes == before_bytes)
        assert most == 3
        assert not server.context.engine.matches._queries
        assert not server.metrics.faults
        handle = (await raw.create())["handle"]
        assert len(await begun(raw, await send(raw, handle, directions(MANY)))) == MANY


@pytest.mark.parametrize("is_faulty", [False, True])
async def test_those_that_are_left_together_end_together(
    is_faulty: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create())["handle"]
        reserved_bytes = server.context.catalog.reserved_bytes
        matches = await begun(raw, await send(raw, handle, directions(MANY)))
        live = await raw.ok("subscribe", kind="live", collection="items", vector=[1, 0])
        stop_many, together = server.context.engine.tick.ends.stop_many, []

        def counted(streams: Any) -> None:
            if streams == [None]:  # what has held the engine
                return
            together.append(len(streams))
            if is_faulty and len(together) == 1:
                stop_many(streams[:3])
                raise MemoryError("on purpose")
            stop_many(streams)

        monkeypatch.setattr(server.context.engine.tick.ends, "stop_many", counted)
        subs = [live["sub"], *(one.sub for one in matches)]
        async with engine_held(server):
            sent = [await raw.send("unsubscribe", sub=sub) for sub in subs]
            await queued(server, len(sent))
        assert [(await raw.reply(one))["ok"] for one in sent] == [{}] * len(sent)
        assert together[0] == MANY + 1
        await nothing_is_left(server, reserved_bytes)
        error = (await raw.reply(await raw.send("unsubscribe", sub=subs[0])))["error"]
        assert error["code"] == "not_found"
