"""A connection of the HTTP API in memory: bytes go in, and answers come out.

It waits for what is so, and not for a time: until nothing more is done about what was sent.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final, NamedTuple

import orjson

from omendb_ws.net.server import Server
from tests.patience import eventually

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [ -~]*\r\n")
_HEADER: Final = re.compile(rb"([!-9;-~]+): ?([ -~\x80-\xff]*)\r\n")
_NO_BODY: Final = (204, 304)


class Answer(NamedTuple):
    """One answer of a connection; ``body`` None: it goes on, or has none."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes | None


class Line(asyncio.Transport):
    """A connection in memory; the server writes into it, and reads ``step`` bytes at a time."""

    def __init__(self, server: Server, step: int) -> None:
        super().__init__({"peername": ("192.0.2.1", 1), "sockname": ("192.0.2.2", 80)})
        listener = server._http._listener
        assert listener is not None
        self._step = step
        self._came = b""
        self._is_paused = self._is_closing = self._is_lost = False
        self.is_clean = True
        self._there = listener.make()
        self._there.connection_made(self)

    async def document(self) -> Any:
        """``/openapi.json``, which is there as long as the server lives."""
        head = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n"
        (answer,) = await self.ask(head + b"Authorization: Bearer token-reader\r\n\r\n")
        assert answer.status == 200
        return orjson.loads(answer.body or b"")

    async def ask(self, request: bytes) -> list[Answer]:
        """Send bytes; what was answered by the time that nothing more is done about them."""
        for start in range(0, len(request), self._step):
            await eventually(lambda: not self._is_paused or self._is_closing)
            if self._is_closing:
                break
            self._there.data_received(request[start : start + self._step])
        await eventually(lambda: not self._is_working())
        came, self._came = self._came, b""
        answers, rest = _answers(came, is_head=request.startswith(b"HEAD"))
        is_idle = self._there.part == "none" and not self._there.is_busy
        self.is_clean = not self._is_closing and is_idle and not rest
        return answers

    def _is_working(self) -> bool:
        """Whether something is done for it; not while it waits for a body, or has news to tell."""
        there = self._there
        if self._is_closing or not there.is_busy:
            return False
        if there.conversation is not None and not there.conversation.session.is_idle:
            return True
        is_told = there.conversation is not None and there.conversation.session.subscriptions
        if is_told and there.cycle.response_started:
            return False
        return there.part != "body"

    def end(self) -> None:
        """The client goes."""
        self._is_closing = True
        if not self._is_lost:
            self._is_lost = True
            self._there.connection_lost(None)

    # -- a transport ------------------------------------------------------------------------------

    def write(self, data: Any) -> None:
        if not self._is_closing:
            self._came += data

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            asyncio.get_running_loop().call_soon(self.end)

    abort = close

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is no buffer."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        raise AssertionError("nothing is upgraded")


def _answers(came: bytes, *, is_head: bool) -> tuple[list[Answer], bytes]:
    """The answers, and what is behind the last one that is whole."""
    found = []
    while came:
        head, end, rest = came.partition(b"\r\n\r\n")
        assert end, came
        first = _STATUS_LINE.match(head + b"\r\n")
        assert first, head
        lines = [_HEADER.fullmatch(one + b"\r\n") for one in head.split(b"\r\n")[1:]]
        assert all(lines), "a header was broken out of"
        headers = {one[1].lower(): one[2] for one in lines if one}
        status, length = int(first[1]), headers.get(b"content-length")
        body: bytes | None = None
        if status == 100:
            came = rest
            continue
        if is_head or status in _NO_BODY:
            came = b"" if is_head else rest
        elif length is None:
            assert headers.get(b"transfer-encoding") == b"chunked", head
            came = b""  # of a stream
        else:
            assert len(rest) >= int(length), "an answer is shorter than it says"
            body, came = rest[: int(length)], rest[int(length) :]
        found.append(Answer(status, headers, body))
        if is_head or (length is None and status not in _NO_BODY):
            return found, b"more"
    return found, b""
