"""One fault, once: whoever it met is told, everybody else goes on, and the next one works.

``MemoryError`` stands for all of them: it can come from any call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from omendb_ws.engine import changing, tick
from omendb_ws.engine.streams import drawing, snapshots
from omendb_ws.engine.writes import durability
from omendb_ws.sessions.subscriptions import maps, pictures
from tests.server.engine.test_faults import all_is_well
from tests.server.journal.test_durability import held, seen
from tests.server.live_view import live
from tests.server.raw import client, engine_held, queued, rows, running
from tests.server.streams.test_maps import Picture, add, begun, cloud

V = [1.0, 0.0]


def once(call: Callable[..., Any]) -> Callable[..., Any]:
    """``call``, but the first one is a fault."""
    calls = 0

    def faulty(*arguments: Any, **fields: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise MemoryError("on purpose")
        return call(*arguments, **fields)

    return faulty


@pytest.mark.parametrize("name", ["_compact", "released"])
async def test_what_is_committed_is_answered_whatever_befalls_afterwards(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change that is committed in the tick of a fault is acknowledged, and parked ones go on."""
    async with held() as (server, store, one, other):
        log = store.log("items")
        adding = await one.send("add", collection="items", rows=rows(1, 2))
        while not log.queued:
            await other.ok("ping")
        deleting = await other.send("delete", collection="items", ids=[1])
        await one.ok("ping")
        where = durability.Durability if name == "_compact" else changing.Durability
        if name == "released":
            monkeypatch.setattr(where, "_release", once(where._release))
        else:
            monkeypatch.setattr(durability, "kept_rows", once(durability.kept_rows))
            log.wanted = (1, 1)
        store.is_patient = False
        log.let_go()
        assert (await one.reply(adding))["ok"]["last_seq"] == 2
        assert (await other.reply(deleting))["ok"]["deleted"] == 1
        assert await seen(one) == [2]
        assert server.metrics.faults == 1
        await all_is_well(one, "items")
        assert server.context.engine.pending_changes == 0


@pytest.mark.usefixtures("whole_ticks")
async def test_a_fault_in_a_tick_leaves_what_the_tick_made_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every request of a tick gets its reply: whatever step is at fault."""
    async with running() as server, client(server) as raw, client(server) as other:
        await raw.create()
        await raw.add(1)
        standing = server.context.engine.tick.standing
        monkeypatch.setattr(standing, "answer", once(standing.answer))
        async with engine_held(server):
            counting = await raw.send("count", collection="items")
            subscribing = await raw.send("subscribe", kind="live", collection="items", vector=V)
            adding = await other.send("add", collection="items", rows=rows(2))
            await queued(server, 3)
        assert (await raw.reply(counting))["ok"]["count"] in (1, 2)
        assert (await raw.reply(subscribing))["error"]["code"] == "internal"
        assert (await other.reply(adding))["ok"]["version"] == 2
        assert server.metrics.subscriptions.total() == 0
        assert server.metrics.faults == 1
        await all_is_well(raw, "items")


async def test_a_snapshot_that_cannot_be_written_is_that_subscriptions_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        await raw.create()
        await raw.add(1)
        monkeypatch.setattr(snapshots, "snapshot", once(once(snapshots.snapshot)))
        async with engine_held(server):
            subscribing = [
                await one.send("subscribe", kind="live", collection="items", vector=V)
                for one in (raw, other)
            ]
            await queued(server, 2)
        replies = [await raw.reply(subscribing[0]), await other.reply(subscribing[1])]
        assert sorted("ok" in reply for reply in replies) == [False, True]
        assert server.metrics.subscriptions.total() == 1
        shard = server.context.catalog.find("default", "items").shard
        assert len(server.context.engine.live.of(shard)) == 1
        view = await live(raw, V, k=1)
        done = await raw.add(2)
        await view.until_version(done["version"])
        server.context.catalog.find("default", "items").shard.window.check()


async def test_statistics_go_on_after_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as server, client(server) as raw:
        await raw.create()
        await raw.create("else")
        subs = [
            (await raw.ok("subscribe", kind="stats", collection=name, every=100))["sub"]
            for name in ("items", "else")
        ]
        await raw.named("stats")
        monkeypatch.setattr(tick, "stats_of", once(tick.stats_of))
        while not server.metrics.faults:
            await raw.message()
        for sub in subs:
            for _ in range(2):
                await raw.event(lambda one, sub=sub: one["event"] == "stats" and one["sub"] == sub)
        assert server.metrics.faults == 1


@pytest.mark.parametrize(
    ("room", "name"),
    [
        (drawing, "draw"),
        (drawing, "most_sample_rows"),
        (pictures, "next_plane"),
        (drawing, "place_objects"),
        (maps, "encode_map"),
    ],
)
async def test_a_map_goes_on_after_a_fault(
    room: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever step of a drawing fails: the next beat shows what was missed."""
    async with running() as server, client(server) as raw:
        handle = await begun(raw, cloud(1, 200))
        await raw.ok("subscribe", kind="map", collection="items", every=100)
        picture = Picture()
        while len(picture.rows) < 200:
            picture.take(await raw.named("map"))
        monkeypatch.setattr(room, name, once(getattr(room, name)))
        await add(raw, handle, cloud(2, 300, np.arange(8)), 1001)
        while not server.metrics.faults:
            await raw.ok("ping")
        while len(picture.rows) < 500:
            picture.take(await raw.named("map"))
        assert server.metrics.faults == 1


async def test_a_fault_while_settling_reaches_no_other_collection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with held() as (server, store, one, other):
        await one.create("else", durability="everysec")
        finish = server.context.engine.tick.changing.changes.finish

        def faulty(work: Any, admitted: Any) -> Any:
            if work.shard.name == "items":
                raise MemoryError("on purpose")
            return finish(work, admitted)

        monkeypatch.setattr(server.context.engine.tick.changing.changes, "finish", faulty)
        first = await one.send("add", collection="items", rows=rows(1))
        second = await other.send("add", collection="else", rows=rows(1))
        for name in ("items", "else"):
            while not store.log(name).queued:
                await one.ok("ping")
        store.is_patient = False
        for name in ("items", "else"):
            store.log(name).let_go()
        assert (await one.reply(first))["error"]["code"] == "internal"
        assert (await other.reply(second))["ok"]["version"] == 1
