"""What others' rows hold changes nothing of what a token is told: by any field of any op.

Two worlds are alike in what the asker may see, and in the ids, seqs and versions of all else; what
the others' rows hold differs in everything. Whatever is asked in both, the replies and the pushes
must be the same. A token without a filter is asked, too: it must see the difference.

``make test`` asks each request with a third of the grants; ``GRANTS_WALK=all`` with all of them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from omendb_ws.net.server import Server
from omendb_ws.wire.messages import Live, Results, Rows
from tests.server.grant_cases import BASES, COLUMNS, FIELDS, HIDDEN, Case, cases, row, schema
from tests.server.raw import Clock, Raw, client, running
from tests.server.shaped import ask_binary, rows_of
from tests.server.tokens import token, with_secret

WORLDS = ("acme", "umbrella")
MINE = {"owner": "me"}
RIGHTS = ["read", "write", "admin"]
GRANTS: dict[str, list[dict[str, Any]]] = {
    "a filter": [{"rights": RIGHTS, "filter": MINE}],
    "a filter and a stamp": [{"rights": RIGHTS, "filter": MINE, "stamp": MINE}],
    "two that are joined": [
        {"rights": ["read"], "filter": {"$and": [MINE, {"level": {"$lt": 2}}]}},
        {"rights": RIGHTS, "filter": {"$and": [MINE, {"level": {"$gte": 2}}]}},
    ],
    "a column that is not there": [{"rights": RIGHTS, "filter": {"team": "a"}}],
    "another collection": [{"rights": RIGHTS, "collections": ["others-*"]}],
    "reading": [{"rights": ["read"], "filter": MINE}],
    "writing": [{"rights": ["write"], "filter": MINE, "stamp": MINE}],
}
WHOLE = [{"rights": RIGHTS}]
#: What nothing depends on but time, which world it is, or what the connection asked before.
UNLIKE = ("took_us", "at", "epoch", "uptime_s", "tenant", "expires_in_s", "id", "handle")
#: Ops whose replies tell of rows at all.
TELLS = {"get", "count", "search", "move", "add", "subscribe live", "subscribe match",
         "subscribe feed", "subscribe novel", "subscribe count", "subscribe map"}  # fmt: skip


def test_every_field_of_every_op_and_kind_has_a_row() -> None:
    """Whoever adds one says here what may be asked with it."""
    found = {what: set(fields) for what, fields in FIELDS.items()}
    assert found == schema()
    assert BASES.keys() == FIELDS.keys()
    every = list(cases())
    assert len(every) > 250
    assert {(one.what, one.field) for one in every} >= {
        (what, field) for what, fields in FIELDS.items() for field in fields
    }


def hidden_row(world: str, id: int) -> dict[str, Any]:
    """Of another owner. It has the same seq in both worlds, and nothing else."""
    if world == WORLDS[0]:
        return {"id": id, "vector": [1.0, 1.0 + id / 16], "metadata": {"owner": "you", "level": 90}}
    metadata = {"owner": "them", "price": id + 0.5, "open": True, "note": "x" * 99}
    return {"id": id, "vector": [-3.0, float(id)], "metadata": metadata}


class World:
    """One of the two, with a connection of the asker's and one with all rights."""

    def __init__(self, name: str, root: Raw) -> None:
        self.name = name
        self.root = root
        self.raw = root
        self.handle = 0
        self.sub = 0

    async def fill(self) -> None:
        """Rows 1 to 3 are the asker's, 4 to 6 are hidden; 6 is there in one world only."""
        for one in (await self.root.ok("list"))["collections"]:
            await self.root.ok("drop", collection=one["collection"])
        await self.root.create(columns=COLUMNS, capacity=50, metric="cosine")
        mine = [row(id, owner="me", level=id, price=id / 4, open=id == 2) for id in (1, 2, 3)]
        rows = [*mine, *(hidden_row(self.name, id) for id in HIDDEN)]
        await self.root.ok("add", collection="items", rows=rows)
        if self.name == WORLDS[0]:
            another = hidden_row(self.name, 6)
            await self.root.ok("update", collection="items", rows=[
                {"id": 6, "metadata": another["metadata"]}
            ])  # fmt: skip
        else:
            await self.root.ok("delete", collection="items", ids=[6])
        opened = await self.raw.ask("open", collection="items")
        self.handle = opened.get("ok", {}).get("handle", 0)

    async def change(self) -> None:
        """Everything that others may do to rows that are hidden, and some that are not."""
        said = self.root.ok
        await said("add", collection="items", rows=[row(30, owner="me", level=1)])
        hidden = [hidden_row(self.name, id) for id in (31, 32, 6)]
        await said("add", collection="items", rows=hidden)
        another = hidden_row(self.name, 77)["metadata"]
        await said("update", collection="items", rows=[{"id": 5, "metadata": another}])
        await said("update", collection="items", rows=[{"id": 3, "metadata": another}])
        await said("delete", collection="items", ids=[4])
        await said("add", collection="items", rows=[row(40, owner="me", level=2, price=0.5)])

    async def ask(self, case: Case) -> list[Any]:
        """What is said to a request, without what differs anyway."""
        op, _, kind = case.what.partition(" ")
        fields = dict(case.fields)
        if kind:
            fields["kind"] = kind
        if op == "auth":
            fields["token"] = self.token
        if op == "move":
            begun = await self.raw.ask("subscribe", kind="live", collection="items", vector=[1, 0])
            fields["sub"] = begun.get("ok", {}).get("sub", 1)
        elif op not in ("ping", "auth", "list", "usage", "cluster", "evacuate", "unsubscribe"):
            fields.setdefault("collection", "items")
        if "epoch" in fields:
            described = await self.root.ask("describe", collection="items")
            fields["epoch"] = described.get("ok", {}).get("epoch", "none")
        reply = await self.raw.ask(op, **fields)
        self.sub = reply.get("ok", {}).get("sub", 0) if kind else 0
        if (restore := reply.get("ok", {}).pop("restore", None)) is not None:
            await self.raw.ok("restore", end=restore)
        said = [alike(reply)]
        if op == "search" and self.handle:
            given = {name: one for name, one in fields.items() if name != "collection"}
            if "like" not in given:
                found = await ask_binary(self.raw, self.handle, **given)
                is_found = isinstance(found, Results)
                said.append([tuple(one) for one in rows_of(found)] if is_found else alike(found))
        return said

    async def hidden(self) -> Any:
        """The rows that are not there for who asked, as they are."""
        reply = await self.root.ask(
            "get", collection="items", ids=list(HIDDEN), include=["metadata", "vector"]
        )
        return reply.get("ok", {}).get("rows")

    async def left(self) -> Any:
        """What is there afterwards, for who asked."""
        ids = [*range(1, 7), 20, 21, 30, 31, 32, 40]
        reply = await self.raw.ask("get", collection="items", ids=ids, include=["metadata"])
        return alike(reply)

    token = ""


def alike(said: Any) -> Any:
    """Without what differs between two worlds, or two moments, anyway."""
    if isinstance(said, dict):
        return {name: alike(one) for name, one in said.items() if name not in UNLIKE} | (
            {"id": said["id"]} if "seq" in said else {}
        )
    return [alike(one) for one in said] if isinstance(said, list) else said


@asynccontextmanager
async def two_worlds(path: Path, grants: list[dict[str, Any]]) -> AsyncIterator[list[World]]:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            running(Server(with_secret(path), clock_us=Clock()))
        )
        found = []
        for name in WORLDS:
            root = await stack.enter_async_context(
                client(server, token=token(*WHOLE, tenant=name, sub="root"))
            )
            world = World(name, root)
            world.token = token(*grants, tenant=name)
            world.raw = await stack.enter_async_context(client(server, token=world.token))
            found.append(world)
        yield found


def ids_told(event: Any) -> set[int]:
    """Of a push."""
    if isinstance(event, Live | Rows):
        hits = event.enter if isinstance(event, Live) else event.hits
        near = [] if hits.near is None else [one for one in hits.near if one is not None]
        return {*map(int, hits.ids), *map(int, near)}
    assert event.get("bytes") is None, "of statistics"
    if event["event"] in ("count", "stats", "gap"):
        return set()
    rows = [*event.get("rows", ()), *event.get("enter", ())]
    return {one["id"] for one in rows} | {one["near"] for one in rows if one.get("near")}


async def told(world: World, case: Case) -> tuple[set[int], Any]:
    """Every id that a subscription tells while the world changes, and how another one begins."""
    raw = world.raw
    raw.events.clear()
    await world.change()
    await raw.ok("unsubscribe", sub=world.sub)
    ids = {id for event in raw.events for id in ids_told(event)}
    return ids, await world.ask(case)


def some_cases(which: str) -> list[Case]:
    """What is asked with one of ``GRANTS``."""
    step = 1 if os.environ.get("GRANTS_WALK") == "all" else 3
    return list(cases())[list(GRANTS).index(which) % step :: step]


@pytest.mark.parametrize("which", GRANTS)
async def test_what_is_hidden_changes_nothing_of_what_is_said(which: str, tmp_path: Path) -> None:
    asked: Counter[str] = Counter()
    async with two_worlds(tmp_path, GRANTS[which]) as worlds:
        for case in some_cases(which):
            said, pushed = [], []
            for world in worlds:
                await world.fill()
                hidden = await world.hidden()
                said.append([*await world.ask(case), await world.left()])
                assert case.what == "drop" or await world.hidden() == hidden, (which, case)
                if world.sub:
                    ids, again = await told(world, case)
                    assert not ids & {*HIDDEN, 31, 32}, (case, ids)
                    pushed.append(again)
            assert said[0] == said[1], (which, case)
            assert not pushed or pushed[0] == pushed[1], (which, case)
            asked[case.what] += 1
    assert sum(asked.values()) > 100


async def test_another_tenant_is_told_the_same_whether_or_not_it_is_there(tmp_path: Path) -> None:
    async with two_worlds(tmp_path, WHOLE) as (world, stranger):
        world.raw = stranger.raw
        world.token = stranger.token
        said: list[list[Any]] = []
        for is_there in (True, False):
            await world.fill()
            if not is_there:
                await world.root.ok("drop", collection="items")
            said.append([])
            for case in cases():
                if case.what != "usage":  # of the time that its requests took
                    said[-1].append((case, await world.ask(case)))
                if case.what == "create":
                    for one in (await stranger.root.ok("list"))["collections"]:
                        await stranger.root.ok("drop", collection=one["collection"])
        for one, other in zip(*said, strict=True):
            assert one == other


async def test_who_may_see_all_is_told_what_differs(tmp_path: Path) -> None:
    """Otherwise the worlds would be alike, and nothing were shown by the walk."""
    tells = set()
    async with two_worlds(tmp_path, WHOLE) as worlds:
        for case in cases():
            if case.what not in TELLS - tells:
                continue
            said = []
            for world in worlds:
                await world.fill()
                reply = await world.ask(case)
                if world.sub:
                    raw = world.raw
                    raw.events.clear()
                    await world.change()
                    await raw.ok("unsubscribe", sub=world.sub)
                    reply.append([alike_event(event) for event in raw.events])
                said.append(reply)
            if orjson.dumps(said[0], default=repr) != orjson.dumps(said[1], default=repr):
                tells.add(case.what)
    assert tells >= TELLS, TELLS - tells


def alike_event(event: Any) -> Any:
    return alike(event) if isinstance(event, dict) else repr(event)
