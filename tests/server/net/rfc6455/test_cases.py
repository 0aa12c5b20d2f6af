"""The server held to RFC 6455, case by case, over sockets.

Every case is sent whole, and byte by byte where it is short. The server says each message back, so
that what it took is seen as well; everything but that is as it is served.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import struct
from collections.abc import AsyncIterator

import pytest

from omendb_ws.net import server as server_module
from omendb_ws.net.server import Server
from omendb_ws.sessions.session import Session
from omendb_ws.wire import encoded
from tests.server.raw import PATIENCE_SECONDS, running

from . import closing, framing, handshakes, messages
from .table import CLOSE, MAX_BYTES, PONG, Answer, Case, close, ping, text

TABLES = {
    "masking": framing.MASKING,
    "lengths": framing.LENGTHS,
    "reserved": framing.RESERVED,
    "pings": framing.PINGS,
    "data": framing.DATA,
    "fragments": messages.FRAGMENTS,
    "UTF-8": messages.UTF_8,
    "closing": closing.CLOSING,
}
GOOD = handshakes.Request("1.3", "the example", 101).data
#: Longer ones are sent whole only.
_BYTE_BY_BYTE = 200


class Echo:
    """A receiver that says every message back, and refuses none."""

    shedder = None

    def __init__(self, session: Session) -> None:
        self._outbox = session.outbox

    def receive(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self._outbox.reply(encoded.text(message.encode()))
        else:
            self._outbox.reply(encoded.binary(message))


@contextlib.asynccontextmanager
async def opened(
    server: Server,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def say(writer: asyncio.StreamWriter, data: bytes, step: int) -> None:
    """Send it in pieces that the server reads one by one; it may have hung up meanwhile."""
    for at in range(0, len(data), step):
        if writer.transport.is_closing():
            return
        writer.write(data[at : at + step])
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def answers(stream: bytes) -> list[Answer]:
    """The frames of a server, which are final, have no mask, and lengths as short as can be."""
    found, at = [], 0
    while at < len(stream):
        first, length = stream[at], stream[at + 1]
        assert first & 0xF0 == 0x80, "a reserved bit, or a fragment"
        assert length < 0x80, "a mask (section 5.1)"
        start = at + 2
        if length >= 126:
            size = 2 if length == 126 else 8
            length, start = int.from_bytes(stream[start : start + size], "big"), start + size
            assert length >= (126 if size == 2 else 1 << 16), "a length that is too long"
        assert start + length <= len(stream), "half a frame"
        found.append((first & 0x0F, stream[start : start + length]))
        at = start + length
    return found


async def answered(server: Server, sent: bytes, step: int) -> list[Answer]:
    """All that the server says until it ends the connection, but for ``hello``."""
    async with asyncio.timeout(PATIENCE_SECONDS), opened(server) as (reader, writer):
        writer.write(GOOD)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        saying = asyncio.create_task(say(writer, sent, step))
        try:
            hello, *found = answers(await reader.read())
        finally:
            await saying
        assert b'"hello"' in hello[1]
        return found


def wanted(case: Case) -> tuple[bytes, list[Answer], bytes]:
    """What is sent, what comes back, and the body of the close that ends it."""
    if case.code is None:
        # It lives: it answers, and says goodbye.
        sent = case.sent + ping(b"still there") + close(1000)
        return sent, [*case.answers, (PONG, b"still there")], struct.pack("!H", 1000)
    body = struct.pack("!H", case.code) if case.code else b""
    return case.sent + text("nobody reads this"), case.answers, body


@pytest.mark.parametrize("table", TABLES)
async def test_the_server_answers_frames_as_the_rfc_has_it(
    table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "receiver", Echo)
    wrong = {}
    async with running(max_message_bytes=MAX_BYTES, max_text_bytes=MAX_BYTES) as server:
        for case in TABLES[table]:
            sent, expected, body = wanted(case)
            for step in {len(sent), 1 if len(sent) <= _BYTE_BY_BYTE else len(sent)}:
                *found, (opcode, said) = await answered(server, sent, step)
                if (found, opcode, said[: 2 if body else None]) != (expected, CLOSE, body):
                    got = (*found, (opcode, said))
                    wrong[f"{case.section} {case.name}, {step} at a time"] = got
        assert server.metrics.faults == 0
    assert not wrong, "\n".join(f"{name}: {got}" for name, got in wrong.items())


async def test_a_close_is_answered_with_its_own_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "receiver", Echo)
    async with running() as server:
        assert await answered(server, close(4000, "so long"), 1) == [(CLOSE, b"\x0f\xa0so long")]


async def response(server: Server, request: bytes, step: int) -> tuple[int, dict[str, str]]:
    """The status of an answer, and its header fields."""
    async with asyncio.timeout(PATIENCE_SECONDS), opened(server) as (reader, writer):
        saying = asyncio.create_task(say(writer, request, step))
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        finally:
            await saying
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        assert first.startswith("HTTP/1.1 ")
        pairs = [line.partition(": ") for line in lines]
        fields = {name.lower(): value for name, _, value in pairs}
        assert len(fields) == len(pairs), "a field twice"
        return int(first.split()[1]), fields


async def test_the_server_answers_requests_as_the_rfc_has_it() -> None:
    wrong = {}
    async with running() as server:
        for case in handshakes.REQUESTS:
            for step in (1 << 20, 7):
                status, fields = await response(server, case.data, step)
                found = {name: fields.get(name) for name in case.has}
                if (status, found) != (case.status, case.has):
                    wrong[f"{case.section} {case.name}, {step} at a time"] = status, found
        assert server.metrics.faults == 0
    assert not wrong, "\n".join(f"{name}: {got}" for name, got in wrong.items())


def test_cases_name_their_section_and_differ() -> None:
    cases = list(itertools.chain(*TABLES.values()))
    sent = [case.sent for case in cases]
    names = [(case.section, case.name) for case in [*cases, *handshakes.REQUESTS]]
    assert len(set(names)) == len(names)
    assert len(set(sent)) > len(sent) * 0.95
    assert len(names) >= 300
    assert all(name[0].replace(".", "").isdigit() for name in names)
