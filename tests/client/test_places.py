"""Places of a tenant's connections: refused at first, waited for by who had one already."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import omendb_ws
from omendb_ws import Backoff, errors
from omendb_ws.net.server import Server
from tests.patience import PATIENCE_SECONDS
from tests.server.raw import running
from tests.server.tenant_files import limits, with_tenants

HASTY = Backoff(base_seconds=0.001, cap_seconds=0.01)


async def test_who_comes_beyond_a_tenants_connections_is_told_so(tmp_path: Path) -> None:
    async with (
        running(Server(with_tenants(tmp_path, limits(max_connections=1)))) as server,
        omendb_ws.connect(server.url, token="token-root") as db,
    ):
        await db.ping()
        with pytest.raises(errors.Quota, match="max_connections: this tenant has 1 of 1"):
            async with omendb_ws.connect(server.url, token="token-reader"):
                pass


async def test_who_lost_its_connection_comes_back_once_there_is_a_place(tmp_path: Path) -> None:
    async with (
        running(Server(with_tenants(tmp_path, limits(max_connections=1)))) as server,
        asyncio.timeout(PATIENCE_SECONDS),
        omendb_ws.connect(server.url, token="token-root", backoff=HASTY) as db,
    ):
        await db.create("items", dim=2, capacity=10)
        account = server.context.accounts.of("acme")
        (connection,) = server._sessions
        connection.transport.abort()
        while account.connections:  # noqa: ASYNC110 - a socket's end
            await asyncio.sleep(0)
        account.enter()  # somebody else takes the place
        described = asyncio.create_task(db.describe("items"))
        while server.metrics.connections_opened < 4:  # noqa: ASYNC110 - its attempts
            await asyncio.sleep(0)
        assert not described.done()
        account.leave()
        assert (await described).dim == 2
