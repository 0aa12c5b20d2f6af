"""A window of ten million rows, and who waits for what is done with it.

    python -m load_tests.bench_wide [--rows 10000000] [--dim 128] [--ids u64]

A durable collection is created, filled, searched, added to while rows leave, updated, deleted from,
subscribed to, closed and read back, and dropped; what it takes of memory is told beside what the
server states. Beside each of these a light connection, in a process of its own, searches a small
collection every few milliseconds. A line says how long that took, the light one's slowest answer,
and the longest hold of the server's engine and loop (``watched_server``: processor time of the
thread, so that other load on the machine counts little).

One server at a time, on a free port; a window of 10,000,000 x 128 takes 8 GiB of memory and 6 of
disk. ``--parts`` names some, those that fill it being always done.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from omendb_core.model.types import F32

import omendb_ws

from .figures import where

WIDE: Final = "wide"
LIGHT: Final = "light"
#: What is wanted of every hold, and of the light one's slowest answer on quiet cores.
AIM_MS: Final = 20.0
FRAME_ROWS: Final = 8192
PARTS: Final = ("search", "evict", "update", "delete", "count", "live", "restart", "drop")
_LIGHT_ROWS: Final = 1000
_LIGHT_DIM: Final = 16
_PAUSE_SECONDS: Final = 0.003
_PATIENCE_SECONDS: Final = 900.0
_MIB: Final = 2**20


class Line(NamedTuple):
    """A part: how long it took, and what stood still meanwhile, in milliseconds.

    ``light_ms``: the slowest answer, nan where the light one had none; ``light_p99_ms``.
    """

    what: str
    seconds: float
    engine_ms: float
    loop_ms: float
    light_ms: float
    light_p99_ms: float
    note: str


class Served:
    """A watched server and the light connection beside it; ``lines`` of what was done so far."""

    def __init__(self, child: subprocess.Popen[str], url: str, lines: list[Line]) -> None:
        self.child, self.url, self.lines = child, url, lines
        self._took: list[float] = []

    @contextlib.asynccontextmanager
    async def lit(self) -> AsyncIterator[None]:
        """The light one asks meanwhile."""
        command = [sys.executable, "-m", "load_tests.bench_wide", "--light", self.url]
        light = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert light.stdout is not None
        assert light.stdin is not None

        async def read() -> None:
            assert light.stdout is not None
            async for line in light.stdout:
                self._took.append(float(line))

        await light.stdout.readline()
        reading = asyncio.create_task(read())
        try:
            yield
        finally:
            light.stdin.close()
            await light.wait()
            await reading

    @contextlib.asynccontextmanager
    async def part(self, what: str) -> AsyncIterator[list[str]]:
        """Measure what is done within; the list takes what is to be said of it."""
        notes: list[str] = []
        self._took = []
        await self._holds()
        began = time.perf_counter()
        yield notes
        seconds = time.perf_counter() - began
        await asyncio.sleep(2 * _PAUSE_SECONDS)
        engine_ms, loop_ms = await self._holds()
        took = self._took or [float("nan")]
        line = Line(
            what, seconds, engine_ms, loop_ms, max(took), float(np.percentile(took, 99)),
            ", ".join(notes),
        )  # fmt: skip
        self.lines.append(line)
        show(line)

    async def _holds(self) -> tuple[float, float]:
        return await asyncio.get_running_loop().run_in_executor(None, self._asked)

    def _asked(self) -> tuple[float, float]:
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write("\n")
        self.child.stdin.flush()
        engine_ms, loop_ms = map(float, self.child.stdout.readline().split())
        return engine_ms, loop_ms

    @property
    def resident_mib(self) -> float:
        """Memory of the server's process (Linux)."""
        try:
            pages = int(Path(f"/proc/{self.child.pid}/statm").read_text().split()[1])
        except OSError:
            return float("nan")
        return pages * os.sysconf("SC_PAGE_SIZE") / _MIB


def show(line: Line) -> None:
    """A line of the table; ``!`` where a hold is over the aim."""
    is_over = max(line.engine_ms, line.loop_ms) > AIM_MS
    print(
        f"{line.what:44}{line.seconds:9.2f}{line.engine_ms:9.1f}{line.loop_ms:9.1f}"
        f"{line.light_p99_ms:9.1f}{line.light_ms:9.1f} {'!' if is_over else ' '} {line.note}",
        flush=True,
    )


@contextlib.contextmanager
def served(data_dir: str, lines: list[Line]) -> Iterator[Served]:
    """A watched server over ``data_dir``; it leaves with a clean stop."""
    command = [
        sys.executable, "-m", "load_tests.watched_server", "serve", "--port", "0",
        "--data-dir", data_dir, "--log-level", "warning",
    ]  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OMENDB_")}
    environment["OMENDB_QUEUE_DEADLINE_MS"] = "60000"  # a busy machine sheds nothing
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert child.stdout is not None
        yield Served(child, child.stdout.readline().split()[-1], lines)
    finally:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.close()
        try:
            child.wait(120)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        child.stdout.close()


class Rows:
    """Rows as they come, the same for a seed; ids go on from what they were."""

    def __init__(self, dim: int, ids: str) -> None:
        self._chance = np.random.Generator(np.random.SFC64(1))
        self._dim, self._kind = dim, ids
        self.next_id = 0

    def vectors(self, count: int) -> F32:
        """Some more; no two are alike."""
        return self._chance.standard_normal((count, self._dim), np.float32)

    def ids(self, first: int, count: int) -> Any:
        """Ids of rows by their numbers."""
        numbers = np.arange(first, first + count, dtype=np.uint64)
        return numbers if self._kind != "str" else [f"row-{one}" for one in numbers.tolist()]

    def some(self, count: int) -> tuple[F32, Any]:
        """Vectors and ids of so many rows that are new."""
        first, self.next_id = self.next_id, self.next_id + count
        return self.vectors(count), None if self._kind == "auto" else self.ids(first, count)


async def add(db: omendb_ws.Client, rows: Rows, count: int) -> None:
    """Add so many, by frames."""
    for start in range(0, count, FRAME_ROWS):
        vectors, ids = rows.some(min(FRAME_ROWS, count - start))
        shops = (np.arange(len(vectors)) % 100).astype(np.int64)
        await db.add(WIDE, vectors, ids, columns={"shop": shops})


async def create(db: omendb_ws.Client, options: argparse.Namespace, **more: Any) -> None:
    """The wide collection."""
    await db.create(
        WIDE, dim=options.dim, capacity=options.rows, metric="l2", ids=options.ids,
        columns={"shop": "i64"}, durability=options.durability, **more,
    )  # fmt: skip


async def light(db: omendb_ws.Client) -> None:
    """The small collection that the light one searches."""
    rows = np.random.default_rng(2).standard_normal((_LIGHT_ROWS, _LIGHT_DIM), np.float32)
    await db.create(LIGHT, dim=_LIGHT_DIM, capacity=_LIGHT_ROWS, durability="memory")
    await db.add(LIGHT, rows, np.arange(_LIGHT_ROWS))


async def ask_lightly(url: str) -> None:
    """Search the small collection again and again until standard input ends; say how long."""
    query = np.ones(_LIGHT_DIM, np.float32)
    loop = asyncio.get_running_loop()
    ended = loop.run_in_executor(None, sys.stdin.read)
    print("ready", flush=True)
    async with omendb_ws.connect(url) as db:
        while not ended.done():
            began = time.perf_counter()
            await db.search(LIGHT, query)
            print(f"{(time.perf_counter() - began) * 1e3:.2f}", flush=True)
            await asyncio.sleep(_PAUSE_SECONDS)


async def filled(one: Served, options: argparse.Namespace, rows: Rows) -> None:
    """Everything that is done with a window until the server stops."""
    async with omendb_ws.connect(one.url, request_timeout_seconds=_PATIENCE_SECONDS) as db:
        await light(db)
        async with one.lit():
            async with one.part(f"create {options.rows:,} x {options.dim}"):
                await create(db, options)
            async with one.part("fill it") as notes:
                await add(db, rows, options.rows)
                notes += await memory(db, one)
            for name in PARTS:
                if name in options.parts and name in _DONE:
                    await _DONE[name](one, db, options, rows)


async def memory(db: omendb_ws.Client, one: Served) -> list[str]:
    """What the server states, and what the process has."""
    stated = (await db.stats(WIDE))["bytes"] / _MIB
    return [f"stated {stated:,.0f} MiB", f"resident {one.resident_mib:,.0f} MiB"]


async def _search(
    one: Served, db: omendb_ws.Client, options: argparse.Namespace, rows: Rows
) -> None:
    queries = rows.vectors(options.queries)
    async with one.part(f"{options.queries} searches, one by one"):
        for query in queries:
            await db.search(WIDE, query)
    async with one.part(f"{options.queries} searches at once"):
        await asyncio.gather(*(db.search(WIDE, query) for query in queries))
    async with one.part(f"{options.queries} searches in one message"):
        await db.search(WIDE, queries)
    async with one.part("4 searches of 1%"):
        for query in queries[:4]:
            await db.search(WIDE, query, filter={"shop": 7})
    async with one.part("4 searches that leave out 1%"):
        for query in queries[:4]:
            await db.search(WIDE, query, filter={"shop": {"$ne": 7}})
    async with one.part("4 searches like a row"):
        for number in range(4):
            await db.search(WIDE, like=rows.ids(number, 1)[0])


async def _evict(
    one: Served, db: omendb_ws.Client, options: argparse.Namespace, rows: Rows
) -> None:
    count = max(options.rows // 20, 1)
    async with one.part(f"add {count:,} rows that overwrite others") as notes:
        await add(db, rows, count)
        notes += await memory(db, one)


async def _update(
    one: Served, db: omendb_ws.Client, options: argparse.Namespace, rows: Rows
) -> None:
    some = min(10_000, options.rows // 10)
    async with one.part(f"update {some:,} rows, twice"):
        for _ in range(2):
            first = rows.next_id - options.rows // 2
            await db.update(WIDE, rows.ids(first, some), [{"shop": 5}] * some)


async def _delete(
    one: Served, db: omendb_ws.Client, options: argparse.Namespace, rows: Rows
) -> None:
    some = min(10_000, options.rows // 10)
    async with one.part(f"delete {some:,} rows, twice; describe it"):
        for part in (3, 4):
            first = rows.next_id - options.rows * part // 5
            await db.delete(WIDE, rows.ids(first, some))
        for _ in range(10):
            await db.stats(WIDE)
            await db.describe(WIDE)


async def _count(one: Served, db: omendb_ws.Client, _: argparse.Namespace, rows: Rows) -> None:
    async with one.part("count what passes a filter, and by a column"):
        for shop in range(3):
            await db.count(WIDE, {"shop": {"$gt": shop}})
        await db.count(WIDE, by="shop")


async def _live(one: Served, db: omendb_ws.Client, options: argparse.Namespace, rows: Rows) -> None:
    queries = rows.vectors(options.subscriptions)
    async with omendb_ws.connect(one.url, request_timeout_seconds=_PATIENCE_SECONDS) as other:
        many = [other.live(WIDE, query) for query in queries]
        async with one.part(f"subscribe {options.subscriptions:,} live queries"):
            await asyncio.gather(*(anext(each) for each in many))
        async with one.part("add 8,192 rows beside them"):
            await add(db, rows, FRAME_ROWS)
            await db.search(WIDE, queries[0])
        async with one.part("end them"):
            await asyncio.gather(*(each.close() for each in many))


async def _drop(one: Served, db: omendb_ws.Client, _: argparse.Namespace, __: Rows) -> None:
    async with one.part("drop it") as notes:
        await db.drop(WIDE)
        await asyncio.sleep(0.5)
        notes.append(f"resident {one.resident_mib:,.0f} MiB")


#: Parts before the server starts again.
_DONE: Final = {
    "search": _search, "evict": _evict, "update": _update, "delete": _delete, "count": _count,
    "live": _live,
}  # fmt: skip


async def read_back(one: Served, options: argparse.Namespace, rows: Rows) -> None:
    """What the journal holds comes back, beside the light one; then it is dropped."""
    async with omendb_ws.connect(one.url, request_timeout_seconds=_PATIENCE_SECONDS) as db:
        await light(db)
        async with one.lit():
            async with one.part("read it back from the journal") as notes:
                there = await db.describe(WIDE)  # as long as it is not there it is asked again
                notes += [f"{there.rows:,} rows", *await memory(db, one)]
            if "drop" in options.parts:
                await _drop(one, db, options, rows)


def measured(options: argparse.Namespace, data_dir: str) -> list[Line]:
    """All parts that are asked for."""
    lines: list[Line] = []
    rows = Rows(options.dim, options.ids)
    head = f"{'':44}{'seconds':>9}{'engine':>9}{'loop':>9}{'p99':>9}{'slowest':>9} ms"
    print(head, flush=True)
    with served(data_dir, lines) as one:
        asyncio.run(filled(one, options, rows))
    if "restart" in options.parts:
        with served(data_dir, lines) as one:
            asyncio.run(read_back(one, options, rows))
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--ids", choices=["auto", "u64", "str"], default="u64")
    parser.add_argument("--durability", default="everysec")
    parser.add_argument("--queries", type=int, default=32)
    parser.add_argument("--subscriptions", type=int, default=1000)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--data-dir", help="an empty directory; by default a temporary one")
    parser.add_argument("--light", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.light:
        asyncio.run(ask_lightly(options.light))
        return
    print(where())
    with tempfile.TemporaryDirectory() as temporary:
        measured(options, options.data_dir or temporary)


if __name__ == "__main__":
    main()
