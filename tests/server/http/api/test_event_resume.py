"""Streams that are cut off at any time and go on by ``Last-Event-ID``: nothing missed that is not a
stated gap, nothing doubled, and a live view that is what search returned at its version."""

from __future__ import annotations

import asyncio
import os
import random
from typing import Any

import orjson
import pytest

from omendb_ws.net.server import Server
from tests.patience import eventually
from tests.server.http.api.event_client import Streamed, streaming
from tests.server.live_view import View, rows_of, view_of
from tests.server.raw import Raw, client, running

#: ``make torture`` has more.
CUTS = int(os.environ.get("EVENT_CUTS", "12"))
CAPACITY = 60
#: Of the vectors (1, 0) … (9, 0): what a match query lets through.
LEAST = 5.0
FIELDS: dict[str, dict[str, Any]] = {
    "feed": {},
    "match": {"vector": [1.0, 0.0], "min_score": LEAST},
    # Every row is newer than that.
    "novel": {"below": 1e9},
}


class Stream:
    """Rows as they are added: the seqs that a ``match`` is to deliver, and answers by version."""

    def __init__(self, raw: Raw, seed: int) -> None:
        self.raw = raw
        self.random = random.Random(seed)
        self.last_seq = 0
        self.matching: set[int] = set()
        self.answers: dict[int, Any] = {}
        self.is_over = asyncio.Event()

    async def add_some(self) -> None:
        added = []
        for _ in range(self.random.randint(1, 7)):
            self.last_seq += 1
            value = self.random.randint(1, 9)
            added.append({"id": self.last_seq, "vector": [float(value), 0.0]})
            if value >= LEAST:
                self.matching.add(self.last_seq)
        await self.raw.ok("add", collection="items", rows=added)

    async def note(self) -> None:
        """What search returns at the version of now; nobody else changes anything."""
        found = await self.raw.ok("search", collection="items", vector=[1, 0], k=5)
        self.answers[found["version"]] = [
            (row.id, row.seq, row.score) for row in rows_of(found["results"])
        ]


async def write(stream: Stream, readers_done: asyncio.Event, *, notes: bool = False) -> None:
    if notes:
        await stream.note()
    while not readers_done.is_set():
        await stream.add_some()
        if notes:
            await stream.note()
        await asyncio.sleep(0)
    stream.is_over.set()


class Reader:
    """What one reader was told, over all its connections."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.to_seq = 0
        self.rows: list[int] = []
        self.gaps: set[int] = set()

    def take(self, data: str, id_: str) -> None:
        body = orjson.loads(data)
        if body["event"] == "gap":
            gap = range(body["from_seq"], body["to_seq"] + 1)
            assert gap.start > self.to_seq, "a gap over what was told"
            self.gaps |= set(gap)
        else:
            assert body["event"] == self.kind
            for row in body["rows"]:
                assert self.to_seq < row["seq"] <= body["to_seq"], "told twice, or out of order"
                self.to_seq = row["seq"]
                self.rows.append(row["seq"])
        assert body["to_seq"] >= self.to_seq
        self.to_seq = body["to_seq"]
        assert id_.endswith(f":{self.to_seq}")


async def cut_often(
    server: Server, stream: Stream, reader: Reader, readers_done: asyncio.Event, first_id: str
) -> None:
    """Read a while, be cut off, and go on, ``CUTS`` times; then to the end."""
    random_ = random.Random(stream.random.random())
    last_id = first_id
    for cut in range(CUTS + 1):
        if cut == CUTS:
            # Before the last stream begins: of what is told at once no later event says more.
            readers_done.set()
            await stream.is_over.wait()
        path = f"/v1/collections/items/{reader.kind}"
        method = random_.choice(("GET", "POST"))
        fields = FIELDS[reader.kind]
        async with streaming(
            server.http_url, path, method=method, last_id=last_id, **fields
        ) as events:
            assert events.status == 200
            left = random_.randint(0, 12)
            while reader.to_seq < stream.last_seq if cut == CUTS else left:
                event = await events.event(reader.kind, "gap")
                reader.take(event.data, event.id)
                last_id = events.last_id
                left -= 1
            if cut == CUTS:
                return
            # While nobody reads, rows leave the window.
            reached = stream.last_seq + random_.choice((0, 5, 2 * CAPACITY))
            await eventually(lambda: stream.last_seq >= reached)  # noqa: B023 - awaited here


@pytest.mark.parametrize("kind", FIELDS)
async def test_nothing_is_missed_and_nothing_doubled_however_often_a_stream_is_cut(
    kind: str,
) -> None:
    async with running(http_port=0, max_pending_rows=40) as server, client(server) as raw:
        epoch = (await raw.create(capacity=CAPACITY))["epoch"]
        stream, reader, done = Stream(raw, seed=CUTS), Reader(kind), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(write(stream, done))
            await cut_often(server, stream, reader, done, f"{epoch}:0")
        expected = stream.matching if kind == "match" else set(range(1, stream.last_seq + 1))
        assert sorted(set(reader.rows) | (reader.gaps & expected)) == sorted(expected)
        assert not reader.gaps & set(reader.rows)
        assert reader.gaps, "no row left before it was told"
        assert reader.rows == sorted(set(reader.rows))


async def test_a_live_view_is_what_search_returned_however_often_it_is_cut() -> None:
    async with running(http_port=0) as server, client(server) as raw:
        await raw.create(capacity=CAPACITY)
        stream, done, random_ = Stream(raw, seed=CUTS), asyncio.Event(), random.Random(CUTS)
        seen: list[tuple[int, Any]] = []

        async def follow(events: Streamed, pushes: int) -> View:
            first = await events.event()
            assert first.name == "snapshot"
            view = view_of(raw, orjson.loads(first.data))
            seen.append((view.version, view.hits))
            for _ in range(pushes):
                event = await events.event()
                view.apply(orjson.loads(event.data))
                assert event.id.endswith(f":{view.version}")
                seen.append((view.version, view.hits))
            return view

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(write(stream, done, notes=True))
            last_id = None
            for _ in range(CUTS):
                path = "/v1/collections/items/live"
                async with streaming(
                    server.http_url, path, vector=[1, 0], k=5, last_id=last_id
                ) as events:
                    await follow(events, random_.randint(0, 8))
                    last_id = events.last_id
            done.set()
        assert len(seen) > CUTS
        for version, hits in seen:
            assert hits == stream.answers[version]
