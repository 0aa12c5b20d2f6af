"""A connection as a load generator needs it: whole messages out and in, a microsecond each.

The one file that knows ``websockets``: it makes the handshake. What follows is framed here, because
a client object with its queues costs tens of microseconds a message, more than the server does.
Frames are masked with the key 0, which leaves the bytes as they are and which RFC 6455 allows; the
server unmasks them all the same. The server sends no fragments; one would end the connection.
"""

from __future__ import annotations

import asyncio
import functools
import random
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple, cast

from omendb_core.model.errors import Overloaded
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from omendb_ws.wire import text_replies
from omendb_ws.wire.messages import ErrorReply, Event, Reply
from omendb_ws.wire.opcodes import PROTOCOL

OPEN_SECONDS: Final = 15.0
#: What comes before the load is asked so often again if the server is overloaded, and so much
#: later where it does not say when.
_PATIENCE: Final = 50
_AGAIN_MS: Final = 100
_BINARY: Final = 0x82
_TEXT: Final = 0x81
_CLOSE: Final = 0x88
_PING: Final = 0x89
_PONG: Final = 0x8A
_MASKED: Final = 0x80
_NO_MASK: Final = bytes(4)
_END_OF_HEADERS: Final = b"\r\n\r\n"
#: Bytes that may wait in the transport before nothing more is sent. Above one frame of adds.
_WRITE_LIMIT_BYTES: Final = 512 * 1024

#: What a slow reader's kernel holds for it: with the usual megabytes it would not be slow for long.
_SLOW_BUFFER_BYTES: Final = 32 * 1024

#: Takes a message and when it was read from the socket (``time.perf_counter``).
OnMessage = Callable[[bytes, float], None]


class Endpoint(NamedTuple):
    """Where to connect. ``token`` "": none; ``ca_file``: whom to trust besides the usual ones."""

    url: str
    token: str = ""
    ca_file: str = ""

    def tls(self) -> ssl.SSLContext | None:
        """A context for ``wss://`` and ``https://``. Raises OSError for a missing file."""
        return _trusting(self.ca_file) if self.url.startswith("wss:") else None

    @property
    def headers(self) -> dict[str, str]:
        """What says who we are."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


@functools.cache
def _trusting(ca_file: str) -> ssl.SSLContext:
    """Made once: to read all the usual certificates takes longer than a connection."""
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(ca_file)
    return context


def framed(message: bytes, opcode: int = _BINARY) -> bytes:
    """A message as a masked WebSocket frame."""
    length = len(message)
    if length < 126:
        size = bytes([_MASKED | length])
    elif length < 1 << 16:
        size = bytes([_MASKED | 126]) + length.to_bytes(2, "big")
    else:
        size = bytes([_MASKED | 127]) + length.to_bytes(8, "big")
    return bytes([opcode]) + size + _NO_MASK + message


def framed_text(message: bytes) -> bytes:
    """A text message as a frame."""
    return framed(message, _TEXT)


class Connection(asyncio.Protocol):
    """One connection. ``on_message`` may be exchanged at any time; so may the other two.

    ``on_room`` is called when a connection that was not ``is_writable`` is again; ``on_lost`` when
    it has ended, with the close code (1006: without a close frame).
    """

    def __init__(self, endpoint: Endpoint) -> None:
        uri = parse_uri(endpoint.url)
        self._handshake = ClientProtocol(uri, subprotocols=[Subprotocol(PROTOCOL)])
        self._headers = endpoint.headers
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._is_open = False
        self._out: list[bytes | bytearray] = []
        self._waiting: dict[int | None, asyncio.Future[bytes]] = {}
        self._hello = self._expect(None)  # before it can come
        self.close_code = 1006
        self.is_writable = True
        self.is_lost = False
        #: 0: all that comes, as soon as it comes.
        self.bytes_per_second = 0.0
        self._reads = True
        self.handle = 0
        self.hello: dict[str, Any] = {}
        self.on_message: OnMessage = self._answered
        self.on_room: Callable[[], None] = lambda: None
        self.on_lost: Callable[[int], None] = lambda code: None

    @classmethod
    async def open(cls, endpoint: Endpoint) -> Connection:
        """Connect and read ``hello``. Raises OSError (so TimeoutError), InvalidHandshake, and what
        the server says instead of it."""
        uri, tls = parse_uri(endpoint.url), endpoint.tls()
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(OPEN_SECONDS):
            _, made = await loop.create_connection(
                lambda: cls(endpoint), uri.host, uri.port, ssl=tls
            )
            try:
                await made._opened
                said = text_replies.decode_incoming(await made._hello)
            except BaseException:
                made.abort()
                raise
        if isinstance(said, ErrorReply):
            made.abort()
            raise said.error
        if isinstance(said, Event):
            made.hello = said.body
        return made

    async def ask(self, request: bytes, request_id: int) -> bytes:
        """Send a request, and return its reply as it came: for what comes before the load."""
        frame = framed_text(request) if request[:1] == b"{" else framed(request)
        return await self.patiently(frame, request_id)

    async def answer(self, frame: bytes | bytearray, request_id: int) -> bytes:
        """The same for what is a frame already."""
        answer = self._expect(request_id)
        self.queue(frame)
        self.flush()
        async with asyncio.timeout(OPEN_SECONDS * 4):
            return await answer

    async def ok(self, request: bytes, request_id: int, is_patient: bool = True) -> dict[str, Any]:
        """The ``ok`` of a JSON request. Raises its error; ``overloaded`` only if it lasts."""
        ask = self.patiently if is_patient else self.answer
        reply = text_replies.decode_incoming(await ask(framed_text(request), request_id))
        if isinstance(reply, ErrorReply):
            raise reply.error
        assert isinstance(reply, Reply), reply
        return reply.ok

    async def patiently(self, frame: bytes | bytearray, request_id: int) -> bytes:
        """As ``answer``, and again while the server is overloaded."""
        for _ in range(_PATIENCE):
            answer = await self.answer(frame, request_id)
            again_ms = _again_ms(answer)
            if again_ms is None:
                break
            await asyncio.sleep(again_ms / 1000 * random.uniform(1.0, 2.0))
        return answer

    def queue(self, frame: bytes | bytearray) -> None:
        """Send a frame at the next ``flush``."""
        self._out.append(frame)

    def flush(self) -> None:
        """Hand what was queued to the socket."""
        if self._out and self._transport is not None:
            if not self.is_lost:
                self._transport.write(b"".join(self._out))
            self._out.clear()

    def read_slowly(self, bytes_per_second: float) -> None:
        """Take so many bytes a second from now on, or none at all for 0."""
        assert self._transport is not None
        self._transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, _SLOW_BUFFER_BYTES
        )
        self.bytes_per_second = bytes_per_second
        if not bytes_per_second:
            self._reads = False
            self._transport.pause_reading()

    def read_on(self) -> None:
        """Take everything again, as it comes."""
        self.bytes_per_second, self._reads = 0.0, True
        self._resume()

    def _resume(self) -> None:
        if self._reads and not self.is_lost and self._transport is not None:
            self._transport.resume_reading()

    async def close(self) -> None:
        """Say goodbye, and wait a little for the server's."""
        if not self.is_lost and self._transport is not None:
            self.read_on()
            self.queue(framed((1000).to_bytes(2, "big"), _CLOSE))
            self.flush()
            await asyncio.wait([self._ended], timeout=2.0)
        self.abort()

    def abort(self) -> None:
        """End it at once."""
        if self._transport is not None:
            self._transport.abort()

    # -- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        # uvloop's transports are of no class of asyncio's.
        self._transport = transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(high=_WRITE_LIMIT_BYTES)
        request = self._handshake.connect()
        request.headers.update(self._headers)
        self._handshake.send_request(request)
        transport.write(b"".join(self._handshake.data_to_send()))

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        now = time.perf_counter()
        if self.bytes_per_second and self._transport is not None:
            self._transport.pause_reading()
            self._loop.call_later(len(data) / self.bytes_per_second, self._resume)
        if self._rest:
            data = self._rest + data
        if not self._is_open:
            head, end, data = data.partition(_END_OF_HEADERS)
            if not end:
                self._rest = head
                return
            self._shake_hands(head + end)
        at, size = 0, len(data)
        while size - at >= 2:
            start, length = at + 2, data[at + 1]
            if length > 125:
                start += 2 if length == 126 else 8
                if size < start:
                    break
                length = int.from_bytes(data[at + 2 : start], "big")
            end_at = start + length
            if end_at > size:
                break
            opcode = data[at]
            if opcode in (_BINARY, _TEXT):
                self.on_message(data[start:end_at], now)
            else:
                self._control(opcode, data[start:end_at])
            at = end_at
        self._rest = data[at:]
        self.flush()

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self.is_writable = False

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self.is_writable = True
        self.on_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self.is_lost = True
        lost = ConnectionError(f"the connection ended, code {self.close_code}: {exc or 'closed'}")
        expected: list[asyncio.Future[Any]] = [*self._waiting.values(), self._opened]
        for waiting in expected:
            if not waiting.done():
                waiting.set_exception(lost)
                waiting.exception()  # retrieved: nobody may be waiting
        if not self._ended.done():
            self._ended.set_result(None)
        self.on_lost(self.close_code)

    # -- its own

    def _shake_hands(self, response: bytes) -> None:
        self._is_open = True
        self._handshake.receive_data(response)
        failure = self._handshake.handshake_exc
        if failure is not None and not self._opened.done():
            self._opened.set_exception(InvalidHandshake(str(failure)))
            self.abort()
        elif not self._opened.done():
            self._opened.set_result(None)

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == _PING:
            self.queue(framed(payload, _PONG))
        elif opcode == _CLOSE:
            self.close_code = int.from_bytes(payload[:2], "big") if payload else 1005
            self.queue(framed(payload[:2], _CLOSE))
            self.flush()
            assert self._transport is not None
            self._transport.close()
        elif opcode != _PONG:
            self.close_code = 1002
            self.abort()

    def _expect(self, request_id: int | None) -> asyncio.Future[bytes]:
        expected = self._loop.create_future()
        self._waiting[request_id] = expected
        return expected

    def _answered(self, message: bytes, now: float) -> None:
        """``hello`` answers None; other events that nobody asked for are passed over."""
        waiting = self._waiting.pop(_id_of(message), None)
        if waiting is not None and not waiting.done():
            waiting.set_result(message)


def _again_ms(answer: bytes) -> float | None:
    """When to ask again, if that is what an answer asks for."""
    if answer[:1] != b"{":
        return None
    said = text_replies.decode_incoming(answer)
    if not isinstance(said, ErrorReply) or not isinstance(said.error, Overloaded):
        return None
    return float(said.error.details.get("retry_after_ms", _AGAIN_MS))


def _id_of(message: bytes) -> int | None:
    if message[:1] != b"{":
        return int.from_bytes(message[4:8], "little")
    said = text_replies.decode_incoming(message)
    return None if isinstance(said, Event) else said.id
