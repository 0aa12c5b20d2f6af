"""A window goes with its last reference, however it ends: without Python's cyclic collector.

Every part of it is watched by weak references; the collector is off from before the window is
made until after they are looked at, so that one cycle anywhere keeps what it holds.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omendb_core.model.budget import Budget
from omendb_core.model.errors import StorageFailed, StorageFull
from omendb_core.model.types import Definition
from omendb_core.window import Window

import omendb_ws
from omendb_ws.catalog.catalog import Catalog
from omendb_ws.net.server import Server
from omendb_ws.sessions.subscriptions.subscription import Subscription
from tests.server.fake_store import FakeStore
from tests.server.raw import (
    PATIENCE_SECONDS,
    Raw,
    batch,
    client,
    engine_held,
    queued,
    rows,
    settings,
)

COLUMNS = {"price": "f64", "kind": "str"}
DIM = 8
CAPACITY = 256
IDS = np.arange(10, dtype=np.uint64)


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Watch:
    """Weak references to every window that is made, and to all of its parts that can have one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.windows: list[weakref.ref[Window]] = []
        self.parts: dict[str, weakref.ref[Any]] = {}
        make = Window.__init__

        def made(window: Window, *arguments: Any, **named: Any) -> None:
            make(window, *arguments, **named)
            self.windows.append(weakref.ref(window))
            self.look(window)

        monkeypatch.setattr(Window, "__init__", made)

    def look(self, window: Window) -> None:
        """Watch what the window holds now."""
        number = next(i for i, one in enumerate(self.windows) if one() is window)
        for path, part in parts_of(window):
            self.parts[f"{number}{path}"] = weakref.ref(part)

    def look_again(self) -> None:
        """Watch what the windows hold that are still there."""
        for one in self.windows:
            window = one()
            if window is not None:
                self.look(window)
        del window

    def left(self) -> list[str]:
        return [path for path, part in self.parts.items() if part() is not None]


def parts_of(window: Window) -> Iterator[tuple[str, Any]]:
    """All objects of the engine and arrays that ``window`` holds, with the way there."""
    seen: set[int] = set()
    todo: list[tuple[str, Any]] = [("", window)]
    while todo:
        path, part = todo.pop()
        if (
            id(part) in seen
            or isinstance(part, Budget | Definition | type)
            or part is window.state.scan
        ):
            continue
        seen.add(id(part))
        if isinstance(part, np.ndarray):
            if not part.size:
                continue  # what stands for nothing is shared, and a module's own
            yield path, part
            todo.append((f"{path}.base", part.base))
        elif isinstance(part, dict):
            todo += [(f"{path}[{key!r}]", value) for key, value in part.items()]
        elif isinstance(part, list | tuple | set) or type(part).__name__ == "deque":
            todo += [(f"{path}[]", value) for value in list(part)[:1000]]
        elif type(part).__module__.startswith("omendb_core"):
            if type(part).__weakrefoffset__:
                yield path, part
            names = [*getattr(part, "__dict__", ())]
            names += [n for one in type(part).__mro__ for n in getattr(one, "__slots__", ())]
            todo += [
                (f"{path}.{name}", getattr(part, name)) for name in names if hasattr(part, name)
            ]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(monkeypatch)


async def all_gone(watch: Watch, catalog: Catalog | None = None) -> None:
    """Return when nothing is left of any window, and its bytes are given back."""
    assert watch.parts

    def is_charged() -> bool:
        return catalog is not None and catalog.reserved_bytes > 0

    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while watch.left() or is_charged():  # noqa: ASYNC110 - freed by another thread
                await asyncio.sleep(0.001)
    assert not watch.left(), "\n".join(watch.left())
    assert not is_charged()


async def fill(raw: Raw, name: str = "items", **fields: Any) -> None:
    """A collection with metadata, texts, masks and a lap of rows, some of them replaced."""
    await raw.create(name, dim=DIM, capacity=CAPACITY, columns=COLUMNS, **fields)
    for start in range(0, CAPACITY + 64, 64):
        await raw.ok("add", collection=name, rows=rich(start, 64))
    await raw.ok("update", collection=name, rows=[{"id": 300, "metadata": {"price": 9}}])
    await raw.ok("delete", collection=name, ids=[301])
    await search(raw, name)


def rich(start: int, count: int) -> list[dict[str, Any]]:
    return [
        {**row, "metadata": {"price": row["id"], "kind": f"k{row['id'] % 7}", "more": "x" * 50}}
        for row in rows(*range(start, start + count), dim=DIM)
    ]


async def search(raw: Raw, name: str = "items") -> None:
    await raw.ok(
        "search",
        collection=name,
        vectors=[[1.0] * DIM] * 24,
        filter={"price": {"$gt": {"$mul": ["price", 0.5]}}, "kind": "k1"},
        include=["metadata", "vector"],
    )
    await raw.ok("get", collection=name, ids=[300], include=["metadata", "vector"])


VECTOR = {"vector": [1.0] * DIM}
SUBSCRIPTIONS: dict[str, dict[str, Any]] = {
    "live": {**VECTOR, "k": 5, "filter": {"kind": "k1"}, "include": ["metadata", "vector"]},
    "match": {**VECTOR, "min_score": -1e9, "include": ["metadata"]},
    "feed": {"include": ["metadata", "vector"]},
    "count": {"every": 100, "by": "kind", "filter": {"price": {"$gt": 1}}},
    "map": {"every": 100, "sample": 100},
    "stats": {"every": 100},
}


@asynccontextmanager
async def served(watch: Watch, **fields: Any) -> AsyncIterator[tuple[Server, Raw]]:
    async with Server(settings(**fields)) as server, client(server) as raw:
        yield server, raw


async def test_dropped_idle(watch: Watch) -> None:
    async with served(watch) as (server, raw):
        await fill(raw)
        watch.look_again()
        await raw.ok("drop", collection="items")
        await all_gone(watch, server.context.catalog)


@pytest.mark.parametrize("ids", ["auto", "u64", "str"])
@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
async def test_dropped_of_each_kind(watch: Watch, ids: str, metric: str) -> None:
    async with served(watch) as (server, raw):
        await raw.create(
            dim=DIM, capacity=CAPACITY, columns=COLUMNS, ids=ids, metric=metric, ttl=99
        )
        for _ in range(3):
            made = rich(1, 200)
            for row in made:
                row["id"] = str(row["id"]) if ids == "str" else row["id"]
                if ids == "auto":
                    del row["id"]
            await raw.ok("add", collection="items", rows=made)
        watch.look_again()
        await raw.ok("drop", collection="items")
        await all_gone(watch, server.context.catalog)


@pytest.mark.parametrize("kind", SUBSCRIPTIONS)
async def test_dropped_under_a_subscription(watch: Watch, kind: str) -> None:
    async with served(watch) as (server, raw):
        await fill(raw)
        await raw.ok("subscribe", kind=kind, collection="items", **SUBSCRIPTIONS[kind])
        if kind in ("map", "stats"):
            await raw.named(kind)
        await raw.ok("add", collection="items", rows=rich(1000, 64))
        await raw.named(kind)
        watch.look_again()
        await raw.ok("drop", collection="items")
        await raw.named("ended")
        await all_gone(watch, server.context.catalog)


@pytest.mark.parametrize("kind", SUBSCRIPTIONS)
async def test_dropped_under_a_reader_that_never_reads(watch: Watch, kind: str) -> None:
    options = {"max_queue": 1, "close_timeout": 0}
    async with served(watch, max_pending_bytes=70_000) as (server, raw):
        await fill(raw)
        async with client(server, **options) as deaf:
            await deaf.ok("subscribe", kind=kind, collection="items", **SUBSCRIPTIONS[kind])
            for lap in range(4):
                await raw.ok("add", collection="items", rows=rich(1000 + 250 * lap, 250))
            watch.look_again()
            await raw.ok("drop", collection="items")
            await all_gone(watch)


async def test_dropped_behind_adds_and_searches_that_wait(watch: Watch) -> None:
    async with served(watch) as (server, raw):
        await raw.create(dim=DIM, capacity=CAPACITY)
        async with engine_held(server):
            for start in range(0, 640, 64):
                await raw.send(
                    "add", collection="items", rows=rows(*range(start, start + 64), dim=DIM)
                )
                await raw.send("search", collection="items", **VECTOR)
            last = await raw.send("drop", collection="items")
            await queued(server, 21)
        await raw.reply(last)
        assert await raw.code("search", collection="items", **VECTOR) == "not_found"
        await all_gone(watch, server.context.catalog)


async def test_dropped_after_searches_and_adds_that_were_refused(watch: Watch) -> None:
    """An error that somebody keeps, or that is kept by a frame of its own, keeps no window."""
    async with served(watch) as (server, raw):
        await fill(raw)
        watch.look_again()
        like = {"collection": "items", "like": 10**9}
        async with engine_held(server):  # in one tick: each is an outcome of a search of all
            ids = [await raw.send("search", **like, **more) for more in ({}, {"k": 3}, {})]
            await queued(server, 3)
        for id in ids:
            assert (await raw.reply(id))["error"]["code"] == "not_found"
        shaped = {"group": {"by": "kind"}, "positive": [10**9]}
        assert await raw.code("search", collection="items", **shaped) == "not_found"
        bad = [{"id": 1, "vector": [1.0] * DIM, "metadata": {"price": "x"}}]
        assert await raw.code("add", collection="items", rows=bad) == "bad_metadata"
        assert await raw.code("search", collection="items", vector=[1.0]) == "dim_mismatch"
        assert await raw.code("get", collection="items", ids=["x"]) == "bad_id"
        await raw.ok("drop", collection="items")
        await all_gone(watch, server.context.catalog)


async def test_made_again_under_the_same_name(watch: Watch) -> None:
    async with served(watch) as (server, raw):
        one = (await raw.create(dim=DIM, capacity=CAPACITY))["bytes"]
        for _ in range(5):
            await fill(raw, "again")
            watch.look_again()
            await raw.ok("drop", collection="again")
            assert server.context.catalog.reserved_bytes == one
        assert len([window for window in watch.windows if window() is not None]) == 1


async def test_a_budget_for_one_window_is_enough_for_many_one_after_the_other(
    watch: Watch,
) -> None:
    async with served(watch) as (_, raw):
        one = (await raw.create(dim=DIM, capacity=CAPACITY))["bytes"]
    async with served(watch, max_memory_bytes=one) as (server, raw):
        await raw.create("r0", dim=DIM, capacity=CAPACITY)
        async with engine_held(server):
            for turn in range(5):  # sent without waiting: the engine does what came first, first
                await raw.send("drop", collection=f"r{turn}")
                made = await raw.send(
                    "create", collection=f"r{turn + 1}", dim=DIM, capacity=CAPACITY, metric="dot"
                )
                assert "ok" in await raw.reply(made)
            assert await raw.code("create", collection="more", dim=1, capacity=1) == "quota"
        await raw.ok("ping")
        await raw.add(1, name="r5", dim=DIM)
        assert server.context.catalog.reserved_bytes == one


async def test_a_window_that_the_machine_has_no_memory_for(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more(*_: Any) -> Any:
        raise MemoryError

    async with served(watch) as (server, raw):
        monkeypatch.setattr("omendb_core.state.Payloads", no_more)
        refused = {"dim": DIM, "capacity": CAPACITY}
        assert await raw.code("create", collection="items", **refused) == "quota"
        assert server.context.catalog.reserved_bytes == 0
        monkeypatch.undo()
        await raw.create()


async def test_over_quota(watch: Watch) -> None:
    async with served(watch, max_memory_bytes=1 << 20) as (server, raw):
        assert await raw.code("create", collection="x", dim=100, capacity=100_000) == "quota"
        assert server.context.catalog.reserved_bytes == 0
        assert not watch.windows


async def test_the_connection_that_made_it_is_gone(watch: Watch) -> None:
    async with served(watch) as (server, raw):
        async with client(server) as other:
            await fill(other)
            for kind, fields in SUBSCRIPTIONS.items():
                await other.ok("subscribe", kind=kind, collection="items", **fields)
            watch.look_again()
        await raw.ok("drop", collection="items")
        await all_gone(watch, server.context.catalog)


async def test_a_fault_in_the_middle_of_a_change(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler keeps every record, and with it the traceback, with frames that had the window."""

    def broken(*_: Any) -> None:
        raise ValueError("a fault")

    async with served(watch) as (server, raw):
        await fill(raw)
        await raw.ok("subscribe", kind="live", collection="items", **SUBSCRIPTIONS["live"])
        watch.look_again()
        monkeypatch.setattr("omendb_core.rows.columns.Columns.write", broken)
        reply = await raw.code("add", collection="items", rows=rich(1, 1))
        assert reply == "internal"
        monkeypatch.undo()
        assert await raw.code("search", collection="items", **VECTOR) == "unavailable"
        await raw.ok("drop", collection="items")
        await all_gone(watch, server.context.catalog)
        assert any(record.exc_info for record in caplog.records)


@pytest.mark.parametrize(
    "where", ["search.search._scan", "standing.matcher.Matcher.advance", "state.WindowState.hits"]
)
async def test_faults_in_reads_and_standing_queries(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("a fault")

    async with served(watch) as (server, raw):
        await fill(raw)
        for kind, fields in SUBSCRIPTIONS.items():
            await raw.ok("subscribe", kind=kind, collection="items", **fields)
        watch.look_again()
        monkeypatch.setattr(f"omendb_core.{where}", broken)
        await raw.ask("search", collection="items", **VECTOR)
        await raw.ask("get", collection="items", ids=[300, 299])
        await raw.ask("add", collection="items", rows=rich(1, 1))
        await raw.ask("search", collection="items", vectors=[[1.0] * DIM] * 2, filter={"kind": "a"})
        await raw.ask("subscribe", kind="live", collection="items", **SUBSCRIPTIONS["live"])
        monkeypatch.undo()
        await raw.ask("drop", collection="items")
        await all_gone(watch, server.context.catalog)


async def test_a_fault_in_a_piece_of_a_split_scan(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("omendb_ws.engine.reads.split_scan.may_be_split", lambda *_: True)
    async with served(watch, scan_threads=2) as (server, raw):
        handle = (await raw.create(dim=DIM, capacity=CAPACITY))["handle"]
        await raw.add_binary(handle, batch(*range(100), dim=DIM))
        await raw.search_binary(handle, np.ones((128, DIM)), k=3)

        def broken(*_: Any) -> Any:
            raise ValueError("a fault")

        scan = server.context.catalog.find("default", "items").shard.window.state.scan
        monkeypatch.setattr(scan._scan, "top_k", broken, raising=False)  # type: ignore[attr-defined]
        # However late the helpers of the search before were.
        monkeypatch.setattr(scan._rest, "is_on", lambda: False)  # type: ignore[attr-defined]
        del scan
        reply = await raw.ask("search", collection="items", vectors=[[1.0] * DIM] * 128)
        assert reply["error"]["code"] == "internal"
        await raw.ok("drop", collection="items")
        await all_gone(watch, server.context.catalog)


async def test_the_server_stops(watch: Watch, tmp_path: Path) -> None:
    async with served(watch, data_dir=str(tmp_path)) as (server, raw):
        await fill(raw, durability="memory")
        await fill(raw, "kept", durability="everysec")
        for kind, fields in SUBSCRIPTIONS.items():
            for name in ("items", "kept"):
                await raw.ok("subscribe", kind=kind, collection=name, **fields)
        watch.look_again()
    await all_gone(watch)
    del server


async def test_memory_clients_are_closed(watch: Watch, tmp_path: Path) -> None:
    async def use(url: str, **fields: Any) -> None:
        async with omendb_ws.connect(url, **fields) as db:
            await db.create("items", dim=DIM, capacity=CAPACITY, columns=COLUMNS)
            await db.add("items", np.ones((10, DIM)), ids=IDS, metadata=[{"price": 1}] * 10)
            await db.search("items", [1.0] * DIM, k=3, include=["metadata"])
            async with db.live("items", [1.0] * DIM, k=3) as live:
                await anext(aiter(live))
            watch.look_again()

    await use("memory://")
    await use("memory://named")
    await use("memory://", server_settings={"data_dir": str(tmp_path)})
    await asyncio.to_thread(_use_sync, watch)
    await all_gone(watch)


def _use_sync(watch: Watch) -> None:
    with omendb_ws.sync.connect("memory://") as db:
        db.create("items", dim=DIM, capacity=CAPACITY)
        db.add("items", np.ones((10, DIM)), ids=IDS)
        db.search("items", [1.0] * DIM, k=3)
        watch.look_again()


# -- subscriptions and sessions -------------------------------------------------------------------


@pytest.mark.parametrize("end", ["unsubscribe", "drop", "close", "refused"])
@pytest.mark.parametrize("kind", SUBSCRIPTIONS)
async def test_subscriptions_go_with_their_end(
    monkeypatch: pytest.MonkeyPatch, kind: str, end: str
) -> None:
    made: list[weakref.ref[Any]] = []
    begin = Subscription.__init__

    def watched(self: Any, *given: Any, **named: Any) -> None:
        made.append(weakref.ref(self))
        begin(self, *given, **named)

    async def gone() -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while [one for one in made if one() is not None]:  # noqa: ASYNC110 - another thread
                await asyncio.sleep(0.001)

    monkeypatch.setattr(Subscription, "__init__", watched)
    async with Server(settings()) as server, client(server) as keeper:
        await fill(keeper)
        async with client(server) as raw:
            fields = {"collection": "items", **SUBSCRIPTIONS[kind]}
            if end == "refused":  # by the engine, which answers after the deadline
                monkeypatch.setattr(server.context.engine.moment, "deadline_us", -1)
                assert await raw.code("subscribe", kind=kind, **fields) == "overloaded"
                monkeypatch.setattr(server.context.engine.moment, "deadline_us", 1 << 40)
                await raw.ok("count", collection="items")
            else:
                sub = (await raw.ok("subscribe", kind=kind, **fields))["sub"]
                await keeper.ok("add", collection="items", rows=rich(1000, 64))
                await raw.named(kind)
            if end == "unsubscribe":
                await raw.ok("unsubscribe", sub=sub)
            elif end == "drop":
                await keeper.ok("drop", collection="items")
                await raw.named("ended")
            if end != "close":
                await gone()
        await gone()
        assert made
        if end != "drop":
            await keeper.ok("drop", collection="items")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while server.context.catalog.reserved_bytes:  # noqa: ASYNC110 - another thread
                await asyncio.sleep(0.001)


# -- durable collections --------------------------------------------------------------------------


@asynccontextmanager
async def stored(store: FakeStore, **fields: Any) -> AsyncIterator[tuple[Server, Raw]]:
    async with (
        Server(settings(data_dir="x", **fields), open_store=store) as server,
        client(server) as raw,
    ):
        yield server, raw


async def test_dropped_while_its_changes_fly(watch: Watch) -> None:
    store = FakeStore()
    async with stored(store) as (server, raw):
        await fill(raw)
        for kind, fields in SUBSCRIPTIONS.items():
            await raw.ok("subscribe", kind=kind, collection="items", **fields)
        watch.look_again()
        store.is_patient = True
        adds = [await raw.send("add", collection="items", rows=rich(n, 2)) for n in range(5)]
        last = await raw.send("drop", collection="items")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(store.log("items").queued) < 5:  # noqa: ASYNC110 - another thread
                await asyncio.sleep(0)
        store.is_patient = False
        assert watch.windows[0]() is not None
        assert server.context.catalog.reserved_bytes > 0
        store.log("items").let_go()
        for one in adds:
            assert "ok" in await raw.reply(one)
        await raw.reply(last)
        await all_gone(watch, server.context.catalog)


async def test_the_store_cannot_make_it(watch: Watch) -> None:
    store = FakeStore()
    async with stored(store) as (server, raw):
        store.failure = StorageFailed("no disk")
        store.gate.clear()
        create = {"dim": DIM, "capacity": CAPACITY}
        made = await raw.send("create", collection="items", **create)
        adds = [await raw.send("add", collection="items", rows=rich(n, 1)) for n in range(3)]
        reads = [await raw.send("search", collection="items", **VECTOR) for n in range(3)]
        for kind, fields in SUBSCRIPTIONS.items():
            fields = {name: value for name, value in fields.items() if name != "filter"}
            await raw.send("subscribe", kind=kind, collection="items", **fields)
        store.gate.set()
        assert (await raw.reply(made))["error"]["code"] == "storage_failed"
        for one in adds + reads:
            assert (await raw.reply(one))["error"]["code"] in ("not_found", "storage_failed")
        await all_gone(watch, server.context.catalog)


@pytest.mark.parametrize("failure", [StorageFull("full"), StorageFailed("broken")])
async def test_its_log_fails_and_it_is_dropped(watch: Watch, failure: Exception) -> None:
    store = FakeStore()
    async with stored(store) as (server, raw):
        await fill(raw)
        watch.look_again()
        store.failure = failure  # type: ignore[assignment]
        assert (await raw.code("add", collection="items", rows=rich(1, 2))).startswith("storage_")
        await raw.ask("drop", collection="items")
        await all_gone(watch, server.context.catalog)
        store.failure = None


@pytest.mark.parametrize("damage", ["quota", "changes", "finish", "stop"])
async def test_it_does_not_come_back(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    store = FakeStore()
    async with stored(store) as (_, raw):
        await fill(raw)

    def broken(*_: Any) -> Any:
        raise ValueError("a fault")

    async def held(server: Server) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while server.node.recoveries.damaged == 0:  # type: ignore[union-attr] # noqa: ASYNC110
                await asyncio.sleep(0)

    if damage == "quota":
        monkeypatch.setattr("omendb_ws.catalog.recovery.replay", broken)
    elif damage == "changes":
        monkeypatch.setattr("tests.server.fake_store.FakeRecovery.changes", broken)
    elif damage == "finish":
        monkeypatch.setattr("tests.server.fake_store.FakeRecovery.finish", broken)
    else:
        store.recovery_gate.clear()
    async with stored(store) as (server, raw):
        if damage == "stop":
            async with asyncio.timeout(PATIENCE_SECONDS):
                while len(watch.windows) < 2:  # noqa: ASYNC110 - another thread
                    await asyncio.sleep(0)
            threading.Timer(0.05, store.recovery_gate.set).start()
        else:
            await held(server)
            await all_gone(watch, server.context.catalog)
    await all_gone(watch)


async def test_it_is_served_while_it_waits_for_space_and_the_server_stops(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FakeStore()
    async with stored(store) as (_, raw):
        await fill(raw)

    def full(*_: Any) -> Any:
        raise StorageFull("no space")

    monkeypatch.setattr("tests.server.fake_store.FakeRecovery.finish", full)
    async with stored(store) as (server, raw):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while "error" in await raw.ask("open", collection="items"):
                pass
        change = {"collection": "items", "rows": rows(1, dim=DIM)}
        assert await raw.code("add", **change) == "storage_full"
        assert server.context.catalog.reserved_bytes > 0
    await all_gone(watch, server.context.catalog)
