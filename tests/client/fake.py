"""A server without sockets, whose every answer a test can hold back, change, or take away.

It speaks real messages through a Transport. By itself it greets, opens collections and answers
pings; what else it does, a test says: ``handlers`` by op, ``hold`` to answer by hand, ``cut``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, replace
from typing import Any

from omendb_core.model.errors import OmenError

from omendb_ws.client.aio import Client
from omendb_ws.client.backoff import Backoff
from omendb_ws.client.connection import Connection
from omendb_ws.client.dialer import Settings
from omendb_ws.runtime.transport import TEXT_MARK, Closed
from omendb_ws.wire import binary, messages, text, text_replies
from omendb_ws.wire.limits import Limits
from tests import patience

from .world import description

PATIENCE_SECONDS = patience.PATIENCE_SECONDS
AT_ONCE = Backoff(base_seconds=0.0, cap_seconds=0.0)

#: What a handler returns: the fields of ``ok``, an error to refuse with, whole messages, or
#: nothing (no answer).
Answer = dict[str, Any] | OmenError | bytes | list[bytes] | None
Handler = Callable[["FakeTransport", Any], Answer]


class FakeTransport:
    """One connection, seen from both sides."""

    def __init__(self, server: FakeServer, token: str | None) -> None:
        self.server = server
        self.token = token
        self.requests: list[messages.Request] = []
        self._arriving: asyncio.Queue[bytes | Closed] = asyncio.Queue()
        self._closed: Closed | None = None

    # -- the client's side

    async def send(self, message: bytes | bytearray) -> None:
        if self._closed is not None:
            raise self._closed
        self.server.read(self, bytes(message))

    async def receive(self) -> bytes:
        arrived = await self._arriving.get()
        if isinstance(arrived, Closed):
            self._arriving.put_nowait(arrived)
            raise arrived
        return arrived

    async def deliver(self, take: Callable[[bytes], None]) -> None:
        while True:
            take(await self.receive())

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self.cut(code, reason)

    # -- the server's side

    @property
    def is_open(self) -> bool:
        return self._closed is None

    def push(self, message: bytes) -> None:
        """Send a message to the client."""
        if self._closed is None:
            self._arriving.put_nowait(message)

    def event(self, event: str, **body: Any) -> None:
        self.push(text_replies.encode_event(event, body))

    def cut(self, code: int = 1006, reason: str = "") -> None:
        """Close the connection; what was sent before is still received."""
        if self._closed is None:
            self._closed = Closed(code, reason)
            self._arriving.put_nowait(self._closed)


class FakeServer:
    """Answers as a server would, when a test lets it.

    ``requests`` are all that arrived, over all connections.
    """

    def __init__(self, **fields: Any) -> None:
        self.description = description(**fields)
        self.handle = 1
        self.connections: list[FakeTransport] = []
        self.requests: list[messages.Request] = []
        self.hold = False
        self.hello: dict[str, Any] | None = {
            "protocol": "omendb.v1", "server": "fake", "auth": "none",
            "limits": Limits().as_hello(),
        }  # fmt: skip
        #: Raised instead of opening, one for each attempt.
        self.refusals: list[BaseException] = []
        self.handlers: dict[type, Handler] = {
            messages.Ping: lambda _, request: {},
            messages.Unsubscribe: lambda _, request: {},
            messages.Open: lambda _, request: {**asdict(self.description), "handle": self.handle},
        }
        self._arrived = asyncio.Event()

    async def open(self, token: str | None) -> FakeTransport:
        """An Opener."""
        if self.refusals:
            raise self.refusals.pop(0)
        transport = FakeTransport(self, token)
        self.connections.append(transport)
        if self.hello is not None:
            transport.event("hello", **self.hello)
        return transport

    @property
    def connection(self) -> FakeTransport:
        """The newest connection."""
        return self.connections[-1]

    def read(self, transport: FakeTransport, message: bytes) -> None:
        """Take a message of a client, and answer unless ``hold``."""
        decode = text.decode_request if message[0] == TEXT_MARK else binary.decode_request
        request = decode(message, Limits())
        assert not isinstance(request, messages.Refusal), request
        transport.requests.append(request)
        self.requests.append(request)
        self._arrived.set()
        if not self.hold:
            self.answer(transport, request)

    def answer(self, transport: FakeTransport, request: Any) -> None:
        """Answer a request as its handler says."""
        handler = self.handlers.get(type(request))
        assert handler is not None, request
        answer = handler(transport, request)
        if isinstance(answer, dict):
            transport.push(text_replies.encode_ok(request.id, answer))
        elif isinstance(answer, OmenError):
            transport.push(text_replies.encode_error(request.id, answer))
        elif answer is not None:
            for message in [answer] if isinstance(answer, bytes) else answer:
                transport.push(message)

    def answer_all(self) -> None:
        """Answer what the newest connection has sent, and from now on at once."""
        self.hold = False
        for request in self.connection.requests:
            self.answer(self.connection, request)

    def of(self, kind: type) -> list[Any]:
        """The requests of one kind, over all connections."""
        return [one for one in self.requests if isinstance(one, kind)]

    async def arrived(self, kind: type, number: int = 1) -> Any:
        """Wait until ``number`` requests of a kind have arrived; the last of them."""
        return await eventually(lambda: len(self.of(kind)) >= number and self.of(kind)[number - 1])


async def eventually(is_true: Callable[[], Any]) -> Any:
    """Let everything else run until ``is_true`` gives something true; that."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            found = is_true()
            if found:
                return found
            await asyncio.sleep(0)


@asynccontextmanager
async def client_of(server: FakeServer, **options: Any) -> Any:
    """A client of the fake, which reconnects at once."""
    settings = Settings(**{"backoff": AT_ONCE, "request_timeout_seconds": None, **options})
    connection = Connection(server.open, settings)
    await connection.start()
    client = Client(connection)
    try:
        yield client
    finally:
        await client.close()


@contextmanager
def hasty(db: Client, seconds: float = 0.01) -> Iterator[None]:
    """Calls inside the block have so little time; all others wait for as long as it takes."""
    connection = db._connection
    patient = connection._settings
    connection._settings = replace(patient, request_timeout_seconds=seconds)
    try:
        yield
    finally:
        connection._settings = patient
