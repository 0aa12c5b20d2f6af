"""Two nodes over one NATS: what one owns the other follows, shows, and takes over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omendb_core.model.logged import KeptRows

import omendb_ws
from omendb_ws.engine.model.shard import Shard
from omendb_ws.journal.jetstream import statements
from omendb_ws.journal.jetstream.records import Broken
from omendb_ws.net.server import Server
from tests.core.windows import assert_same
from tests.nats import NatsServer, nats_server
from tests.patience import eventually
from tests.server.cluster.nodes import follow_all, follower_node, node
from tests.server.raw import Raw, client, rows


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with nats_server(tmp_path / "nats") as server:
        yield server


class Two:
    """A node that owns what is made there, and one that follows it."""

    def __init__(self, owner: Server, follower: Server, raw: Raw, other: Raw) -> None:
        self.owner, self.follower = owner, follower
        self.raw, self.other = raw, other

    def shards(self, name: str = "items") -> tuple[Shard, Shard]:
        return (
            self.owner.context.catalog.find("default", name).shard,
            self.follower.context.catalog.find("default", name).shard,
        )

    async def in_step(self, name: str = "items") -> None:
        """Wait until both windows are at one version."""
        ours, theirs = self.shards(name)
        await eventually(lambda: theirs.window.version == ours.window.version)


@asynccontextmanager
async def two(nats: NatsServer) -> AsyncIterator[Two]:
    async with AsyncExitStack() as stack:
        owner = await stack.enter_async_context(node(nats, "one"))
        follower = await stack.enter_async_context(follower_node(nats, "two", owner))
        raw = await stack.enter_async_context(client(owner))
        other = await stack.enter_async_context(client(follower))
        yield Two(owner, follower, raw, other)


async def ids(raw: Raw, name: str = "items") -> list[int]:
    answer = await raw.ok("search", collection=name, vector=[1, 0], k=1000)
    return sorted(one["id"] for one in answer["results"])


async def test_a_follower_answers_for_what_its_owner_admitted_and_takes_nothing(
    nats: NatsServer,
) -> None:
    async with two(nats) as both:
        await both.raw.create("items", columns={"n": "i64"})
        await both.raw.ok("add", collection="items", rows=rows(1, 2, 3), producer="p", batch=1)
        await follow_all(both.follower)
        assert await ids(both.other) == [1, 2, 3]
        await both.raw.ok("delete", collection="items", ids=[2])
        await both.raw.ok("update", collection="items", rows=[{"id": 3, "metadata": {"n": 7}}])
        await both.in_step()
        assert_same(*(shard.window for shard in both.shards()))
        got = await both.other.ok("get", collection="items", ids=[3], include=["metadata"])
        assert got["rows"][0]["metadata"] == {"n": 7}
        for op, fields in (
            ("add", {"rows": rows(9)}),
            ("add", {"rows": rows(9), "unless_near": {"score": 0.5}}),
            ("delete", {"ids": [1]}),
            ("update", {"rows": [{"id": 1, "metadata": {}}]}),
            ("drop", {}),
        ):
            refused = await both.other.error(op, collection="items", **fields)
            assert (refused["code"], refused["retry"]) == ("unavailable", True), op
            assert "another node owns it" in refused["message"], op
        assert await ids(both.raw) == [1, 3]
        described = [await one.ok("describe", collection="items") for one in (both.raw, both.other)]
        for one in described:
            assert one.pop("owner") == "one"
            one.pop("replicas")
        assert {**described[0], "bytes": 0} == {**described[1], "bytes": 0}


async def test_who_subscribed_at_a_follower_hears_of_every_change(nats: NatsServer) -> None:
    async with two(nats) as both:
        made = await both.raw.create("items", capacity=1000)
        await both.raw.add(1)
        await follow_all(both.follower)
        since = {"from_seq": 1, "epoch": made["epoch"]}
        query = [1.0, 0.5]
        async with omendb_ws.connect(both.follower.url) as db:
            feed = db.feed("items", **since)
            match = db.match("items", query, -100.0, **since)
            fed, matched = [], []

            async def read(rows_of: Any, found: list[int]) -> None:
                async for one in rows_of:
                    assert one.gap is None
                    found.extend(one.ids.tolist())

            async with db.live("items", query, 5) as live:
                await anext(live)
                readers = [
                    asyncio.create_task(read(feed, fed)), asyncio.create_task(read(match, matched))
                ]  # fmt: skip
                random = np.random.default_rng(1)
                for number in range(2, 60):
                    row = {"id": number, "vector": random.normal(size=2).tolist()}
                    await both.raw.ok("add", collection="items", rows=[row])
                    if number % 7 == 0:
                        await both.raw.ok("delete", collection="items", ids=[number - 3])
                best = {"id": 60, "vector": [99, 99]}
                version = (await both.raw.ok("add", collection="items", rows=[best]))["version"]
                view = await anext(live)
                while view.version < version:
                    view = await anext(live)
                found = await db.search("items", query, 5)
                assert view.ids.tolist() == found.ids.tolist()
                np.testing.assert_array_equal(view.scores, found.scores)
            await eventually(lambda: fed and matched and fed[-1] == matched[-1] == 60)
            for reader in readers:
                reader.cancel()
            assert matched == sorted(set(matched))
            assert set(matched) <= set(fed)
            expected = set(range(1, 61)) - {number - 3 for number in range(7, 60, 7)}
            assert expected <= set(fed)


async def test_a_follower_that_is_promoted_takes_changes_and_its_owner_follows(
    nats: NatsServer,
) -> None:
    async with two(nats) as both:
        await both.raw.create("items", capacity=5000)
        await both.raw.ok("add", collection="items", rows=rows(1), producer="p", batch=1)
        await follow_all(both.follower)
        ours, theirs = both.shards()
        asked = [
            await both.raw.send("add", collection="items", rows=rows(number))
            for number in range(1000, 1200)
        ]
        replicas = both.follower.node.replicas
        assert replicas is not None
        await replicas.promote(theirs)
        assert not theirs.is_follower
        replies = [await both.raw.reply(one) for one in asked]
        taken = {
            number
            for number, reply in zip(range(1000, 1200), replies, strict=True)
            if "ok" in reply
        }
        refused = [reply["error"] for reply in replies if "error" in reply]
        assert {(one["code"], one["retry"]) for one in refused} <= {("unavailable", True)}
        again = await both.other.ok("add", collection="items", rows=rows(1), producer="p", batch=1)
        assert again["duplicate"] is True
        await both.other.add(7)
        await eventually(lambda: ours.is_follower)
        await both.in_step()
        assert set(await ids(both.other)) >= taken | {1, 7}
        assert await ids(both.raw) == await ids(both.other)
        assert_same(ours.window, theirs.window)


async def test_rows_expire_by_their_owner_alone(nats: NatsServer) -> None:
    async with two(nats) as both:
        await both.raw.ok("create", collection="items", dim=2, capacity=100, ids="u64", ttl=0.5)
        await both.raw.add(1)
        await follow_all(both.follower)
        ours, theirs = both.shards()
        await eventually(lambda: ours.window.state.expired == 1)
        await both.in_step()
        assert theirs.window.state.expired == 1
        assert_same(ours.window, theirs.window)


async def test_a_replica_is_let_go_of_and_followed_again(nats: NatsServer) -> None:
    async with two(nats) as both:
        await both.raw.create("items")
        await both.raw.add(1)
        await follow_all(both.follower)
        _, theirs = both.shards()
        replicas = both.follower.node.replicas
        assert replicas is not None
        shown = theirs.window.version
        key = theirs.pending.log.stored.key  # type: ignore[union-attr]
        await replicas.let_go(theirs, "is on other nodes; try again")
        assert not hasattr(theirs, "window")
        assert replicas.left == {key: shown}
        replicas.forget_others({"another"})
        assert replicas.left == {}
        refused = await both.other.error("search", collection="items", vector=[1, 0])
        assert refused["code"] == "unavailable"
        await both.raw.add(2)
        await follow_all(both.follower)
        assert await ids(both.other) == [1, 2]


async def test_a_follower_whose_log_cannot_be_followed_any_more_is_made_again(
    nats: NatsServer,
) -> None:
    async with two(nats) as both:
        await both.raw.create("items")
        await both.raw.add(1)
        await follow_all(both.follower)
        _, theirs = both.shards()
        await both.other.ok("subscribe", kind="feed", collection="items")
        following = theirs.pending.log.following  # type: ignore[union-attr]
        following._connection.soon(lambda: following._broke(Broken("as it were")))
        ended = await both.other.named("ended")
        assert ended["reason"] == "unavailable"
        replicas = both.follower.node.replicas
        assert replicas is not None
        catalog = both.follower.context.catalog

        def is_back() -> bool:
            shard = catalog.shard_of("default", "items")
            return replicas.rebuilt == 1 and shard is not None and shard.broken is None

        await eventually(is_back)
        await both.raw.add(2)
        await both.in_step()
        assert await ids(both.other) == [1, 2]
        assert_same(*(shard.window for shard in both.shards()))


async def test_what_its_owner_drops_is_gone_at_a_follower_too(nats: NatsServer) -> None:
    async with two(nats) as both:
        await both.raw.create("items")
        await follow_all(both.follower)
        await both.other.ok("subscribe", kind="feed", collection="items")
        await both.raw.ok("drop", collection="items")
        ended = await both.other.named("ended")
        assert ended["reason"] == "dropped"
        assert await both.other.code("search", collection="items", vector=[1, 0]) == "not_found"
        replicas = both.follower.node.replicas
        assert replicas is not None
        assert replicas.rebuilt == 0
        await both.raw.create("items")
        await follow_all(both.follower)
        assert await ids(both.other) == []


async def test_a_follower_whose_rows_differ_from_its_owners_is_found_and_made_again(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "STATED_BYTES", 1000)
    async with two(nats) as both:
        await both.raw.create("items", columns={"n": "str"}, capacity=10_000)
        await follow_all(both.follower)
        replicas = both.follower.node.replicas
        assert replicas is not None
        for number in range(1, 60):
            await both.raw.add(number)
        await both.in_step()
        assert replicas.rebuilt == 0
        _, theirs = both.shards()
        assert theirs.pending.log.following._reader.statements  # type: ignore[union-attr]
        theirs.window.state.ring.vectors[:] += 1  # a bit of its memory is not what it was
        number = 100
        while not replicas.rebuilt and number < 1000:
            await both.raw.add(number := number + 1)
        await eventually(lambda: len(both.follower.context.catalog) == 1)
        await both.in_step()
        assert_same(*(shard.window for shard in both.shards()))


async def test_statements_are_compared_under_unbroken_load(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "STATED_BYTES", 2000)
    async with two(nats) as both:
        await both.raw.create("items", capacity=10_000)
        await follow_all(both.follower)
        ours, theirs = both.shards()
        pending = ours.pending
        assert pending is not None
        stated: list[int] = []
        state = pending.log.statements.state  # type: ignore[union-attr]
        pending.log.statements.state = lambda one: (stated.append(one.version), state(one))  # type: ignore[union-attr]
        for first in range(1, 4000, 400):  # hundreds are under way at any time
            asked = [
                await both.raw.send("add", collection="items", rows=rows(number))
                for number in range(first, first + 400)
            ]
            for one in asked:
                assert "ok" in await both.raw.reply(one)
        await both.in_step()
        assert len(stated) >= 10
        reader = theirs.pending.log.following._reader  # type: ignore[union-attr]
        await eventually(lambda: reader.statements == len(stated))
        assert both.follower.node.replicas.rebuilt == 0


async def test_rows_that_are_written_again_are_compared_too(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omendb_ws.journal.jetstream.log.CHECKPOINT_BYTES", 500)
    async with two(nats) as both:
        columns = {"n": "str", "flag": "bool", "at": "i64"}
        await both.raw.create("items", columns=columns, capacity=50)
        await follow_all(both.follower)
        kept: list[KeptRows] = []
        followers = both.follower.context.engine.followers
        apply = followers._apply

        def applied(shard: Shard, logged: Any, now_us: int) -> None:
            kept.extend([logged] if isinstance(logged, KeptRows) else [])
            apply(shard, logged, now_us)

        monkeypatch.setattr(followers, "_apply", applied)
        random = np.random.default_rng(2)
        replicas = both.follower.node.replicas
        assert replicas is not None
        for number in range(1, 400):
            metadata = {"n": f"text {number}", "flag": True, "note": "x" * int(random.integers(9))}
            row = {"id": number % 60, "vector": [number, 1], "metadata": metadata}
            if number % 3 == 0:
                del row["metadata"]
            await both.raw.ok("add", collection="items", rows=[row])
        await both.in_step()
        assert sum(len(one.seqs) for one in kept) > 10
        assert replicas.rebuilt == 0
        assert_same(*(shard.window for shard in both.shards()))
        _, theirs = both.shards()
        theirs.window.state.ring.vectors[:] += 1
        number = 0
        while not replicas.rebuilt and number < 1000:
            number += 1
            await both.raw.add(number % 60)
        await eventually(lambda: len(both.follower.context.catalog) == 1)
        await both.in_step()
        assert_same(*(shard.window for shard in both.shards()))


async def test_an_owner_whose_rows_are_not_what_its_log_says_is_deposed_and_made_again(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "STATED_BYTES", 500)
    async with two(nats) as both:
        await both.raw.create("items", capacity=10_000)
        await both.raw.add(1, 2, 3)
        await follow_all(both.follower)
        ours, _ = both.shards()
        ours.window.state.ring.vectors[:] += 1
        number, owner = 100, both.owner.node.replicas
        assert owner is not None
        while not owner.rebuilt and number < 2000:
            for asked in (both.raw, both.other):  # whoever owns it now
                await asked.ask("add", collection="items", rows=rows(number := number + 1))
            await asyncio.sleep(0)
        await eventually(lambda: len(both.owner.context.catalog) == 1)
        assert owner.rebuilt == 1
        _, theirs = both.shards()
        assert not theirs.is_follower
        await both.in_step()
        assert_same(*(shard.window for shard in both.shards()))
