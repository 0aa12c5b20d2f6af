"""A fault at any call between a socket and its session: that connection may end, and nothing else.

For each such call that the walk finds, a server of its own in which it fails once, while a client
shakes hands, asks, subscribes, sends fragments, and leaves. Then: the client has its answers or
hears of the end of its connection; another one's requests work; nothing that the first one had is
counted any more, in connections, bytes, subscriptions or memory; the server ends as it should.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import cast

import orjson
import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from omendb_ws.net.server import Server
from tests.patience import eventually
from tests.server.raw import PATIENCE_SECONDS, Raw, client, rows, running
from tests.server.walk import Injector

WITHIN = ("omendb_ws/net/", "omendb_ws/sessions/outbox.py")
ITEMS = {"collection": "items"}
LOST = (ConnectionClosed, InvalidHandshake, EOFError, OSError)


async def asks(raw: Raw) -> None:
    await raw.ask("search", **ITEMS, vector=[1.0, 0.0], k=2)


async def subscribes(raw: Raw) -> None:
    """What is pushed goes out by the outbox, beside what is made as its turn comes."""
    await raw.ask("subscribe", **ITEMS, kind="live", vector=[1.0, 0.0], k=2)
    await raw.ask("subscribe", kind="stats")
    await raw.ask("add", **ITEMS, rows=rows(3))
    await raw.ask("ping")


async def sends_fragments(raw: Raw) -> None:
    text = orjson.dumps({"id": 99, "op": "ping"}).decode()
    await raw.socket.send([text[:5], text[5:]])
    await raw.reply(99)


async def sends_a_long_message(raw: Raw) -> None:
    """Longer than what the socket gives at once: it comes in pieces."""
    many = [{**row, "metadata": {"x": "y" * 50_000}} for row in rows(*range(6))]
    await raw.ask("add", **ITEMS, rows=many)


async def sends_no_utf8(raw: Raw) -> None:
    await raw.socket.send(b"\xff", text=True)
    await raw.closed()


async def sends_too_much(raw: Raw) -> None:
    await raw.socket.send(b"x" * (3 << 20))
    await raw.closed()


DOES: dict[str, Callable[[Raw], Awaitable[None]]] = {
    one.__name__: one
    for one in (
        *(asks, subscribes, sends_fragments),
        *(sends_a_long_message, sends_no_utf8, sends_too_much),
    )
}


async def gone(server: Server, before: dict[str, int]) -> None:
    """Return when nothing is counted but what was."""
    await eventually(lambda: counted(server) == before)


def counted(server: Server) -> dict[str, int]:
    return {
        "connections": server.metrics.connections,
        "sessions": len(server._sessions),
        "known": len(server._known),
        "strangers": len(server._strangers),
        "bytes": server._known.held_bytes + server._strangers.held_bytes,
        "subscriptions": server.metrics.subscriptions.total(),
        "reserved": server.context.catalog.reserved_bytes,
    }


async def walked(injector: Injector, does: Callable[[Raw], Awaitable[None]]) -> None:
    fields = {"max_message_bytes": 2 << 20, "max_pending_bytes": 1 << 20}
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        running(**fields) as server,
        client(server) as other,
    ):
        await other.create()
        await other.add(1, 2)
        before = counted(server)
        # Its address is asked for now: that is no part of a connection's life.
        address = cast(Server, SimpleNamespace(url=server.url))
        with injector.watching():
            injector.is_armed = True
            with contextlib.suppress(*LOST):
                async with client(address) as raw:
                    await does(raw)
            injector.is_armed = False
        try:
            await gone(server, before)
        except asyncio.CancelledError:
            raise AssertionError(f"{counted(server)} is left of {before}") from None
        assert (await other.ok("search", **ITEMS, vector=[1.0, 0.0]))["results"]
        async with client(server) as late:
            await late.ok("search", **ITEMS, vector=[1.0, 0.0], k=2)


# asyncio closes a socket that it has no protocol for when that is collected, and warns.
@pytest.mark.filterwarnings("ignore:.*socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", DOES)
async def test_a_fault_at_any_call_ends_no_more_than_its_connection(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")
    first = Injector("loop", within=WITHIN)
    await walked(first, DOES[name])
    assert len(first.seen) > 20
    for call in first.seen:
        try:
            await walked(Injector("loop", call, WITHIN), DOES[name])
        except Exception as error:
            raise AssertionError(f"after a fault instead of {call}") from error
