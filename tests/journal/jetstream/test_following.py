"""Logs that are followed, promoted and stepped down from, over a real NATS server: windows of
several nodes are the same to the bit, and nothing that was acknowledged is lost or doubled."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omendb_core.model.errors import Internal, Unavailable
from omendb_core.model.types import IdKind

from omendb_ws.journal.interface import Damaged, Deposed, Purged
from omendb_ws.journal.jetstream import queue as queue_module
from omendb_ws.journal.jetstream import reader as reader_module
from omendb_ws.journal.jetstream import tail as tail_module
from omendb_ws.journal.jetstream.api import JetStream, nanoseconds
from omendb_ws.journal.jetstream.ownership import WINDOW
from omendb_ws.journal.jetstream.pipeline import Pipeline
from omendb_ws.journal.jetstream.store import JetStreamStore
from tests.core.windows import assert_same, definition
from tests.journal.jetstream.holders import create, follow, stores
from tests.nats import NatsServer, nats_server
from tests.patience import PATIENCE_SECONDS, wait_until


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.mark.parametrize("ids", ["auto", "u64", "str"])
def test_a_follower_equals_its_owner_after_random_changes(nats: NatsServer, ids: IdKind) -> None:
    with stores(nats, f"same-{ids}") as (one, two):
        owner = create(one, definition(ids, capacity=30))
        owner.append(60)
        follower = follow(two)
        assert_same(follower.window, owner.window)
        for _ in range(4):
            owner.append(25)
            follower.apply_until(owner.window.version)
            assert_same(follower.window, owner.window)
        follower.following.close()
        owner.log.close()


def test_a_promoted_follower_admits_and_the_owner_before_it_follows(nats: NatsServer) -> None:
    with stores(nats, "promoted") as (one, two):
        before = create(one)
        before.append(40)
        follower = follow(two)
        owner = follower.promote()
        assert isinstance(before.take_until_ended(), Deposed)
        stepped = before.step_down()
        for _ in range(2):
            owner.append(30)
            stepped.apply_until(owner.window.version)
            assert_same(stepped.window, owner.window)
        again = stepped.promote(seed=3)  # and back
        assert isinstance(owner.take_until_ended(), Deposed)
        last = owner.step_down()
        again.append(30)
        last.apply_until(again.window.version)
        assert_same(last.window, again.window)
        again.log.close()
        last.following.close()


def test_an_empty_collection_goes_on_by_the_clock_of_nats(nats: NatsServer) -> None:
    """Without a change there is no time to go on from: it must not begin at 0."""
    with stores(nats, "empty") as (one, two):
        began_us = int(time.time() * 1e6)
        create(one)
        follower = follow(two)
        assert follower.following.time_us() >= began_us
        owner = follower.promote()
        assert follower.following.time_us() >= began_us
        owner.log.close()


@pytest.mark.parametrize("held_at", ["send", "_answered"])
def test_nothing_acknowledged_is_lost_or_doubled_when_the_owner_stands_still_with_16_on_their_way(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch, held_at: str
) -> None:
    """Its connection is held with 16 messages before it, or before the first is acknowledged."""
    monkeypatch.setattr(queue_module, "GROUP_BYTES", 1)
    is_held, goes_on = threading.Event(), threading.Event()
    held: list[Pipeline] = []
    original = getattr(Pipeline, held_at)

    async def hold(pipeline: Pipeline, message: Any) -> None:
        is_to_be_held = pipeline in held and not goes_on.is_set()
        if held_at == "send":
            await original(pipeline, message)
        if is_to_be_held and held_at == "_answered":
            while len(pipeline._flying) < WINDOW:  # noqa: ASYNC110 - nobody sets an event
                await asyncio.sleep(0)
        if is_to_be_held and len(pipeline._flying) == WINDOW:
            is_held.set()
            goes_on.wait()
        if held_at == "_answered":
            await original(pipeline, message)

    monkeypatch.setattr(Pipeline, held_at, hold)
    with stores(nats, f"held{held_at}") as (one, two):
        owner = create(one, definition(ttl=None))
        owner.append(10)
        follower = follow(two)
        pipeline = owner.log._pipeline  # type: ignore[attr-defined]
        wait_until(lambda: pipeline.is_empty)
        held.append(pipeline)
        admitted = [owner.history.add() for _ in range(40)]
        for change in admitted:
            assert change is not None
            owner.log.append(change, change)
        try:
            assert is_held.wait(PATIENCE_SECONDS)
            new = follower.promote()
            new.append(10)
        finally:
            goes_on.set()
        assert isinstance(owner.take_until_ended(), Deposed)
        assert all(isinstance(error, Unavailable) for error in owner.errors)
        assert len(owner.refused) + owner.window.version >= 40
        stepped = owner.step_down()
        stepped.apply_until(new.window.version)
        assert_same(stepped.window, new.window)
        new.append(20)
        stepped.apply_until(new.window.version)
        assert_same(stepped.window, new.window)
        new.log.close()
        stepped.following.close()


def test_what_was_sent_and_not_decided_is_refused_as_unknown(nats: NatsServer) -> None:
    """Its owner heard no more of it, and it is there: so nobody is told that it is not."""
    with stores(nats, "unknown") as (one, two):
        owner = create(one, definition(ttl=None))
        owner.append(10)
        pipeline = owner.log._pipeline  # type: ignore[attr-defined]
        wait_until(lambda: pipeline.is_empty)
        one.connection.soon(owner.log._tail.stop)  # type: ignore[attr-defined]
        acknowledged, sent = pipeline.acknowledged, owner.history.add()
        owner.log.append(sent, sent)
        wait_until(lambda: pipeline.acknowledged > acknowledged)
        one.connection.call(owner.log.end(0.0))  # type: ignore[attr-defined]
        owner.take()
        assert owner.refused == [sent]
        assert isinstance(owner.errors[0], Internal)
        assert "unknown" in owner.errors[0].message
        follower = follow(two)
        assert follower.window.version == owner.window.version + 1
        follower.following.close()


def test_a_slow_follower_receives_so_much_and_no_more_and_catches_up_later(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "AHEAD_BYTES", 20_000)
    with stores(nats, "slow") as (one, two):
        owner = create(one)
        follower = follow(two)
        for _ in range(8):
            owner.append(40)
        reader = follower.following._reader  # type: ignore[attr-defined]
        wait_until(lambda: not reader._tail.has_room.is_set())
        assert reader._ahead_bytes < 2 * 20_000
        assert follower.delivered
        assert follower.window.version == 0
        owner.append(40)
        follower.apply_until(owner.window.version)
        assert_same(follower.window, owner.window)
        follower.following.close()
        owner.log.close()


def test_a_follower_behind_a_purge_is_told_and_starts_again(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_module, "CHECKPOINT_BYTES", 5_000)
    monkeypatch.setattr(reader_module, "AHEAD_BYTES", 1_000)
    monkeypatch.setattr(tail_module, "PULL_BYTES", 4_000)
    with stores(nats, "purged") as (one, two):
        owner = create(one, definition(capacity=9))
        follower = follow(two)
        reader = follower.following._reader  # type: ignore[attr-defined]

        def first_seq() -> int:
            name = f"OMENDB-purged-{owner.log.stored.key}"
            state = one.connection.call(one._jetstream.stream_state(name))
            return int(state["first_seq"])

        owner.append(20)
        wait_until(lambda: not reader._tail.has_room.is_set())
        while first_seq() <= reader.followed.applied + 20:
            owner.append(20)
        follower.following.took(10**9)  # slowly; what was delivered is of no use any more
        wait_until(lambda: follower.failures)
        assert [type(error) for error in follower.failures] == [Purged]
        monkeypatch.setattr(reader_module, "AHEAD_BYTES", 1 << 20)
        again = follow(two)
        assert again.following.checkpoint.version > 0
        again.apply_until(owner.window.version)
        assert_same(again.window, owner.window)
        again.following.close()
        owner.log.close()


def test_a_message_that_no_node_wrote_ends_a_follower_loudly(nats: NatsServer) -> None:
    with stores(nats, "foreign") as (one, two):
        owner = create(one)
        owner.append(5)
        follower = follow(two)
        subject = f"omendb.foreign.{owner.log.stored.key}"
        two.connection.call(two._jetstream.commit(subject, b"hello", {}))
        wait_until(lambda: follower.failures)
        [error] = follower.failures
        assert isinstance(error, Damaged)
        with pytest.raises(Damaged):
            follow(two)
        owner.log.close()


def test_two_that_are_promoted_at_once_end_with_one_owner(nats: NatsServer) -> None:
    with stores(nats, "raced", 3) as (one, two, three):
        owner = create(one)
        owner.append(20)
        followers = [follow(two), follow(three)]
        owners = [one.promote(seed) for seed, one in enumerate(followers, 5)]
        assert isinstance(owner.take_until_ended(), Deposed)
        assert isinstance(owners[0].take_until_ended(), Deposed)
        owners[1].append(20)
        for late in (owner, owners[0]):
            stepped = late.step_down()
            stepped.apply_until(owners[1].window.version)
            assert_same(stepped.window, owners[1].window)
            stepped.following.close()
        owners[1].log.close()


def test_a_follower_goes_on_when_nats_comes_back(tmp_path: Path) -> None:
    with nats_server(tmp_path / "nats") as server, stores(server, "away") as (one, two):
        owner = create(one)
        owner.append(10)
        follower = follow(two)
        server.kill()
        with pytest.raises(Unavailable):
            follower.following.promote(owner.settle)
        server.start()
        wait_until(lambda: owner.log.error is None and one.connection.is_connected)
        owner.append(10)
        follower.apply_until(owner.window.version)
        assert_same(follower.window, owner.window)
        follower.following.close()
        owner.log.close()


def test_while_no_consumer_can_be_had_messages_are_asked_for_one_by_one(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody makes consumers while JetStream elects its leader; streams may go on."""
    leads, original = threading.Event(), JetStream.insist
    refused: list[str] = []

    async def insist(of: JetStream, subject: str, body: Any = None) -> dict[str, Any]:
        if subject.startswith("CONSUMER.CREATE") and is_electing.is_set():
            refused.append(subject)
            while not leads.is_set():  # noqa: ASYNC110 - set by another thread
                await asyncio.sleep(0.01)
        return await original(of, subject, body)

    is_electing = threading.Event()
    monkeypatch.setattr(JetStream, "insist", insist)
    with stores(nats, "electing") as (one, two):
        owner = create(one, definition(ttl=None))
        owner.append(10)
        follower = follow(two)
        follower.apply_until(owner.window.version)
        is_electing.set()
        tail = follower.following._reader._tail  # type: ignore[attr-defined]
        name = two.connection.call(consumer_of(two, tail._stream))
        jetstream = two._jetstream
        two.connection.call(jetstream.request(f"CONSUMER.DELETE.{tail._stream}.{name}"))
        wait_until(lambda: bool(refused))
        owner.append(40)
        follower.apply_until(owner.window.version)
        consumers = tail.consumers
        leads.set()
        wait_until(lambda: tail.consumers > consumers)
        owner.append(20)
        follower.apply_until(owner.window.version)
        assert_same(follower.window, owner.window)
        assert not follower.failures
        follower.following.close()
        owner.log.close()


async def consumer_of(store: JetStreamStore, stream: str) -> str:
    """The consumer of a follower: the last of those that are there."""
    found = await store._jetstream.request(f"CONSUMER.LIST.{stream}")
    return str(max(found["consumers"], key=lambda one: one["created"])["name"])


def test_times_of_nats_are_told_to_the_nanosecond() -> None:
    assert nanoseconds("1970-01-01T00:00:01Z") == 1_000_000_000
    assert nanoseconds("2026-12-01T05:50:33.1234Z") == 1_796_104_233_123_400_000
    assert nanoseconds("2026-12-01T05:50:33.123456789Z") % 1_000_000_000 == 123_456_789
