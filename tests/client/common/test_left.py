"""Subscriptions and clients that are left without ``close``, by every kind of client.

The garbage collector is off: what is forgotten is gone with its last reference.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import omendb_ws
import omendb_ws.sync
from omendb_ws import errors
from omendb_ws.client import Connecting
from tests.client.common.places import PATIENCE_SECONDS, opened
from tests.client.fake import client_of, eventually
from tests.client.live_server import LiveServer, step

#: How each kind is asked for, and whether its first step comes while nothing changes.
KINDS: dict[str, tuple[Callable[[Any], Any], bool]] = {
    "live": (lambda db: db.live("items", [1, 0], k=1), True),
    "match": (lambda db: db.match("items", [1, 0], 0.5), False),
    "novel": (lambda db: db.novel("items", 0.5), False),
    "feed": (lambda db: db.feed("items"), False),
    "count": (lambda db: db.watch_count("items", every_ms=60_000), True),
    "map": (lambda db: db.watch_map("items", every_ms=60_000), True),
    "stats": (lambda db: db.watch_stats("items", every_ms=60_000), False),
    "server stats": (lambda db: db.watch_stats(every_ms=60_000), False),
}


@pytest.fixture(autouse=True)
def _uncollected() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


async def filled(db: Any) -> None:
    await db.create("items", dim=2, capacity=10)
    await db.add("items", [[1, 0], [0, 1]], ids=[1, 2])


async def until(db: Any, what: str, number: int) -> None:
    """Ask until the server has that many ``subscriptions``, or ``connections``."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await db.stats())[what] != number:
            pass


async def until_subscribed(db: Any, number: int) -> None:
    await until(db, "subscriptions", number)


@pytest.mark.parametrize("what", [name for name, (_, is_quick) in KINDS.items() if is_quick])
async def test_a_loop_that_is_left_ends_its_subscription_though_nothing_changes(
    db: Any, what: str
) -> None:
    await filled(db)
    subscribe, _ = KINDS[what]

    async def first() -> Any:
        async for item in subscribe(db):
            return item
        raise AssertionError("it ended")

    async with asyncio.timeout(PATIENCE_SECONDS):
        for _ in range(3):
            assert await first() is not None
    await until_subscribed(db, 0)


@pytest.mark.parametrize("what", KINDS)
async def test_a_subscription_that_was_entered_and_forgotten_is_gone(db: Any, what: str) -> None:
    await filled(db)
    subscribe, _ = KINDS[what]
    subscription = subscribe(db)
    await subscription.__aenter__()
    await until_subscribed(db, 1)
    del subscription
    await until_subscribed(db, 0)


async def test_searches_written_with_live_do_not_add_up(kind: str) -> None:
    async with opened(kind, max_subscriptions=5) as place, place.connect() as db:
        await filled(db)

        async def first() -> Any:
            async for answer in db.live("items", [1, 0], k=1):
                return answer.ids.tolist()
            raise AssertionError("it ended")

        async with asyncio.timeout(PATIENCE_SECONDS):
            for _ in range(50):
                assert await first() == [1]
                await until_subscribed(db, 0)


@pytest.mark.parametrize("what", [name for name, (_, is_quick) in KINDS.items() if not is_quick])
async def test_a_step_that_is_cancelled_leaves_nothing_once_it_is_forgotten(what: str) -> None:
    subscribe, _ = KINDS[what]
    async with opened("asyncio-socket") as place, place.connect() as db:
        await filled(db)
        for turns in range(
            12
        ):  # cancelled at each point of its way, before it subscribed and after
            subscription = subscribe(db)
            step = asyncio.ensure_future(anext(subscription))
            for _ in range(turns):
                await asyncio.sleep(0)
            step.cancel()
            await asyncio.wait([step])
            del subscription, step
        await until_subscribed(db, 0)


async def test_a_client_that_is_forgotten_is_closed(kind: str) -> None:
    connect = omendb_ws.connect if kind.startswith("asyncio") else omendb_ws.sync.connect
    async with opened(kind) as place, place.connect() as watch:

        async def used() -> None:
            made = await asyncio.to_thread(connect, place.url)
            db = await made if isinstance(made, Connecting) else made
            live = db.live("nothing", [1, 0])
            if isinstance(made, Connecting):
                await db.ping()
            assert (await watch.stats())["connections"] == 2
            assert repr(live)

        await used()
        await until(watch, "connections", 1)


async def test_an_asyncio_client_lives_as_long_as_one_of_its_subscriptions() -> None:
    async with opened("asyncio-socket") as place, place.connect() as watch:
        await filled(watch)
        live = (await omendb_ws.connect(place.url)).live("items", [1, 0], k=1)
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert (await anext(live)).ids.tolist() == [1]
            await watch.add("items", [[1, 0]], ids=[9])
            assert (await anext(live)).ids.tolist() == [9]
        del live
        await until(watch, "connections", 1)


async def test_a_subscription_that_is_closed_or_refused_is_gone_too(db: Any) -> None:
    await filled(db)
    for subscribe, _ in KINDS.values():
        subscription = subscribe(db)
        await subscription.__aenter__()
        await subscription.close()
    with pytest.raises(errors.NotFound):
        async for _ in db.live("nothing", [1, 0]):
            pass
    await until_subscribed(db, 0)


async def test_what_is_forgotten_while_there_is_no_connection_does_not_come_back() -> None:
    server = LiveServer()
    async with client_of(server) as db:
        subscriptions = [db.live("items", [1.0, 0.0]) for _ in range(3)]
        await asyncio.gather(*[step(one) for one in subscriptions])
        forgotten = [weakref.ref(one) for one in subscriptions]
        steps = [asyncio.ensure_future(anext(one)) for one in subscriptions]
        server.refusals = [OSError("away")] * 3
        server.connection.cut()
        kept = subscriptions[0]
        await eventually(lambda: not server.refusals)
        for one in steps[1:]:
            one.cancel()
        await asyncio.wait(steps[1:])
        del subscriptions, one, steps[1:]
        await eventually(lambda: [one() for one in forgotten] == [kept, None, None])
        assert (await steps[0]).resumed
        await db.ping()
        assert len(server.connection.requests) <= 5
        assert [len(one.vectors) for one in server.connection.requests if one.op == "subscribe"]


async def test_nothing_of_a_client_is_left_once_it_is_closed() -> None:
    server = LiveServer()
    async with client_of(server) as db:
        live = db.live("items", [1.0, 0.0])
        await step(live)
        await live.move([2.0, 0.0])
        feed = db.feed("items")
        left = [weakref.ref(one) for one in (db, db._connection, db._connection._link, live, feed)]
    del db, live, feed
    await eventually(lambda: [one() for one in left] == [None] * len(left))
