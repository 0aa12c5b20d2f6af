"""The body of a request as it comes: chunks that nobody has taken yet, and whether more follow.

Fed by the connection's parser, taken by the route. Chunks are those of the parser, so nothing is
copied before they are joined. Lives on the loop's thread; knows no socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Gone(Exception):
    """The client has gone before its body was whole."""


class Body:
    """One. ``ask`` is called before anything is waited for: the client may wait to be asked, too.

    ``expected_bytes``: what its head says; None: it comes in pieces, and nobody knows.
    """

    __slots__ = (
        "_chunks", "_news", "ask", "expected_bytes", "is_gone", "is_whole", "received_bytes",
        "untaken_bytes",
    )  # fmt: skip

    def __init__(self, ask: Callable[[], None]) -> None:
        self.ask = ask
        self.expected_bytes: int | None = None
        self.received_bytes = 0
        self.untaken_bytes = 0
        self.is_whole = self.is_gone = False
        self._chunks: list[bytes] = []
        self._news: asyncio.Future[None] | None = None

    def feed(self, chunk: bytes) -> None:
        """More has come."""
        self._chunks.append(chunk)
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

    async def take(self) -> list[bytes]:
        """The next chunks, none behind the last. Raises Gone."""
        while not self._chunks and not self.is_whole:
            if self.is_gone:
                raise Gone
            self.ask()
            self._news = asyncio.get_running_loop().create_future()
            try:
                await self._news
            finally:
                self._news = None
        chunks, self._chunks = self._chunks, []
        self.untaken_bytes = 0
        return chunks

    def forget(self) -> None:
        """Nobody will take what came."""
        self._chunks.clear()
        self.untaken_bytes = 0

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)
