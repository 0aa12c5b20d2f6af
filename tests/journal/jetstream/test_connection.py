"""The connection to NATS is had again, however a client of it ends."""

from __future__ import annotations

import asyncio
import gc
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from omendb_ws.journal.jetstream.connection import Connection
from tests.nats import nats_server
from tests.patience import wait_until


async def broken() -> None:
    raise ConnectionResetError("as it were")


async def heard(message: Any) -> None:
    """Nobody says anything."""


async def fill(client: Any) -> None:
    """What a client has not sent, as its socket breaks."""
    client._transport.drain = broken
    client._pending, client._pending_data_size = [b"PING\r\n"], 6


async def subscribe(client: Any) -> set[asyncio.Task[Any]]:
    """The task that waits for messages of a subscription."""
    before = asyncio.all_tasks()
    await client.subscribe("somewhere", cb=heard)
    return asyncio.all_tasks() - before


def test_one_that_fails_while_it_closes_is_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """nats-py calls nobody then, and leaves tasks behind, which end then."""
    with nats_server(tmp_path / "nats") as nats:
        connection = Connection((nats.url,), None, "test")
        connection.open()
        lost = []
        connection.on_lost.add(lambda: lost.append(True))
        try:
            client = connection.client
            connection.call(fill(client))
            nats.kill()
            nats.start()
            wait_until(lambda: bool(lost) and connection.is_connected)
            assert connection.client is not client
            assert connection.losses == 1
            [subscribed] = connection.call(subscribe(connection.client))
            connection.call(fill(connection.client))
            nats.kill()
            wait_until(lambda: len(lost) == 2)
            wait_until(subscribed.done)
        finally:
            connection.close()
        del client, subscribed
        gc.collect()
        assert [one for one in caplog.records if one.name == "asyncio"] == []


async def deaf_once(began: threading.Event) -> None:
    """What goes on when it is cancelled, the first time."""
    began.set()
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    await asyncio.Event().wait()


def test_it_closes_though_a_task_drops_its_cancellation(tmp_path: Path) -> None:
    """As ``wait_for`` before Python 3.12 does now and then."""
    with nats_server(tmp_path / "nats") as nats:
        connection = Connection((nats.url,), None, "test")
        connection.open()
        began = threading.Event()

        async def begin() -> None:
            connection.begin(deaf_once(began))

        connection.call(begin())
        assert began.wait(60)
        connection.close()
        assert not connection._thread.is_alive()
