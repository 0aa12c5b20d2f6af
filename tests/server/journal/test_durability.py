"""What a durable collection shows and acknowledges while its log is slow, full or broken.

The log is a fake that settles when the test says so; files have tests of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from omendb_core.model.errors import StorageFailed, StorageFull

from omendb_ws.engine import changing
from omendb_ws.engine.writes import durability
from omendb_ws.net.server import Server
from tests.patience import PATIENCE_SECONDS
from tests.server.fake_store import FakeStore
from tests.server.raw import Clock, Raw, client, engine_held, rows, settings


async def ready(server: Server) -> None:
    """Return when everything stored is back."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while server.status() != "ok":  # noqa: ASYNC110 - polled, as a probe does
            await asyncio.sleep(0)


Held = tuple[Server, FakeStore, Raw, Raw]


@asynccontextmanager
async def durable(
    store: FakeStore, clock: Clock | None = None, **fields: Any
) -> AsyncIterator[Server]:
    """A server over ``store``, ready."""
    times = {} if clock is None else {"clock_us": clock}
    async with Server(settings(data_dir="x", **fields), open_store=store, **times) as server:
        await ready(server)
        yield server


@asynccontextmanager
async def held(**fields: Any) -> AsyncIterator[Held]:
    """A server with the durable collection "items", whose log waits for the test, two clients."""
    store = FakeStore()
    async with durable(store, **fields) as server, client(server) as one, client(server) as other:
        await one.create("items")
        store.is_patient = True
        try:
            yield server, store, one, other
        finally:
            store.is_patient = False
            for log in store.logs.values():
                log.let_go()


async def waiting(store: FakeStore, count: int, name: str = "items") -> None:
    """Return when that many changes wait for the log."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(store.log(name).queued) < count:  # noqa: ASYNC110 - another thread
            await asyncio.sleep(0)


def seqs(found: dict[str, Any]) -> list[int]:
    return sorted(one["seq"] for one in found["results"])


async def seen(raw: Raw, name: str = "items") -> list[int]:
    return seqs(await raw.ok("search", collection=name, vector=[1, 0], k=10))


async def test_a_row_is_seen_and_acknowledged_only_once_it_is_safe() -> None:
    async with held() as (_, store, one, other):
        add = await one.send("add", collection="items", rows=rows(1, 2))
        await waiting(store, 1)
        assert await seen(other) == []
        assert add not in one.replies
        store.log("items").let_go()
        assert (await one.reply(add))["ok"] == {"version": 1, "first_seq": 1, "last_seq": 2}
        assert await seen(other) == [1, 2]


async def test_a_read_waits_for_the_safety_of_its_own_connections_changes() -> None:
    async with held() as (_, store, one, other):
        await one.send("add", collection="items", rows=rows(1))
        read = await one.send("count", collection="items")
        await waiting(store, 1)
        assert (await other.ok("count", collection="items"))["count"] == 0
        assert read not in one.replies
        store.log("items").let_go()
        assert (await one.reply(read))["ok"] == {"version": 1, "count": 1}


async def test_adds_are_pending_one_behind_the_other_and_settle_in_order() -> None:
    async with held() as (_, store, one, other):
        ids = [await one.send("add", collection="items", rows=rows(n)) for n in (1, 2)]
        await waiting(store, 2)
        await other.send("add", collection="items", rows=rows(3))
        await waiting(store, 3)
        store.log("items").let_go(1)
        assert (await one.reply(ids[0]))["ok"]["version"] == 1
        store.log("items").let_go()
        assert (await one.reply(ids[1]))["ok"]["version"] == 2
        assert await seen(other) == [1, 2, 3]


async def test_what_is_committed_of_one_collection_is_not_all_before_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with held() as (server, store, one, other):
        await one.create("else")
        monkeypatch.setattr(changing, "TICK_CHANGES_US", 0)  # one a tick
        finished: list[str] = []
        finish = server.context.engine.tick.changing.changes.finish

        def noted(work: Any, admitted: Any) -> Any:
            finished.append(work.shard.name)
            return finish(work, admitted)

        monkeypatch.setattr(server.context.engine.tick.changing.changes, "finish", noted)
        asked = [await one.send("add", collection="items", rows=rows(id)) for id in (1, 2, 3)]
        behind = [await other.send("add", collection="else", rows=rows(id)) for id in (1, 2, 3)]
        await waiting(store, 3)
        await waiting(store, 3, "else")
        async with engine_held(server):
            store.log("items").let_go()
            store.log("else").let_go()
        for id in asked:
            await one.reply(id)
        for id in behind:
            await other.reply(id)
        assert finished == ["items", "else"] * 3


async def test_a_delete_waits_until_nothing_of_its_collection_is_pending_and_others_go_on() -> None:
    async with held() as (_, store, one, other):
        await other.create("cache", durability="memory")
        await one.send("add", collection="items", rows=rows(1, 2))
        delete = await one.send("delete", collection="items", ids=[1])
        behind = await one.send("add", collection="items", rows=rows(1))
        await waiting(store, 1)
        assert (await other.add(7, name="cache"))["version"] == 1  # another collection
        later = await other.send("add", collection="items", rows=rows(9))
        store.log("items").let_go()
        await waiting(store, 3)
        store.log("items").let_go()
        assert (await one.reply(delete))["ok"] == {"version": 2, "deleted": 1}
        assert (await one.reply(behind))["ok"]["first_seq"] in (3, 4)
        assert (await other.reply(later))["ok"]["first_seq"] in (3, 4)
        assert await seen(one) == [2, 3, 4]


async def test_changes_of_one_connection_keep_their_order_across_collections() -> None:
    async with held() as (_, store, one, other):
        await one.create("cache", durability="memory")
        await one.send("add", collection="items", rows=rows(1))
        fast = await one.send("add", collection="cache", rows=rows(1))
        last = await one.send("add", collection="items", rows=rows(2))
        await waiting(store, 1)
        assert (await other.ok("count", collection="cache"))["count"] == 0
        store.log("items").let_go()
        assert (await one.reply(fast))["ok"]["version"] == 1
        await waiting(store, 1)
        assert last not in one.replies
        store.log("items").let_go()
        assert (await one.reply(last))["ok"]["version"] == 2


async def test_a_refusal_comes_at_once_and_reads_behind_it_still_wait() -> None:
    async with held() as (_, store, one, _other):
        await one.send("add", collection="items", rows=rows(1))
        assert await one.code("add", collection="items", rows=[{"id": 1, "vector": [1]}]) == (
            "dim_mismatch"
        )
        read = await one.send("count", collection="items")
        await waiting(store, 1)
        await one.ok("ping")
        assert read not in one.replies
        store.log("items").let_go()
        assert (await one.reply(read))["ok"]["count"] == 1


async def test_a_repeated_batch_is_answered_once_the_original_is_safe() -> None:
    async with held() as (_, store, one, other):
        fields = {"collection": "items", "rows": rows(1), "producer": "p", "batch": 1}
        first = await one.send("add", **fields)
        await waiting(store, 1)
        again = await other.send("add", **fields)
        await other.ok("ping")
        assert again not in other.replies
        store.log("items").let_go()
        assert (await one.reply(first))["ok"] == {"version": 1, "first_seq": 1, "last_seq": 1}
        repeated = (await other.reply(again))["ok"]
        assert repeated == {"version": 1, "first_seq": 1, "last_seq": 1, "duplicate": True}


async def test_a_full_disk_refuses_and_nothing_of_it_is_left() -> None:
    async with held() as (server, store, one, other):
        await one.send("add", collection="items", rows=rows(1), producer="p", batch=1)
        await waiting(store, 1)
        store.log("items").let_go()
        adds = [
            await one.send("add", collection="items", rows=rows(n), producer="p", batch=n)
            for n in (2, 3)
        ]
        again = await other.send("add", collection="items", rows=rows(2), producer="p", batch=2)
        async with asyncio.timeout(
            PATIENCE_SECONDS
        ):  # the repeated batch waits behind its original
            while server.context.engine.pending_changes < 3:  # noqa: ASYNC110 - another thread
                await asyncio.sleep(0)
        store.failure = StorageFull("no space is left")
        store.log("items").let_go()
        for id in adds:
            assert (await one.reply(id))["error"]["code"] == "storage_full"
        assert (await other.reply(again))["error"]["code"] == "storage_full"
        assert await seen(other) == [1]
        store.failure = None
        store.is_patient = False
        retried = await one.ok("add", collection="items", rows=rows(2), producer="p", batch=2)
        assert retried == {"version": 2, "first_seq": 2, "last_seq": 2}
        assert await seen(other) == [1, 2]


async def test_a_log_that_failed_refuses_changes_for_good_and_reads_go_on() -> None:
    async with held() as (server, store, one, other):
        store.is_patient = False
        await one.add(1)
        store.failure = StorageFailed("fdatasync: input/output error")
        error = await one.error("add", collection="items", rows=rows(2))
        assert (error["code"], error["retry"]) == ("storage_failed", False)
        store.failure = None
        for op, fields in (("add", {"rows": rows(3)}), ("delete", {"ids": [1]})):
            assert await other.code(op, collection="items", **fields) == "storage_failed"
        assert await seen(other) == [1]
        assert server.status() != "ok"


async def test_a_log_without_room_parks_changes_until_it_has_some() -> None:
    async with held() as (_, store, one, _other):
        store.room = 2
        ids = [await one.send("add", collection="items", rows=rows(n)) for n in range(1, 7)]
        await waiting(store, 2)
        await one.ok("ping")
        for _ in range(3):
            await waiting(store, 2)
            assert len(store.log("items").queued) == 2
            store.log("items").let_go()
        assert [(await one.reply(id))["ok"]["version"] for id in ids] == [1, 2, 3, 4, 5, 6]


async def test_what_waited_for_room_when_the_disk_was_full_goes_on_when_it_is_not() -> None:
    async with held() as (_, store, one, other):
        store.room = 2
        ids = [await one.send("add", collection="items", rows=rows(n)) for n in range(1, 5)]
        await waiting(store, 2)
        more = [await other.send("add", collection="items", rows=rows(n)) for n in range(5, 9)]
        await other.ok("ping")
        store.failure = StorageFull("no space is left")
        log = store.log("items")
        log.let_go(1)
        store.failure = None
        store.is_patient = False
        log.let_go()
        codes = [(await one.reply(id)).get("error", {}).get("code") for id in ids]
        assert codes == ["storage_full", "storage_full", None, None]
        assert [(await other.reply(id))["ok"]["version"] for id in more]
        described = await one.ok("describe", collection="items")
        assert (described["version"], described["last_seq"], described["rows"]) == (6, 6, 6)
        assert log.window().version == 6


async def test_a_create_is_acknowledged_once_it_lasts_and_what_follows_waits() -> None:
    store = FakeStore()
    async with durable(store) as server, client(server) as one, client(server) as other:
        store.gate.clear()
        create = await one.send("create", collection="items", dim=2, capacity=8, metric="dot")
        add = await one.send("add", collection="items", rows=rows(1))
        await one.ok("ping")
        assert create not in one.replies
        described = await other.send("describe", collection="items")
        assert (await other.ok("list"))["collections"] == []
        store.gate.set()
        made = (await one.reply(create))["ok"]
        assert (made["durability"], made["version"], made["handle"]) == ("everysec", 0, 1)
        assert (await one.reply(add))["ok"]["version"] == 1
        assert (await other.reply(described))["ok"]["epoch"] == made["epoch"]


async def test_a_create_that_cannot_last_leaves_nothing() -> None:
    store = FakeStore()
    async with durable(store) as server, client(server) as one:
        store.failure = StorageFull("no space is left")
        create = await one.send("create", collection="items", dim=2, capacity=8)
        add = await one.send("add", collection="items", rows=rows(1))
        assert (await one.reply(create))["error"]["code"] == "storage_full"
        assert (await one.reply(add))["error"]["code"] == "not_found"
        assert (await one.ok("list"))["collections"] == []
        assert server.context.catalog.reserved_bytes == 0
        store.failure = None
        await one.create("items")


async def test_a_drop_waits_for_what_flies_and_the_next_of_that_name_for_the_drop() -> None:
    async with held() as (server, store, one, other):
        first_epoch = (await one.ok("describe", collection="items"))["epoch"]
        add = await one.send("add", collection="items", rows=rows(1))
        drop = await one.send("drop", collection="items")
        await waiting(store, 1)
        again = await other.send("create", collection="items", dim=2, capacity=8)
        behind = await other.send("add", collection="items", rows=rows(5))
        await one.ok("ping")
        assert drop not in one.replies
        assert again not in other.replies
        assert [log.manifest.epoch for log in store.logs.values()] == [first_epoch]
        store.log("items").let_go()
        assert (await one.reply(add))["ok"]["version"] == 1
        assert (await one.reply(drop))["ok"] == {}
        made = (await other.reply(again))["ok"]
        assert made["version"] == 0
        assert made["epoch"] != first_epoch
        assert [log.manifest.epoch for log in store.logs.values()] == [made["epoch"]]
        await waiting(store, 1)
        store.log("items").let_go()
        assert (await other.reply(behind))["ok"]["version"] == 1
        assert server.context.engine.depth == 0


async def test_a_drop_that_failed_keeps_its_name_until_it_is_done() -> None:
    store = FakeStore()
    async with durable(store) as server, client(server) as one, client(server) as other:
        await one.create("items")
        await one.add(1)
        store.gate.clear()
        drop = await one.send("drop", collection="items")
        early = await other.send("create", collection="items", dim=2, capacity=8)
        await other.ok("ping")
        store.failure = StorageFailed("cannot drop the log: Input/output error")
        store.gate.set()
        assert (await one.reply(drop))["error"]["code"] == "storage_failed"
        assert (await other.reply(early))["error"]["code"] == "storage_failed"
        assert await one.code("create", collection="items", dim=2, capacity=8) == "unavailable"
        store.failure = None
        assert await one.code("describe", collection="items") == "unavailable"
        assert len(store.logs) == 1
        await one.ok("drop", collection="items")
        assert store.logs == {}
        await one.create("items")
        assert server.context.catalog.held.given_up == 0


async def test_expiry_is_logged() -> None:
    store, clock = FakeStore(), Clock()
    async with durable(store, clock) as server, client(server) as one:
        await one.create("items", ttl=5)
        await one.add(1)
        clock.move(6)
        while (await one.ok("count", collection="items"))["count"]:
            pass
        described = await one.ok("describe", collection="items")
        assert (described["version"], described["first_seq"]) == (2, 2)
        assert len(store.log("items").safe) == 2


async def test_rows_that_the_log_wants_again_are_given_once_nothing_is_pending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(durability, "_COMPACTION_SECONDS", 0.0)
    async with held() as (_, store, one, _other):
        store.is_patient = False
        await one.add(1, 2, 3)
        log = store.log("items")
        log.wanted = (2, 3)
        await one.ok("delete", collection="items", ids=[2])
        await one.ok("ping")
        (kept,) = log.kept
        assert list(kept.seqs) == [3]


@pytest.mark.parametrize("durability", ["everysec", "always"])
async def test_a_server_without_a_data_directory_says_how_to_get_one(durability: str) -> None:
    async with Server(settings()) as server, client(server) as one:
        error = await one.error(
            "create", collection="items", dim=2, capacity=8, durability=durability
        )
        assert error["code"] == "unsupported"
        assert "--data-dir" in error["message"]


# -- across a restart -----------------------------------------------------------------------------


async def test_a_restart_brings_back_the_same_window() -> None:
    store = FakeStore()
    async with durable(store) as server, client(server) as one:
        before = await one.create("items", ttl=100)
        await one.create("cache", durability="memory")
        await one.ok("add", collection="items", rows=rows(1, 2, 3), producer="p", batch=1)
        await one.ok("delete", collection="items", ids=[2])
        await one.ok("update", collection="items", rows=[{"id": 3, "metadata": {"a": 1}}])
        found = await one.ok("search", collection="items", vector=[1, 0], include=["metadata"])
    async with durable(store) as server, client(server) as one:
        after = await one.ok("describe", collection="items")
        assert (after["epoch"], after["version"], after["rows"]) == (before["epoch"], 3, 2)
        again = await one.ok("search", collection="items", vector=[1, 0], include=["metadata"])
        assert again["results"] == found["results"]
        fields = {"collection": "items", "producer": "p"}
        repeated = await one.ok("add", rows=rows(1, 2, 3), batch=1, **fields)
        assert repeated == {"version": 3, "first_seq": 1, "last_seq": 3, "duplicate": True}
        assert (await one.ok("add", rows=rows(4), batch=2, **fields))["first_seq"] == 4
        assert [one["collection"] for one in (await one.ok("list"))["collections"]] == ["items"]


async def test_a_feed_resumes_across_a_restart() -> None:
    store = FakeStore()
    async with durable(store) as server, client(server) as one:
        epoch = (await one.create("items"))["epoch"]
        await one.add(1, 2, 3)
    async with durable(store) as server, client(server) as one:
        fields = {"kind": "feed", "collection": "items", "from_seq": 3}
        await one.ok("subscribe", epoch=epoch, **fields)
        feed = await one.named("feed")
        assert [row["seq"] for row in feed["rows"]] == [3]
        error = await one.error("subscribe", epoch="another", **fields)
        assert (error["code"], error["epoch"]) == ("wrong_epoch", epoch)


async def test_while_a_collection_recovers_it_is_unavailable_and_others_serve() -> None:
    store = FakeStore()
    async with durable(store) as server, client(server) as one:
        await one.create("items")
        await one.create("empty")
        await one.add(1, 2)
    store.recovery_gate.clear()
    async with Server(settings(data_dir="x"), open_store=store) as server, client(server) as one:
        assert server.status() != "ok"
        asks: list[tuple[str, dict[str, Any]]] = [
            ("describe", {}), ("open", {}), ("count", {}), ("drop", {}),
            ("search", {"vector": [1, 0]}), ("add", {"rows": rows(1)}),
            ("create", {"dim": 2, "capacity": 8, "if_exists": "ok"}),
        ]  # fmt: skip
        for op, fields in asks:
            error = await one.error(op, collection="items", **fields)
            assert (error["code"], error["retry"]) == ("unavailable", True)
        await one.create("new")
        assert (await one.add(1, name="new"))["version"] == 1
        store.recovery_gate.set()
        await ready(server)
        assert await seen(one) == [1, 2]


async def test_a_damaged_collection_is_refused_by_file_and_offset_and_the_others_serve() -> None:
    store = FakeStore()
    async with durable(store) as server, client(server) as one:
        await one.create("items")
        await one.create("bad")
    store.damaged.add("bad")
    async with durable(store) as server, client(server) as one:
        error = await one.error("describe", collection="bad")
        assert error["code"] == "unavailable"
        assert "segment-1 at byte 4096" in error["message"]
        assert "repair" in error["message"]
        assert await one.code("create", collection="bad", dim=2, capacity=8) == "unavailable"
        await one.add(1)
        assert len(store.logs) == 2


async def test_a_damaged_collection_can_be_dropped_and_its_name_is_free() -> None:
    store = FakeStore()
    async with durable(store) as server, client(server) as one:
        await one.create("items")
        await one.create("bad", capacity=50_000)
    store.damaged.add("bad")
    async with durable(store) as server, client(server) as one, client(server) as other:
        before = server.context.catalog.reserved_bytes
        store.gate.clear()  # the store takes its time
        drop = await one.send("drop", collection="bad")
        assert await one.code("describe", collection="bad") == "not_found"
        create = await other.send("create", collection="bad", dim=3, capacity=8)
        await one.ok("ping")
        store.damaged.clear()
        store.gate.set()
        assert "ok" in await one.reply(drop)
        assert (await other.reply(create))["ok"]["dim"] == 3
        assert sorted(log.manifest.name for log in store.logs.values()) == ["bad", "items"]
        assert store.log("bad").manifest.definition.dim == 3
        await other.ok("drop", collection="bad")
        assert server.context.catalog.reserved_bytes == before
        assert "omendb_damaged_collections 0" in server.metrics_page().body.decode()


async def test_a_damaged_collection_that_cannot_be_dropped_stays_as_it_is() -> None:
    store = FakeStore()
    async with durable(store) as server, client(server) as one:
        await one.create("bad")
    store.damaged.add("bad")
    async with durable(store) as server, client(server) as one:
        store.failure = StorageFailed("cannot drop the log: Input/output error")
        assert await one.code("drop", collection="bad") == "storage_failed"
        assert await one.code("describe", collection="bad") == "unavailable"
        store.failure = None
        await one.ok("drop", collection="bad")
        assert store.logs == {}
        assert await one.code("describe", collection="bad") == "not_found"


async def test_a_collection_without_memory_for_it_is_refused_and_nothing_is_lost() -> None:
    store = FakeStore()
    async with durable(store) as server, client(server) as one:
        await one.create("items", capacity=100_000)
        await one.create("small")
    async with durable(store, max_memory_bytes=100_000) as server, client(server) as one:
        error = await one.error("describe", collection="items")
        assert error["code"] == "unavailable"
        assert "max_memory_bytes" in error["message"]
        await one.ok("describe", collection="small")
    async with durable(store) as server, client(server) as one:
        await one.ok("describe", collection="items")
