"""A TCP proxy between a client and a server, which loses connections when a test says so."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Self

from tests.listening import listening


class Proxy:
    """Listens on a free port; ``url`` leads through it.

    ``cut`` aborts every connection: what was under way in either direction is gone, or perhaps
    arrives. While ``mean_bytes`` is set, every connection is cut after about as many bytes in
    either direction, in the middle of whatever they are.
    """

    def __init__(self, url: str, *, seed: int = 0) -> None:
        self._target: tuple[str, int] | None = None
        self.lead_to(url)
        self._random = random.Random(seed)
        self.mean_bytes: int | None = None
        self.cuts = 0
        self.url = ""
        self._writers: set[asyncio.StreamWriter] = set()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        port = await self._stack.enter_async_context(listening(self._serve))
        self.url = f"ws://127.0.0.1:{port}/v1"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    def lead_to(self, url: str | None) -> None:
        """Forward new connections there, or (None) abort them."""
        if url is None:
            self._target = None
        else:
            host, port = url.removeprefix("ws://").removesuffix("/v1").split(":")
            self._target = (host, int(port))

    def cut(self) -> None:
        """Abort every connection."""
        self.cuts += 1
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            if self._target is None:
                return
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            writers.append(far_writer)
            self._writers.update(writers)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forward(reader, far_writer))
                group.create_task(self._forward(far_reader, writer))
        except* OSError:
            pass
        finally:
            self._writers.difference_update(writers)
            for one in writers:
                one.transport.abort()
                with suppress(OSError):
                    await one.wait_closed()

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
