"""The law of faults for a cluster's log: a call fails once, and nothing acknowledged is lost.

For calls of ``journal/jetstream`` and ``cluster`` that a change sets off on the thread of NATS, the
node's loop and its engine (all by ``make torture``), a node of its own in which that call fails
once. Then: the change has exactly one reply; further changes are taken, by the same node or, where
that says that its collection needs repair, by one that starts afresh; and a fresh node has all that
was acknowledged, once, and what this one showed.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Iterator
from typing import Any, Protocol
from zlib import crc32

import pytest

from omendb_ws.journal.jetstream.log import StreamLog
from omendb_ws.node.node import Node
from tests.nats import NatsServer, nats_server
from tests.patience import PATIENCE_SECONDS, eventually
from tests.server.raw import rows
from tests.server.walk import Injector, Side, Thread, started

pytestmark = [
    pytest.mark.timeout(1200),
    # What was to begin a task failed, so its coroutine goes as it is.
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

IS_WHOLE = os.environ.get("FAULT_WALK") == "all"
EVERY = 12
WITHIN = ("journal/jetstream", "omendb_ws/cluster")
ITEMS = {"collection": "items"}
CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "add": ("add", {**ITEMS, "rows": rows(3), "producer": "p", "batch": 1}),
    "large add": ("add", {**ITEMS, "rows": rows(*range(100, 400))}),
    "delete": ("delete", {**ITEMS, "ids": [1]}),
    "create": ("create", {"collection": "new", "dim": 2, "capacity": 8}),
    "drop": ("drop", {"collection": "old"}),
}
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


async def ids_of(side: Side, name: str = "items") -> list[int]:
    found = await asked_until_taken(side, "search", collection=name, vector=[1, 0], k=1000)
    return sorted(row["id"] for row in found["ok"]["results"])


async def asked_until_taken(side: Side, op: str, **fields: Any) -> dict[str, Any]:
    """The reply that is no ``unavailable``, or one that says that only repair helps."""
    while True:
        reply: dict[str, Any] = await side.ask(op, **fields)
        error = reply.get("error", {})
        if error.get("code") != "unavailable" or "needs repair" in error["message"]:
            return reply
        assert error["retry"] is True
        await asyncio.sleep(0.02)


async def ready(node: Node) -> None:
    while node.status() != "ok":  # noqa: ASYNC110 - polled, as a probe does
        await asyncio.sleep(0.01)


class Faults(Protocol):
    """What makes something fail, while it is armed."""

    is_armed: bool


async def walked(
    injector: Injector, name: str, nats: NatsServer, faults: Faults | None = None
) -> None:
    """One change while ``faults`` are armed, by default the injector's."""
    faults = faults or injector
    fields = {"cluster": nats.url, "cluster_name": f"walk{next(NUMBERS)}"}
    fields["queue_deadline_ms"] = 60_000
    shown: list[int] | None = None
    op, asked = CHANGES[name]
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        started(injector, node_name="one", **fields) as node,
    ):
        await ready(node)
        side = Side(node, injector)
        await side.create(capacity=1000)
        await side.create("old", capacity=8)
        await side.add(1, 2)
        faults.is_armed = True
        reply = await side.ask(op, **asked)
        await asyncio.sleep(0.02)
        faults.is_armed = False
        await side.ok("ping")
        added = await asked_until_taken(side, "add", **ITEMS, rows=rows(9))
        if "ok" in added:
            shown = await ids_of(side)
            log = node.context.catalog.find("default", "items").shard.pending.log
            if isinstance(log, StreamLog):
                await eventually(lambda: log.numbers().pending_bytes == 0)
        node.close_session(side.session)
    expected = {1, 2, 9} if shown is not None else {1, 2}
    if "ok" in reply and op == "add":
        expected |= {row["id"] for row in asked["rows"]}
    if op == "delete":  # where it is not acknowledged it may be done all the same
        expected -= {1}
    quiet = Injector("loop")
    async with asyncio.timeout(PATIENCE_SECONDS), started(quiet, node_name="two", **fields) as node:
        await ready(node)
        side = Side(node, quiet)
        found = await ids_of(side)
        assert len(found) == len(set(found))
        assert expected <= set(found)
        assert not ("ok" in reply and op == "delete" and 1 in found)
        assert shown is None or found == shown
        assert "ok" in await asked_until_taken(side, "add", **ITEMS, rows=rows(10))
        listed = {one["collection"] for one in (await side.ok("list"))["collections"]}
        if "ok" in reply:
            assert ("new" in listed) == (op == "create")
            assert ("old" in listed) == (op != "drop")
        node.close_session(side.session)


@pytest.mark.parametrize("on", ["loop", "engine", "others"])
@pytest.mark.parametrize("name", CHANGES)
async def test_any_call_may_fail_and_nothing_acknowledged_is_lost(
    name: str, on: Thread, nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")
    first = Injector(on, within=WITHIN)
    await walked(first, name, nats)
    calls = list(first.seen)
    chosen = calls if IS_WHOLE else calls[crc32(f"{name} {on}".encode()) % 3 :: EVERY]
    for call in chosen:
        try:
            await walked(Injector(on, call, WITHIN), name, nats)
        except Exception as error:
            raise AssertionError(f"after a fault instead of {call}") from error
