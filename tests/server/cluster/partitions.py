"""A way to a NATS server that a test can have stand still, in either direction or both."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.listening import listening
from tests.nats import NatsServer


class Way:
    """A relay on loopback, in a thread of its own: nodes wait for NATS as they start. What is said
    while it stands still arrives afterwards, as over a network that was cut: nobody is told of it.
    """

    def __init__(self, nats: NatsServer) -> None:
        self._port = int(nats.url.rpartition(":")[2])
        self._there, self._back, self._over = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self._is_ready = threading.Event()
        self.url = ""

    def start(self) -> None:
        """Listen, everything passing."""
        self._there.set()
        self._back.set()
        self._thread.start()
        assert self._is_ready.wait(30)

    def open(self) -> None:
        """Everything passes."""
        for event in (self._there, self._back):
            self._loop.call_soon_threadsafe(event.set)

    def stall(self, *, there: bool = True, back: bool = True) -> None:
        """Nothing passes to NATS, or back, from now on."""
        for event, is_so in ((self._there, there), (self._back, back)):
            if is_so:
                self._loop.call_soon_threadsafe(event.clear)

    def end(self) -> None:
        """End what passes."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._loop.close()

    async def _run(self) -> None:
        async with listening(self._serve) as port:
            self.url = f"nats://127.0.0.1:{port}"
            self._is_ready.set()
            await self._over.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_nats, to_nats = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pass(reader, to_nats, self._there))
                group.create_task(_pass(from_nats, writer, self._back))
        except* OSError:
            pass
        finally:
            for one in (writer, to_nats):
                one.transport.abort()
                with suppress(OSError):
                    await one.wait_closed()


async def _pass(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_open: asyncio.Event
) -> None:
    while data := await reader.read(1 << 16):
        await is_open.wait()
        writer.write(data)
        await writer.drain()
    raise ConnectionResetError


@contextmanager
def way(nats: NatsServer) -> Iterator[Way]:
    """One that is open."""
    found = Way(nats)
    found.start()
    try:
        yield found
    finally:
        found.end()
