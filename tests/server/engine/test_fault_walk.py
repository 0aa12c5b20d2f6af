"""The law of faults, for every op and every call on its way: one reply, and a server that goes on.

For calls between a request and its reply that the walk finds (all by ``make torture``), a server of
its own in which that call fails once. Then: the request has exactly one reply, whatever it says;
another connection's requests work; the window is sound and, if it has a log, what the log gives
back; live queries show what search answers, and feeds and matches come as far as the window. Only a
fault in the middle of a change may leave a collection that is ``unavailable``, and says so, until
it is dropped.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest

from omendb_ws.node.node import Node
from omendb_ws.wire import binary
from tests.patience import eventually
from tests.server.catalog.test_copies import rest
from tests.server.engine.test_unless_near import small_pieces
from tests.server.live_view import View, live, rows_of
from tests.server.raw import PATIENCE_SECONDS, rows
from tests.server.walk import Injector, Side, Thread, started

#: A walk is a server for each call, each with a bound of its own: minutes on a busy machine.
pytestmark = pytest.mark.timeout(1200)

#: Whether every call fails once (``FAULT_WALK=all``, ``make torture``), or one of EVERY: requests
#: share most of their calls, and each leaves out others.
IS_WHOLE = os.environ.get("FAULT_WALK") == "all"
EVERY = 6

V, ELSEWHERE = [1.0, 0.0], [-1.0, 1.0]
ROW = {"id": 9, "vector": V, "metadata": {"price": 3.0, "x": 1}}
ITEMS = {"collection": "items"}
IDS, ALL = [1, 2, 5, 6, 9], ["metadata", "vector"]

#: name -> op and fields; "sub" is that of a live query of the same connection.
READS: dict[str, tuple[str, dict[str, Any]]] = {
    "ping": ("ping", {}),
    "open": ("open", ITEMS),
    "list": ("list", {}),
    "get": ("get", {**ITEMS, "ids": [1], "include": ["metadata"]}),
    "count": ("count", {**ITEMS, "filter": {"price": {"$lt": 5}}}),
    "count by": ("count", {**ITEMS, "by": "price", "limit": 2}),
    "search": ("search", {**ITEMS, "vector": V, "k": 2}),
    "stats of the server": ("stats", {}),
    "stats": ("stats", ITEMS),
    "no collection": ("count", {"collection": "nope"}),
    "a bad row": ("add", {**ITEMS, "rows": [{"id": 1, "vector": [1]}]}),
}
STREAMS: dict[str, tuple[str, dict[str, Any]]] = {
    "live": ("subscribe", {**ITEMS, "kind": "live", "vector": V, "k": 2}),
    "shaped live": (
        "subscribe",
        {
            **ITEMS,
            "kind": "live",
            "positive": [1, V],
            "exclude": [2, 1000],
            "k": 2,
            "decay": {"half_life": 60},
            "group": {"by": "price", "size": 3},
        },
    ),
    "match": ("subscribe", {**ITEMS, "kind": "match", "vector": V, "min_score": 0.0}),
    "novel": ("subscribe", {**ITEMS, "kind": "novel", "below": 0.5, "filter": {"price": 1}}),
    "feed": ("subscribe", {**ITEMS, "kind": "feed", "from_seq": 1}),
    "subscribed stats": ("subscribe", {**ITEMS, "kind": "stats"}),
    "subscribed stats of the server": ("subscribe", {"kind": "stats"}),
    "subscribed count": ("subscribe", {**ITEMS, "kind": "count", "by": "price"}),
    "map": ("subscribe", {**ITEMS, "kind": "map"}),
    "move": ("move", {"sub": 1, "vector": ELSEWHERE}),
    "move of all": (
        "move",
        {
            "sub": 1,
            "positive": [ELSEWHERE],
            "exclude": [1000, 1001],
            "filter": {},
            "min_score": None,
        },
    ),
    "unsubscribe": ("unsubscribe", {"sub": 1}),
}
CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "add": ("add", {**ITEMS, "rows": [ROW], "producer": "p", "batch": 1}),
    "add unless near": (
        "add",
        {
            **ITEMS,
            "rows": [ROW, *rows(9, 6)[1:]],
            "producer": "p",
            "batch": 1,
            "unless_near": {"score": 30.0},
        },
    ),
    "delete": ("delete", {**ITEMS, "ids": [1]}),
    "update": ("update", {**ITEMS, "rows": [{"id": 1, "metadata": {"price": 1.0}}]}),
    "create": ("create", {"collection": "new", "dim": 2, "capacity": 8}),
    "drop": ("drop", ITEMS),
}
#: Of whole collections; the numbers are of what was begun before.
COPIES: dict[str, tuple[str, dict[str, Any]]] = {
    "snapshot": ("snapshot", ITEMS),
    "snapshot piece": ("snapshot", {"snapshot": None}),
    "snapshot end": ("snapshot", {"end": None}),
    "restore": ("restore", {"collection": "new"}),
    "restore bytes": ("restore", {"data": None}),
    "restore end": ("restore", {"end": None}),
}
OPS = READS | STREAMS | CHANGES | COPIES
#: Those that are walked through a log, too; the others as well by ``make torture``.
LOGGED = list(CHANGES) if IS_WHOLE else ["add", "add unless near", "drop"]


class Scene:
    """Two connections of a server, one collection that everything happens to, one beside it."""

    def __init__(self, node: Node, injector: Injector, durability: str) -> None:
        self.node = node
        self.injector = injector
        self.durability = durability
        self.one, self.other = Side(node, injector), Side(node, injector)
        self.views: list[View] = []

    async def set(self, name: str) -> None:
        one, other = self.one, self.other
        made = await one.create(durability=self.durability, columns={"price": "f64"})
        await one.create("else", durability="memory")
        await one.add(1, 2)
        self.views = [await live(one, V, k=2), await live(other, V, k=2)]
        for fields in (
            {"kind": "match", "vector": V, "min_score": 0.0},
            {"kind": "feed"},
            {"kind": "novel", "below": 1e6},
        ):
            await other.ok("subscribe", **ITEMS, **fields)
        self.number = -1
        if name.startswith("snapshot ") or name == "restore bytes":
            self.number = (await one.ok("snapshot", **ITEMS))["snapshot"]
        if name == "restore bytes":
            self.copy = await rest(one, self.number)
        if name in ("restore bytes", "restore end"):
            self.number = (await one.ok("restore", collection="new"))["restore"]
        vectors = np.ones((1, 2), np.float32)
        self.plain = binary.encode_search(777, made["handle"], vectors, k=2)
        shard = self.node.context.catalog.find("default", "items").shard
        self.window = shard.window
        self.log = shard.pending.log if shard.pending is not None else None

    async def ask(self, name: str) -> bool:
        """Ask with the injector armed; whether the reply was an ``ok``."""
        one = self.one
        self.injector.is_armed = True
        if name == "plain search":
            id = 777
            await one.send_binary(self.plain)
        elif name == "restore bytes":
            id = one.next_id()
            await one.send_binary(binary.encode_restore(id, self.number, self.copy))
        else:
            op, fields = OPS[name]
            numbered = {
                key: self.number if value is None else value for key, value in fields.items()
            }
            id = await one.send(op, **(numbered if name in COPIES else fields))
        reply = self.reply = await one.reply(id)
        for _ in range(3):  # what is pushed for it is on its way
            await asyncio.sleep(0)
        await self.is_still()
        self.injector.is_armed = False
        await one.ok("ping")
        await self.other.add(7, name="else")
        assert id not in one.replies, "a second reply"
        return not isinstance(reply, dict) or "ok" in reply

    async def is_still(self) -> None:
        """Wait until the log, if there is one to look at, has nothing left to do."""
        log = self.log if self.injector.on == "others" else None
        if log is not None:
            await eventually(lambda: log.error is not None or not log.numbers().unflushed_seconds)

    async def nothing_is_held(self, name: str, is_ok: bool) -> None:
        """Snapshots go with their connection; the name of a restore leads to all of it, or is
        free."""
        other, context = self.other, self.node.context
        shard = context.catalog.find("default", "items").shard
        if name == "restore bytes" and is_ok:
            made = await other.ok("describe", collection="new")
            assert made["rows"] == 2
            await other.ok("drop", collection="new")
        self.node.close_session(self.one.session)
        await eventually(lambda: not shard.snapshots)
        await eventually(lambda: not context.catalog.held.of("default"))
        there = await other.ask("create", collection="new", dim=2, capacity=8)
        if "error" in there:  # it came about, and its answer did not
            assert name == "restore bytes"
            assert there["error"]["code"] == "exists"
            assert (await other.ok("describe", collection="new"))["rows"] == 2
        await other.ok("drop", collection="new")
        numbers = context.metrics.snapshots, context.metrics.restores
        assert [one.under_way for one in numbers] == [0, 0]

    async def goes_on(self, name: str, is_ok: bool) -> dict[str, Any] | None:
        """What the collection holds in the end; None where it is another one."""
        other = self.other
        if name == "drop":
            if not is_ok and self.injector.on == "others":  # the log has it still, or says so
                await other.ok("drop", **ITEMS)
            again = await other.ask("create", collection="items", dim=2, capacity=8)
            assert "ok" in again or (not is_ok and again["error"]["code"] == "exists")
            return None
        if name == "create" and not is_ok:
            await other.ok("create", **OPS["create"][1] | {"durability": self.durability})
        near_both = [*rows(5), {"id": 6, "vector": ELSEWHERE}]
        added = await other.ask("add", **ITEMS, rows=near_both)
        if "error" in added:
            broken = "storage_failed" if self.injector.on == "others" else "unavailable"
            assert added["error"]["code"] == broken
            assert name in CHANGES, "only a change may break a collection"
            await other.ok("drop", **ITEMS)
            await other.create(durability=self.durability)
            return None
        version, last_seq = added["ok"]["version"], added["ok"]["last_seq"]
        mine, _ = self.views
        for view in self.views[name == "unsubscribe" :]:
            vector = V
            if view is mine and name.startswith("move") and is_ok:
                vector = ELSEWHERE
                moved = self.reply["ok"]
                view.rows = {row.seq: row for row in rows_of(moved["results"])}
                view.version = moved["version"]
            while view.version < version:
                await view.step()
            now = await view.raw.ok("search", **ITEMS, vector=vector, k=2)
            assert [row.seq for row in view.answer] == [hit["seq"] for hit in now["results"]]
        for kind in ("feed", "match", "novel"):
            await other.event(
                lambda one, kind=kind: one["event"] == kind and one["to_seq"] >= last_seq
            )
        engine = self.node.context.engine
        await other.ok("describe", **ITEMS)
        with engine._windows:
            self.window.check()
            self.window.standing.check()
        await eventually(lambda: not (engine.pending_changes or engine.depth))
        return await other.ok("get", **ITEMS, ids=IDS, include=ALL)

    def close(self) -> None:
        for side in (self.one, self.other):
            if side.session.lane.is_open:
                self.node.close_session(side.session)


async def walked(injector: Injector, name: str, durability: str, directory: Path | None) -> None:
    """One fault, and what came of it; a log gives back what the window held."""
    fields: dict[str, Any] = {"queue_deadline_ms": 60_000}  # nothing is to be late
    if directory is not None:
        fields["data_dir"] = str(directory)
    async with asyncio.timeout(PATIENCE_SECONDS), started(injector, **fields) as node:
        scene = Scene(node, injector, durability)
        try:
            await scene.set(name)
            is_ok = await scene.ask(name)
            before = await scene.goes_on(name, is_ok)
            if name in COPIES:
                await scene.nothing_is_held(name, is_ok)
        finally:
            scene.close()
    if directory is not None and before is not None:
        async with asyncio.timeout(PATIENCE_SECONDS), started(injector, **fields) as node:
            while node.status() != "ok":  # noqa: ASYNC110 - polled, as a probe does
                await asyncio.sleep(0)
            side = Side(node, injector)
            assert (await side.ok("describe", **ITEMS))["version"] == before["version"]
            assert (await side.ok("get", **ITEMS, ids=IDS, include=ALL)) == before
            node.close_session(side.session)


async def walk(
    name: str,
    on: Thread,
    durability: str,
    fresh: Callable[[], Path | None],
    within: tuple[str, ...] = (),
) -> None:
    first = Injector(on, within=within)
    await walked(first, name, durability, fresh())
    calls = list(first.seen)
    for call in calls if IS_WHOLE else calls[crc32(name.encode()) % 3 :: EVERY]:
        try:
            await walked(Injector(on, call, within), name, durability, fresh())
        except Exception as error:
            raise AssertionError(f"after a fault instead of {call}") from error


@pytest.mark.parametrize("name", ["add", "update", "a bad row", "no collection"])
async def test_so_may_any_while_a_text_is_read_in_pieces(
    name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("CRITICAL")
    monkeypatch.setattr("omendb_ws.wire.long_text.MOST_CHARACTERS", 60)
    await walk(name, "loop", "memory", lambda: None)


@pytest.mark.parametrize("on", ["loop", "engine"])
async def test_so_may_any_while_an_add_is_compared_in_pieces(
    on: Thread, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("CRITICAL")
    small_pieces(monkeypatch)
    monkeypatch.setattr("omendb_ws.engine.streams.standing_queries.CATCH_UP_US", 0)
    await walk("add unless near", on, "memory", lambda: None)


async def test_so_may_any_while_subscriptions_are_made_in_pieces(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("CRITICAL")
    for module in ("sessions.standing_streams", "sessions.live_streams"):
        monkeypatch.setattr(f"omendb_ws.{module}.MADE_AT_ONCE", 1)
    await walk("live", "loop", "memory", lambda: None)


@pytest.mark.parametrize("on", ["loop", "engine"])
@pytest.mark.parametrize("name", [*OPS, "plain search"])
async def test_any_call_may_fail_and_there_is_one_reply(
    name: str, on: Thread, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")
    await walk(name, on, "memory", lambda: None)


@pytest.mark.parametrize("name", LOGGED)
async def test_any_call_may_fail_on_the_way_through_a_log(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")
    numbers = iter(range(10_000))
    await walk(name, "engine", "everysec", lambda: tmp_path / str(next(numbers)))


@pytest.mark.parametrize("durability", ["memory", "everysec"])
async def test_any_call_may_fail_on_the_thread_of_restores_as_one_begins(
    durability: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A restore of a durable collection goes through the store's thread, too. Not those of the
    writer and the flusher, which are others' as well."""
    caplog.set_level("CRITICAL")
    numbers = iter(range(10_000))
    within = ("catalog/", "omendb_core/", "journal/archive", "local/receiving", "local/store")

    def fresh() -> Path | None:
        return None if durability == "memory" else tmp_path / str(next(numbers))

    await walk("restore", "others", durability, fresh, within)


@pytest.mark.parametrize("durability", ["everysec", "always"])
@pytest.mark.parametrize("name", CHANGES)
async def test_any_call_may_fail_on_the_threads_of_the_journal(
    name: str,
    durability: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The store's, the writer's and the flusher's: the window may be finished, and says so."""
    caplog.set_level("CRITICAL")
    monkeypatch.setattr("omendb_ws.journal.local.writer.FLUSH_BYTES", 1)  # flushed at once
    numbers = iter(range(10_000))
    await walk(name, "others", durability, lambda: tmp_path / str(next(numbers)))
