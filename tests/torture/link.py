"""A connection to a server that will be killed, over the protocol alone."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection

from omendb_ws.wire import binary, binary_replies
from tests.torture.process import PATIENCE_SECONDS


class Link:
    """A connection that knows JSON, and the bytes of copies; requests are answered in any order."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._last_id = 0
        self._replies: dict[int, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []

    async def send(self, **fields: Any) -> int:
        """Send a request; its id."""
        self._last_id += 1
        await self._socket.send(orjson.dumps({"id": self._last_id, **fields}), text=True)
        return self._last_id

    async def reply(self, id: int) -> dict[str, Any]:
        """The reply to a request."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while id not in self._replies:
                await self.message()
        return self._replies.pop(id)

    async def message(self) -> None:
        """Take the next message in."""
        data = await self._socket.recv()
        if isinstance(data, bytes):
            id, found = binary_replies.decode_incoming(data)  # type: ignore[misc]
            self._replies[id] = {"ok": found}
            return
        message = orjson.loads(data)
        if "event" in message:
            self.events.append(message)
        else:
            self._replies[message["id"]] = message

    async def ok(self, **fields: Any) -> Any:
        """The ``ok`` of a request that must succeed."""
        reply = await self.reply(await self.send(**fields))
        assert "ok" in reply, (fields, reply)
        return reply["ok"]

    async def restored(self, number: int, data: bytes) -> dict[str, Any]:
        """What is said to the bytes of a restore."""
        self._last_id += 1
        await self._socket.send(binary.encode_restore(self._last_id, number, data))
        reply = await self.reply(self._last_id)
        assert "ok" in reply, reply
        made: dict[str, Any] = reply["ok"]
        return made
