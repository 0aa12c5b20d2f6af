"""Who a client is to its server, as that said it last."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import omendb_ws
import omendb_ws.sync
from omendb_ws.net.server import Server
from tests.server.raw import running, with_keys

NAMES = {"tenant", "rights", "grants", "expires_in_s"}


def is_reader(found: Any) -> bool:
    whole = found.keys() == NAMES and (found["tenant"], found["expires_in_s"]) == ("acme", None)
    return whole and found["rights"] == ["read"]


async def test_it_is_what_the_server_says_of_the_token_and_of_the_next(tmp_path: Path) -> None:
    async with (
        running(Server(with_keys(tmp_path))) as server,
        omendb_ws.connect(server.url, token="token-reader") as db,
    ):
        assert is_reader(await db.identity())
        said = await db.auth("token-writer")
        found = await db.identity()
        assert found is not None
        assert found.items() <= said.items()
        assert found["rights"] == ["write"]


async def test_the_synchronous_client_says_it_too(tmp_path: Path) -> None:
    def ask(url: str) -> Any:
        with omendb_ws.sync.connect(url, token="token-reader") as db:
            return db.identity()

    async with running(Server(with_keys(tmp_path))) as server:
        assert is_reader(await asyncio.to_thread(ask, server.url))


async def test_where_there_are_no_keys_one_is_nobody() -> None:
    async with running() as server, omendb_ws.connect(server.url) as db:
        assert await db.identity() is None
    async with omendb_ws.connect("memory://") as db:
        assert await db.identity() is None
