"""What comes and goes: each function is one turn of one worker, which repeats it at a steady pace.

Three windows stay for the whole soak: ``numbers`` (u64 ids, columns, every second on disk),
``names`` (string ids, metadata of any size, always on disk) and ``recent`` (its own numbers, rows
that expire, memory only). Everything else is made and left again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from omendb_ws.client import Client, connect
from omendb_ws.errors import NotFound

DIM: Final = 64
CAPACITY: Final = 20_000
#: So many different ids that most adds replace a row, and some lookups miss.
IDS: Final = 30_000
ROWS: Final = 64
KINDS: Final = ("pump", "valve", "motor", "fan")
#: How long a subscription is read before it is left.
READ_SECONDS: Final = 0.5

WINDOWS: Final[Mapping[str, dict[str, Any]]] = {
    "numbers": {"columns": {"price": "f64", "kind": "str"}, "durability": "everysec"},
    "names": {"ids": "str", "columns": {"kind": "str"}, "durability": "always"},
    "recent": {"ids": "auto", "ttl": 20.0, "durability": "memory", "columns": {"price": "f64"}},
}


class Work:
    """The turns, and what they count. ``url``: of the server; ``db``: a connection that stays."""

    def __init__(self, url: str, db: Client, seed: int) -> None:
        self.url = url
        self.db = db
        self.chance = np.random.default_rng(seed)
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()

    async def begin(self) -> None:
        """Make the windows that stay."""
        for name, definition in WINDOWS.items():
            await self.db.create(name, dim=DIM, capacity=CAPACITY, if_exists="ok", **definition)

    async def repeat(
        self, name: str, turn: Callable[[], Awaitable[object]], pause_seconds: float, until: float
    ) -> None:
        """Take turns until that time of the loop; what is refused is counted, and goes on."""
        loop = asyncio.get_running_loop()
        while loop.time() < until:
            try:
                await turn()
                self.done[name] += 1
            except Exception as error:
                self.failed[f"{name}: {error!r}"] += 1
            await asyncio.sleep(pause_seconds)

    # -- what they use ----------------------------------------------------------------------------

    def vectors(self, count: int = ROWS, dim: int = DIM) -> NDArray[np.float32]:
        """Random rows."""
        return self.chance.standard_normal((count, dim), dtype=np.float32)

    def numbers(self, count: int) -> list[int]:
        """Distinct ids of ``numbers``."""
        return [int(one) for one in self.chance.choice(IDS, count, replace=False)]

    def payloads(self, count: int) -> list[dict[str, Any]]:
        """Metadata of 20 to 1,000 bytes."""
        return [
            {"kind": KINDS[size % 4], "note": "x" * int(size)}
            for size in self.chance.integers(0, 1000, count)
        ]

    # -- turns ------------------------------------------------------------------------------------

    async def add_numbers(self) -> None:
        """Binary columns under numbers."""
        columns = {
            "price": self.chance.random(ROWS) * 100,
            "kind": [KINDS[one] for one in self.chance.integers(0, 4, ROWS)],
        }
        await self.db.add("numbers", self.vectors(), self.numbers(ROWS), columns=columns)

    async def add_names(self) -> None:
        """Metadata under names."""
        names = [f"device/{one}" for one in self.numbers(ROWS)]
        await self.db.add("names", self.vectors(), names, self.payloads(ROWS))

    async def add_recent(self) -> None:
        """Rows that will expire."""
        payloads = [{"price": float(one)} for one in self.chance.random(ROWS)]
        await self.db.add("recent", self.vectors(), metadata=payloads)

    async def change(self) -> None:
        """Deletes, and updates of what is still there."""
        await self.db.delete("numbers", self.numbers(20))
        await self.db.delete("names", [f"device/{one}" for one in self.numbers(20)])
        rows = await self.db.get("names", [f"device/{one}" for one in self.numbers(20)])
        there = [str(row.id) for row in rows if row is not None]
        if there:
            with contextlib.suppress(NotFound):  # replaced or evicted meanwhile
                await self.db.update("names", there, self.payloads(len(there)))

    async def search(self) -> None:
        """Alone, in batches, with filters, by a row."""
        await self.db.search("numbers", self.vectors(1)[0])
        limit = float(self.chance.random() * 100)
        await self.db.search("numbers", self.vectors(16), 20, filter={"price": {"$lt": limit}})
        await self.db.search("names", self.vectors(4), 50, include=["metadata"])
        rows = await self.db.get("names", [f"device/{one}" for one in self.numbers(50)])
        there = [row.id for row in rows if row is not None]
        if there:
            with contextlib.suppress(NotFound):
                await self.db.search("names", like=there[0])

    async def read(self) -> None:
        """Everything else that asks."""
        await self.db.get("numbers", self.numbers(200), include=["metadata", "vector"])
        await self.db.count("names", {"kind": {"$in": ["pump", "fan"]}})
        await self.db.stats()
        await self.db.stats("numbers")
        await self.db.list()

    async def subscribe(self) -> None:
        """One subscription of each kind, read for a moment; some are closed, some just left."""
        last = await self.db.describe("numbers")
        kinds: list[Any] = [
            self.db.live("numbers", self.vectors(1)[0], 10, filter={"price": {"$gt": 20}}),
            self.db.live("names", self.vectors(1)[0], 50, include=["metadata"]),
            self.db.match("recent", self.vectors(1)[0], 0.1, include=["metadata"]),
            self.db.feed("names", include=["metadata", "vector"]),
            self.db.feed("numbers", from_seq=max(1, last.last_seq - 500), epoch=last.epoch),
            self.db.watch_stats(every_ms=100),
            self.db.watch_map("numbers", sample=500, every_ms=100),
        ]
        await asyncio.gather(*map(self._read, kinds))
        for subscription in kinds[::2]:
            await subscription.close()

    async def _read(self, subscription: Any) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READ_SECONDS):
                async for _ in subscription:
                    self.done["pushes"] += 1

    async def reconnect(self) -> None:
        """A client that comes, subscribes, asks, and goes: politely, or as a cut line does."""
        async with connect(self.url, reconnect=False) as client:
            live = client.live("numbers", self.vectors(1)[0])
            async with live:
                await client.search("names", self.vectors(1)[0])
        reader, writer = await asyncio.open_connection(*self._address())
        writer.write(b"GET /v1 HTTP/1.1\r\nHost: localhost\r\n")
        await writer.drain()
        writer.transport.abort()
        del reader

    def _address(self) -> tuple[str, int]:
        host, _, port = self.url.split("//")[1].split("/")[0].rpartition(":")
        return host, int(port)

    async def come_and_go(self) -> None:
        """Collections of both kinds, filled, subscribed to, and dropped under their readers."""
        for durability in ("memory", "everysec"):
            name = f"passing-{durability}"
            await self.db.create(
                name, dim=DIM, capacity=5_000, ids="str", columns={"kind": "str"},
                durability=durability, if_exists="ok",
            )  # fmt: skip
            readers = [
                asyncio.ensure_future(self._read(one))
                for one in (self.db.live(name, self.vectors(1)[0]), self.db.feed(name))
            ]
            names = [f"row {one}" for one in range(2_000)]
            await self.db.add(name, self.vectors(2_000), names, self.payloads(2_000))
            await self.db.search(name, self.vectors(1)[0], include=["metadata"])
            await self.db.drop(name)
            await asyncio.gather(*readers, return_exceptions=True)
