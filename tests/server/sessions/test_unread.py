"""What is refused whatever it says is not read: strangers' messages, and those over the rate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from websockets.frames import Opcode

from omendb_ws.net.connection import TURN_MESSAGES
from omendb_ws.net.server import Server
from omendb_ws.sessions import receive as session
from omendb_ws.sessions.receive import (
    MAX_AUTH_CHARACTERS,
    MAX_MESSAGES_BEFORE_AUTH,
    Receiver,
)
from omendb_ws.wire import binary
from tests.server.net.test_websocket_frames import frame
from tests.server.raw import Clock, Raw, client, running, settings, with_keys


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of all messages that are read."""
    lengths: list[int] = []

    def counted(decode: Any) -> Any:
        def call(message: str | bytes, *args: Any) -> Any:
            lengths.append(len(message))
            return decode(message, *args)

        return call

    for room, name in ((session.text_wire, "decode_request"), (session, "read_plain"),
                       (session.binary_wire, "decode_request")):  # fmt: skip
        monkeypatch.setattr(room, name, counted(getattr(room, name)))
    return lengths


def long_text(id: int, op: str = "list", characters: int = MAX_AUTH_CHARACTERS) -> bytes:
    return orjson.dumps({"id": id, "op": op, "token": "x" * characters})


async def refused(raw: Raw, id: int) -> str:
    return (await raw.reply(id))["error"]["code"]


async def test_of_a_stranger_only_what_may_be_an_auth_is_read(
    tmp_path: Path, read: list[int]
) -> None:
    async with running(Server(with_keys(tmp_path))) as server, client(server) as raw:
        await raw.send_text(long_text(5, "auth"))
        await raw.send_text(b'{"id":6,"x":' + b"[" * 20_000)
        await raw.send_binary(binary.encode_search(7, 1, np.ones((9, 9), np.float32)))
        await raw.send_binary(b"\xdb\x01" + bytes(5))
        assert [await refused(raw, id) for id in (5, 6, 7)] == ["unauthenticated"] * 3
        assert (await raw.named("error"))["code"] == "unauthenticated"
        assert read == []
        assert await raw.ok("ping") == {}
        assert (await raw.ok("auth", token="token-reader"))["tenant"] == "acme"
        assert len(read) == 2


async def test_a_stranger_who_says_too_much_is_closed(tmp_path: Path) -> None:
    async with running(Server(with_keys(tmp_path))) as server, client(server) as raw:
        for id in range(MAX_MESSAGES_BEFORE_AUTH + 50):
            await raw.send("list" if id % 2 else "ping", id=id)
        assert await raw.closed() == 4401
        assert raw.replies.keys() == set(range(MAX_MESSAGES_BEFORE_AUTH))
        assert raw.events[-1]["message"] == "too many messages before a token"


async def test_an_auth_in_time_ends_the_count(tmp_path: Path) -> None:
    async with running(Server(with_keys(tmp_path))) as server, client(server) as raw:
        for _ in range(MAX_MESSAGES_BEFORE_AUTH - 1):
            await raw.send("ping")
        await raw.ok("auth", token="token-reader")
        for _ in range(MAX_MESSAGES_BEFORE_AUTH):
            await raw.send("ping")
        assert await raw.ok("ping") == {}


async def test_what_is_over_the_rate_is_not_read(read: list[int]) -> None:
    clock = Clock()
    server = Server(settings(max_messages_per_second=2), clock_us=clock)
    async with running(server), client(server) as raw:
        assert [await raw.ok("ping"), await raw.ok("ping")] == [{}, {}]
        read.clear()
        await raw.send_text(long_text(5))
        await raw.send_text(b'{"x":[],"id":6}' + b" " * 9000)
        await raw.send_binary(binary.encode_search(7, 1, np.ones((9, 9), np.float32)))
        await raw.send_text(b'{"op":"list","x":[],"id":8}')
        assert [await refused(raw, id) for id in (5, 7, 8)] == ["rate_limited"] * 3
        assert (await raw.named("error"))["code"] == "rate_limited"
        assert read == []
        clock.move(1)
        assert await raw.ok("ping") == {}


async def test_a_leaving_server_reads_nothing_more(read: list[int]) -> None:
    async with running() as server, client(server) as raw:
        server.context.is_draining = True
        await raw.send_text(long_text(5))
        assert await refused(raw, 5) == "draining"
        assert read == []


async def test_strangers_have_a_message_a_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[bool] = []
    receive = Receiver.receive

    def noted(receiver: Receiver, message: str | bytes) -> None:
        turns.append(receiver._session.principal is None)
        receive(receiver, message)

    monkeypatch.setattr(Receiver, "receive", noted)
    pings = b"".join(frame(Opcode.TEXT, b'{"id":%d,"op":"ping"}' % id) for id in range(64))
    async with (
        running(Server(with_keys(tmp_path))) as server,
        client(server) as stranger,
        client(server, token="token-root") as known,
    ):
        stranger.socket.transport.write(pings)
        known.socket.transport.write(pings)
        await stranger.reply(63)
        await known.reply(63)
        last_known = len(turns) - turns[::-1].index(False)
        assert turns[:last_known].count(True) <= 64 // TURN_MESSAGES + 2
        assert turns.count(True) == turns.count(False) == 64
