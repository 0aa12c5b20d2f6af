"""Servers with an HTTP API on a free port, and clients of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from omendb_ws.net.server import Server
from omendb_ws.node.config import Settings
from tests.patience import PATIENCE_SECONDS
from tests.server.raw import settings

JSON = {"Content-Type": "application/json"}


@asynccontextmanager
async def served(given: Settings | None = None, **fields: Any) -> AsyncIterator[Server]:
    """A server; ``given`` or ``fields`` are its settings."""
    made = given if given is not None else settings(**fields)
    made = made.model_copy(update={"http_port": 0})
    async with Server(made) as server:
        yield server


def client_of(server: Server, token: str | None = None, **given: Any) -> httpx.AsyncClient:
    """A client, with a token or without."""
    assert server.http_url is not None
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return httpx.AsyncClient(
        base_url=server.http_url,
        headers=headers,
        timeout=PATIENCE_SECONDS,
        trust_env=False,
        **given,
    )


@asynccontextmanager
async def served_client(**fields: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server of its own."""
    async with served(**fields) as server, client_of(server) as client:
        yield client


def fault_of(answer: httpx.Response) -> dict[str, Any]:
    """The error object of a refusal; it is the whole body."""
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body.keys() == {"error"}
    fault: dict[str, Any] = body["error"]
    assert {"code", "message", "retry"} <= fault.keys()
    return fault
