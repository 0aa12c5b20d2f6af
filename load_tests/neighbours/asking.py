"""What a neighbour asks for: a method for each kind, called again and again.

Most goes over the asyncio client. What no client would send goes over a bare WebSocket.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import numpy as np
import orjson
from omendb_core.model.types import F32, StrColumn
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

import omendb_ws
from omendb_ws.wire import binary

from ..simulation import columns, vectors
from . import filters
from .scenario import Scenario

WINDOW: Final = "wide"
_OTHER: Final = "other"
_FILL_ROWS: Final = 10_000
_QUERIES: Final = 4096
_SEED: Final = 1
#: Lists within lists, as deep as JSON is read at all.
_DEEP: Final = b"[" * 1000 + b"]" * 1000
#: Of half a window's rows a feed is told in some turns.
_FED_SHARE: Final = 2


class Asker:
    """One heavy connection over ``db``. ``turn`` counts what it asked for."""

    def __init__(self, db: Any, url: str, token: str, scenario: Scenario) -> None:
        self.turn = 0
        self._db = db
        self._url = url
        self._token = token
        self._scenario = scenario
        self._asked = scenario.neighbour
        self._dim = scenario.collection.dim
        self._held: list[Any] = []

    async def fill(self) -> None:
        """Its window, full."""
        of = self._scenario.collection
        declared = {name: one.type for name, one in self._scenario.columns.items()}
        await self._db.create(
            WINDOW, dim=of.dim, capacity=of.capacity, metric=of.metric, columns=declared
        )
        for start in range(0, of.filled, _FILL_ROWS):
            count = min(_FILL_ROWS, of.filled - start)
            await self._put(np.arange(start, start + count))

    async def ask(self) -> bytes | None:
        """Ask once more, and wait for the answer; what that says where it is JSON over a bare
        WebSocket.
        """
        self.turn += 1
        kind: Callable[[], Awaitable[bytes | None]] = getattr(self, f"_{self._asked.asks}")
        return await kind()

    # -- what it is made of -----------------------------------------------------------------------

    @functools.cached_property
    def _rows(self) -> F32:
        count = max(_FILL_ROWS, self._asked.rows if self._asked.rows <= 1 << 15 else 0)
        settings = dataclasses.replace(self._scenario.vectors, pool=count)
        return vectors.pool(settings, self._dim, _SEED)

    @functools.cached_property
    def _queries(self) -> F32:
        return vectors.queries(self._scenario.vectors, self._dim, _SEED, _QUERIES)

    @property
    def _filter(self) -> dict[str, Any] | None:
        make = filters.KINDS.get(self._asked.filter)
        return None if make is None else make(self._asked.conditions, self.turn)

    def _some(self, count: int) -> F32:
        """Other queries each time."""
        start = self.turn * count % (_QUERIES - count) if count < _QUERIES else 0
        return self._queries[start : start + count]

    async def _put(self, ids: Any) -> None:
        given = {name: values[: len(ids)] for name, values in self._metadata.items()}
        await self._db.add(WINDOW, self._rows[: len(ids)], ids=ids, columns=given or None)

    @functools.cached_property
    def _metadata(self) -> dict[str, Any]:
        """Of the rows, as a client takes it."""
        found: dict[str, Any] = {}
        made = columns.values(self._scenario.columns, len(self._rows), _SEED)
        for name, one in made.items():
            is_text = isinstance(one, StrColumn)
            found[name] = [one.dictionary[n] for n in one.codes] if is_text else one
        return found

    # -- what it asks for -------------------------------------------------------------------------

    async def _nothing(self) -> None:
        await asyncio.sleep(0.1)

    async def _search(self) -> None:
        asked = self._asked
        await self._db.search(
            WINDOW, self._some(asked.vectors), k=asked.k, filter=self._filter, include=asked.include
        )

    async def _count(self) -> None:
        await self._db.count(WINDOW, self._filter)

    async def _snapshot(self) -> None:
        """All of its window, read to its end."""
        begun = await self._db.snapshot(WINDOW)
        while await self._db.snapshot_next(begun.number):
            pass

    async def _get(self) -> None:
        await self._db.get(WINDOW, np.arange(self._asked.rows), include=self._asked.include)

    async def _update(self) -> None:
        row = {"price": 1.0, "stock": self.turn % 1000, "shop": "shop", "note": "n" * 40}
        await self._db.update(WINDOW, np.arange(self._asked.rows), [row] * self._asked.rows)

    async def _delete(self) -> None:
        ids = np.arange(self._asked.rows)
        await self._db.delete(WINDOW, ids)
        await self._put(ids)

    async def _add(self) -> None:
        await self._put(np.arange(self._asked.rows))

    async def _create(self) -> None:
        await self._db.create(_OTHER, dim=self._dim, capacity=self._asked.rows)
        await self._db.add(_OTHER, self._rows[:1000], ids=np.arange(min(1000, len(self._rows))))
        await self._db.drop(_OTHER)

    async def _live(self) -> None:
        async with omendb_ws.connect(self._url, token=self._token) as other:
            many = [other.live(WINDOW, one, k=10) for one in self._some(self._asked.subscriptions)]
            await asyncio.gather(*(anext(one) for one in many))

    async def _feed(self) -> None:
        there = await self._db.describe(WINDOW)
        rows = 0
        async for push in self._db.feed(
            WINDOW, from_seq=there.first_seq, epoch=there.epoch, include=self._asked.include
        ):
            rows += len(getattr(push, "seqs", ()))
            if rows >= self._scenario.collection.filled // _FED_SHARE:
                return

    async def _map(self) -> None:
        async for _ in self._db.watch_map(WINDOW, sample=self._asked.rows, every_ms=100):
            return

    # -- what no client sends ---------------------------------------------------------------------

    @asynccontextmanager
    async def _bare(self) -> AsyncIterator[ClientConnection]:
        async with connect(
            self._url,
            subprotocols=[Subprotocol("omendb.v1")],
            compression=None,
            additional_headers={"Authorization": f"Bearer {self._token}"},
            max_size=None,
        ) as socket:
            await socket.recv()
            yield socket

    async def _say(self, text: bytes) -> bytes:
        """Send a text and wait for what it leads to."""
        async with self._bare() as socket:
            await socket.send(text, text=True)
            return await socket.recv(decode=False)

    @functools.cached_property
    def _json(self) -> bytes:
        rows = [
            {"id": n, "vector": [round(x, 7) for x in one], "metadata": {"note": "n" * 40}}
            for n, one in enumerate(self._rows[: self._asked.rows].tolist())
        ]
        return orjson.dumps({"id": 1, "op": "add", "collection": WINDOW, "rows": rows})

    async def _add_json(self) -> bytes:
        return await self._say(self._json)

    async def _add_infinity(self) -> bytes:
        """All is read before the last number is found to be none."""
        head, _, tail = self._json.rpartition(b"],")
        return await self._say(head + b",1e999]," + tail)

    @functools.cached_property
    def _nested(self) -> bytes:
        lists = b",".join([_DEEP] * self._asked.rows)
        return b'{"id":1,"op":"add","rows":[' + lists + b"]}"

    async def _nested_json(self) -> bytes:
        return await self._say(self._nested)

    async def _subscribe(self) -> bytes | None:
        async with self._bare() as socket:
            await socket.send(
                orjson.dumps({"id": 1, "op": "open", "collection": WINDOW}), text=True
            )
            handle = orjson.loads(await socket.recv())["ok"]["handle"]
            many = self._some(self._asked.subscriptions)
            await socket.send(binary.encode_subscribe(2, handle, many))
            said = await socket.recv(decode=False)
            return said if said.startswith(b"{") else None

    async def _pings(self) -> None:
        socket = await self._kept()
        await asyncio.gather(*[await socket.ping() for _ in range(self._asked.subscriptions)])

    async def _feeds(self) -> None:
        """A row, and every feed hears of it."""
        socket = await self._kept({"kind": "feed", "collection": WINDOW})
        await self._put(np.array([self.turn]))
        for _ in range(self._asked.subscriptions):
            await socket.recv()

    async def _stats(self) -> None:
        socket = await self._kept({"kind": "stats", "every": 60_000})
        await socket.send(orjson.dumps({"id": 0, "op": "stats"}), text=True)
        await _reply(socket, 0)

    async def _kept(self, subscribed: dict[str, Any] | None = None) -> ClientConnection:
        """One socket for all turns, with its subscriptions, if there are to be any."""
        if not self._held:
            bare = self._bare()
            self._held = [bare, await bare.__aenter__()]
            socket = self._held[1]
            for id in range(1, self._asked.subscriptions + 1) if subscribed else ():
                asked = {"id": id, "op": "subscribe", **(subscribed or {})}
                await socket.send(orjson.dumps(asked), text=True)
                await _reply(socket, id)
        kept: ClientConnection = self._held[1]
        return kept

    async def close(self) -> None:
        """Let go of the socket that it kept."""
        if self._held:
            await self._held[0].__aexit__(None, None, None)


async def _reply(socket: ClientConnection, id: int) -> Any:
    """What the reply to a request says, which is to be no error; what comes before is a push."""
    start = b'{"id":%d,' % id
    while not (data := await socket.recv(decode=False)).startswith(start):
        pass
    return orjson.loads(data)["ok"]
