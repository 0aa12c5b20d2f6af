"""Statistics asked for by thousands at once: looked up once, told some in each turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from omendb_ws.access.principal import OPEN
from omendb_ws.engine import tick
from omendb_ws.engine.engine import Engine
from omendb_ws.engine.model.ticket import Lane
from omendb_ws.engine.streams.commands import Measure
from omendb_ws.net.server import Server
from omendb_ws.node import node
from omendb_ws.sessions import outbox, server_view
from omendb_ws.sessions.outbox import Outbox
from omendb_ws.sessions.subscriptions import beats
from omendb_ws.sessions.subscriptions.beats import Beats
from omendb_ws.sessions.subscriptions.subscription import StatsSubscription
from omendb_ws.telemetry.metrics import Metrics
from omendb_ws.wire.encoded import Message, text
from omendb_ws.wire.opcodes import Limits
from tests.server.raw import client, engine_held, running

MANY = 40


def resting(server: Server) -> list[StatsSubscription]:
    """The subscriptions of the one connection, which beat no more by themselves."""
    (session,) = server._sessions.values()
    found = [one for one in session.subscriptions.values() if isinstance(one, StatsSubscription)]
    for subscription in found:
        assert subscription._beat is not None
        subscription._beat.stop()
    return found


async def turns(enough: Callable[[], bool]) -> int:
    """How many turns of the loop pass until it is enough."""
    count = 0
    while not enough():
        await asyncio.sleep(0)
        count += 1
    return count


async def test_the_servers_numbers_are_looked_up_once_in_a_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_up = 0

    def looking_up(*arguments: Any) -> dict[str, Any]:
        nonlocal looked_up
        looked_up += 1
        return {"uptime_s": looked_up}

    async with running() as server, client(server) as raw:
        monkeypatch.setattr(server_view, "server_stats", looking_up)
        numbers = server.context.server_view
        assert [numbers.now(OPEN)["uptime_s"] for _ in range(MANY)] == [1] * MANY
        await asyncio.sleep(0)
        assert numbers.now(OPEN)["uptime_s"] == 2, "what another turn looked up is old"
        await asyncio.sleep(0)
        for _ in range(MANY):
            await raw.ok("subscribe", kind="stats", every=60_000)
        for _ in range(MANY):
            await raw.named("stats")
        subscriptions = resting(server)
        before = looked_up
        for subscription in subscriptions:
            subscription._tick()
        said = [(await raw.named("stats"))["uptime_s"] for _ in range(MANY)]
        assert len(said) == MANY
        assert looked_up - before == 1, "each of those that are due together looked them up"


async def test_beats_that_come_together_are_called_some_in_each_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(beats, "BEATS_AT_ONCE", 3)
    every = Beats()
    called: list[int] = []
    most = 0

    def beat(number: int) -> Callable[[], None]:
        return lambda: called.append(number)

    going = [every.begin(beat(number), 0.002) for number in range(MANY)]
    while len(called) < 2 * MANY:
        before = len(called)
        await asyncio.sleep(0)
        most = max(most, len(called) - before)
    assert most <= 3
    assert sorted(called[:MANY]) == list(range(MANY)), "some came twice before others came at all"
    for one in going:
        one.stop()
        one.stop()
    assert (every._due, every._timer) == ([], None)


async def test_a_beat_that_is_sooner_does_not_wait_for_those_that_are_later() -> None:
    every = Beats()
    is_called = asyncio.Event()
    late = every.begin(lambda: None, 3600)
    soon = every.begin(is_called.set, 0.001)
    async with asyncio.timeout(60):
        await is_called.wait()
    soon.stop()
    assert every._timer is not None
    late.stop()
    assert every._timer is None


async def test_beats_that_stopped_are_not_kept_until_their_time() -> None:
    every = Beats()
    stays = every.begin(lambda: None, 3600)
    for _ in range(10_000):
        every.begin(lambda: None, 3600).stop()
    assert len(every._due) < 100
    stays.stop()


async def test_a_beat_that_faults_has_its_next_and_holds_up_no_other() -> None:
    every = Beats()
    called: list[str] = []

    def faults() -> None:
        called.append("faults")
        raise MemoryError

    going = [every.begin(faults, 0.001), every.begin(lambda: called.append("other"), 0.001)]
    await turns(lambda: min(called.count("faults"), called.count("other")) >= 3)
    for one in going:
        one.stop()


async def test_a_tick_tells_numbers_for_as_long_as_it_has_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running() as server, client(server) as raw:
        await raw.create()
        for _ in range(MANY):
            await raw.ok("subscribe", kind="stats", collection="items", every=60_000)
        for _ in range(MANY):
            await raw.named("stats")
        the_engine = server.context.engine
        told: list[int] = []
        post = the_engine.moment._post

        def posting(effects: Any) -> None:
            told.append(len(effects))
            post(effects)

        monkeypatch.setattr(the_engine.moment, "_post", posting)
        monkeypatch.setattr(tick, "TICK_MEASURES_US", 0)
        subscriptions = resting(server)
        async with engine_held(server):
            for subscription in subscriptions:
                subscription._tick()
        for _ in range(MANY):
            await raw.named("stats")
        assert sum(told) == MANY
        assert max(told) == 1


def test_those_of_collections_that_are_gone_take_of_that_time_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tick, "TICK_MEASURES_US", 0)
    the_engine = Engine(Metrics(0.0), Limits(), 1000, lambda: 0, lambda effects: None)
    lane, gone = Lane(), SimpleNamespace(shard=SimpleNamespace(is_dropped=True))
    measures = [Measure(lane, cast(Any, gone)) for _ in range(MANY)]
    for one in measures:
        the_engine.tick._measures.add(lane, one)
    for _ in range(MANY):
        assert the_engine.tick._measures
        the_engine.tick._measure()
    assert not the_engine.tick._measures
    assert not the_engine.moment.effects


@dataclass(eq=False)
class Source:
    """Always something to say."""

    made: list[Source] = field(default_factory=list)

    def take(self) -> Message:
        self.made.append(self)
        return text(b"{}")


def test_a_batch_makes_so_many_messages_and_the_next_goes_on() -> None:
    queue = Outbox()
    for _ in range(outbox.MADE_AT_ONCE + 5):
        queue.offer(Source())
    queue.reply(text(b"after"))
    first, second = queue.take(), queue.take()
    assert (len(first.messages), first.has_made) == (outbox.MADE_AT_ONCE, True)
    assert (len(second.messages), second.has_made) == (6, False)


async def test_a_connection_that_takes_all_of_it_lets_others_have_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox, "MADE_AT_ONCE", 1)
    async with running() as server, client(server) as raw:
        await raw.ok("ping")
        (session,) = server._sessions.values()
        taken: list[int] = []
        take = session.outbox.take

        def taking() -> outbox.Batch:
            batch = take()
            taken.append(turn)
            return batch

        turn = 0
        monkeypatch.setattr(session.outbox, "take", taking)
        sources = [Source() for _ in range(MANY)]
        for source in sources:
            session.outbox.offer(source)
        while not session.outbox.is_empty:
            await asyncio.sleep(0)
            turn += 1
        assert all(source.made for source in sources)
        assert len(set(taken)) >= MANY, "several were made in one turn"


@dataclass(eq=False)
class Told:
    """An effect that says when it came."""

    number: int
    order: list[int]

    def deliver(self) -> None:
        self.order.append(self.number)


async def test_effects_are_delivered_in_order_some_in_each_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(node, "DELIVERED_AT_ONCE", 4)
    async with running() as server:
        order: list[int] = []
        deliver: Any = server.node._effects.give
        deliver([Told(number, order) for number in range(10)])
        assert len(order) == 4
        deliver([Told(number, order) for number in range(10, 13)])
        assert len(order) == 4, "what came later overtook what was there"
        assert await turns(lambda: len(order) == 13) >= 2
        assert order == list(range(13))


async def test_what_is_not_delivered_yet_is_when_the_server_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(node, "DELIVERED_AT_ONCE", 1)
    order: list[int] = []
    async with running() as server:
        deliver: Any = server.node._effects.give
        deliver([Told(number, order) for number in range(1000)])
    assert order == list(range(1000))
