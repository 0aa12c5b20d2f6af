"""Bad days of a cluster: two of one name, another version, clocks that are wrong."""

from __future__ import annotations

import asyncio
import logging
import struct
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from omendb_core.model.errors import Unavailable

from omendb_ws.cluster import agenda
from omendb_ws.journal.jetstream.connection import Refused
from omendb_ws.journal.jetstream.store import ClusterPlace, JetStreamStore
from omendb_ws.net.server import Server
from omendb_ws.sessions.context import monotonic_us
from tests.nats import NatsServer, nats_server
from tests.patience import eventually
from tests.server.cluster.nodes import node, store_of, until_taken
from tests.server.cluster.test_healing import ask, epoch_of, found, is_broken, new_epoch
from tests.server.cluster.test_one_node import stream_of
from tests.server.cluster.test_several_nodes import follows, knows, owns, shard_on
from tests.server.raw import client, rows, settings

HOUR_US = 3_600_000_000


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with nats_server(tmp_path / "nats") as server:
        yield server


# -- two of one name ------------------------------------------------------------------------------


async def test_a_process_that_stood_still_and_whose_name_another_one_took_takes_part_no_more(
    nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with node(nats) as old, client(old) as raw:
        await raw.create("items")
        await raw.add(1)
        presence = store_of(old)._presence
        assert presence._beating is not None
        old.node._cluster.connection.soon(presence._beating.cancel)
        async with node(nats) as new, client(new) as other:
            await eventually(lambda: presence.is_replaced)
            assert "another process is node one" in caplog.text
            # It wakes, and has not heard of it yet: its beats say who came first.
            presence.is_replaced = False
            store = store_of(old)
            store.connection.call(store._jetstream.put("node.one", presence._value))
            await eventually(lambda: presence.is_replaced)
            assert not store_of(new).is_replaced
            await eventually(lambda: owns(new))
            await until_taken(other, "add", collection="items", rows=rows(2))
            assert await found(other) == [1, 2]
            refused = await raw.error("add", collection="items", rows=rows(3))
            assert (refused["code"], refused["retry"]) == ("unavailable", True)
    async with node(nats, "two") as server, client(server) as raw:
        assert await found(raw) == [1, 2]


def test_of_two_that_start_under_one_name_at_once_one_is_refused(nats: NatsServer) -> None:
    stores: list[JetStreamStore] = []
    errors: list[Exception] = []
    together = threading.Barrier(2)

    def start() -> None:
        together.wait()
        try:
            stores.append(JetStreamStore(ClusterPlace((nats.url,), None, "main", "one")))
        except Unavailable as error:
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        assert (len(stores), len(errors)) == (1, 1)
        assert "each needs a name of its own" in str(errors[0])
    finally:
        for store in stores:
            store.close()


async def test_nodes_say_who_comes_and_who_goes(
    nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever points a second cluster at a NATS where there is one of its name is told so."""
    caplog.set_level(logging.INFO)
    async with node(nats) as one:
        async with node(nats, "two") as two:
            await knows(one, "one", "two")
            await eventually(lambda: f"node two is here ({two.url}" in caplog.text)
            await eventually(lambda: f"node one is here ({one.url}" in caplog.text)
        await eventually(lambda: "node two is gone" in caplog.text)


# -- another version ------------------------------------------------------------------------------


async def test_a_node_does_not_start_in_a_cluster_of_a_format_that_it_does_not_know(
    nats: NatsServer,
) -> None:
    async with node(nats) as server, client(server) as raw:
        await raw.create("items")
        store = store_of(server)
        value = {"format": 2, "version": "9.9.9"}
        store.connection.call(store._jetstream.put("format", value))
        with pytest.raises(Refused, match=r"format 2, of version 9\.9\.9.*upgrade this node"):
            await asyncio.to_thread(
                JetStreamStore, ClusterPlace((nats.url,), None, "main", "two", "1.0.0")
            )
        await raw.add(1)


async def test_a_log_of_another_version_is_neither_shown_nor_healed_away(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agenda, "HEAL_SECONDS", 0.2)
    async with node(nats) as server, client(server) as raw:
        await raw.create("items")
        await raw.create("others")
        await raw.add(1)
        before, stream = await epoch_of(raw), stream_of(server)
        store = store_of(server)
        message = struct.pack("<HBBHH", 0x534F, 2, 0, 0, 0) + b"what comes later"
        subject = stream.replace("OMENDB-main-", "omendb.main.")
        store.connection.call(store._jetstream.commit(subject, message, {}))
        await eventually(lambda: is_broken(server))
        refused = await raw.error("search", collection="items", vector=[1, 0])
        assert refused["code"] == "unavailable"
        assert "format 2" in refused["message"]
        failed = server.node.caretaker._agenda._not_before
        await eventually(lambda: failed)  # it was tried, and is not known to be damaged
        assert ask(server, f"STREAM.INFO.{stream}")["state"]["messages"] > 1
        await raw.add(2, name="others")
        [one] = [
            c for c in server.node.caretaker.seen.view.collections.values() if c.name == "items"
        ]
        assert stream.endswith(one.key)
        assert shard_on(server).epoch == before


# -- clocks ---------------------------------------------------------------------------------------


@asynccontextmanager
async def with_a_clock(nats: NatsServer, name: str, ahead_us: list[int]) -> AsyncIterator[Server]:
    """A node whose clock is so much ahead; it may jump."""
    server = Server(
        settings(cluster=nats.url, node_name=name), clock_us=lambda: monotonic_us() + ahead_us[0]
    )
    async with server:
        await eventually(lambda: server.status() != "recovering")
        yield server


@pytest.mark.parametrize("ahead_us", [HOUR_US, -HOUR_US])
async def test_a_clock_that_is_an_hour_off_changes_neither_who_owns_nor_how_long_rows_stay(
    nats: NatsServer, ahead_us: int
) -> None:
    async with with_a_clock(nats, "one", [ahead_us]) as one, client(one) as raw:
        await raw.create("long", ttl=1800.0)
        await raw.create("short", ttl=3.0)
        async with node(nats, "two") as two, client(two) as other:
            await knows(one, "one", "two")
            await knows(two, "one", "two")
            await eventually(lambda: all(follows(two, name) for name in ("long", "short")))
            await raw.add(1, name="long")
            assert owns(one, "long")
            before_us = time_us(one)
            for name in ("long", "short"):
                await raw.ok("move_owner", collection=name, to="two")
            await eventually(lambda: owns(two, "long") and owns(two, "short"))
            await until_taken(other, "add", collection="short", rows=rows(2))
            await until_taken(other, "add", collection="long", rows=rows(3))
            assert 0 <= time_us(two) - before_us < HOUR_US // 4
            await eventually(lambda: shard_on(two, "short").window.rows == 0)
            for asked in (raw, other):
                answer = await until_taken(asked, "count", collection="long")
                assert answer["count"] == 2


def time_us(server: Server) -> int:
    """The time of the newest change of a window."""
    shard = shard_on(server, "long")
    assert shard is not None
    return shard.window.admission.admitted.time_us


async def test_a_clock_that_jumps_loses_no_owner(nats: NatsServer) -> None:
    ahead_us = [0]
    async with with_a_clock(nats, "one", ahead_us) as one, client(one) as raw:
        await raw.create("items")
        await raw.add(1)
        async with node(nats, "two") as two:
            await eventually(lambda: follows(two))
            for jump_us in (HOUR_US, -HOUR_US, 0):
                ahead_us[0] = jump_us
                await raw.add(2)
            assert owns(one)
            assert not owns(two)
            assert store_of(one)._jetstream.takeovers == 0


# -- what was lost is kept ------------------------------------------------------------------------


async def test_the_stream_that_was_healed_is_kept_and_goes_with_the_collection(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agenda, "HEAL_SECONDS", 0.5)
    async with node(nats) as server, client(server) as raw:
        await raw.create("items")
        await raw.add(1)
        streams, epochs = [stream_of(server)], [await epoch_of(raw)]
        for _ in range(2):
            subject = streams[-1].replace("OMENDB-main-", "omendb.main.")
            store = store_of(server)
            store.connection.call(store._jetstream.commit(subject, b"hello", {}))
            epochs.append(await new_epoch(raw, epochs[-1]))
            await until_taken(raw, "describe", collection="items")
            streams.append(stream_of(server))
            there = set(ask(server, "STREAM.NAMES")["streams"]) - {"KV_OMENDB-main"}
            assert there == set(streams[-2:])
        kept = ask(server, f"STREAM.MSG.GET.{streams[-2]}", {"last_by_subj": subject})
        assert kept["message"]["data"] == "aGVsbG8="
        await eventually(lambda: owns(server))
        await raw.ok("drop", collection="items")
        assert ask(server, "STREAM.NAMES")["streams"] == ["KV_OMENDB-main"]
        left = store.connection.call(store._jetstream.entries())
        assert left == ["format", "held.one", "node.one", "secret"]
