"""A server that only echoes: to measure the generator alone, and to test whether it is honest.

It answers every search at once with the same canned rows, every add with the next seqs, and pushes
every added row to all live queries. It can be told to misbehave: to stall once, to take its time
for every search, to cut a connection. What it answers and pushes is wrong in any window that is not
made for it, which the oracle must notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from typing import Any, Final, cast

import numpy as np
import orjson
from omendb_core.model.types import Hits, no_hits
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from omendb_ws.runtime.event_loops import choose
from omendb_ws.wire import binary_replies
from omendb_ws.wire.live import encode_binary
from omendb_ws.wire.messages import Added, LivePushes, Results
from omendb_ws.wire.opcodes import HEADER_BYTES, KIND_NUMBERS, PROTOCOL

_BINARY: Final = 0x82
_TEXT: Final = 0x81
_CLOSE: Final = 0x88
_SEARCH: Final = KIND_NUMBERS["SEARCH"]
_SUBSCRIBE: Final = KIND_NUMBERS["SUBSCRIBE"]
_VERSION: Final = struct.Struct("<Q")
_K: Final = 10


@dataclass
class Behaviour:
    """``stall_seconds``: once, before the search with the number ``stall_at`` is answered.

    ``search_seconds``: it is busy so long for every search. ``drop_at``: the search with that
    number is not answered, its connection is cut. ``refuse_asked``: so many JSON requests are
    refused as ``overloaded``.
    """

    stall_at: int = 0
    stall_seconds: float = 0.0
    search_seconds: float = 0.0
    drop_at: int = 0
    refuse_asked: int = 0


class _State:
    """What all connections of a stub share."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.version = self.last_seq = self.searches = 0
        seqs = np.arange(_K, 0, -1).astype(np.uint64)
        hits = Hits(seqs, seqs, np.linspace(1, 0, _K).astype(np.float32), None, None)
        answer = binary_replies.encode_results(0, Results(0, np.array([_K], np.uint32), hits))
        self.answer = _framed(answer, _BINARY)
        self.answer_start = len(self.answer) - len(answer)
        self.subscribed: list[tuple[_Connection, int]] = []


class _Connection(asyncio.Protocol):
    """One connection to the stub."""

    def __init__(self, state: _State) -> None:
        self._state = state
        self._handshake = ServerProtocol(subprotocols=[Subprotocol(PROTOCOL)])
        self._is_open = False
        self._rest = b""
        self._out: list[bytes | bytearray] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol. Clients mask with the key 0, so there is nothing to unmask."""
        assert self._transport is not None
        if not self._is_open:
            self._shake_hands(data)
            return
        data = self._rest + data
        at, size = 0, len(data)
        while size - at >= 2:
            start, length = at + 6, data[at + 1] & 0x7F
            if length > 125:
                start += 2 if length == 126 else 8
                if size < start:
                    break
                length = int.from_bytes(data[at + 2 : start - 4], "big")
            if start + length > size:
                break
            self._take(data[at], data[start : start + length])
            at = start + length
        self._rest = data[at:]
        self._transport.write(b"".join(self._out))
        self._out.clear()

    def _shake_hands(self, data: bytes) -> None:
        assert self._transport is not None
        self._handshake.receive_data(data)
        for event in self._handshake.events_received():
            if isinstance(event, Request):
                self._is_open = True
                self._handshake.send_response(self._handshake.accept(event))
                self._transport.write(b"".join(self._handshake.data_to_send()))
                hello = b'{"event":"hello","protocol":"omendb.v1","server":"stub","limits":{}}'
                self._transport.write(_framed(hello, _TEXT))

    def _take(self, opcode: int, message: bytes) -> None:
        if opcode == _BINARY and message[2] == _SEARCH:
            self._search(message)
        elif opcode == _BINARY and message[2] == _SUBSCRIBE:
            self._subscribe(message)
        elif opcode == _BINARY:
            self._add(message)
        elif opcode == _TEXT:
            self._ask(orjson.loads(message))
        elif opcode == _CLOSE:
            self._out.append(_framed(message, _CLOSE))

    def _search(self, message: bytes) -> None:
        state, behaviour = self._state, self._state.behaviour
        state.searches += 1
        if behaviour.search_seconds:
            _be_busy(behaviour.search_seconds)
        if behaviour.stall_seconds and state.searches == behaviour.stall_at:
            _be_busy(behaviour.stall_seconds)
        if state.searches == behaviour.drop_at and self._transport is not None:
            self._transport.abort()
            return
        answer, start = bytearray(state.answer), state.answer_start
        answer[start + 4 : start + 8] = message[4:8]
        _VERSION.pack_into(answer, start + HEADER_BYTES, state.version)
        self._out.append(answer)

    def _add(self, message: bytes) -> None:
        state = self._state
        rows = int.from_bytes(message[12:16], "little")
        state.version += 1
        added = Added(state.version, state.last_seq + 1, state.last_seq + rows)
        state.last_seq += rows
        answer = binary_replies.encode_added(int.from_bytes(message[4:8], "little"), added)
        self._out.append(_framed(answer, _BINARY))
        for connection, sub in state.subscribed:
            connection.push(sub)

    def _subscribe(self, message: bytes) -> None:
        state = self._state
        count = int.from_bytes(message[12:16], "little")
        subs = list(range(1, count + 1))
        state.subscribed += [(self, sub) for sub in subs]
        results = Results(state.version, np.zeros(count, np.uint32), no_hits(), subs=subs)
        answer = binary_replies.encode_results(int.from_bytes(message[4:8], "little"), results)
        self._out.append(_framed(answer, _BINARY))

    def push(self, sub: int) -> None:
        """That the newest row entered, and nothing left."""
        state = self._state
        assert self._transport is not None
        seqs, nothing = np.array([state.last_seq], np.uint64), np.empty(0, np.uint64)
        hits = Hits(seqs, seqs, np.array([0.5], np.float32), None, None)
        pushes = LivePushes(
            state.version, [sub], [0], [], nothing, np.empty(0, np.uint8), [1], hits
        )
        (message,) = encode_binary(pushes)
        self._transport.write(_framed(message, _BINARY))

    def _ask(self, request: dict[str, Any]) -> None:
        if self._state.behaviour.refuse_asked:
            self._state.behaviour.refuse_asked -= 1
            fault = {"code": "overloaded", "message": "", "retry": True}
            refusal = orjson.dumps({"id": request["id"], "error": fault})
            self._out.append(_framed(refusal, _TEXT))
            return
        if request["op"] == "create":
            self._state.version = self._state.last_seq = 0
        said = {
            "handle": 1, "durability": "memory", "count": self._state.searches,
            "version": self._state.version, "last_seq": self._state.last_seq,
        }  # fmt: skip
        self._out.append(_framed(orjson.dumps({"id": request["id"], "ok": said}), _TEXT))


def _be_busy(seconds: float) -> None:
    """Stand still, as a server does whose only thread is at work."""
    time.sleep(seconds)


def _framed(message: bytes, opcode: int) -> bytes:
    if len(message) < 126:
        return bytes([opcode, len(message)]) + message
    return bytes([opcode, 126]) + len(message).to_bytes(2, "big") + message


async def _serve(behaviour: Behaviour, pipe: Pipe) -> None:
    """Until something, or an end, comes over the pipe."""
    state = _State(behaviour)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(state), "127.0.0.1", 0)
    pipe.send(server.sockets[0].getsockname()[1])
    with contextlib.suppress(EOFError):
        await asyncio.to_thread(pipe.recv)
    server.close()


def _main(behaviour: Behaviour, pipe: Pipe) -> None:
    with asyncio.Runner(loop_factory=choose().new_loop) as runner:
        runner.run(_serve(behaviour, pipe))


@contextlib.contextmanager
def stub_process(behaviour: Behaviour | None = None) -> Iterator[tuple[str, int | None]]:
    """A stub in a process of its own: its address and process id."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_main, args=(behaviour or Behaviour(), theirs), daemon=True
    )
    process.start()
    theirs.close()
    try:
        yield f"ws://127.0.0.1:{ours.recv()}/v1", process.pid
    finally:
        ours.close()
        process.join(5.0)
        if process.is_alive():
            process.kill()
            process.join()


@contextlib.contextmanager
def stub_thread(behaviour: Behaviour | None = None) -> Iterator[str]:
    """A stub in a thread of this process: its address."""
    ours, theirs = multiprocessing.Pipe()
    thread = threading.Thread(target=_main, args=(behaviour or Behaviour(), theirs))
    thread.start()
    try:
        yield f"ws://127.0.0.1:{ours.recv()}/v1"
    finally:
        ours.send(None)
        thread.join()
        for pipe in (ours, theirs):
            pipe.close()
