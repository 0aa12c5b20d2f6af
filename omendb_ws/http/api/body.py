"""The body of a request as it comes: chunks that nobody has taken yet, and whether more follow.

Fed by the connection's parser, taken by the route. Chunks are those of the parser, so nothing is
copied before they are joined. Lives on the loop's thread; knows no socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

#: An object takes 33 bytes besides its own: who sends two at a time would have 28 times as much
#: kept as counts. What is smaller than the one is gathered up to the other.
_SMALL_BYTES: Final = 1 << 10
_GATHERED_BYTES: Final = 64 << 10


class Gone(Exception):
    """The client has gone before its body was whole."""


class Parts:
    """Bytes one behind the other, in parts that are not small."""

    __slots__ = ("_gathered", "_parts")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._gathered = bytearray()

    def __bool__(self) -> bool:
        return bool(self._parts or self._gathered)

    def add(self, part: bytes) -> None:
        """One more; a large one is not copied."""
        is_small = len(part) < _SMALL_BYTES
        if is_small:
            self._gathered += part
        if not is_small or len(self._gathered) >= _GATHERED_BYTES:
            self._put_down()
        if not is_small:
            self._parts.append(part)

    def take(self) -> list[bytes]:
        """All of them; none are left."""
        self._put_down()
        parts, self._parts = self._parts, []
        return parts

    def _put_down(self) -> None:
        if self._gathered:
            self._parts.append(bytes(self._gathered))
            self._gathered.clear()


class Body:
    """One. ``ask`` is called before anything is waited for: the client may wait to be asked, too.

    ``expected_bytes``: what its head says; None: it comes in pieces, and nobody knows.
    """

    __slots__ = (
        "_chunks", "_fault", "_news", "ask", "expected_bytes", "is_gone", "is_whole",
        "received_bytes", "untaken_bytes",
    )  # fmt: skip

    def __init__(self, ask: Callable[[], None]) -> None:
        self.ask = ask
        self.expected_bytes: int | None = None
        self.received_bytes = 0
        self.untaken_bytes = 0
        self.is_whole = self.is_gone = False
        self._chunks = Parts()
        self._fault: Exception | None = None
        self._news: asyncio.Future[None] | None = None

    def feed(self, chunk: bytes) -> None:
        """More has come."""
        self._chunks.add(chunk)
        self.received_bytes += len(chunk)
        self.untaken_bytes += len(chunk)
        self._tell()

    def finish(self) -> None:
        """That was all."""
        self.is_whole = True
        self._tell()

    def lose(self) -> None:
        """The client has gone."""
        self.is_gone = True
        self._tell()

    def fail(self, fault: Exception) -> None:
        """What comes is no body: ``fault`` is raised to who takes it."""
        self._fault = fault
        self._tell()

    async def take(self) -> list[bytes]:
        """The next chunks, none behind the last. Raises Gone, or what it failed by."""
        while not self._chunks and not self.is_whole:
            if self.is_gone:
                raise Gone
            if self._fault is not None:
                raise self._fault
            self.ask()
            self._news = asyncio.get_running_loop().create_future()
            try:
                await self._news
            finally:
                self._news = None
        self.untaken_bytes = 0
        return self._chunks.take()

    def forget(self) -> None:
        """Nobody will take what came."""
        self._chunks = Parts()
        self.untaken_bytes = 0

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)
