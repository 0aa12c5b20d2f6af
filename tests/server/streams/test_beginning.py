"""SUBSCRIBE with many vectors begins over several ticks: others' work in between, the law held.

No test here goes by time: a slice is one piece of one query, so every tick does just that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from omendb_core.filters import mask_cache
from omendb_core.filters.parser import parse
from omendb_core.model.change import AddRequest, Repeated, RowBatch
from omendb_core.model.types import Definition, Include
from omendb_core.search import deep
from omendb_core.standing import renewals
from omendb_core.standing.live_lists import LiveLists
from omendb_core.standing.matcher import Matcher
from omendb_core.standing.table import StandingQuery
from omendb_core.window import Window

from omendb_ws.engine import tick
from omendb_ws.engine.model import ended as ended_room
from omendb_ws.engine.model.shard import Shard
from omendb_ws.engine.pieces import long_reads as pieces
from omendb_ws.engine.streams import beginning
from omendb_ws.net.server import Server
from omendb_ws.runtime import by_turns
from omendb_ws.sessions.subscriptions import ending
from omendb_ws.wire import binary
from omendb_ws.wire.messages import Results
from tests.examples import examples
from tests.patience import eventually
from tests.server.live_view import views_of
from tests.server.raw import Clock, Raw, batch, client, engine_held, queued, running, settings
from tests.server.streams.test_live_law import LIVE_FIELDS, Asked, LawMachine, vector

MANY = 40


@pytest.fixture(autouse=True)
def one_query_a_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beginning, "MOST_AT_ONCE", 0)
    monkeypatch.setattr(beginning, "LEAST_QUERIES", 1)
    monkeypatch.setattr(beginning, "MOST_QUERIES", 1)
    monkeypatch.setattr(pieces, "SLICE_US", 0)
    monkeypatch.setattr(beginning, "_TOLD_ROWS", 1)
    monkeypatch.setattr(beginning, "_COPIED_ROWS", 1)


def vectors_of(count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal((count, 2)).astype(np.float32)


async def subscribe(raw: Raw, handle: int, vectors: Any, k: int = 3) -> int:
    """Send SUBSCRIBE; the id of the request."""
    id = raw.next_id()
    await raw.send_binary(binary.encode_subscribe(id, handle, vectors, k=k))
    return id


def long_reads(server: Server) -> pieces.LongReads:
    return server.context.engine.tick.reading.long


class Gate:
    """While it is closed, there is a piece only once the window has changed, or while its changes
    wait. A server that stops opens it, so that a test that fails comes to its end."""

    def __init__(self, server: Server) -> None:
        self.is_closed = False
        self._server = server
        self._seen_version = 0
        self._run = long_reads(server).run
        long_reads(server).run = self.run  # type: ignore[method-assign]

    def run(self, effects: Any) -> int:
        (collection,) = self._server.context.catalog.shards()
        version, reads = collection.window.version, long_reads(self._server)
        is_stopping = self._server.context.engine._is_stopping
        waits = self.is_closed and not is_stopping and version == self._seen_version
        if waits and not collection.is_being_read:
            return 0
        before, was_idle = reads.pieces, not len(reads)
        done = self._run(effects)
        if was_idle or reads.pieces > before:  # else this tick had no time left for one
            self._seen_version = version
        return done


async def nothing_is_left(server: Server, reserved_bytes: int) -> None:
    """No query, and no memory set aside for one."""
    (collection,) = server.context.catalog.shards()
    await eventually(lambda: not len(long_reads(server)) and not len(collection.window.standing))
    await eventually(lambda: server.context.catalog.reserved_bytes == reserved_bytes)
    assert not server.context.engine.live.of(collection)


async def test_a_search_that_comes_while_many_begin_is_answered_before_them() -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create())["handle"]
        await raw.add_binary(handle, batch(1, 2, 3))
        vectors = vectors_of(MANY)
        begun = await subscribe(raw, handle, vectors)
        searched = await raw.search_binary(handle, vectors[:1], k=3)
        assert searched.counts.tolist() == [3]
        assert begun not in raw.replies
        reply = await raw.reply(begun)
        assert isinstance(reply, Results)
        assert reply.counts.tolist() == [3] * MANY
        assert long_reads(server).pieces >= MANY


@pytest.mark.parametrize(
    ("shaping", "most"),
    [
        ({}, 8),
        ({"exclude": [9]}, 1),
        ({"decay": {"half_life": 1}}, 1),
        ({"rank": "$score"}, 8),  # in pieces anyway, and so few as are short together
        ({"spread": {"max_similarity": 0}}, 8),
    ],
)
async def test_queries_whose_lists_may_take_long_begin_one_by_one_where_they_do(
    shaping: dict[str, Any], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(pieces, "PIECE_US", 0)
    made: list[int] = []
    async with running() as server, client(server) as raw:
        handle = (await raw.create())["handle"]
        await raw.add_binary(handle, batch(1, 2, 3))
        add = Matcher.add_in_pieces

        def noted(matcher: Any, queries: Any, vectors: Any) -> Any:
            made.append(len(queries))
            return add(matcher, queries, vectors)

        monkeypatch.setattr(Matcher, "add_in_pieces", noted)
        id = raw.next_id()
        frame = binary.encode_subscribe(id, handle, vectors_of(MANY), k=3, shaping=shaping)
        await raw.send_binary(frame)
        assert isinstance(await raw.reply(id), Results)
    assert (sum(made), max(made)) == (MANY, most)


async def test_changes_of_others_go_on_and_the_reply_is_one_snapshot() -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        handle = (await raw.create(capacity=100))["handle"]
        vectors = vectors_of(MANY)
        begun = await subscribe(raw, handle, vectors)
        for number in range(1, 21):
            await other.add(number)
        reply = await raw.reply(begun)
        views = views_of(raw, reply)
        rows = batch(*range(1, reply.version + 1)).vectors  # as of the version it names
        for view, one in zip(views, vectors, strict=True):
            best = sorted(range(len(rows)), key=lambda at: (rows[at] @ one, at), reverse=True)[:3]
            assert [row.seq for row in view.answer] == [at + 1 for at in best]
        await other.add(21, 22, 23)
        last = await other.ok("count", collection="items")
        for view, one in zip(views, vectors, strict=True):
            found = await other.ok("search", collection="items", vector=one.tolist(), k=3)
            assert found["version"] == last["version"]
            wanted = [row["seq"] for row in found["results"]]
            while [row.seq for row in view.answer] != wanted:
                await view.step()


async def test_what_changed_between_the_snapshot_and_the_reply_is_the_first_push() -> None:
    """A change comes before every piece, and none after the last one."""
    async with running() as server, client(server) as raw, client(server) as other:
        handle = (await raw.create(capacity=1000))["handle"]
        gate = Gate(server)
        gate.is_closed = True
        begun = await subscribe(raw, handle, np.abs(vectors_of(9)))
        await eventually(lambda: len(long_reads(server)) == 1)
        last_seq = 0
        while len(long_reads(server)):
            last_seq += 1
            await other.add(last_seq)  # nearer than all before it
        reply = await raw.reply(begun)
        assert reply.version < last_seq
        for view in views_of(raw, reply):
            assert [row.seq for row in view.answer] == list(range(reply.version, 0, -1))[:3]
            await view.step()
            if view.version == last_seq - 1:  # the last one came behind the last piece
                await view.step()
            assert [row.seq for row in view.answer] == list(range(last_seq, 0, -1))[:3]
            assert view.version == last_seq


async def test_two_that_begin_have_their_pieces_by_turns() -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        handle = (await raw.create())["handle"]
        their_handle = (await other.ok("open", collection="items"))["handle"]
        async with engine_held(server):
            big = await subscribe(raw, handle, vectors_of(1000))
            small = await subscribe(other, their_handle, vectors_of(5))
            await queued(server, 2)
        await other.reply(small)
        assert long_reads(server).pieces < 700
        await raw.reply(big)


async def test_what_is_asked_of_queries_that_begin_waits_for_their_reply() -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create())["handle"]
        await raw.add_binary(handle, batch(1, 2, 3))
        begun = await subscribe(raw, handle, vectors_of(MANY))
        moved = await raw.send("move", sub=2, vector=[-1.0, 0.0])
        left = await raw.send("unsubscribe", sub=3)
        gone = await raw.send("move", sub=3, vector=[1.0, 0.0])
        moved_again = await raw.send("move", sub=2, vector=[1.0, 0.0])
        assert "error" in await raw.reply(gone)
        assert [row["id"] for row in (await raw.reply(moved))["ok"]["results"]] == [1, 2, 3]
        assert (await raw.reply(left))["ok"] == {}
        rows = (await raw.reply(moved_again))["ok"]["results"]
        assert [row["id"] for row in rows] == [3, 2, 1]
        ids = [one[0] if isinstance(one, tuple) else one.get("id") for one in raw.order]
        assert ids.index(begun) < ids.index(moved) < ids.index(moved_again)
        assert ids.index(begun) < ids.index(left)


async def test_a_drop_waits_for_what_has_begun_and_holds_up_no_other_collection() -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        handle = (await raw.create())["handle"]
        await other.create("else")
        begun = await subscribe(raw, handle, vectors_of(MANY))
        dropped = await raw.send("drop", collection="items")
        made = await raw.send("create", collection="items", dim=2, capacity=8)
        await other.add(1, name="else")
        assert isinstance(await raw.reply(begun), Results)
        assert (await raw.reply(dropped))["ok"] == {}
        assert "ok" in await raw.reply(made)
        ended = [await raw.named("ended") for _ in range(MANY)]
        assert sorted(one["sub"] for one in ended) == list(range(1, MANY + 1))
        assert await raw.ok("count", collection="items") == {"version": 0, "count": 0}


async def test_a_connection_that_goes_takes_what_has_begun_with_it() -> None:
    async with running() as server, client(server) as other:
        handle = (await other.create())["handle"]
        reserved_bytes = server.context.catalog.reserved_bytes
        async with client(server) as raw:
            handle = (await raw.ok("open", collection="items"))["handle"]
            await subscribe(raw, handle, vectors_of(200))
            await eventually(lambda: long_reads(server).pieces > 10)
        await nothing_is_left(server, reserved_bytes)
        await other.add(1)


async def test_a_connection_that_goes_before_the_first_piece_leaves_nothing_that_waits() -> None:
    """What was asked of queries that will never begin would keep the engine from ending."""
    async with running() as server, client(server) as other:
        handle = (await other.create())["handle"]
        reserved_bytes = server.context.catalog.reserved_bytes
        gate = Gate(server)
        gate.is_closed = True
        async with client(server) as raw:
            handle = (await raw.ok("open", collection="items"))["handle"]
            await subscribe(raw, handle, vectors_of(MANY))
            await raw.send("unsubscribe", sub=3)
            await eventually(lambda: bool(server.context.engine.tick.standing.early))
        await eventually(lambda: len(server._sessions) == 1)
        gate.is_closed = False
        await nothing_is_left(server, reserved_bytes)
        await eventually(lambda: not server.context.engine.depth)
        await eventually(lambda: not server.context.engine.tick.standing.early)


async def test_what_waits_too_long_to_begin_is_shed_with_what_was_asked_of_it() -> None:
    clock = Clock()
    server = Server(settings(queue_deadline_ms=50), clock_us=clock)
    async with running(server), client(server) as raw:
        handle = (await raw.create())["handle"]
        reserved_bytes = server.context.catalog.reserved_bytes
        gate = Gate(server)
        gate.is_closed = True
        begun = await subscribe(raw, handle, vectors_of(MANY))
        left = await raw.send("unsubscribe", sub=3)
        await eventually(lambda: bool(server.context.engine.tick.standing.early))
        clock.move(0.06)
        await eventually(lambda: server.context.engine.moment.now_us == clock())
        gate.is_closed = False
        error = (await raw.reply(begun))["error"]
        assert (error["code"], error["retry"]) == ("overloaded", True)
        assert (await raw.reply(left))["error"]["code"] == "not_found"
        await nothing_is_left(server, reserved_bytes)
        assert (await raw.ok("stats"))["subscriptions"] == 0
        reply = await raw.reply(await subscribe(raw, handle, vectors_of(MANY)))
        assert reply.counts.tolist() == [0] * MANY


async def test_one_vector_at_fault_is_named_and_none_begins() -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create(metric="cosine"))["handle"]
        reserved_bytes = server.context.catalog.reserved_bytes
        vectors = vectors_of(MANY)
        vectors[33] = 0
        reply = await raw.reply(await subscribe(raw, handle, vectors))
        assert (reply["error"]["code"], reply["error"]["row"]) == ("zero_norm", 33)
        await nothing_is_left(server, reserved_bytes)


async def test_a_reply_that_would_be_too_long_is_refused_and_none_begins() -> None:
    async with running(max_message_bytes=70_000) as server, client(server) as raw:
        handle = (await raw.create(capacity=200))["handle"]
        await raw.add_binary(handle, batch(*range(100)))
        reserved_bytes = server.context.catalog.reserved_bytes
        reply = await raw.reply(await subscribe(raw, handle, vectors_of(MANY), k=100))
        assert reply["error"]["code"] == "too_large"
        await nothing_is_left(server, reserved_bytes)


async def test_what_a_refused_one_has_begun_ends_over_several_ticks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tick, "ENDED_AT_ONCE", 3)
    async with running(max_message_bytes=70_000) as server, client(server) as raw:
        handle = (await raw.create(capacity=200))["handle"]
        await raw.add_binary(handle, batch(*range(100)))
        reserved_bytes = server.context.catalog.reserved_bytes
        (collection,) = server.context.catalog.shards()
        removed: list[int] = []
        remove = collection.window.standing.remove

        def removing(handles: Any) -> None:
            removed.append(len(handles))
            remove(handles)

        monkeypatch.setattr(collection.window.standing, "remove", removing)
        reply = await raw.reply(await subscribe(raw, handle, vectors_of(MANY), k=100))
        assert reply["error"]["code"] == "too_large"
        await nothing_is_left(server, reserved_bytes)
        assert (sum(removed), max(removed)) == (MANY, 3)


@pytest.mark.parametrize("at", ["add", "answers", "tell"])
async def test_a_fault_in_a_piece_is_that_requests_alone(
    at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def boom(*_: Any, **__: Any) -> Any:
        raise MemoryError("on purpose")

    async with running() as server, client(server) as raw:
        handle = (await raw.create())["handle"]
        await raw.add_binary(handle, batch(1, 2, 3))
        reserved_bytes = server.context.catalog.reserved_bytes
        (collection,) = server.context.catalog.shards()
        with monkeypatch.context() as patch:
            where = collection.window.standing if at == "add" else server.context.engine.live
            patch.setattr(where, at, boom)
            reply = await raw.reply(await subscribe(raw, handle, vectors_of(MANY)))
            assert reply["error"]["code"] == "internal"
        await nothing_is_left(server, reserved_bytes)
        assert server.metrics.faults == 1
        reply = await raw.reply(await subscribe(raw, handle, vectors_of(MANY)))
        assert reply.counts.tolist() == [3] * MANY


async def test_lists_that_are_never_whole_all_at_once_are_made_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every add turns the whole window over, and only one list a tick is made anew."""
    made: list[int] = []
    renewed = LiveLists.renew_in_pieces

    def noted(lists: LiveLists, handles: Any) -> Any:
        made.append(len(handles))
        return renewed(lists, handles)

    monkeypatch.setattr(LiveLists, "renew_in_pieces", noted)
    monkeypatch.setattr(renewals, "RENEWED_AT_ONCE", 1)
    monkeypatch.setattr(beginning, "_PATIENCE_TICKS", 5)
    async with running() as server, client(server) as raw, client(server) as other:
        handle = (await raw.create(capacity=40))["handle"]
        await raw.add_binary(handle, batch(*range(1, 41)))
        begun = await subscribe(raw, handle, vectors_of(MANY))
        first = 41
        (collection,) = server.context.catalog.shards()
        while len(long_reads(server)) or not server.context.engine.live.of(collection):
            await other.add(*range(first, first + 40))
            first += 40
        reply = await raw.reply(begun)
        assert reply.counts.tolist() == [3] * MANY
        assert len(made) >= MANY  # most of them in the end, while the collection was held
        assert max(made) == 1
        newest = reply.version * 40
        assert set(reply.hits.seqs.tolist()) <= set(range(newest - 39, newest + 1))


def test_lists_that_are_made_in_the_end_have_their_mask_made_in_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Over a wide window a mask takes up to 45 ms."""
    monkeypatch.setattr(mask_cache, "AT_ONCE_NS", 0)
    monkeypatch.setattr(mask_cache, "BLOCK_ROWS", 64)
    window = Window(Definition(2, 640, "dot", "auto", {"n": "i64"}))
    metadata = [{"n": n % 7} for n in range(640)]
    vectors = np.random.default_rng(1).standard_normal((640, 2)).astype(np.float32)
    added = window.admit_add(AddRequest(RowBatch(vectors, metadata=metadata)), 1)
    assert not isinstance(added, Repeated)
    window.apply(added)
    filter_ = parse(NEAR, {"n": "i64"})
    shard = Shard("default", "items", "memory", window, 0.0)
    asked = [StandingQuery(3, filter_)] * (beginning.LEAST_QUERIES + 1)
    handles = window.standing.add(asked, vectors[: len(asked)])
    while window.standing.is_outdated:
        window.standing.advance()
    expected = window.standing.lists.answers(handles).seqs.tolist()
    window.standing.lists.wait(handles)
    window.state.masks._masks.clear()
    missing: list[float] = []
    renewed = LiveLists.renew_in_pieces

    def noted(lists: LiveLists, handles: Any) -> Any:
        missing.append(window.state.masks.cost_ns(filter_))
        return renewed(lists, handles)

    monkeypatch.setattr(LiveLists, "renew_in_pieces", noted)
    pieces = sum(1 for _ in beginning._made_whole(shard, handles, filter_))
    assert missing == [0.0, 0.0]
    assert pieces >= 640 // 64
    assert not shard.makes_mask
    assert not window.standing.lists.waiting
    assert window.standing.lists.answers(handles).seqs.tolist() == expected


async def test_a_server_that_stops_answers_what_has_begun_or_lets_it_go() -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create())["handle"]
        await subscribe(raw, handle, vectors_of(200))
        await eventually(lambda: long_reads(server).pieces > 3)


class BeginningMachine(LawMachine):
    """The law's machine, where changes come between all pieces while queries begin."""

    async def open(self, fields: dict[str, Any]) -> None:
        await super().open(fields)
        self.gate = Gate(self.server)

    @precondition(lambda self: len(self.asked) < 12)
    @rule(
        data=st.data(),
        fields=LIVE_FIELDS,
        vectors=st.lists(vector, min_size=2, max_size=4),
        count=st.integers(1, 16),
    )
    def subscribe_amid_changes(
        self, data: st.DataObject, fields: dict[str, Any], vectors: list[list[float]], count: int
    ) -> None:
        include = binary.Include(
            *(name in fields.get("include", ()) for name in ("metadata", "vector"))
        )
        id_ = self.reader.next_id()
        others = {name: fields[name] for name in fields if name not in ("include", "every")}
        frame = binary.encode_subscribe(
            id_, self.handle, np.array(vectors, np.float32), include=include,
            every_ms=fields.get("every"), **others,
        )  # fmt: skip
        run = self.runner.run
        self.gate.is_closed = True
        run(self.reader.send_binary(frame))
        for _ in range(count):
            op, said = data.draw(self.changes())
            reply = run(self.writer.ask(op, collection="items", **self.request(op, said)))
            self.compare_reply(reply, self.do(op, said))
        self.gate.is_closed = False
        reply = run(self.reader.reply(id_))
        assert isinstance(reply, Results), reply
        self.take_until(reply)
        for one, view in zip(vectors, views_of(self.reader, reply, self.ids), strict=True):
            self.begin(Asked(one, fields, view))


TestLawOfBeginning = BeginningMachine.TestCase
TestLawOfBeginning.settings = hypothesis_settings(
    max_examples=examples(25),
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
)


async def test_many_that_end_with_their_connection_end_over_several_ticks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tick, "ENDED_AT_ONCE", 3)
    monkeypatch.setattr(ending, "ENDED_AT_ONCE", 7)
    async with running() as server, client(server) as other:
        await other.create()
        reserved_bytes = server.context.catalog.reserved_bytes
        most = 0
        stop_many = server.context.engine.tick.ends.stop_many

        def counted(streams: Any) -> None:
            nonlocal most
            most = max(most, len(streams))
            stop_many(streams)

        monkeypatch.setattr(server.context.engine.tick.ends, "stop_many", counted)
        async with client(server) as raw:
            handle = (await raw.ok("open", collection="items"))["handle"]
            await raw.reply(await subscribe(raw, handle, vectors_of(MANY)))
            for kind in ({"kind": "match", "vector": [1, 0], "min_score": 0}, {"kind": "feed"}):
                await raw.ok("subscribe", collection="items", **kind)
        await nothing_is_left(server, reserved_bytes)
        (collection,) = server.context.catalog.shards()
        assert most == 3
        await eventually(
            lambda: (
                not server.context.engine.matches.of(collection)
                and not server.context.engine.feeds.of(collection)
            )
        )
        assert not collection.listed.subscriptions
        await other.add(1)


@pytest.mark.parametrize("has_fault", [False, True])
async def test_many_that_end_with_their_collection_end_over_several_turns(
    has_fault: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those behind one that cannot be ended."""
    monkeypatch.setattr(ended_room, "TOLD_AT_ONCE", 7)
    async with running() as server, client(server) as raw, client(server) as other:
        await raw.create()
        reserved_bytes = server.context.catalog.reserved_bytes
        handle = (await raw.ok("open", collection="items"))["handle"]
        begun = await raw.reply(await subscribe(raw, handle, vectors_of(20)))
        (collection,) = server.context.catalog.shards()
        if has_fault:
            collection.listed.subscriptions.add(Faulty())
        counts: list[int] = []
        give = by_turns.ByTurns.give

        def counted(turns: by_turns.ByTurns[Any], *given: Any) -> None:
            before = len(collection.listed.subscriptions)
            give(turns, *given)
            counts.append(before - len(collection.listed.subscriptions))

        monkeypatch.setattr(by_turns.ByTurns, "give", counted)
        drop = await raw.send("drop", collection="items")
        told = [await raw.named("ended") for _ in range(20)]
        assert sorted(one["sub"] for one in told) == sorted(begun.subs)
        assert "ok" in await raw.reply(drop)
        assert max(counts) == 7
        assert server.context.catalog.reserved_bytes < reserved_bytes
        await other.create("another")


class Faulty:
    """A subscription that cannot be ended."""

    def end(self, reason: str) -> None:
        raise MemoryError("on purpose")


# -- queries whose mask is made in pieces --------------------------------------------------------

WIDE = 300
NEAR = {"n": {"$lt": 4}}


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A single query begins at once, but for its mask."""
    monkeypatch.setattr(beginning, "MOST_AT_ONCE", 16)
    monkeypatch.setattr(mask_cache, "AT_ONCE_NS", 0)
    monkeypatch.setattr(mask_cache, "BLOCK_ROWS", 64)


async def filled(raw: Raw) -> int:
    made = await raw.create(capacity=500, columns={"n": "i64"})
    rows = [{"id": n, "vector": [n, 1], "metadata": {"n": n % 7}} for n in range(WIDE)]
    await raw.ok("add", collection="items", rows=rows)
    return int(made["handle"])


async def one_live(raw: Raw, **fields: Any) -> int:
    asked = {"kind": "live", "collection": "items", "vector": [1, 0], "k": 3, **fields}
    return await raw.send("subscribe", **asked)


def ids_of(body: Any) -> list[int]:
    return [row["id"] for row in body["results"]]


@pytest.mark.usefixtures("small_blocks")
async def test_one_query_begins_behind_its_mask_and_others_are_served_meanwhile() -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        await filled(raw)
        (collection,) = server.context.catalog.shards()
        gate = Gate(server)
        gate.is_closed = True
        asked = await one_live(raw, filter=NEAR)
        await eventually(lambda: len(long_reads(server)) == 1)
        moved = await raw.send("move", sub=1, vector=[-1, 0])
        await other.add(1000)  # a piece of the mask
        await eventually(lambda: collection.makes_mask)
        assert (await other.ok("search", collection="items", vector=[1, 0], k=1))["results"]
        assert not raw.replies
        gate.is_closed = False
        assert ids_of((await raw.reply(asked))["ok"]) == [297, 296, 295]
        assert ids_of((await raw.reply(moved))["ok"]) == [0, 1, 2]


@pytest.mark.usefixtures("small_blocks")
async def test_a_query_moves_behind_its_mask() -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        await filled(raw)
        (collection,) = server.context.catalog.shards()
        sub = (await raw.reply(await one_live(raw, filter=NEAR)))["ok"]["sub"]
        for turn in range(mask_cache.MASKS):  # until that of the query is gone
            await other.ok("count", collection="items", filter={"n": {"$lt": 100 + turn}})
        before = long_reads(server).pieces
        assert ids_of(await raw.ok("move", sub=sub, vector=[-1, 0])) == [0, 1, 2]
        assert long_reads(server).pieces - before > WIDE // 64
        for turn in range(mask_cache.MASKS):
            await other.ok("count", collection="items", filter={"n": {"$lt": 200 + turn}})
        gate = Gate(server)
        gate.is_closed = True
        moved = await raw.send("move", sub=sub, vector=[1, 0])
        await eventually(lambda: len(long_reads(server)) == 1)
        left = await raw.send("unsubscribe", sub=sub)
        gate.is_closed = False
        assert ids_of((await raw.reply(moved))["ok"]) == [297, 296, 295]
        assert (await raw.reply(left))["ok"] == {}
        await eventually(lambda: not len(collection.window.standing))
        assert await raw.code("move", sub=sub, vector=[1, 0]) == "not_found"


@pytest.mark.usefixtures("small_blocks")
async def test_a_move_to_another_filter_waits_for_that_ones_mask_and_its_examples_do_not() -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        await filled(raw)
        sub = (await raw.reply(await one_live(raw, filter=NEAR)))["ok"]["sub"]
        gate = Gate(server)
        gate.is_closed = True
        moved = await raw.send("move", sub=sub, filter={"n": 5}, positive=[298, 0], exclude=[294])
        await eventually(lambda: len(long_reads(server)) == 1)
        again = await raw.send("move", sub=sub, min_score=1e5)
        await other.ok("delete", collection="items", ids=[298])  # its target is what it was
        await other.ok("update", collection="items", rows=[{"id": 299, "metadata": {"n": 5}}])
        assert not raw.replies
        gate.is_closed = False
        ok = (await raw.reply(moved))["ok"]
        assert [(row["id"], row["score"]) for row in ok["results"]] == [
            (n, 149.0 * n + 1) for n in (299, 292, 285)
        ]
        assert (await raw.reply(again))["ok"]["results"] == []
        assert not await raw.ok("unsubscribe", sub=sub)


async def test_what_many_answer_with_their_metadata_is_copied_in_pieces_at_one_version() -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        handle = await filled(raw)
        id = raw.next_id()
        before = long_reads(server).pieces
        await raw.send_binary(
            binary.encode_subscribe(id, handle, vectors_of(MANY), 3, include=Include(metadata=True))
        )
        for number in range(1, 6):
            rows = [{"id": 2000 + number, "vector": [500, 500], "metadata": {"n": number}}]
            await other.ok("add", collection="items", rows=rows)
        reply = await raw.reply(id)
        assert long_reads(server).pieces - before > 3 * MANY
        assert reply.counts.tolist() == [3] * MANY
        assert all(
            one == {"n": id_ % 7 if id_ < WIDE else id_ - 2000}
            for one, id_ in zip(reply.hits.metadata, reply.hits.ids.tolist(), strict=True)
        )
        newest = int(reply.hits.seqs.max())
        assert newest <= WIDE + reply.version - 1
        await other.add(3000)  # nothing is held any more


# -- queries whose lists are made in pieces ------------------------------------------------------

RANK = {"$add": ["$score", {"$mul": [1e-3, "n"]}]}


@pytest.fixture
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list takes long, and a piece of it is of ten rows."""
    monkeypatch.setattr(beginning, "MOST_AT_ONCE", 16)
    monkeypatch.setattr(beginning, "AT_ONCE_US", 0.0)
    monkeypatch.setattr(deep, "_PIECE_ROWS", 10)


@pytest.mark.usefixtures("short_pieces")
async def test_the_list_of_one_query_is_made_in_pieces_while_its_collection_is_held() -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        await filled(raw)
        (collection,) = server.context.catalog.shards()
        gate = Gate(server)
        gate.is_closed = True
        asked = await one_live(raw, rank=RANK)
        await eventually(lambda: len(long_reads(server)) == 1)
        assert not collection.is_held
        await other.add(1000)  # and behind it the first piece
        await eventually(lambda: collection.is_held)
        gate.is_closed = False
        assert (await other.ok("search", collection="items", vector=[1, 0], k=1))["results"]
        assert not raw.replies
        best = {"id": 1001, "vector": [999, 9], "metadata": {"n": 9}}
        changed = await other.send("add", collection="items", rows=[best])
        body = (await raw.reply(asked))["ok"]
        expected = {2: [299, 298, 297], 3: [1001, 299, 298]}
        assert ids_of(body) == expected[body["version"]]
        assert "ok" in await other.reply(changed)
        assert long_reads(server).pieces > WIDE // 10
        assert not collection.is_held


@pytest.mark.usefixtures("short_pieces")
@pytest.mark.parametrize("at", ["the connection", "a fault"])
async def test_what_ends_amid_a_list_leaves_nothing_and_lets_its_collection_go(
    at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running() as server, client(server) as other:
        await filled(other)
        (collection,) = server.context.catalog.shards()
        reserved_bytes = server.context.catalog.reserved_bytes
        gate = Gate(server)
        gate.is_closed = True
        async with client(server) as raw:
            asked = await one_live(raw, rank=RANK)
            await eventually(lambda: len(long_reads(server)) == 1)
            await other.add(1000)
            await eventually(lambda: collection.is_held)
            await eventually(lambda: len(collection.window.standing) == 1)
            if at == "a fault":

                def boom(*_: Any) -> Any:
                    raise MemoryError("on purpose")

                with monkeypatch.context() as patch:
                    patch.setattr(deep, "_descending", boom)
                    gate.is_closed = False
                    assert "error" in await raw.reply(asked)
        gate.is_closed = False
        await nothing_is_left(server, reserved_bytes)
        assert not collection.is_held
        await other.add(1001)


@pytest.mark.parametrize(
    ("fields", "pieces_at_least"),
    [({}, 0), ({"rank": RANK}, 30), ({"group": {"by": "n"}}, 1), ({"exclude": [3]}, 1)],
)
async def test_few_queries_begin_in_pieces_where_their_lists_take_long(
    fields: dict[str, Any], pieces_at_least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beginning, "MOST_AT_ONCE", 16)
    monkeypatch.setattr(beginning, "_ELEMENT_US", 0.0)
    monkeypatch.setattr(beginning, "AT_ONCE_US", 0.0)
    monkeypatch.setattr(deep, "_PIECE_ROWS", 10)
    async with running() as server, client(server) as raw:
        await filled(raw)
        before = long_reads(server).pieces
        assert (await raw.reply(await one_live(raw, **fields)))["ok"]["results"]
        made = long_reads(server).pieces - before
        assert made >= pieces_at_least
        assert bool(made) == bool(fields)
