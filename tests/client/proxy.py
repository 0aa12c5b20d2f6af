"""A TCP proxy between a client and a server, which loses connections when a test says so."""

from __future__ import annotations

import asyncio
import random
from types import TracebackType
from typing import Self


class Proxy:
    """Listens on a free port; ``url`` leads through it.

    ``cut`` aborts every connection: what was under way in either direction is gone, or perhaps
    arrives. While ``mean_bytes`` is set, every connection is cut after about as many bytes in
    either direction, in the middle of whatever they are.
    """

    def __init__(self, url: str, *, seed: int = 0) -> None:
        self._host, port = url.removeprefix("ws://").removesuffix("/v1").split(":")
        self._port = int(port)
        self._random = random.Random(seed)
        self.mean_bytes: int | None = None
        self.cuts = 0
        self.url = ""
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    def cut(self) -> None:
        """Abort every connection."""
        self.cuts += 1
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
            self._writers |= {writer, far_writer}
            try:
                await asyncio.gather(
                    self._forward(reader, far_writer), self._forward(far_reader, writer)
                )
            finally:
                self._writers -= {writer, far_writer}
                far_writer.transport.abort()
        except OSError:
            pass
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left: int | None = None
        while piece := await reader.read(1 << 16):
            if self.mean_bytes is not None:
                if left is None:
                    left = self._random.randint(1, 2 * self.mean_bytes)
                left -= len(piece)
                if left <= 0:
                    writer.write(piece[:left])
                    self.cut()
                    raise ConnectionResetError
            writer.write(piece)
            await writer.drain()
        raise ConnectionResetError
