"""A client that is given several addresses: whoever is there serves it, and whoever is left."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from omendb_ws import errors
from omendb_ws.client import connect
from omendb_ws.client.backoff import Backoff
from omendb_ws.client.several import InTurn
from omendb_ws.client.sync import connect as connect_sync
from omendb_ws.runtime.transport import Transport
from tests.patience import eventually
from tests.server.raw import running

SOON = Backoff(base_seconds=0.001, cap_seconds=0.01)
#: Port 1 is nobody's.
NOBODY = "ws://127.0.0.1:1/v1"


async def test_whoever_is_there_serves_it_wherever_it_begins() -> None:
    async with running() as server:
        for urls in ([NOBODY, server.url], [server.url, NOBODY]):
            for _ in range(4):  # it begins anywhere
                async with connect(urls) as db:
                    await db.ping()


async def test_a_connection_that_is_lost_is_replaced_elsewhere_and_calls_go_on() -> None:
    async with (
        running() as first,
        running() as second,
        connect([first.url, second.url], backoff=SOON) as db,
    ):
        await db.create("items", dim=2, capacity=10)
        lost, left = (first, second) if first._sessions else (second, first)
        for connection in list(lost._sessions):
            connection.transport.abort()
        await eventually(lambda: len(left._sessions) == 1)
        assert await db.list() == []


async def test_where_nobody_is_each_is_named() -> None:
    urls = [NOBODY, "ws://user:secret@127.0.0.1:2/v1"]
    with pytest.raises(errors.ConnectionLost) as raised:
        await connect(urls)
    said = str(raised.value)
    assert "127.0.0.1:1/v1: connection refused" in said
    assert "127.0.0.1:2/v1: connection refused" in said
    assert "secret" not in said


async def test_one_that_says_nothing_is_given_its_time_and_no_more() -> None:
    async def silent(_: str | None) -> Transport:
        await asyncio.Event().wait()
        raise AssertionError

    async def there(_: str | None) -> Transport:
        return made

    made: Any = object()
    opener = InTurn([("silent", silent), ("there", there)], 0.01, 0)
    assert await opener(None) is made
    # The next one begins behind the one that was found.
    with pytest.raises(ConnectionError, match="silent: no connection in time"):
        await InTurn([("silent", silent)], 0.01, 0)(None)


async def test_a_token_that_is_refused_is_not_taken_elsewhere() -> None:
    asked: list[str] = []

    def opener(name: str) -> Any:
        async def refusing(_: str | None) -> Transport:
            asked.append(name)
            raise errors.Unauthenticated("no")

        return refusing

    with pytest.raises(errors.Unauthenticated):
        await InTurn([("a", opener("a")), ("b", opener("b"))], 1.0, 1)(None)
    assert asked == ["b"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ([], "is an empty list"),
        ([NOBODY, 7], "must be a string"),
        ({NOBODY}, "a list of strings"),
        (b"ws://127.0.0.1:1/v1", "a list of strings"),
        (["memory://", NOBODY], "not one of several"),
        ([NOBODY, "http://127.0.0.1:1"], "is not the address of a server"),
    ],
)
async def test_what_is_no_list_of_addresses_is_named(url: Any, said: str) -> None:
    async def ask() -> None:
        for _ in range(20):  # it begins anywhere
            with suppress(errors.ConnectionLost):
                await connect(url)

    with pytest.raises(errors.BadRequest, match=f"^url: .*{said}"):
        await ask()


async def test_one_in_a_list_is_as_it_alone_and_memory_is_too() -> None:
    async with connect(["memory://"]) as db:
        await db.ping()


async def test_the_synchronous_client_takes_a_list_too() -> None:
    async with running() as server:

        def work() -> None:
            with connect_sync([NOBODY, server.url]) as db:
                db.ping()

        await asyncio.to_thread(work)
