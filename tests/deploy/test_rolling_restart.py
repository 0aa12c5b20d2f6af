"""A server is restarted under load, as the page says, and its clients lose nothing."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import omendb_ws
from omendb_ws.client.aio import Client
from tests.cli.commands import TIMEOUT_SECONDS
from tests.deploy.manager import activated, ports_of
from tests.patience import PATIENCE_SECONDS

RESTARTS = 3
#: What is added between two of them, at least.
BETWEEN = 20


class Load:
    """A producer, and readers of each kind; what each was told."""

    def __init__(self, db: Client, reader: Client) -> None:
        self.acknowledged: list[int] = []
        self.fed: list[int] = []
        self.live = 0
        self._is_over = False
        self._db, self._reader = db, reader
        self.tasks = [
            asyncio.create_task(one) for one in (self._produce(), self._feed(), self._follow())
        ]

    async def _produce(self) -> None:
        """Each row is nearer to what is asked for than those before it."""
        while not self._is_over:
            id = len(self.acknowledged) + 1
            await self._db.add("notes", [[1.0, 1.0 / id]], ids=[id])
            self.acknowledged.append(id)

    async def _feed(self) -> None:
        epoch = (await self._reader.describe("notes")).epoch
        async for rows in self._reader.feed("notes", from_seq=1, epoch=epoch):
            assert rows.gap is None
            self.fed += [int(row.id) for row in rows]

    async def _follow(self) -> None:
        async for answer in self._reader.live("notes", [1, 0], k=1):
            self.live = int(answer[0].id) if len(answer) else 0

    async def go_on(self) -> None:
        """Wait until so much more was added."""
        wanted = len(self.acknowledged) + BETWEEN
        await self.until(lambda: len(self.acknowledged) >= wanted)

    def finish(self) -> None:
        self._is_over = True

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.wait(self.tasks)
        await self._db.close()
        await self._reader.close()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for it; whatever ends with an error meanwhile raises it."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                for task in self.tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.005)


async def test_restarts_under_load_lose_nothing_double_nothing_and_tell_nobody_of_an_error(
    tmp_path: Path,
) -> None:
    [listening] = ports_of(1)
    url = f"ws://127.0.0.1:{listening.getsockname()[1]}/v1"
    patient = {"open_timeout_seconds": PATIENCE_SECONDS, "request_timeout_seconds": None}
    stored = {"OMENDB_DATA_DIR": str(tmp_path)}
    with listening:
        with activated(listening, **stored) as process:
            async with omendb_ws.connect(url, **patient) as db:
                await db.create("notes", dim=2, capacity=1_000_000)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, TIMEOUT_SECONDS) == 0
        # The first connection waits for a server, too.
        connecting = asyncio.create_task(_both(url, patient))
        load = None
        for _ in range(RESTARTS):
            with activated(listening, **stored) as process:
                load = load or Load(*await connecting)
                await load.go_on()
                process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait, TIMEOUT_SECONDS) == 0
        assert load is not None
        with activated(listening, **stored):
            await load.go_on()
            load.finish()
            await load.tasks[0]
            last = load.acknowledged[-1]
            await load.until(lambda: load.live == last and len(load.fed) >= last)
            assert load.fed == load.acknowledged == list(range(1, last + 1))
            async with omendb_ws.connect(url, **patient) as db:
                about = await db.describe("notes")
                assert (about.rows, about.last_seq, about.version) == (last, last, last)
            await load.end()


async def _both(url: str, patient: dict[str, float | None]) -> tuple[Client, Client]:
    return await omendb_ws.connect(url, **patient), await omendb_ws.connect(url, **patient)
