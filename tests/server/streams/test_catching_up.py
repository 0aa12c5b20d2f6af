"""Many rows for standing queries are matched over several ticks: others go on, the law holds.

Nothing here goes by time: a tick matches one row, or looks at one list.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase
from hypothesis import settings as hypothesis_settings
from omendb_core.standing import matcher as core_live
from omendb_core.standing import matching as core_matching
from omendb_core.standing.matcher import Matcher
from omendb_core.standing.matching import Matching

from omendb_ws.engine.streams import standing_queries as standing
from omendb_ws.engine.streams.standing_queries import StandingQueries
from omendb_ws.net.server import Server
from omendb_ws.wire import binary
from omendb_ws.wire.messages import Results
from tests.examples import examples
from tests.patience import eventually
from tests.server.live_view import Matched, sub_of, view_of
from tests.server.raw import Raw, batch, client, engine_held, queued, rows, running, with_keys
from tests.server.streams.test_live_law import LawMachine

ROWS = 60


@pytest.fixture(autouse=True)
def one_row_a_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_matching, "_PIECE_ELEMENTS", 1)
    monkeypatch.setattr(core_matching, "_LEAST_MATCHED", 1)
    monkeypatch.setattr(core_live, "_STEP_ENTRIES", 1)
    monkeypatch.setattr(core_live, "_STEP_LISTS", 1)
    monkeypatch.setattr(standing, "CATCH_UP_US", 0)


class Gate:
    """While it is closed, no row is matched: what catches up stays where it is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_closed = False
        step = Matcher.step
        monkeypatch.setattr(Matcher, "step", lambda this: None if self.is_closed else step(this))


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


async def subscribed(raw: Raw, **fields: Any) -> Any:
    asked = {"collection": "items", "kind": "live", "vector": [1.0, 0.0], "k": 3, **fields}
    return await raw.ok("subscribe", **asked)


def collection_of(server: Server) -> Any:
    return next(one for one in server.context.catalog.shards() if one.name == "items")


async def test_searches_of_all_are_answered_while_rows_are_matched(gate: Gate) -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        handle = (await raw.create(capacity=100))["handle"]
        await other.ok("create", collection="others", dim=2, capacity=10)
        view = view_of(raw, await subscribed(raw))
        gate.is_closed = True
        added = await raw.add_binary(handle, batch(*range(ROWS)))
        await eventually(lambda: collection_of(server).is_catching_up)
        found = await raw.ok("search", collection="items", vector=[1, 0], k=3)
        assert (await other.ok("count", collection="others"))["count"] == 0
        assert found["version"] == added.version
        assert not raw.events
        gate.is_closed = False
        await view.step()
        assert [row.seq for row in view.answer] == [row["seq"] for row in found["results"]]
        await eventually(lambda: not collection_of(server).is_held)


async def test_a_tick_matches_some_rows_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many ticks as rows, at least."""
    async with running() as server, client(server) as raw:
        handle = (await raw.create(capacity=100))["handle"]
        view = view_of(raw, await subscribed(raw))
        unfinished = []
        catch_up = StandingQueries.catch_up

        def counted(this: StandingQueries) -> None:
            catch_up(this)
            unfinished.append(collection_of(server).is_catching_up)

        monkeypatch.setattr(StandingQueries, "catch_up", counted)
        await raw.add_binary(handle, batch(*range(ROWS)))
        await view.step()
        assert sum(unfinished) >= ROWS - 1


async def test_changes_of_that_collection_wait_and_those_of_others_do_not(gate: Gate) -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        handle = (await raw.create(capacity=100))["handle"]
        await raw.ok("create", collection="others", dim=2, capacity=10)
        await subscribed(raw)
        gate.is_closed = True
        await raw.add_binary(handle, batch(*range(ROWS)))
        await eventually(lambda: collection_of(server).is_catching_up)
        waiting = [
            await other.send("delete", collection="items", ids=[3]),
            await other.send("add", collection="items", rows=[{"id": 100, "vector": [1, 1]}]),
        ]
        await eventually(lambda: collection_of(server).has_kept_waiting)
        await raw.ok("add", collection="others", rows=[{"id": 1, "vector": [1, 1]}])
        assert (await raw.ok("count", collection="items"))["count"] == ROWS
        gate.is_closed = False
        for id_ in waiting:
            assert "ok" in await other.reply(id_)
        assert (await raw.ok("count", collection="items"))["count"] == ROWS


async def test_what_is_asked_of_its_queries_meanwhile_is_answered_of_whole_lists(
    gate: Gate,
) -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create(capacity=100))["handle"]
        first, second = sub_of(await subscribed(raw)), sub_of(await subscribed(raw))
        gate.is_closed = True
        await raw.add_binary(handle, batch(*range(ROWS)))
        await eventually(lambda: collection_of(server).is_catching_up)
        many = raw.next_id()
        await raw.send_binary(
            binary.encode_subscribe(many, handle, np.ones((40, 2), np.float32), k=3)
        )
        fields = {"collection": "items", "vector": [0.0, 1.0]}
        ids = [
            await raw.send("subscribe", kind="live", k=3, **fields),
            await raw.send("move", sub=first, vector=[0.0, 1.0]),
            await raw.send("unsubscribe", sub=second),
            await raw.send("subscribe", kind="match", min_score=0.0, **fields),
        ]
        found = await raw.ok("search", collection="items", vector=[0, 1], k=3)
        assert not set(ids) & raw.replies.keys()
        gate.is_closed = False
        replies = [await raw.reply(id_) for id_ in ids]
        assert all("ok" in reply for reply in replies)
        wanted = [row["seq"] for row in found["results"]]
        for reply in replies[:2]:
            assert [row["seq"] for row in reply["ok"]["results"]] == wanted
        assert replies[3]["ok"]["to_seq"] == ROWS
        begun = await raw.reply(many)
        assert isinstance(begun, Results)
        assert begun.counts.tolist() == [3] * 40


async def test_hits_come_once_and_in_order() -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create(capacity=1000))["handle"]
        asked = {"kind": "match", "vector": [1.0, 0.0], "min_score": -9e9}
        reply = await raw.ok("subscribe", collection="items", **asked)
        matched = Matched(raw, reply["sub"], reply["to_seq"])
        for turn in range(3):
            numbers = range(turn * ROWS, (turn + 1) * ROWS)
            await raw.add_binary(handle, batch(*numbers))
        while matched.to_seq < 3 * ROWS:
            await matched.step()
        assert list(matched.rows) == list(range(1, 3 * ROWS + 1))


async def test_a_drop_amid_the_steps_is_done_and_what_was_asked_before_is_answered() -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create(capacity=100))["handle"]
        await subscribed(raw)
        await raw.add_binary(handle, batch(*range(ROWS)))
        asked = await raw.send("subscribe", collection="items", kind="live", vector=[0.0, 1.0], k=3)
        dropped = await raw.send("drop", collection="items")
        assert len((await raw.reply(asked))["ok"]["results"]) == 3
        assert "ok" in await raw.reply(dropped)
        await raw.create(capacity=100)
        await raw.add(1)
        assert not collection_of(server).is_held


async def test_a_reader_who_leaves_amid_the_steps_lets_the_collection_go() -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create(capacity=100))["handle"]
        async with client(server) as other:
            await subscribed(other)
            await raw.add_binary(handle, batch(*range(ROWS)))
        await eventually(lambda: not len(collection_of(server).window.standing))
        await raw.add(1000)
        assert not collection_of(server).is_held


async def test_a_fault_amid_the_steps_lets_the_collection_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create(capacity=100))["handle"]
        await subscribed(raw)
        match = Matching._match
        calls = []

        def boom(*arguments: Any) -> Any:
            calls.append(1)
            if len(calls) == 5:
                raise MemoryError("on purpose")
            return match(*arguments)

        monkeypatch.setattr(Matching, "_match", boom)
        await raw.add_binary(handle, batch(*range(ROWS)))
        assert await raw.code("add", collection="items", rows=[{"id": 1, "vector": [1, 1]}]) == (
            "unavailable"
        )
        await raw.ok("drop", collection="items")
        await raw.create(capacity=100)
        await raw.add(1)


class CatchingUpMachine(LawMachine):
    """The law of live and match queries where every tick matches one row."""


TestLawOfCatchingUp = CatchingUpMachine.TestCase
TestLawOfCatchingUp.settings = hypothesis_settings(
    max_examples=examples(25),
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
)


async def many_behind(
    raws: dict[Raw, int], server: Server, monkeypatch: pytest.MonkeyPatch
) -> list[list[str]]:
    """So many collections of each with a live query, added to at once; whose caught up in each
    tick that had any to catch up."""
    subs: list[tuple[Raw, int]] = []
    for raw, count in raws.items():
        for place in range(count):
            name = f"items-{place}"
            await raw.create(name)
            subs.append((raw, (await subscribed(raw, collection=name))["sub"]))
    standing_queries = server.context.engine.tick.standing
    catch_up, catch_one_up = standing_queries.catch_up, standing_queries._catch_up
    ticks: list[list[str]] = []

    def counted() -> None:
        ticks.append([])
        catch_up()

    def one_counted(shard: Any, *rest: Any) -> None:
        ticks[-1].append(shard.tenant)
        catch_one_up(shard, *rest)

    monkeypatch.setattr(standing_queries, "catch_up", counted)
    monkeypatch.setattr(standing_queries, "_catch_up", one_counted)
    async with engine_held(server):
        asked = [
            (raw, await raw.send("add", collection=f"items-{place}", rows=rows(1, 2, 3)))
            for raw, count in raws.items()
            for place in range(count)
        ]
        await queued(server, len(asked))
    for raw, id in asked:
        assert (await raw.reply(id))["ok"]["version"] == 1
    for raw, sub in subs:
        pushed = await raw.event(lambda one, sub=sub: sub_of(one) == sub)
        assert pushed["version"] == 1
    return [tick for tick in ticks if tick]


async def test_of_many_collections_a_tick_catches_up_as_many_as_it_has_time_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running() as server, client(server) as raw:
        ticks = await many_behind({raw: 12}, server, monkeypatch)
        assert {len(tick) for tick in ticks} == {1}


async def test_what_standing_queries_take_is_their_tenants_time(tmp_path: Path) -> None:
    async with (
        running(Server(with_keys(tmp_path))) as server,
        client(server, token="token-root") as raw,
    ):
        await raw.create()
        for _ in range(5):
            await subscribed(raw)
        standing_queries = server.context.engine.tick.standing
        now_ns = 0

        def clock_ns() -> int:
            nonlocal now_ns
            now_ns += 1_000_000_000
            return now_ns

        standing_queries._clock_ns = clock_ns
        share = server.context.accounts.of("acme").share
        before_us = share.used_us
        await raw.add(1, 2, 3)
        await raw.ok("search", collection="items", vector=[1.0, 0.0])
        assert share.used_us - before_us >= 1e6


async def test_a_tenant_of_many_collections_leaves_every_other_turn_to_one_of_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with (
        running(Server(with_keys(tmp_path))) as server,
        client(server, token="token-root") as many,
        client(server, token="token-other") as few,
    ):
        ticks = await many_behind({many: 12, few: 1}, server, monkeypatch)
        tenants = [tenant for tick in ticks for tenant in tick]
        of_few = [place for place, tenant in enumerate(tenants) if tenant == "umbrella"]
        first = of_few[0]
        assert of_few == list(range(first, first + 2 * len(of_few), 2))
        assert tenants[of_few[-1] + 1 :].count("acme") > 12
