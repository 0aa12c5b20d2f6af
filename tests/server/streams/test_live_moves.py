"""What a live query leaves out, and is like; and moves that change what it asks.

JSON and binary readers side by side: each view is held to what ``search`` says with the same
fields.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from omendb_ws.net.server import Server
from omendb_ws.wire import binary
from omendb_ws.wire.messages import Results
from tests.patience import eventually
from tests.server.live_view import View, rows_of, view_of, views_of
from tests.server.raw import Raw, client, engine_held, queued, running

V = [1.0, 0.0]
COLUMNS = {"n": "i64"}


class Query:
    """One live query, and what it is asked now: ``fields`` as ``search`` takes them."""

    def __init__(self, raw: Raw, handle: int, is_binary: bool) -> None:
        self.raw, self.handle, self.is_binary = raw, handle, is_binary
        self.fields: dict[str, Any] = {}
        self.view: View = None  # type: ignore[assignment]

    async def begin(self, **fields: Any) -> None:
        self.fields = {"k": 3, **fields}
        if self.is_binary:
            given = dict(self.fields)
            vector, k = given.pop("vector", None), given.pop("k")
            frame = binary.encode_subscribe(
                self.raw.next_id(), self.handle,
                None if vector is None else np.array([vector], np.float32), k,
                filter=given.pop("filter", None), min_score=given.pop("min_score", None),
                encoding="binary", shaping=given,
            )  # fmt: skip
            (self.view,) = views_of(self.raw, await self.results(frame))
        else:
            ok = await self.raw.ok("subscribe", kind="live", collection="items", **self.fields)
            self.view = view_of(self.raw, ok)

    async def move(self, **changes: Any) -> None:
        """Move, and note what is asked after it."""
        self.view = await self.moved(**changes)
        if not changes.keys().isdisjoint(("vector", "positive")):
            for name in ("vector", "positive", "negative"):
                self.fields.pop(name, None)
        self.fields |= changes
        for name in ("exclude", "filter", "min_score"):
            if self.fields.get(name) in (None, [], {}):
                self.fields.pop(name, None)

    async def moved(self, **changes: Any) -> View:
        if not self.is_binary:
            ok = await self.raw.ok("move", sub=self.view.sub, **changes)
            return View(
                self.raw, self.view.sub, {one.seq: one for one in rows_of(ok["results"])},
                ok["version"],
            )  # fmt: skip
        found = await self.results(self.frame(**changes))
        return View(
            self.raw, self.view.sub, {one.seq: one for one in rows_of(found.hits)}, found.version
        )

    def frame(self, **changes: Any) -> bytes:
        vector = changes.pop("vector", None)
        given = None if vector is None else np.array([vector], np.float32)
        return binary.encode_move(self.raw.next_id(), self.view.sub, given, changes)

    async def results(self, frame: bytes) -> Results:
        await self.raw.send_binary(frame)
        reply = await self.raw.reply(int.from_bytes(frame[4:8], "little"))
        assert isinstance(reply, Results), reply
        return reply

    async def is_search(self, **instead: Any) -> None:
        """The view is what ``search`` says now."""
        fields = {**self.fields, **instead}
        fields = {name: value for name, value in fields.items() if value is not None}
        ok = await self.raw.ok("search", collection="items", **fields)
        expected = [(one.id, one.seq, one.score) for one in rows_of(ok["results"])]
        while self.view.hits != expected:
            assert self.view.version < ok["version"], (self.view.hits, expected)
            await self.view.step()


@asynccontextmanager
async def query(is_binary: bool, **fields: Any) -> AsyncIterator[tuple[Server, Query, Raw]]:
    """A query over six rows, n 0 … 5, whose vectors are (n, 1); ``dot``."""
    async with running() as server, client(server) as raw, client(server) as other:
        made = await raw.create(capacity=100, columns=COLUMNS, **fields)
        await add(other, *range(6))
        one = Query(raw, made["handle"], is_binary)
        yield server, one, other


async def add(raw: Raw, *ids: int) -> None:
    rows = [{"id": n, "vector": [n, 1], "metadata": {"n": n % 7}} for n in ids]
    await raw.ok("add", collection="items", rows=rows)


def reserved(server: Server) -> int:
    return server.context.catalog.reserved_bytes


both = pytest.mark.parametrize("is_binary", [False, True])


@both
async def test_ids_that_are_excluded_stay_out_should_they_come(is_binary: bool) -> None:
    async with query(is_binary) as (_, one, other):
        await one.begin(vector=V, exclude=[5, 9, 12345, "18446744073709551615"])
        assert [hit[0] for hit in one.view.hits] == [4, 3, 2]
        await add(other, 8, 9, 10)
        await one.is_search()
        assert [hit[0] for hit in one.view.hits] == [10, 8, 4]
        await other.ok("delete", collection="items", ids=[10, 9])
        await add(other, 9)
        await one.is_search()
        assert [hit[0] for hit in one.view.hits] == [8, 4, 3]


@both
async def test_a_target_of_examples_stays_whatever_becomes_of_them(is_binary: bool) -> None:
    """dot: the mean of (4, 1), (2, 1) and (0, 1), away from (1, 1): 2 · (2, 1) - (1, 1)."""
    async with query(is_binary) as (_, one, other):
        await one.begin(positive=[4, [2.0, 1.0], 0], negative=[1])
        as_vector = {"positive": None, "negative": None, "vector": [3, 1], "exclude": [4, 0, 1]}
        await one.is_search(**as_vector)
        assert [hit[0] for hit in one.view.hits] == [5, 3, 2]
        await other.ok("delete", collection="items", ids=[1])
        await add(other, 4, 6)  # another row has an example's id
        await one.is_search(**as_vector)
        assert [hit[0] for hit in one.view.hits] == [6, 5, 3]
        await add(other, *range(20, 120))  # all others are evicted
        await one.is_search(**as_vector)
        assert await one.raw.code("search", collection="items", positive=[0]) == "not_found"


@both
async def test_one_stored_example_is_taken_bit_for_bit(is_binary: bool) -> None:
    async with query(is_binary, metric="cosine") as (_, one, _):
        await one.begin(positive=[3])
        ok = await one.raw.ok("search", collection="items", like=3, k=3)
        assert one.view.hits == [(row.id, row.seq, row.score) for row in rows_of(ok["results"])]


@both
async def test_what_a_move_holds_replaces_what_stood_and_the_rest_stays(is_binary: bool) -> None:
    async with query(is_binary) as (_, one, other):
        await one.begin(vector=V, exclude=[5], filter={"n": {"$lt": 5}}, min_score=1.0)
        await one.is_search()
        for changes in (
            {"vector": [-1.0, 0.0]},
            {"min_score": -3.0},
            {"filter": {"n": {"$gte": 2}}},
            {"exclude": [2]},
            {"vector": [0.0, 1.0], "exclude": [4, 5], "min_score": None},
            {"filter": {}},
            {"exclude": []},
            {"min_score": 1.0, "filter": {"n": {"$ne": 3}}, "vector": V},
        ):
            await one.move(**changes)
            await one.is_search()
        await add(other, 3, 8, 13)
        await one.is_search()
        assert [hit[0] for hit in one.view.hits] == [13, 8, 5]


@both
async def test_ids_of_examples_go_with_their_target_and_exclusions_stay(is_binary: bool) -> None:
    async with query(is_binary) as (_, one, _):
        await one.begin(positive=[5, 4], exclude=[0])
        assert [hit[0] for hit in one.view.hits] == [3, 2, 1]
        await one.move(positive=[3], negative=[[0.0, 1.0]])
        assert [hit[0] for hit in one.view.hits] == [5, 4, 2]
        await one.move(exclude=[5])
        assert [hit[0] for hit in one.view.hits] == [4, 2, 1]
        await one.move(vector=V)
        assert [hit[0] for hit in one.view.hits] == [4, 3, 2]
        await one.move(exclude=[])
        assert [hit[0] for hit in one.view.hits] == [5, 4, 3]
        await one.move(positive=[0], exclude=[1])
        assert [hit[0] for hit in one.view.hits] == [5, 4, 3]
        await one.move(vector=[-1.0, 0.0])
        await one.is_search()
        assert [hit[0] for hit in one.view.hits] == [0, 2, 3]


@both
async def test_an_example_that_has_left_between_two_moves_is_not_found(is_binary: bool) -> None:
    async with query(is_binary) as (server, one, other):
        await one.begin(positive=[3])
        held = reserved(server)
        await other.ok("delete", collection="items", ids=[2])
        request: dict[str, Any] = {"positive": [1], "negative": [[1.0, 0.0], 2], "exclude": [5]}
        if is_binary:
            frame = one.frame(**request)
            await one.raw.send_binary(frame)
            reply = await one.raw.reply(int.from_bytes(frame[4:8], "little"))
        else:
            reply = await one.raw.ask("move", sub=one.view.sub, **request)
        assert reply["error"]["code"] == "not_found"
        assert reply["error"]["row"] == 1
        assert reply["error"]["message"].startswith("negative")
        assert reserved(server) == held
        await add(other, 6)
        await one.is_search(positive=None, vector=[3, 1], exclude=[3])
        assert [hit[0] for hit in one.view.hits] == [6, 5, 4]


@both
async def test_pushes_before_a_moves_reply_are_for_what_was_asked_before(is_binary: bool) -> None:
    async with query(is_binary) as (_, one, other):
        await one.begin(vector=V)
        await add(other, 6)
        await one.view.step()
        assert [hit[0] for hit in one.view.hits] == [6, 5, 4]
        await one.move(exclude=[6, 5], min_score=4.0)
        assert [hit[0] for hit in one.view.hits] == [4]
        await add(other, 7)
        await one.view.step()
        assert ([row.id for row in one.view.entered], one.view.leaves) == ([7], [])


@both
async def test_memory_of_exclusions_is_taken_and_given_back(is_binary: bool) -> None:
    async with query(is_binary) as (server, one, _):
        begun = reserved(server)
        await one.begin(vector=V)
        plain = reserved(server)
        await one.move(exclude=list(range(100, 10_100)))
        assert reserved(server) - plain >= 8 * 10_000
        await one.move(exclude=[1])
        assert plain < reserved(server) < plain + 2000
        await one.move(exclude=[])
        await eventually(lambda: reserved(server) <= plain + 100)
        await one.move(exclude=list(range(100, 10_100)), filter={"n": {"$in": list(range(1000))}})
        await one.move(positive=[1, 2])
        await one.raw.ok("unsubscribe", sub=one.view.sub)
        await eventually(lambda: reserved(server) == begun)
        await one.begin(positive=[1], exclude=list(range(100, 5100)))
        assert reserved(server) - plain >= 8 * 5000
        await one.raw.ok("unsubscribe", sub=one.view.sub)
        await eventually(lambda: reserved(server) == begun)


@both
async def test_a_move_for_which_there_is_no_memory_changes_nothing(is_binary: bool) -> None:
    async with query(is_binary) as (server, one, other):
        await one.begin(vector=V, exclude=[5])
        before, held = one.view.hits, reserved(server)
        budget = server.context.catalog.budget
        most, budget.max_bytes = budget.max_bytes, held + 10_000
        changes: dict[str, Any] = {"exclude": list(range(10_000)), "vector": [-1.0, 0.0]}
        if is_binary:
            frame = one.frame(**changes)
            await one.raw.send_binary(frame)
            reply = await one.raw.reply(int.from_bytes(frame[4:8], "little"))
        else:
            reply = await one.raw.ask("move", sub=one.view.sub, **changes)
        assert reply["error"]["code"] == "quota"
        assert reserved(server) == held
        budget.max_bytes = most
        await add(other, 6)
        await one.is_search()
        assert one.view.hits[1:] == before[:2]


async def test_a_subscribe_that_leaves_out_more_than_there_is_memory_for_is_refused() -> None:
    async with query(False) as (server, one, _):
        held = reserved(server)
        budget = server.context.catalog.budget
        budget.max_bytes = held + 10_000
        ids = list(range(10_000))
        code = await one.raw.code(
            "subscribe", kind="live", collection="items", vector=V, exclude=ids
        )
        assert code == "quota"
        await eventually(lambda: reserved(server) == held)
        (shard,) = server.context.catalog.shards()
        assert not len(shard.window.standing)
        assert not shard.listed.subscriptions


async def test_a_move_to_a_filter_behind_a_drop_finds_nothing_and_is_no_fault() -> None:
    async with running() as server, client(server) as one:
        await one.create("items", columns={"price": "f64"})
        sub = (await one.ok("subscribe", kind="live", collection="items", vector=[1, 0]))["sub"]
        async with engine_held(server):
            drop = await one.send("drop", collection="items")
            move = await one.send("move", sub=sub, filter={"price": 1})
            await queued(server, 2)
        assert (await one.reply(drop))["ok"] == {}
        assert (await one.reply(move))["error"]["code"] == "not_found"
        assert server.context.metrics.faults == 0
