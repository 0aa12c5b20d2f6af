"""What a server accounts for is what its process takes, to a tenth, after whatever came and went.

A process of its own (``measured.py``), which says what it holds once malloc has returned what is
free, beside ``omendb_reserved_bytes``: to a tenth and a few MiB, on a busy machine too. With
``RESIDENT_MEMORY=large`` (``make torture``) each kind of holding is so large that they are little,
and there are more kinds.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omendb_core.model.types import F32
from websockets.asyncio.client import connect

import omendb_ws
from omendb_ws.client.aio import Client
from omendb_ws.wire import binary
from tests.server.raw import PATIENCE_SECONDS, Raw

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs /proc")

MIB = 2**20
IS_LARGE = os.environ.get("RESIDENT_MEMORY") == "large"
#: What CPython and malloc keep of arenas and pages that are in use in part: 4.2 MiB after fourteen
#: rounds of create, fill and drop as after six; up to 6.5 with load 13, where ticks are large.
PAGES_BYTES = 8 * MIB
SLACK_BYTES = 3 * MIB if IS_LARGE else PAGES_BYTES
#: What a heap may keep free besides: for the next messages (``machine.KEPT_FREE_BYTES``), and what
#: was freed and is too little to be returned (``samples.RETURNED_BYTES``).
KEPT_BYTES = (8 + 16) * MIB
DIM = 4
#: Rows with which a server is made warm: its ticks become as large as they will.
WARM = 200_000


class Place:
    """A server in a process of its own, and what it took when it had nothing."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        assert child.stdout is not None
        assert child.stdin is not None
        self._asks, self._says = child.stdin, child.stdout
        self.url = self._says.readline().split()[-1]
        self._before = (0, 0)

    def read(self) -> tuple[int, int]:
        """Bytes that it holds once malloc returned what is free, and accounts for, at rest."""
        until = time.monotonic() + PATIENCE_SECONDS
        accounted = self.accounted_bytes()
        while True:
            held, before = self.held_bytes("trimmed"), accounted
            accounted = self.accounted_bytes()
            if accounted == before or time.monotonic() > until:
                return held, accounted

    def held_bytes(self, when: str = "now") -> int:
        """Bytes that it holds, or holds when its heap is ``trimmed``."""
        self._asks.write(f"{when}\n")
        self._asks.flush()
        return int(self._says.readline())

    def accounted_bytes(self) -> int:
        """What its metrics say."""
        base = self.url.replace("ws://", "http://").removesuffix("/v1")
        with urllib.request.urlopen(f"{base}/metrics") as answer:
            found = re.search(r"^omendb_reserved_bytes (\S+)", answer.read().decode(), re.MULTILINE)
        assert found is not None
        return int(float(found[1]))

    def begin(self) -> None:
        self._before = self.read()

    def check(self, what: str) -> int:
        """Hold what is there to what is accounted for, which is returned."""
        untrimmed = self.held_bytes() - self._before[0]
        held, accounted = (now - then for now, then in zip(self.read(), self._before, strict=True))
        said = f"{what}: {held / MIB:.1f} MiB held, {accounted / MIB:.1f} accounted"
        said += f", {untrimmed / MIB:.1f} before what was free was returned"
        print(said)
        assert held <= 1.1 * accounted + SLACK_BYTES, said
        assert held >= 0.9 * accounted - SLACK_BYTES, said
        return accounted

    def given_back(self) -> None:
        """Everything is given back to the budget. Of many small texts the system may not have it:
        an arena of CPython's goes with the last of its objects."""
        until = time.monotonic() + PATIENCE_SECONDS
        while self.accounted_bytes():
            assert time.monotonic() < until, f"{self.accounted_bytes()} bytes are not given back"
            time.sleep(0.05)

    def returned(self) -> None:
        """Everything is given back to the budget, and soon to the system, of itself."""
        most = self._before[0] + PAGES_BYTES + KEPT_BYTES
        until = time.monotonic() + PATIENCE_SECONDS
        while self.accounted_bytes() or self.held_bytes() > most:
            assert time.monotonic() < until, f"{self.held_bytes()} are more than {most} bytes"
            time.sleep(0.05)


@contextmanager
def serving(**fields: Any) -> Iterator[Place]:
    env = {f"OMENDB_{name.upper()}": str(value) for name, value in fields.items()}
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.server.measured", "serve",
         "--port", "0", "--log-level", "warning"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMENDB_QUEUE_DEADLINE_MS": "60000", **env},
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdin is not None
    try:
        yield Place(child)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
        child.stdin.close()


@asynccontextmanager
async def place(**fields: Any) -> AsyncIterator[tuple[Place, Client]]:
    """A server that has handled frames before, so that what it keeps at hand is there."""
    with serving(max_memory_bytes=1 << 30, **fields) as served:
        async with omendb_ws.connect(served.url) as db:
            for kind in ("u64", "str"):
                await db.create("first", dim=DIM, capacity=1000, ids=kind, columns={"a": "str"})
                await add(db, "first", range(WARM), kind, metadata=[{"a": "x" * 80}] * WARM)
                await db.search("first", vectors(100), k=3)
                await db.drop("first")
            await asyncio.to_thread(served.begin)
            yield served, db


def vectors(count: int, dim: int = DIM) -> F32:
    return np.random.default_rng(1).standard_normal((count, dim)).astype(np.float32)


async def add(
    db: Client, name: str, ids: range, kind: str = "u64", dim: int = DIM, **fields: Any
) -> None:
    given: Any = np.arange(ids.start, ids.stop, dtype=np.uint64)
    if kind == "str":
        given = [f"item-{number:012d}" for number in ids]
    await db.add(name, vectors(len(ids), dim), ids=given, **fields)


async def test_windows() -> None:
    rows = 200_000
    rows *= 3 if IS_LARGE else 1
    async with place() as (served, db):
        columns = {"a": "f64", "b": "str"}
        await db.create("items", dim=64, capacity=rows, columns=columns)
        given = {"a": np.arange(rows) / 7, "b": [f"text-{n % 1000}" for n in range(rows)]}
        await add(db, "items", range(rows), dim=64, columns=given)
        for number in range(40):
            await db.search("items", [1.0] * 64, k=3, filter={"a": {"$lt": number}})
        served.check("a full window")
        for lap in range(1, 3):
            await add(db, "items", range(lap * rows, lap * rows + rows), dim=64, columns=given)
        served.check("after laps")
        await db.drop("items")
        await asyncio.to_thread(served.returned)


@pytest.mark.parametrize("size", [40, 700] if IS_LARGE else [700])
async def test_metadata_that_grows_shrinks_and_goes(size: int) -> None:
    rows = 150_000 if size > 100 else 300_000
    rows *= 3 if IS_LARGE else 1
    dim = 16 if IS_LARGE else DIM
    chance = np.random.default_rng(size)

    def metadata(count: int) -> list[dict[str, str]]:
        return [{"a": "x" * int(one)} for one in chance.integers(0, 2 * size, count)]

    async with place() as (served, db):
        await db.create("items", dim=dim, capacity=rows)
        await add(db, "items", range(rows), dim=dim, metadata=metadata(rows))
        served.check("full")
        for lap in range(3):
            start = (lap + 1) * rows
            await add(db, "items", range(start, start + rows), dim=dim, metadata=metadata(rows))
            some = start + chance.permutation(rows).astype(np.uint64)
            for turn in range(20):
                await db.update("items", some[turn * 500 : turn * 500 + 500], metadata(500))
            for turn in range(20, 40):
                await db.delete("items", some[turn * 500 : turn * 500 + 500])
        served.check("after laps, updates and deletes")
        await add(db, "items", range(9 * rows, 9 * rows + rows // 2), dim=dim)
        for start in range(3 * rows + rows // 2, 4 * rows - 5000, 2000):
            await db.delete("items", np.arange(start, start + 2000, dtype=np.uint64))
        served.check("nearly all gone")
        await db.drop("items")
        await asyncio.to_thread(served.returned)


async def test_string_ids() -> None:
    rows = 1_500_000 if IS_LARGE else 300_000
    async with place() as (served, db):
        await db.create("items", dim=DIM, capacity=rows, ids="str")
        await add(db, "items", range(rows), "str")
        served.check("full")
        for lap in range(1, 4):
            await add(db, "items", range(lap * rows, lap * rows + rows), "str")
        served.check("after laps")
        for start in range(3 * rows, 4 * rows - 20_000, 2000):
            await db.delete("items", [f"item-{n:012d}" for n in range(start, start + 2000)])
        await add(db, "items", range(4 * rows, 5 * rows), "str")
        served.check("after deletes")
        await db.drop("items")
        await asyncio.to_thread(served.returned)


async def test_texts_of_columns() -> None:
    rows = 500_000 if IS_LARGE else 100_000
    async with place() as (served, db):
        await db.create("items", dim=DIM, capacity=rows, columns={"a": "str"})
        for lap in range(3):
            for start in range(lap * rows, (lap + 1) * rows, 20_000):
                ids = range(start, start + 20_000)
                await add(db, "items", ids, columns={"a": [f"text-{n:015d}" for n in ids]})
            served.check(f"texts of columns, lap {lap}")


OF_LIVE_QUERIES = [(50, 16_000), (1, 100_000), (10, 60_000)]
OF_MATCH_QUERIES = [(1000, 8000, 2000), (32, 60_000, 3000)]
KINDS = ["live", "count", "match", "feed", "stats"]


@pytest.mark.parametrize(("k", "large"), OF_LIVE_QUERIES if IS_LARGE else OF_LIVE_QUERIES[:1])
async def test_live_queries(k: int, large: int) -> None:
    """Their window has a batch of rows more than any of them shows."""
    count = large if IS_LARGE else 5000
    async with place(max_subscriptions=count) as (served, db):
        await db.create("items", dim=32, capacity=2000)
        await add(db, "items", range(2000, 4000), dim=32)
        async with connect(served.url, compression=None, max_size=None) as socket:
            raw = Raw(socket)
            handle = (await raw.ok("open", collection="items"))["handle"]
            for number in range(count // 100):
                asked = vectors(100, 32) + np.float32(number)
                await raw.send_binary(binary.encode_subscribe(number + 9, handle, asked, k=k))
                await raw.reply(number + 9)
            await asyncio.to_thread(served.check, f"{count} live queries of k={k}")


@pytest.mark.parametrize(
    ("dim", "large", "small"), OF_MATCH_QUERIES if IS_LARGE else OF_MATCH_QUERIES[:1]
)
async def test_match_queries(dim: int, large: int, small: int) -> None:
    count = large if IS_LARGE else small
    async with place(max_subscriptions=count) as (served, db):
        await db.create("items", dim=dim, capacity=2000)
        async with connect(served.url, compression=None, max_size=None) as socket:
            raw = Raw(socket)
            fields = {"collection": "items", "vector": [1.0] * dim, "min_score": 0.5}
            for _ in range(count):
                await raw.ok("subscribe", kind="match", **fields)
            await asyncio.to_thread(served.check, f"{count} match queries of {dim}")


@pytest.mark.skipif(not IS_LARGE, reason="few take less than what malloc keeps")
async def test_novel_queries() -> None:
    count = 60_000
    async with place(max_subscriptions=count) as (served, db):
        await db.create("items", dim=DIM, capacity=2000)
        async with connect(served.url, compression=None, max_size=None) as socket:
            raw = Raw(socket)
            for _ in range(count):
                await raw.ok("subscribe", kind="novel", collection="items", below=0.5)
            await asyncio.to_thread(served.check, f"{count} novel queries")


@pytest.mark.parametrize("kind", KINDS if IS_LARGE else KINDS[:2])
async def test_subscriptions_with_filters_and_without(kind: str) -> None:
    """A filter may take more than all else of its subscription."""
    count = 5000 if IS_LARGE else 1500
    count *= 6 if kind == "stats" else 1
    fields: dict[str, Any] = {
        "live": {"vector": [1.0] * DIM, "k": 1},
        "match": {"vector": [1.0] * DIM, "min_score": 0.5},
        "feed": {},
        "count": {"every": 60_000, "by": "a"},
        "stats": {"every": 60_000},
    }[kind]
    async with place(max_subscriptions=count) as (served, db):
        for _ in range(2):  # what the first round leaves of CPython's arenas serves the second
            await db.create("items", dim=DIM, capacity=2000, columns={"a": "str"})
            async with connect(served.url, compression=None, max_size=None) as socket:
                raw = Raw(socket)
                for number in range(count):
                    if kind != "stats":
                        texts = [f"text-{number}-{place:04d}" for place in range(300)]
                        fields["filter"] = {"a": {"$in": texts}}
                    await raw.ok("subscribe", kind=kind, collection="items", **fields)
                accounted = await asyncio.to_thread(
                    served.check, f"{count} subscriptions of {kind}"
                )
                assert accounted > 10 * MIB
            await db.drop("items")
            await asyncio.to_thread(served.given_back)


async def test_long_ids_that_readers_of_live_queries_were_told() -> None:
    """Each has texts of its own: most of what its subscription takes."""
    count = 5000 if IS_LARGE else 1500
    async with place(max_subscriptions=count) as (served, db):
        await db.create("items", dim=DIM, capacity=2000, ids="str")
        async with connect(served.url, compression=None, max_size=None) as socket:
            raw = Raw(socket)
            rows = [{"id": f"{number:0250d}", "vector": [1.0] * DIM} for number in range(100)]
            await raw.ok("add", collection="items", rows=rows)
            await asyncio.to_thread(served.read)
            fields = {"collection": "items", "vector": [1.0] * DIM, "k": 50}
            for _ in range(count):
                await raw.ok("subscribe", kind="live", **fields)
            accounted = await asyncio.to_thread(served.check, f"{count} live queries of long ids")
            assert accounted > count * 50 * 250
        await db.drop("items")
        await asyncio.to_thread(served.returned)


async def test_hits_that_wait_for_readers_that_never_read() -> None:
    """Hits wait as seqs and scores, 12 bytes each; the budget has no room for all of them."""
    async with place(max_pending_bytes=65_536) as (served, db):
        await db.create("items", dim=DIM, capacity=20_000)
        async with connect(served.url, compression=None, max_size=None, max_queue=1) as socket:
            raw = Raw(socket)
            for _ in range(3000):
                fields = {"collection": "items", "vector": [1.0] * DIM, "min_score": -1.0}
                await raw.ok("subscribe", kind="match", **fields)
            for lap in range(2):
                await add(db, "items", range(lap * 2000, lap * 2000 + 2000))
            async with connect(served.url, compression=None) as socket:
                late = Raw(socket)  # it waits until all that came is matched
                await late.ok("subscribe", kind="match", **fields)
                accounted = await asyncio.to_thread(served.check, "hits that wait")
            assert accounted > 3000 * 3900 * 12


async def test_replies_that_wait_take_what_they_are_counted_as() -> None:
    """Errors of a hundred bytes each; an encoder's buffers would make 4 KiB of each."""
    most = 4 * MIB
    async with (
        place(max_pending_bytes=most) as (served, _),
        connect(served.url, compression=None, max_queue=1) as socket,
    ):
        socket.transport.pause_reading()
        before, _ = await asyncio.to_thread(served.read)
        refused = b'{"id":1,"op":"drop","collection":"none"}'
        with suppress(TimeoutError):  # the server reads no more
            async with asyncio.timeout(5):
                while True:
                    await socket.send(refused, text=True)
        after, _ = await asyncio.to_thread(served.read)
        assert after - before <= 10 * most
        socket.transport.abort()
