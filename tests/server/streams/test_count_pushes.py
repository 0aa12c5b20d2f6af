"""Subscriptions of kind ``count``, over sockets: the last push is what ``count`` says then.

Beats are made by hand but where a test is about time.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omendb_core import counting
from omendb_core.filters import mask_cache
from omendb_core.filters import masks as filter_masks

from omendb_ws.engine.pieces import long_reads as pieces
from omendb_ws.engine.streams import counting as tallies
from omendb_ws.net.server import Server
from omendb_ws.sessions.outbox import Batch
from omendb_ws.sessions.subscriptions.counts import CountSubscription
from omendb_ws.wire import binary
from tests import count_oracle
from tests.filter_oracle import VALUES, passes
from tests.patience import eventually
from tests.server.engine.test_counting import COLUMNS, filled
from tests.server.raw import Raw, client, engine_held, queued, rows, running, settings, with_keys
from tests.server.streams.test_beginning import long_reads

SLOW = {"collection": "items", "every": 60_000}
V = [1.0, 0.0]


@pytest.fixture(params=["at once", "in pieces"])
def sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "in pieces":
        in_pieces(monkeypatch)


def in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "SLICE_US", 0)
    monkeypatch.setattr(tallies, "SLICE_US", 0)
    monkeypatch.setattr(tallies, "_REST", 0)
    monkeypatch.setattr(counting, "is_short", lambda state: False)
    monkeypatch.setattr(counting, "BLOCK_ROWS", 64)
    monkeypatch.setattr(counting, "_TEXTS", 2)
    monkeypatch.setattr(mask_cache, "AT_ONCE_NS", 0)
    monkeypatch.setattr(mask_cache, "BLOCK_ROWS", 64)
    monkeypatch.setattr(filter_masks, "BLOCK_ROWS", 64)


def counting_now(server: Server) -> list[CountSubscription]:
    """The subscriptions to counts of all connections."""
    return [
        one
        for session in server._sessions.values()
        for one in session.subscriptions.values()
        if isinstance(one, CountSubscription)
    ]


def engine_tallies(server: Server) -> tallies.Tallies:
    return server.context.engine.tick.tallies


async def beat(server: Server) -> None:
    """All of them beat, and what they have to say is with the outboxes."""
    every = counting_now(server)
    for one in every:
        one.tally.rests_until_ns = 0
        one._tick()
    await eventually(lambda: not any(one._is_asking for one in every))


class View:
    """What one subscription was told, against what there was at that version."""

    def __init__(self, asked: dict[str, Any], reply: dict[str, Any]) -> None:
        self.asked = asked
        self.sub = reply.pop("sub")
        self.epoch = reply.pop("epoch")
        self.told = reply
        self.pushes = 0

    def take(self, push: dict[str, Any]) -> None:
        assert push.pop("event") == "count"
        assert push.pop("sub") == self.sub
        assert push["version"] > self.told["version"]
        assert {**push, "version": 0} != {**self.told, "version": 0}, "nothing has changed"
        self.told = push
        self.pushes += 1

    def check(self, states: dict[int, dict[int, Any]]) -> None:
        """What it was told is what there was."""
        assert self.told == self.said_of(states, self.told["version"])

    def said_of(self, states: dict[int, dict[int, Any]], version: int) -> dict[str, Any]:
        filter_ = self.asked.get("filter", {})
        passed = [one for one in states[version].values() if passes(filter_, one)]
        found = count_oracle.reply(passed, self.asked.get("by"), self.asked.get("limit", 100))
        return {"version": version, **found}


ASKED: list[dict[str, Any]] = [
    {},
    {"filter": {"i": {"$gte": 1}}},
    {"by": "f"},
    {"by": "i", "limit": 2},
    {"by": "on", "filter": {"text": {"$exists": True}}},
    {"by": "text", "limit": 1},
    {"by": "text", "filter": {"$or": [{"on": True}, {"i": 7}]}, "limit": 1000},
]


class Histories:
    """Changes of a window, and what it holds at each version."""

    def __init__(self, raw: Raw, capacity: int, seed: int) -> None:
        self.raw = raw
        self.random = random.Random(seed)
        self.capacity = capacity
        self.states: dict[int, dict[int, Any]] = {0: {}}
        self._seqs: dict[int, int] = {}

    def metadata(self) -> dict[str, Any]:
        return {
            name: self.random.choice(VALUES[type_])
            for name, type_ in COLUMNS.items()
            if self.random.random() < 0.7
        }

    async def change(self) -> None:
        state = dict(self.states[max(self.states)])
        kind = self.random.choice(["add", "add", "delete", "update"])
        ids = self.random.sample(range(40), self.random.randrange(1, 6))
        if kind == "delete":
            reply = await self.raw.ok("delete", collection="items", ids=ids)
            for id_ in ids:
                state.pop(id_, None)
        else:
            ids = [id_ for id_ in ids if id_ in state] if kind == "update" else ids
            if not ids:
                return
            made = {id_: self.metadata() for id_ in ids}
            vector = {"vector": V} if kind == "add" else {}
            sent = [{"id": id_, **vector, "metadata": one} for id_, one in made.items()]
            reply = await self.raw.ok(kind, collection="items", rows=sent)
            if kind == "add":
                for id_ in ids:
                    state.pop(id_, None)
                self._seqs |= dict(zip(ids, range(reply["first_seq"], 10**9), strict=False))
                last = reply["last_seq"]
                state = {
                    id_: one
                    for id_, one in (state | made).items()
                    if self._seqs[id_] > last - self.capacity
                }
            else:
                state |= made
        self.states[reply["version"]] = state


@pytest.mark.usefixtures("sizes")
@pytest.mark.parametrize("seed", range(3))
async def test_the_last_push_is_what_count_says_at_its_version(seed: int) -> None:
    async with running() as server, client(server) as raw, client(server) as writer:
        await raw.create(capacity=20, columns=COLUMNS)
        history = Histories(writer, 20, seed)
        for _ in range(10):
            await history.change()
        views = {}
        for asked in ASKED:
            view = View(asked, await raw.ok("subscribe", kind="count", **SLOW, **asked))
            view.check(history.states)
            views[view.sub] = view
        for turn in range(30):
            for _ in range(turn % 3):
                await history.change()
            await beat(server)
            await raw.ok("ping")
            for push in raw.events:
                assert isinstance(push, dict)
                views[push["sub"]].take(push)
            raw.events.clear()
            version = max(history.states)
            for view in views.values():
                view.check(history.states)
                wanted = view.said_of(history.states, version)
                assert {**view.told, "version": 0} == {**wanted, "version": 0}, "a change is missed"
                found = await raw.ok("count", collection="items", **view.asked)
                assert found == wanted
        assert sum(view.pushes for view in views.values()) > 30
        assert server.metrics.faults == 0
        (shard,) = server.context.catalog.shards()
        async with engine_held(server):
            shard.window.check()


@pytest.mark.usefixtures("sizes")
async def test_counts_while_the_window_changes_are_of_the_version_that_they_say() -> None:
    async with running() as server, client(server) as raw, client(server) as writer:
        await raw.create(capacity=20, columns=COLUMNS)
        history = Histories(writer, 20, 5)
        views = {}
        for asked in ASKED:
            view = View(asked, await raw.ok("subscribe", kind="count", **SLOW, **asked))
            views[view.sub] = view
        for _ in range(40):
            beating = asyncio.create_task(beat(server))
            for _ in range(3):
                await history.change()
            await beating
        await beat(server)
        await raw.ok("ping")
        for push in raw.events:
            assert isinstance(push, dict)
            view = views[push["sub"]]
            view.take(push)
            view.check(history.states)
        for view in views.values():
            wanted = view.said_of(history.states, max(history.states))
            assert {**view.told, "version": 0} == {**wanted, "version": 0}


async def test_rows_that_expire_are_counted_no_more() -> None:
    from tests.server.raw import Clock

    clock = Clock()
    async with running(Server(settings(), clock_us=clock)) as server, client(server) as raw:
        await filled(raw, 30, ttl=10)
        view = View({}, await raw.ok("subscribe", kind="count", **SLOW))
        assert view.told == {"version": 1, "count": 30}
        clock.move(11)
        await raw.add(99)
        await beat(server)
        push = await raw.named("count")
        assert (push["version"], push["count"]) == (3, 1)


async def test_pushes_come_by_themselves_and_not_oftener_than_asked() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(capacity=1000)
        reply = await raw.ok("subscribe", kind="count", collection="items", every=100)
        assert reply["count"] == 0
        loop = asyncio.get_running_loop()
        began = loop.time()
        said = []
        for number in range(1, 60):
            await raw.add(number)
            await asyncio.sleep(0.005)
        while not said or said[-1]["count"] < 59:
            said.append(await raw.named("count"))
        beats = (loop.time() - began) / 0.1
        assert len(said) <= beats + 2
        assert [one["version"] for one in said] == [one["count"] for one in said]


async def test_a_change_that_changes_no_count_is_not_told() -> None:
    async with running() as server, client(server) as raw:
        await filled(raw, 30, capacity=40)
        await raw.ok("subscribe", kind="count", **SLOW, by="on")
        await raw.ok("subscribe", kind="count", **SLOW)
        for number in range(5):
            metadata = {"id": 6, "metadata": {"on": True, "text": f"t{number}"}}
            await raw.ok("update", collection="items", rows=[metadata])
            await beat(server)
        await raw.ok("ping")
        assert len(raw.events) <= 1, "only the first update may have changed what there is"
        raw.events.clear()
        row = {"id": 1000, "vector": V, "metadata": {"on": True}}
        await raw.ok("delete", collection="items", ids=[6])
        await raw.ok("add", collection="items", rows=[row])
        await beat(server)
        await raw.ok("ping")
        assert raw.events == []


async def test_whoever_does_not_read_is_told_the_newest_only() -> None:
    async with running() as server, client(server) as raw, client(server) as writer:
        await raw.create(capacity=1000)
        await raw.ok("subscribe", kind="count", **SLOW)
        (subscription,) = counting_now(server)
        session: Any = subscription.session
        take = session.outbox.take
        session.outbox.take = Batch  # the socket takes nothing
        for number in range(5):
            await writer.add(number)
            await beat(server)
        assert len(session.outbox) == 1
        assert server.metrics.stats_merged == 4
        session.outbox.take = take
        await writer.add(5)
        await beat(server)
        await raw.ok("ping")
        assert [(one["version"], one["count"]) for one in raw.events] == [(6, 6)]  # type: ignore[index]


async def test_what_is_as_it_was_when_the_turn_comes_is_not_told() -> None:
    async with running() as server, client(server) as raw, client(server) as writer:
        await raw.create()
        await writer.add(1)
        await raw.ok("subscribe", kind="count", **SLOW)
        (subscription,) = counting_now(server)
        session: Any = subscription.session
        take = session.outbox.take
        session.outbox.take = Batch
        await writer.add(2)
        await beat(server)
        await writer.ok("delete", collection="items", ids=[2])
        await beat(server)
        session.outbox.take = take
        await raw.ok("ping")
        assert raw.events == []


# -- requests -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "code", "names"),
    [
        ({"by": "nix"}, "bad_request", "by: nix is not a declared column"),
        ({"by": 3}, "bad_request", "by: must be a string"),
        ({"limit": 3}, "bad_request", "limit: says how many values of by"),
        ({"by": "f", "limit": 0}, "bad_request", "limit: at least 1"),
        ({"by": "f", "limit": 1001}, "bad_request", "limit: at most 1000"),
        ({"by": "f", "limit": 1.5}, "bad_request", "limit: must be an integer"),
        ({"every": 99}, "bad_request", "every: at least 100"),
        ({"every": 60_001}, "bad_request", "every: at most 60000"),
        ({"every": "100"}, "bad_request", "every: must be an integer"),
        ({"filter": {"nix": 1}}, "bad_filter", "nix"),
        ({"filter": []}, "bad_filter", "filter: must be an object"),
        ({"collection": "nix"}, "not_found", "nix"),
        ({"vector": [1, 0]}, "bad_request", "vector: unknown field"),
        ({"k": 1}, "bad_request", "k: unknown field"),
        ({"encoding": "binary"}, "bad_request", "encoding: unknown field"),
        ({"from_seq": 1}, "bad_request", "from_seq: unknown field"),
    ],
)
async def test_what_is_wrong_is_named_and_nothing_began(
    fields: dict[str, Any], code: str, names: str
) -> None:
    async with running() as server, client(server) as raw:
        await filled(raw, 20)
        before = server.context.catalog.reserved_bytes
        error = await raw.error("subscribe", **{"kind": "count", "collection": "items", **fields})
        assert error["code"] == code
        assert names in error["message"]
        assert counting_now(server) == []
        assert server.context.catalog.reserved_bytes == before
        assert (await raw.ok("subscribe", kind="count", collection="items"))["sub"]
        assert server.metrics.faults == 0


async def test_a_push_that_no_message_might_hold_is_refused_before() -> None:
    async with running(max_message_bytes=1 << 16) as server, client(server) as raw:
        await raw.create(columns={"text": "str"}, capacity=64)
        error = await raw.error("subscribe", kind="count", collection="items", by="text")
        assert (error["code"], error["message"][:6]) == ("too_large", "limit:")
        assert await raw.ok("subscribe", kind="count", collection="items", by="text", limit=10)


@pytest.mark.usefixtures("sizes")
async def test_an_unsubscribe_right_behind_is_answered_behind_the_first_count() -> None:
    async with running() as server, client(server) as raw:
        await filled(raw, 300)
        for by in ("f", "text", "on"):
            (session,) = server._sessions.values()
            sub = session.last_sub + 1
            begun = await raw.send("subscribe", kind="count", collection="items", by=by)
            left = await raw.send("unsubscribe", sub=sub)
            again = await raw.send("unsubscribe", sub=sub)
            assert (await raw.reply(begun))["ok"]["sub"] == sub
            assert (await raw.reply(left))["ok"] == {}
            assert (await raw.reply(again))["error"]["code"] == "not_found"
            places = [one["id"] for one in raw.order if "id" in one]
            assert places.index(begun) < places.index(left)
        assert counting_now(server) == []
        assert len(server.context.tallies) == 0
        assert server.metrics.subscriptions["count"] == 0


async def test_an_unsubscribe_behind_a_refused_one_finds_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_pieces(monkeypatch)

    def boom(*_: Any) -> Any:
        raise RuntimeError("a bug, on purpose")

    async with running() as server, client(server) as raw:
        await filled(raw, 300)
        monkeypatch.setattr(counting, "reading", boom)
        begun = await raw.send("subscribe", kind="count", collection="items", by="f")
        left = await raw.send("unsubscribe", sub=1)
        assert (await raw.reply(begun))["error"]["code"] == "internal"
        assert (await raw.reply(left))["error"]["code"] == "not_found"
        assert counting_now(server) == []
        assert (await raw.ok("count", collection="items"))["count"] == 300
        await raw.add(5)


@pytest.mark.usefixtures("sizes")
async def test_dropped_with_its_collection() -> None:
    async with running() as server, client(server) as raw:
        await filled(raw, 300)
        begun = await raw.send("subscribe", kind="count", collection="items", by="text")
        dropped = await raw.send("drop", collection="items")
        reply = (await raw.reply(begun))["ok"]
        assert reply["count"] == 300
        assert (await raw.reply(dropped))["ok"] == {}
        ended = await raw.named("ended")
        assert ended == {"event": "ended", "sub": reply["sub"], "reason": "dropped"}
        await eventually(lambda: not server.context.catalog.reserved_bytes)
        assert len(server.context.tallies) == 0


async def test_dropped_in_the_middle_of_counting_again(monkeypatch: pytest.MonkeyPatch) -> None:
    in_pieces(monkeypatch)
    async with running() as server, client(server) as raw:
        await filled(raw, 2000)
        await raw.ok("subscribe", kind="count", **SLOW, by="text")
        await raw.add(1)
        (subscription,) = counting_now(server)
        before = engine_tallies(server).pieces
        subscription.tally.rests_until_ns = 0
        subscription._tick()
        await eventually(lambda: engine_tallies(server).pieces > before + 2)
        await raw.ok("drop", collection="items")
        assert (await raw.named("ended"))["reason"] == "dropped"
        del subscription
        await eventually(lambda: not server.context.catalog.reserved_bytes)
        await eventually(lambda: not engine_tallies(server))
        assert server.metrics.faults == 0


async def test_a_token_without_the_right_ends_it(tmp_path: Path) -> None:
    async with running(Server(with_keys(tmp_path))) as server, client(server) as raw:
        await raw.ok("auth", token="token-root")
        await raw.create()
        reply = await raw.ok("subscribe", kind="count", collection="items")
        await raw.ok("auth", token="token-writer")
        ended = await raw.named("ended")
        assert ended == {"event": "ended", "sub": reply["sub"], "reason": "forbidden"}
        assert await raw.code("subscribe", kind="count", collection="items") == "forbidden"


async def test_what_is_held_is_charged_and_given_back() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(capacity=64, columns={"text": "str"})
        budget = server.context.catalog.budget
        before = budget.taken_bytes
        first = (await raw.ok("subscribe", kind="count", **SLOW, by="text"))["sub"]
        one = budget.taken_bytes - before
        second = (await raw.ok("subscribe", kind="count", **SLOW, by="text"))["sub"]
        assert 0 < budget.taken_bytes - before - one < one, "alike ones share what was counted"
        rows = [
            {"id": n, "vector": V, "metadata": {"text": f"{n:02}" + "x" * 3000}} for n in range(30)
        ]
        await raw.ok("add", collection="items", rows=rows)
        with_rows = budget.taken_bytes
        await beat(server)
        assert budget.taken_bytes - with_rows > 2 * 30 * 3000
        for sub in (first, second):
            await raw.ok("unsubscribe", sub=sub)
        await eventually(lambda: budget.taken_bytes < with_rows)
        await raw.ok("drop", collection="items")
        assert len(server.context.tallies) == 0


async def test_without_memory_for_more_the_last_that_was_told_stays() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(capacity=64, columns={"text": "str"})
        await raw.ok("subscribe", kind="count", **SLOW, by="text")
        (subscription,) = counting_now(server)
        share = subscription.tally._share
        row = {"id": 1, "vector": V, "metadata": {"text": "x" * 3000}}
        await raw.ok("add", collection="items", rows=[row])
        budget = server.context.catalog.budget
        most = budget.max_bytes
        budget.max_bytes = budget.taken_bytes
        for _ in range(3):
            await beat(server)
        await raw.ok("ping")
        assert raw.events == []
        error = await raw.error("subscribe", kind="count", **SLOW, by="text")
        assert error["code"] == "quota"
        budget.max_bytes = most
        await beat(server)
        assert (await raw.named("count"))["count"] == 1
        assert share.taken_bytes > 6000
        assert server.metrics.faults == 0


# -- many -----------------------------------------------------------------------------------------


async def test_alike_subscriptions_are_counted_once_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted = 0
    reading = counting.reading

    def count(*arguments: Any) -> Any:
        nonlocal counted
        counted += 1
        return reading(*arguments)

    monkeypatch.setattr(counting, "reading", count)
    async with running() as server, client(server) as raw, client(server) as other:
        await filled(raw, 50)
        for one in (raw, other):
            for _ in range(20):
                filter_ = {"i": {"$gte": 1}}
                await one.ok("subscribe", kind="count", **SLOW, by="text", filter=filter_)
        assert counted == 1
        assert len(server.context.tallies) == 1
        await raw.ok("delete", collection="items", ids=list(range(25)))
        async with engine_held(server):
            for subscription in counting_now(server):
                subscription.tally.rests_until_ns = 0
                subscription._tick()
        for one in (raw, other):
            for _ in range(20):
                await one.named("count")
        assert counted == 2
        await beat(server)
        assert counted == 2, "nothing has changed since"


async def test_a_tick_tells_some_and_others_have_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    many = 40
    monkeypatch.setattr(tallies, "SLICE_US", 0)
    monkeypatch.setattr(tallies, "_TOLD_AT_ONCE", 3)
    async with running() as server, client(server) as raw:
        await filled(raw, 50)
        for number in range(many):
            await raw.ok("subscribe", kind="count", **SLOW, by="text", limit=1 + number % 4)
        await raw.ok("delete", collection="items", ids=list(range(25)))
        the_engine = server.context.engine
        told: list[int] = []
        post = the_engine.moment._post

        def posting(effects: Any) -> None:
            told.append(sum(isinstance(one, tallies.Recounted) for one in effects))
            post(effects)

        monkeypatch.setattr(the_engine.moment, "_post", posting)
        async with engine_held(server):
            for subscription in counting_now(server):
                subscription.tally.rests_until_ns = 0
                subscription._tick()
        for _ in range(many):
            await raw.named("count")
        assert sum(told) == many
        assert max(told) == 3


async def test_one_connections_many_tallies_do_not_keep_anothers_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_pieces(monkeypatch)
    async with running() as server, client(server) as raw, client(server) as other:
        await filled(raw, 200)
        for number in range(100):
            await raw.ok("subscribe", kind="count", **SLOW, by="text", limit=number + 1)
        await other.ok("subscribe", kind="count", **SLOW, by="f")
        await raw.ok("delete", collection="items", ids=list(range(50)))
        told: list[tallies.Recounted] = []
        post = server.context.engine.moment._post

        def posting(effects: Any) -> None:
            told.extend(one for one in effects if isinstance(one, tallies.Recounted))
            post(effects)

        monkeypatch.setattr(server.context.engine.moment, "_post", posting)
        async with engine_held(server):
            for subscription in counting_now(server):
                subscription.tally.rests_until_ns = 0
                subscription._tick()
        await other.named("count")
        await eventually(lambda: len(told) == 101)
        (place,) = [place for place, one in enumerate(told) if one.reader.tally.query.by == "f"]
        assert place < 4


async def test_counting_again_goes_on_between_batches_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A collection that long reads hold one after the other is held by a count, too."""
    from omendb_ws.engine.reads import long_answers

    in_pieces(monkeypatch)
    monkeypatch.setattr(long_answers, "AT_ONCE_US", -1.0)
    monkeypatch.setattr(long_answers, "_LEAST_QUERIES", 1)
    monkeypatch.setattr(long_answers, "_LEAST_HARD_QUERIES", 1)
    monkeypatch.setattr(long_answers, "_MOST_QUERIES", 1)
    async with running() as server, client(server) as raw, client(server) as busy:
        await filled(raw, 200)
        await raw.ok("subscribe", kind="count", **SLOW, by="text")
        await raw.ok("delete", collection="items", ids=list(range(50)))
        handle = (await busy.ok("open", collection="items"))["handle"]
        frames = [
            binary.encode_search(900 + number, handle, _vectors(20), 3) for number in range(20)
        ]
        async with engine_held(server):
            for frame in frames:
                await busy.send_binary(frame)
            await queued(server, 20)
            (subscription,) = counting_now(server)
            subscription.tally.rests_until_ns = 0
            subscription._tick()
        await raw.named("count")
        assert len(long_reads(server)) > 0, "it had to wait for all of them"
        for number in range(20):
            await busy.reply(900 + number)


def _vectors(count: int) -> Any:
    import numpy as np

    return np.ones((count, 2), np.float32)


async def test_a_tally_that_takes_long_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    in_pieces(monkeypatch)
    monkeypatch.setattr(tallies, "_REST", 10**9)
    async with running() as server, client(server) as raw:
        await filled(raw, 200)
        await raw.ok("subscribe", kind="count", **SLOW, by="text")
        await raw.ok("delete", collection="items", ids=[1])
        await beat(server)
        await raw.named("count")
        before = engine_tallies(server).pieces
        await raw.ok("delete", collection="items", ids=[2])
        (subscription,) = counting_now(server)
        for _ in range(5):
            subscription._tick()
            await eventually(lambda: not subscription._is_asking)
        assert engine_tallies(server).pieces == before
        # Who subscribes meanwhile is told what is true.
        reply = await raw.ok("subscribe", kind="count", **SLOW, by="text")
        assert (reply["version"], reply["count"]) == (3, 198)
        subscription._tick()
        assert (await raw.named("count"))["version"] == 3


# -- faults ---------------------------------------------------------------------------------------


async def test_a_fault_while_counting_again_holds_up_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_pieces(monkeypatch)
    reading: Callable[..., Any] = counting.reading

    def faulty(*arguments: Any) -> Any:
        yield
        raise RuntimeError("a bug, on purpose")

    async with running() as server, client(server) as raw:
        await filled(raw, 200)
        await raw.ok("subscribe", kind="count", **SLOW, by="text")
        await raw.ok("delete", collection="items", ids=[1])
        monkeypatch.setattr(counting, "reading", faulty)
        await beat(server)
        assert server.metrics.faults == 1
        (shard,) = server.context.catalog.shards()
        assert not shard.is_held
        assert not shard.keeps_count_waiting
        await raw.ok("delete", collection="items", ids=[2])
        monkeypatch.setattr(counting, "reading", reading)
        await beat(server)
        push = await raw.named("count")
        assert (push["version"], push["count"]) == (3, 198)


async def test_whoever_leaves_in_the_middle_lets_the_window_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_pieces(monkeypatch)
    async with running() as server, client(server) as raw:
        await filled(raw, 2000)
        (shard,) = server.context.catalog.shards()
        async with client(server) as other:
            before = long_reads(server).pieces
            for limit in range(1, 21):
                fields = {"collection": "items", "by": "text", "limit": limit}
                await other.send("subscribe", kind="count", **fields)
            await eventually(lambda: long_reads(server).pieces > before)
        await eventually(lambda: not (shard.is_held or len(long_reads(server))))
        await eventually(lambda: not counting_now(server))
        await raw.ok("add", collection="items", rows=rows(5))
        assert (await raw.ok("count", collection="items"))["count"] == 1999
