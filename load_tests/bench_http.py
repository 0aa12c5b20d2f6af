"""Measures searches and adds over HTTP, beside the WebSocket and a plain FastAPI and numpy server.

    python -m load_tests.bench_http [--seconds 3] [--runs 3] [--rows 10000] [--connections 64]
                                    [--streams 1000] [--pairs 6] [--only-streams]

Three servers, each a process: ours with both its ports, and the plain one, which keeps its rows in
an array and answers by a product and ``argpartition``, as a prototype would. One process asks, over
keep-alive connections that have one request under way each, in bytes that were made before: what a
client costs is much the same for all. The servers are asked by turns, within each run. Then the
WebSocket is asked again, in pairs: without event streams, and beside so many idle ones.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
import orjson

from .figures import Figure, show, where
from .idle_streams import Measured, beside, following
from .plain_http import CAPACITY, DIM
from .simulation.server import serving

K: Final = 10
#: The collection that streams follow, in which nothing happens.
IDLE: Final = "idle"
ADDED_ROWS: Final = 8_192
ADDING_CONNECTIONS: Final = 4
_QUERIES: Final = 256
_UPGRADE: Final = (
    b"GET /v1 HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: omendb.v1\r\n\r\n"
)
_OPENING: Final = b'{"id":1,"op":"open","collection":"items"}'
_LENGTH: Final = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_numbers = np.random.default_rng(1)


def vectors(count: int) -> Any:
    """Rows or queries."""
    return _numbers.standard_normal((count, DIM), dtype=np.float32)


# -- what is sent --------------------------------------------------------------------------------


def posted(path: str, body: bytes, kind: str = "application/json") -> bytes:
    """A request over HTTP."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def framed(data: bytes, *, is_text: bool) -> bytes:
    """A message over a WebSocket, under the mask of zeros."""
    first = 0x81 if is_text else 0x82
    if len(data) < 65_536:
        return struct.pack("!BBH", first, 0x80 | 126, len(data)) + bytes(4) + data
    return struct.pack("!BBQ", first, 0x80 | 127, len(data)) + bytes(4) + data


def http_end(data: bytes | bytearray) -> int:
    """Where the answer that ``data`` begins with ends; 0 while it is not whole."""
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return 0
    length = _LENGTH.search(data, 0, head)
    end = head + 4 + (int(length[1]) if length else 0)
    if len(data) < end:
        return 0
    if not data.startswith((b"HTTP/1.1 200", b"HTTP/1.1 101")):
        raise RuntimeError(bytes(data[:1000]))
    return end


def frame_end(data: bytes | bytearray) -> int:
    """The same of a message of a WebSocket."""
    if len(data) < 4:
        return 0
    length, head = data[1] & 127, 2
    if length == 126:
        length, head = int.from_bytes(data[2:4], "big"), 4
    end = head + length
    if len(data) < end:
        return 0
    if b'"error"' in data[head : head + 100]:
        raise RuntimeError(bytes(data[head:end]))
    return end


_OPEN: Final = framed(_OPENING, is_text=True)


# -- who asks ------------------------------------------------------------------------------------


class Asking(asyncio.Protocol):
    """A connection that sends the next request as soon as the one before is answered."""

    def __init__(self, requests: list[bytes], at: int, end: Callable[[Any], int]) -> None:
        self.answers = 0
        self.failed: Exception | None = None
        self.transport: asyncio.Transport
        self._requests = requests
        self._at = at
        self._end = end
        self._data = bytearray()
        self._first: tuple[asyncio.Future[None], Callable[[Any], int]] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        self._look()

    async def first(self, data: bytes, end: Callable[[Any], int]) -> None:
        """Send what comes before all requests, and wait for one answer."""
        self._first = asyncio.get_running_loop().create_future(), end
        self.transport.write(data)
        self._look()
        if self._first is not None:
            await self._first[0]

    def ask(self) -> None:
        """Send a request."""
        self._at = (self._at + 1) % len(self._requests)
        self.transport.write(self._requests[self._at])

    def _look(self) -> None:
        first = self._first
        try:
            end = (self._end if first is None else first[1])(self._data)
        except RuntimeError as error:
            self.failed = error
            self.transport.abort()
            return
        if not end:
            return
        del self._data[:end]
        if first is None:
            self.answers += 1
            self.ask()
        else:
            self._first = None
            first[0].set_result(None)


async def measure(
    port: int, requests: list[bytes], connections: int, seconds: float, *, is_websocket: bool
) -> float:
    """Answers a second."""
    return (await counted(port, requests, connections, seconds, is_websocket=is_websocket))[0]


async def counted(
    port: int, requests: list[bytes], connections: int, seconds: float, *, is_websocket: bool
) -> Measured:
    """Answers a second, and how many there were in all."""
    loop = asyncio.get_running_loop()
    asking = []
    for at in range(connections):
        end = frame_end if is_websocket else http_end
        one = Asking(requests, at, end)
        await loop.create_connection(lambda one=one: one, "127.0.0.1", port)
        if is_websocket:
            await one.first(_UPGRADE, http_end)
            await one.first(b"", frame_end)  # it greets
            await one.first(_OPEN, frame_end)  # the handle is 1
        asking.append(one)
    for one in asking:
        one.ask()
    await asyncio.sleep(seconds / 4)
    before, began = sum(one.answers for one in asking), time.perf_counter()
    await asyncio.sleep(seconds)
    answers, took = sum(one.answers for one in asking) - before, time.perf_counter() - began
    for one in asking:
        one.transport.abort()
    for one in asking:
        if one.failed is not None:
            raise one.failed
    return answers / took, sum(one.answers for one in asking)


# -- the plain server ----------------------------------------------------------------------------


@contextlib.contextmanager
def plainly(port: int) -> Iterator[None]:
    """The plain server, until the block ends."""
    command = [sys.executable, "-m", "load_tests.plain_http", str(port)]
    child = subprocess.Popen(command, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"})
    try:
        yield
    finally:
        child.terminate()
        child.wait()


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


# -- the runs ------------------------------------------------------------------------------------


async def run(options: argparse.Namespace, ports: dict[str, int]) -> list[Figure]:
    """All figures."""
    from omendb_core.model.change import RowBatch

    from omendb_ws.wire.binary import encode_add, encode_search

    queries = vectors(_QUERIES)
    bodies = [orjson.dumps({"vector": one.tolist(), "k": K}) for one in queries]
    search = "/v1/collections/items/search"
    searches = {
        "http": [posted(search, body) for body in bodies],
        "websocket, binary": [
            framed(encode_search(7, 1, one[None], k=K), is_text=False) for one in queries
        ],
        "websocket, JSON": [
            framed(b'{"id":7,"op":"search","collection":"items",' + body[1:], is_text=True)
            for body in bodies
        ],
        "plain": [posted("/search", body) for body in bodies],
    }
    batch = vectors(ADDED_ROWS)
    octets = "application/octet-stream"
    adds = {
        "http": [posted(f"/v1/collections/items/rows?dim={DIM}", batch.tobytes(), octets)],
        "websocket, binary": [framed(encode_add(7, 1, RowBatch(batch)), is_text=False)],
        "plain": [posted("/add", batch.tobytes(), octets)],
    }
    found: dict[str, list[float]] = {}
    for _ in range(options.runs):
        for name, requests in searches.items():
            rate = await measure(
                ports[name], requests, options.connections, options.seconds,
                is_websocket=name.startswith("websocket"),
            )  # fmt: skip
            found.setdefault(f"searches of one vector, {name}|searches/s", []).append(rate)
        for name, requests in adds.items():
            rate = await measure(
                ports[name], requests, ADDING_CONNECTIONS, options.seconds,
                is_websocket=name.startswith("websocket"),
            )  # fmt: skip
            found.setdefault(f"adds of {ADDED_ROWS} rows, {name}|rows/s", []).append(
                rate * ADDED_ROWS
            )
    return [Figure(*name.split("|"), values) for name, values in found.items()]  # type: ignore[call-arg]


async def run_beside_streams(
    options: argparse.Namespace, ports: dict[str, int], process_id: int
) -> list[Figure]:
    """The WebSocket's figures while event streams are open, and while none are."""
    from omendb_core.model.change import RowBatch

    from omendb_ws.wire.binary import encode_add, encode_search

    searches = [
        framed(encode_search(7, 1, one[None], k=K), is_text=False) for one in vectors(_QUERIES)
    ]
    adds = [framed(encode_add(7, 1, RowBatch(vectors(ADDED_ROWS))), is_text=False)]
    found = []
    for name, requests, connections in (
        ("searches", searches, options.connections),
        (f"adds of {ADDED_ROWS} rows", adds, ADDING_CONNECTIONS),
    ):
        asking = partial(
            counted, ports["websocket, binary"], requests, connections, options.seconds,
            is_websocket=True,
        )  # fmt: skip
        streams = partial(following, ports["http"], IDLE, options.streams)
        found += await beside(name, asking, streams, options.pairs, process_id)
    return found


def _fill(ports: dict[str, int], rows: int) -> None:
    def post(port: int, path: str, body: bytes, kind: str) -> None:
        url = f"http://127.0.0.1:{port}{path}"
        for _ in range(200):
            asked = urllib.request.Request(url, body, {"Content-Type": kind}, method="POST")
            try:
                urllib.request.urlopen(asked).close()
                return
            except urllib.error.HTTPError:
                raise
            except OSError:  # it does not listen yet
                time.sleep(0.05)
        raise RuntimeError(url)

    made = {"collection": "items", "dim": DIM, "capacity": CAPACITY, "ids": "auto"}
    octets = "application/octet-stream"
    for name in ("items", IDLE):
        body = orjson.dumps(made | {"collection": name})
        post(ports["http"], "/v1/collections", body, "application/json")
    for start in range(0, rows, ADDED_ROWS):
        body = vectors(min(ADDED_ROWS, rows - start)).tobytes()
        post(ports["http"], f"/v1/collections/items/rows?dim={DIM}", body, octets)
        post(ports["plain"], "/add", body, octets)


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--only-streams", action="store_true")
    options = parser.parse_args(arguments)
    print(where(), flush=True)
    http_port, plain_port = free_port(), free_port()
    with serving(["--http-port", str(http_port)]) as target, plainly(plain_port):
        websocket = urlsplit(target.url).port or 0
        ports = {
            "http": http_port,
            "plain": plain_port,
            "websocket, binary": websocket,
            "websocket, JSON": websocket,
        }
        _fill(ports, options.rows)
        if not options.only_streams:
            show(asyncio.run(run(options, ports)))
        assert target.process_id is not None
        print(f"The WebSocket beside {options.streams} idle event streams, {options.pairs} pairs:")
        show(asyncio.run(run_beside_streams(options, ports, target.process_id)))


if __name__ == "__main__":
    main()
