"""A stream that is lost or altered under a cluster: nothing else is shown, and what a node kept of
the window becomes the collection, under a new epoch."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from omendb_core.model.errors import Unavailable

import omendb_ws
from omendb_ws.cluster import agenda
from omendb_ws.net.server import Server
from tests.cli.here import run
from tests.core.windows import assert_same
from tests.nats import NatsServer, nats_server
from tests.patience import PATIENCE_SECONDS, eventually
from tests.server.cluster.nodes import node, store_of, until_taken
from tests.server.cluster.test_several_nodes import follows, pair, shard_on
from tests.server.raw import Raw, client, rows


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with nats_server(tmp_path / "nats") as server:
        yield server


@pytest.fixture(autouse=True)
def is_soon_healed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agenda, "HEAL_SECONDS", 2.5)


def ask(server: Server, subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    store = store_of(server)
    return store.connection.call(store._jetstream.request(subject, body))


def streams(server: Server) -> list[str]:
    names: list[str] = ask(server, "STREAM.NAMES")["streams"]
    return [name for name in names if not name.startswith("KV_")]


def is_broken(server: Server) -> bool:
    shard = shard_on(server)
    return shard is not None and shard.broken is not None


@asynccontextmanager
async def filled(nats: NatsServer, **fields: Any) -> AsyncIterator[tuple[Server, Server, Raw, Raw]]:
    """Two nodes that hold a collection of 30 rows, and a client of each."""
    async with pair(nats, **fields) as (one, two), client(one) as raw, client(two) as other:
        await raw.create("items", capacity=1000)
        await raw.ok("add", collection="items", rows=rows(*range(1, 31)), producer="p", batch=1)
        await raw.ok("delete", collection="items", ids=[7])
        await eventually(lambda: follows(two))
        yield one, two, raw, other


async def found(raw: Raw) -> list[int]:
    answer = await until_taken(raw, "search", collection="items", vector=[1, 0], k=100)
    return sorted(one["id"] for one in answer["results"])


async def epoch_of(raw: Raw) -> str:
    return str((await until_taken(raw, "describe", collection="items"))["epoch"])


async def new_epoch(raw: Raw, before: str) -> str:
    """Wait until the collection is there under another epoch."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (now := await epoch_of(raw)) == before:  # noqa: ASYNC110 - another process's
            await asyncio.sleep(0.05)
    return now


async def test_a_stream_that_was_deleted_is_written_anew_out_of_a_window(
    nats: NatsServer,
) -> None:
    async with filled(nats) as (one, two, raw, other):
        before, [stream] = await epoch_of(raw), streams(one)
        async with omendb_ws.connect(two.url) as db:
            feed = db.feed("items", from_seq=1, epoch=before)
            await anext(feed)
            ask(one, f"STREAM.DELETE.{stream}")
            await eventually(lambda: is_broken(one) and is_broken(two))
            for asked in (raw, other):
                refused = await asked.error("search", collection="items", vector=[1, 0])
                assert (refused["code"], refused["retry"]) == ("unavailable", True)
                assert "the stream is not there" in refused["message"]
            now = await new_epoch(raw, before)
            with pytest.raises(Unavailable):
                await anext(feed)
            again = db.feed("items", from_seq=31, epoch=before)
            async with asyncio.timeout(PATIENCE_SECONDS):
                push = await anext(again)
            assert push.gap is not None
            assert push.gap.reason == "epoch"
        expected = [number for number in range(1, 31) if number != 7]
        assert await found(raw) == await found(other) == expected
        again = await until_taken(
            other, "add", collection="items", rows=rows(1), producer="p", batch=1
        )
        assert again["duplicate"] is True
        await until_taken(raw, "add", collection="items", rows=rows(99))
        await eventually(lambda: follows(one) or follows(two))
        ours, theirs = shard_on(one), shard_on(two)
        assert ours is not None
        assert theirs is not None
        await eventually(lambda: ours.window.version == theirs.window.version)
        assert_same(ours.window, theirs.window)
        assert now == ours.epoch == theirs.epoch
        assert stream not in streams(one)
        assert len(streams(one)) == 1


async def test_a_message_that_no_node_wrote_stops_a_collection_and_is_left_out_of_what_is_healed(
    nats: NatsServer,
) -> None:
    async with filled(nats) as (one, two, raw, other):
        before, [stream] = await epoch_of(raw), streams(one)
        subject = stream.replace("OMENDB-main-", "omendb.main.")
        store = store_of(two)
        store.connection.call(store._jetstream.commit(subject, b"hello", {}))
        await new_epoch(other, before)
        expected = [number for number in range(1, 31) if number != 7]
        assert await found(raw) == await found(other) == expected
        await until_taken(other, "add", collection="items", rows=rows(99))


async def test_what_a_follower_has_and_the_stream_has_lost_is_not_given_up(
    nats: NatsServer, tmp_path: Path
) -> None:
    """The stream's file is put back to what it was ten changes ago, and the owner is gone."""
    async with node(nats, "two") as two, client(two) as other:
        async with node(nats, "one") as one, client(one) as raw:
            await eventually(lambda: len(one.node.caretaker.seen.nodes()) == 2)
            await eventually(lambda: len(two.node.caretaker.seen.nodes()) == 2)
            await raw.create("items", capacity=1000)
            await raw.add(*range(1, 21))
            await eventually(lambda: follows(two))
            owner = raw if not shard_on(one).is_follower else other
            before = await epoch_of(raw)
            for number in range(21, 31):
                await until_taken(owner, "add", collection="items", rows=rows(number))
            await eventually(lambda: shard_on(two).window.version == 11)
            [stream] = streams(two)  # before the fence of whoever takes over
            state = ask(two, f"STREAM.INFO.{stream}")["state"]
        store = store_of(two)
        # The stream as NATS has it after a loss: the same name and subject, and its end missing.
        messages = [
            ask(two, f"STREAM.MSG.GET.{stream}", {"seq": number})["message"]["data"]
            for number in range(1, state["last_seq"] - 8)
        ]
        subject = stream.replace("OMENDB-main-", "omendb.main.")
        ask(two, f"STREAM.DELETE.{stream}")
        store.connection.call(store._jetstream.create_stream(stream, subject))
        for message in messages:
            store.connection.call(store._jetstream.commit(subject, base64.b64decode(message), {}))
        await new_epoch(other, before)
        assert await found(other) == list(range(1, 31))
        await until_taken(other, "add", collection="items", rows=rows(99))


async def test_with_ask_nothing_is_healed_before_somebody_says_so(nats: NatsServer) -> None:
    async with filled(nats, cluster_heal="ask") as (one, two, raw, other):
        assert await raw.code("heal", collection="items") == "bad_request"
        assert await raw.code("heal", collection="nothing") == "not_found"
        before, [stream] = await epoch_of(raw), streams(one)
        ask(one, f"STREAM.DELETE.{stream}")
        await eventually(lambda: is_broken(one) and is_broken(two))
        await asyncio.sleep(agenda.HEAL_SECONDS + 1)
        assert is_broken(one)
        assert is_broken(two)
        for asked in (raw, other):
            told = await asked.ok("cluster")
            assert (told["waiting"], told["places"][0]["healing"]) == (1, "waiting")
            assert {part["state"] for part in told["places"][0]["replicas"]} == {"broken"}
            assert told["places"][0]["owner"] is None
        assert one.node.caretaker.numbers().waiting_collections == 1
        said = await asyncio.to_thread(run, "cluster", "status", "--url", one.url)
        assert "\nitems of tenant default: its log is not what was written; it waits" in said.out
        await raw.ok("subscribe", kind="cluster", every=100)
        ran = await asyncio.to_thread(run, "cluster", "heal", "items", "--json", "--url", two.url)
        assert ran.code == 0, ran.err
        assert (ran.document["collection"], ran.document["version"]) == ("items", 2)
        assert ran.document["epoch"] != before
        while (told := await raw.named("cluster"))["places"][0]["healing"] is not None:
            assert told["places"][0]["healing"] in ("waiting", "due")
        assert await new_epoch(other, before) == ran.document["epoch"]
        assert (await raw.ok("cluster"))["waiting"] == 0
        numbers = [server.node.caretaker.numbers() for server in (one, two)]
        assert sum(of_node.healed for of_node in numbers) == 1
        assert [of_node.waiting_collections for of_node in numbers] == [0, 0]
        await until_taken(raw, "add", collection="items", rows=rows(99))


async def test_what_needs_repair_can_be_dropped_and_made_anew(nats: NatsServer) -> None:
    async with filled(nats, cluster_heal="ask") as (one, two, raw, other):
        ask(one, f"STREAM.DELETE.{streams(one)[0]}")
        await eventually(lambda: is_broken(one) and is_broken(two))
        await until_taken(other, "drop", collection="items")
        await eventually(lambda: shard_on(one) is None and shard_on(two) is None)
        await until_taken(raw, "create", collection="items", dim=2, capacity=10)
