"""The connection to NATS is had again, however a client of it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omendb_ws.journal.jetstream.connection import Connection
from tests.nats import nats_server
from tests.patience import wait_until


async def broken() -> None:
    raise ConnectionResetError("as it were")


async def fill(client: Any) -> None:
    """What a client has not sent, as its socket breaks."""
    client._transport.drain = broken
    client._pending, client._pending_data_size = [b"PING\r\n"], 6


def test_one_that_fails_while_it_closes_is_replaced(tmp_path: Path) -> None:
    """nats-py calls nobody then."""
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
            wait_until(lambda: lost and connection.is_connected)
            assert connection.client is not client
            assert connection.losses == 1
        finally:
            connection.close()
