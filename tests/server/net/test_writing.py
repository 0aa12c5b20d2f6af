"""What is large is written some in each turn of the loop, and arrives as if it were not."""

from __future__ import annotations

import asyncio
import logging
import random
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from websockets.frames import Opcode

from omendb_ws.net.connection import Connection
from omendb_ws.net.server import Server
from omendb_ws.net.writing import _CHUNK_BYTES, _TURN_BYTES, _chunks, _framed
from omendb_ws.wire.encoded import Message
from tests.patience import PATIENCE_SECONDS, eventually

from ..raw import Raw, client, running
from .test_progress import served_by_tls, slow
from .test_websocket_frames import frame, frames_in, socket

ROWS = 3000
#: Metadata of 4 KB a row: a reply of 12 MB, more than the system takes of one connection.
TEXT = "x" * 4_000


async def fill(server: Server, **options: Any) -> None:
    """A collection whose rows are one large reply."""
    async with client(server, **options) as raw:
        await raw.ok("create", collection="wide", dim=1, capacity=ROWS, ids="u64")
        for start in range(0, ROWS, 500):
            rows = [
                {"id": id, "vector": [1.0], "metadata": {"text": TEXT}}
                for id in range(start, start + 500)
            ]
            await raw.ok("add", collection="wide", rows=rows)


def newest(server: Server) -> Connection:
    """The connection that came last."""
    return list(server._sessions)[-1]


async def ask(raw: Raw) -> int:
    ids = list(range(ROWS))
    return await raw.send("get", collection="wide", ids=ids, include=["metadata"])


def is_whole(reply: Any) -> bool:
    found = reply["ok"]["rows"]
    return [row["metadata"]["text"] for row in found] == [TEXT] * ROWS


@pytest.mark.parametrize("seed", range(50))
def test_in_chunks_it_is_what_it_is_in_one_piece(seed: int) -> None:
    numbers = random.Random(seed)
    messages = []
    for _ in range(numbers.randrange(1, 12)):
        sizes = [
            int(numbers.choice((0, 1, 125, 126, 65_536, _CHUNK_BYTES, 3 * _CHUNK_BYTES + 1)))
            for _ in range(numbers.randrange(1, 4))
        ]
        messages.append(Message(tuple(numbers.randbytes(size) for size in sizes), True))
    chunks = list(_chunks(messages))
    assert b"".join(chunks) == _framed(messages)
    assert all(0 < len(chunk) <= _CHUNK_BYTES for chunk in chunks)


class Turns:
    """What connections handed over between two turns of the loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most_bytes = self._bytes = 0
        plain = Connection._hand_over

        def hand_over(connection: Connection, data: bytes) -> None:
            if not self._bytes:
                asyncio.get_running_loop().call_soon(self._turn)
            self._bytes += len(data)
            plain(connection, data)

        monkeypatch.setattr(Connection, "_hand_over", hand_over)

    def _turn(self) -> None:
        self.most_bytes = max(self.most_bytes, self._bytes)
        self._bytes = 0


async def test_a_large_reply_takes_many_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as server, client(server) as raw:
        await fill(server)
        turns = Turns(monkeypatch)
        for _ in range(3):
            assert is_whole(await raw.reply(await ask(raw)))
        assert 0 < turns.most_bytes <= _TURN_BYTES + _CHUNK_BYTES


async def test_many_replies_that_wait_take_many_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as server, client(server) as raw:
        await fill(server)
        turns = Turns(monkeypatch)
        ids = [
            await raw.send("get", collection="wide", ids=[n], include=["metadata"])
            for n in range(ROWS)
        ]
        found = [await raw.reply(id) for id in ids]
        assert all(one["ok"]["rows"][0]["metadata"]["text"] == TEXT for one in found)
        assert turns.most_bytes <= _TURN_BYTES + _CHUNK_BYTES


async def test_a_pong_goes_between_two_messages_and_never_into_one() -> None:
    async with running() as server, client(server) as raw:
        await fill(server)
        for _ in range(5):
            asked = await ask(raw)
            pongs = [await raw.socket.ping() for _ in range(20)]
            assert is_whole(await raw.reply(asked))
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.gather(*pongs)


@asynccontextmanager
async def behind(server: Server) -> AsyncIterator[tuple[Raw, Connection, list[int]]]:
    """A client that reads nothing by itself, what waits for it, and what it asked for."""
    await fill(server)
    await eventually(lambda: not server._sessions, each_turn=True)
    async with slow(server, None) as raw:
        asked = [await ask(raw) for _ in range(2)]
        connection = newest(server)
        await eventually(lambda: connection.paused and bool(connection._rest), each_turn=True)
        yield raw, connection, asked


async def test_a_client_that_reads_late_gets_all_of_it() -> None:
    async with running() as server, behind(server) as (raw, connection, asked):
        raw.socket.transport.resume_reading()
        for id in asked:
            assert is_whole(await raw.reply(id))
        assert not connection._rest


async def test_of_a_connection_that_is_gone_nothing_is_kept() -> None:
    async with running() as server, behind(server) as (raw, connection, _):
        raw.socket.transport.abort()
        await eventually(lambda: not server._sessions, each_turn=True)
        assert not connection._rest


GET: Final = orjson.dumps(
    {"id": 7, "op": "get", "collection": "wide", "ids": list(range(ROWS)), "include": ["metadata"]}
)
#: How a connection ends, of the client's doing: bytes that it sends, and the code of the close.
ENDS: Final = {
    "a fault": (b"\x83\x80\0\0\0\0", 1002),  # an opcode that is none
    "a close": (frame(Opcode.CLOSE, struct.pack("!H", 1000)), 1000),
}


@pytest.mark.parametrize("end", ENDS)
async def test_an_end_goes_behind_what_is_under_way_and_never_into_it(end: str) -> None:
    sent, code = ENDS[end]
    async with running() as server:
        await fill(server)
        await eventually(lambda: not server._sessions, each_turn=True)
        async with socket(server) as (reader, writer):
            writer.transport.pause_reading()
            writer.write(frame(Opcode.TEXT, GET))
            connection = newest(server)
            await eventually(lambda: bool(connection._rest), each_turn=True)
            writer.write(sent)
            await asyncio.sleep(0)
            writer.transport.resume_reading()
            stream = await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
        *before, (first, data) = frames_in(stream)
        assert [opcode for opcode, _ in before] == [0x81] * len(before)
        assert is_whole(orjson.loads(before[-1][1]))
        assert (first, struct.unpack_from("!H", data)) == (0x88, (code,))


async def test_a_drain_waits_for_what_is_under_way() -> None:
    async with running(drain_seconds=PATIENCE_SECONDS) as server:
        await fill(server)
        async with client(server) as raw:
            connection = newest(server)
            asked = await ask(raw)
            await eventually(lambda: bool(connection._rest), each_turn=True)
            drain = asyncio.create_task(server.drain())
            assert is_whole(await raw.reply(asked))
            await drain


@pytest.mark.parametrize("how", ["abort", "close"])
@pytest.mark.parametrize("reads", [False, True])
@pytest.mark.parametrize("is_tls", [False, True])
async def test_what_a_vanished_reader_did_not_take_fills_no_log(
    is_tls: bool, reads: bool, how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    files, tls = served_by_tls(tmp_path) if is_tls else ({}, None)
    async with running(**files) as server:
        await fill(server, **({"ssl": tls} if tls else {}))
        await eventually(lambda: not server._sessions, each_turn=True)
        async with slow(server, tls) as raw:
            await ask(raw)
            connection = newest(server)
            await eventually(lambda: len(connection._rest) > 10, each_turn=True)
            if reads:
                raw.socket.transport.resume_reading()
                await eventually(
                    lambda: not connection.paused and len(connection._rest) > 10, each_turn=True
                )
            getattr(raw.socket.transport, how)()
            await eventually(lambda: not server._sessions, each_turn=True)
    lines = [one.getMessage() for one in caplog.records if one.name == "asyncio"]
    # Up to Python 3.12 a TLS transport does not say that what is below it has closed.
    assert len(lines) <= (is_tls and sys.version_info < (3, 12)), lines
