"""No version goes back for a connection, whichever nodes answer it one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

import omendb_ws
from tests.patience import eventually
from tests.server.links.pair import Pair, pair
from tests.server.raw import Raw, client

READS: dict[str, dict[str, Any]] = {
    "get": {"ids": [1]},
    "count": {},
    "search": {"vector": [1, 0]},
    "subscribe": {"kind": "count"},
}


@asynccontextmanager
async def behind(*nodes: str) -> AsyncIterator[tuple[Pair, Raw]]:
    """``items`` is owned by ``b``, and held by ``nodes`` that are behind it; a client of ``a`` has
    written to it, at version 3."""
    async with pair(names=("a", "b", "c")) as three:
        for name in {"b", *nodes}:
            async with client(three[name]) as raw:
                await raw.create("items", ids="u64")
        three.place("items", "b")
        async with client(three["a"]) as raw:
            for number in (1, 2, 3):
                await raw.add(number)
            yield three, raw


async def catch_up(three: Pair, name: str) -> None:
    """Have a node that is behind come to version 3."""
    async with client(three[name]) as raw:
        three.place("items", name)
        for number in (1, 2, 3):
            await raw.add(number)


async def waits_until_there(three: Pair, raw: Raw, name: str, op: str) -> None:
    asked = await raw.send(op, collection="items", **READS[op])
    await eventually(lambda: three[name].context.metrics.requests[op])
    await catch_up(three, name)
    assert (await raw.reply(asked))["ok"]["version"] == 3


@pytest.mark.parametrize("op", READS)
async def test_a_node_that_is_behind_answers_when_it_is_there(op: str) -> None:
    async with behind("c") as (three, raw):
        three.place("items", None, "c")
        await waits_until_there(three, raw, "c", op)


@pytest.mark.parametrize("op", READS)
async def test_so_does_the_clients_own_node(op: str) -> None:
    async with behind("a") as (three, raw):
        three.place("items", None, "a")
        await waits_until_there(three, raw, "a", op)


@pytest.mark.parametrize("name", ["a", "c"])
async def test_so_do_searches_as_frames(name: str) -> None:
    async with behind(name) as (three, _), omendb_ws.connect(three["a"].url) as db:
        await db.add("items", [[1.0, 0.0]], [4])
        three.place("items", None, name)
        asked = asyncio.create_task(db.search("items", np.ones(2, np.float32)))
        await eventually(lambda: three[name].context.metrics.requests["search"])
        await catch_up(three, name)
        async with client(three[name]) as raw:
            await raw.add(4)
        assert (await asked).version == 4


async def test_what_this_node_showed_before_it_let_go_is_shown_elsewhere_too() -> None:
    async with pair() as two:
        async with client(two["b"]) as raw:
            await raw.create("items", ids="u64")
        two.map.shown["items"] = 2
        two.place("items", "b")
        async with client(two["a"]) as raw, client(two["b"]) as other:
            asked = await raw.send("count", collection="items")
            await eventually(lambda: two["b"].context.metrics.requests["count"])
            await other.add(1)
            await other.add(2)
            assert (await raw.reply(asked))["ok"] == {"version": 2, "count": 2}


async def test_a_collection_that_is_another_now_is_read_as_it_is() -> None:
    async with behind("c") as (three, raw):
        three.map.keys["items"] = "another"
        three.place("items", "c")
        assert (await raw.ok("count", collection="items"))["version"] == 0
