"""A network that is cut: an owner that clients reach and that does not reach NATS acknowledges
nothing that is not in the log, and answers what it has."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.core.windows import assert_same
from tests.nats import NatsServer, nats_server
from tests.patience import PATIENCE_SECONDS, eventually
from tests.server.cluster.nodes import node, until_taken
from tests.server.cluster.partitions import way
from tests.server.cluster.test_several_nodes import follows, knows, owns, shard_on
from tests.server.raw import Raw, client, rows


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with nats_server(tmp_path / "nats") as server:
        yield server


async def ids(raw: Raw) -> list[int]:
    answer = await until_taken(raw, "search", collection="items", vector=[1, 0], k=1000)
    return sorted(one["id"] for one in answer["results"])


async def until_added(raw: Raw, number: int) -> None:
    """Ask until it is: of what a node that is cut off was asked nobody knows what became."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            reply = await raw.ask("add", collection="items", rows=rows(number))
            if "ok" in reply:
                return
            assert reply["error"]["code"] in ("unavailable", "internal"), reply
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "cut", [{}, {"back": False}, {"there": False}], ids=["both", "there", "back"]
)
async def test_an_owner_that_is_cut_off_from_nats_acknowledges_nothing_that_is_not_in_the_log(
    nats: NatsServer, cut: dict[str, bool]
) -> None:
    with way(nats) as cut_off:
        async with (
            node(cast(NatsServer, cut_off), "one") as one,
            node(nats, "two") as two,
            client(one) as raw,
            client(one) as reading,
            client(two) as other,
        ):
            await knows(one, "one", "two")
            await knows(two, "one", "two")
            await raw.create("items", capacity=1000)
            await raw.add(1)
            await eventually(lambda: follows(two))
            cut_off.stall(**cut)
            asked = [
                await raw.send("add", collection="items", rows=rows(number))
                for number in range(100, 120)
            ]
            assert await ids(reading) == [1]
            await until_added(other, 2)
            assert owns(two)
            assert {1, 2} <= set(await ids(other))
            cut_off.open()
            replies: list[dict[str, Any]] = [await raw.reply(one) for one in asked]
            taken = {
                number
                for number, reply in zip(range(100, 120), replies, strict=True)
                if "ok" in reply
            }
            codes = {reply["error"]["code"] for reply in replies if "error" in reply}
            assert codes <= {"unavailable"}
            await until_taken(raw, "add", collection="items", rows=rows(3))
            await eventually(lambda: follows(one) or follows(two))
            ours, theirs = shard_on(one), shard_on(two)
            assert ours is not None
            assert theirs is not None
            await eventually(lambda: ours.window.version == theirs.window.version)
            assert set(await ids(other)) >= {1, 2, 3} | taken
            assert_same(ours.window, theirs.window)


async def test_a_follower_that_is_cut_off_slows_nobody_and_catches_up(nats: NatsServer) -> None:
    with way(nats) as cut_off:
        async with (
            node(nats, "one") as one,
            node(cast(NatsServer, cut_off), "two") as two,
            client(one) as raw,
            client(two) as other,
        ):
            await knows(one, "one", "two")
            await raw.create("items", capacity=1000)
            await raw.add(0)
            await eventually(lambda: follows(two) and shard_on(two).window.version == 1)
            cut_off.stall()
            for first in range(1, 101, 10):
                await raw.ok("add", collection="items", rows=rows(*range(first, first + 10)))
            behind = shard_on(two)
            assert behind is not None
            assert behind.window.version < 11
            found = await other.ok("search", collection="items", vector=[1, 0], k=1000)
            assert found["version"] == behind.window.version
            cut_off.open()
            ours = shard_on(one)
            assert ours is not None
            await eventually(lambda: shard_on(two).window.version == ours.window.version)
            assert_same(ours.window, shard_on(two).window)
