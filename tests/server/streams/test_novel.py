"""``novel`` subscriptions over real sockets: every row that is new, once, in order, or a gap."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from omendb_core.novelty import before as core_before

from omendb_ws.engine.streams import novels, standing_queries
from omendb_ws.net.server import Server
from omendb_ws.wire.messages import Rows
from tests.filter_oracle import passes
from tests.oracle import Oracle, Row
from tests.oracle.numbers import score
from tests.server.live_view import slow_sockets, sub_of
from tests.server.raw import Clock, Raw, client, queued, running, settings

ENCODINGS = pytest.mark.parametrize("encoding", ["json", "binary"])
COLUMNS = {"kind": "str"}
#: seq -> score and the id of what it is nearest to.
Told = dict[int, tuple[float, Any]]


@dataclass
class Novel:
    """One subscription: what it was told, its gaps, and how far it got."""

    raw: Raw
    sub: int
    to_seq: int
    told: Told = field(default_factory=dict)
    gaps: list[tuple[int, int, str]] = field(default_factory=list)
    version: int = 0

    async def step(self) -> None:
        event = await self.raw.event(lambda one: sub_of(one) == self.sub)
        if isinstance(event, dict) and event["event"] == "gap":
            assert event["from_seq"] > self.to_seq
            self.gaps.append((event["from_seq"], event["to_seq"], event["reason"]))
            self.to_seq = event["to_seq"]
            return
        if isinstance(event, Rows):
            assert event.kind == "novel"
            version, to_seq, hits = event.version, event.to_seq, event.hits
            assert hits.near is not None
            assert hits.scores is not None
            found = list(zip(hits.seqs.tolist(), hits.scores.tolist(), hits.near, strict=True))
        else:
            assert event["event"] == "novel"
            version, to_seq = event["version"], event["to_seq"]
            assert all(row.keys() >= {"id", "seq", "score", "near"} for row in event["rows"])
            found = [
                (
                    row["seq"],
                    -math.inf if row["score"] is None else float(np.float32(row["score"])),
                    row["near"],
                )
                for row in event["rows"]
            ]
        last = self.to_seq
        assert found or to_seq > last, "a push that says nothing"
        for seq, best, near in found:
            assert last < seq <= to_seq
            assert (near is None) == (best == -math.inf)
            self.told[seq] = best, near
            last = seq
        assert version >= self.version
        self.version, self.to_seq = version, to_seq

    async def until(self, seq: int) -> None:
        while self.to_seq < seq:
            await self.step()


async def novel(raw: Raw, below: float, **fields: Any) -> Novel:
    ok = await raw.ok("subscribe", kind="novel", collection="items", below=below, **fields)
    assert ok.keys() == {"sub", "epoch", "version", "to_seq"}
    return Novel(raw, ok["sub"], ok["to_seq"])


@pytest.fixture(params=["at once", "in pieces"])
def pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "in pieces":
        monkeypatch.setattr(standing_queries, "CATCH_UP_US", 0)
        monkeypatch.setattr(core_before, "vectors_of_piece", lambda rows, dim: 2)


def best(
    naive: Oracle, row: Row, others: list[Row], document: Any, last: int | None
) -> tuple[float, Any]:
    """PROTOCOL section 6: the best row that was there before it."""
    found = [
        (score(naive.metric, other.vector, row.vector), other.seq, other.id)
        for other in others
        if other.seq < row.seq
        and (last is None or other.seq >= row.seq - last)
        and (document is None or passes(document, other.metadata))
    ]
    nearest = max(found, key=lambda one: one[:2], default=None)
    return (-math.inf, None) if nearest is None else (nearest[0], nearest[2])


class Twin:
    """A window over a socket, and the naive one beside it: what each asker should be told."""

    def __init__(self, raw: Raw, capacity: int, asked: list[tuple[float, Any, int | None]]) -> None:
        self.raw = raw
        self.naive = Oracle(capacity, "cosine", "u64", passes=passes)
        self.asked = asked
        self.expected: list[Told] = [{} for _ in asked]

    async def add(self, rows: list[dict[str, Any]]) -> None:
        await self.raw.ok("add", collection="items", rows=rows)
        before = list(self.naive.rows.values())
        first_seq = self.naive.last_seq + 1
        vectors = [[float(np.float32(x)) for x in row["vector"]] for row in rows]
        metadata = [row.get("metadata", {}) for row in rows]
        self.naive.add(vectors, [row["id"] for row in rows], metadata, 0)
        came = [self.naive.rows[seq] for seq in range(first_seq, self.naive.last_seq + 1)]
        for (below, document, last), told in zip(self.asked, self.expected, strict=True):
            for row in came:
                if document is not None and not passes(document, row.metadata):
                    continue
                others = [other for other in before if other.id != row.id] + came
                found = best(self.naive, row, others, document, last)
                if found[0] < np.float32(below):
                    told[row.seq] = found

    async def delete(self, ids: list[int]) -> None:
        await self.raw.ok("delete", collection="items", ids=ids)
        self.naive.delete(ids)

    async def update(self, id: int, metadata: Any) -> None:
        if self.naive.find(id) is not None:
            rows = [{"id": id, "metadata": metadata}]
            await self.raw.ok("update", collection="items", rows=rows)
            self.naive.update([id], [metadata], 0)


def made(random: np.random.Generator, count: int) -> list[dict[str, Any]]:
    """Rows in few directions, so that many are near others."""
    angles = random.integers(0, 24, count) * (math.pi / 12) + random.normal(0, 0.02, count)
    return [
        {
            "id": int(key),
            "vector": [math.cos(angle), math.sin(angle)],
            "metadata": {"kind": str(random.choice(["a", "b"]))},
        }
        for key, angle in zip(random.permutation(60)[:count], angles, strict=True)
    ]


@ENCODINGS
@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("durability", ["memory", "everysec"])
async def test_what_is_told_is_what_plain_loops_find_new(
    encoding: str, durability: str, tmp_path: Any
) -> None:
    asked: list[tuple[float, Any, int | None]] = [
        (0.99, None, None),
        (0.999, None, None),
        (0.99, {"kind": "a"}, None),
        (0.99, None, 7),
        (0.99, {"kind": "b"}, 20),
        (-3e38, None, None),
        (3e38, None, 3),
    ]
    async with (
        running(data_dir=str(tmp_path)) as server,
        client(server) as raw,
        client(server) as writer,
    ):
        await raw.create(metric="cosine", capacity=40, columns=COLUMNS, durability=durability)
        readers = [
            await novel(
                raw, below, encoding=encoding,
                **({} if document is None else {"filter": document}),
                **({} if last is None else {"last": last}),
            )
            for below, document, last in asked
        ]  # fmt: skip
        assert len(server.context.catalog.find("default", "items").shard.window.novelty) == 5
        twin = Twin(writer, 40, asked)
        random = np.random.default_rng(len(durability))
        for _ in range(40):
            what = random.choice(["add", "add", "add", "delete", "update"])
            if what == "add":
                await twin.add(made(random, int(random.integers(1, 13))))
            elif what == "delete":
                await twin.delete(random.integers(0, 60, 3).tolist())
            else:
                await twin.update(int(random.integers(60)), {"kind": "c"})
        for reader, wanted in zip(readers, twin.expected, strict=True):
            if wanted:
                await reader.until(max(wanted))
            assert reader.gaps == []
            # Rows that were replaced or deleted before their push was built are passed over.
            assert reader.told.items() <= wanted.items()
            assert {seq for seq in wanted if seq in twin.naive.rows} <= reader.told.keys()


@ENCODINGS
async def test_a_reader_that_keeps_up_is_told_of_every_one(encoding: str) -> None:
    async with running() as server, client(server) as raw, client(server) as writer:
        await raw.create(metric="cosine", capacity=30, columns=COLUMNS)
        reader = await novel(raw, 0.995, encoding=encoding, include=["metadata", "vector"])
        twin = Twin(writer, 30, [(0.995, None, None)])
        random = np.random.default_rng(5)
        for _ in range(60):
            await twin.add(made(random, int(random.integers(1, 9))))
            (wanted,) = twin.expected
            if wanted:
                await reader.until(max(wanted))
        assert reader.told == wanted
        assert len(wanted) > 50


async def test_the_first_row_is_new_whatever_is_asked_and_is_near_nothing() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(metric="cosine", ids="str")
        reader = await novel(raw, -5.0, include=["metadata"])
        rows = [{"id": key, "vector": [1, 0], "metadata": {"a": 1}} for key in ("ä", "b")]
        await raw.ok("add", collection="items", rows=rows)
        event = await raw.event(lambda one: sub_of(one) == reader.sub)
        assert event == {
            "event": "novel", "sub": reader.sub, "version": 1, "to_seq": 2,
            "rows": [{"id": "ä", "seq": 1, "score": None, "near": None, "metadata": {"a": 1}}],
        }  # fmt: skip
        await raw.ok("delete", collection="items", ids=["ä", "b"])
        await raw.ok("add", collection="items", rows=rows[1:])
        event = await raw.event(lambda one: sub_of(one) == reader.sub)
        assert [row["near"] for row in event["rows"]] == [None]
        # A row that replaces the only other one is near nothing, too.
        await raw.ok("add", collection="items", rows=rows[1:])
        event = await raw.event(lambda one: sub_of(one) == reader.sub)
        assert [(row["id"], row["near"]) for row in event["rows"]] == [("b", None)]


@ENCODINGS
@pytest.mark.parametrize("kind", ["u64", "str", "auto"])
async def test_what_a_row_is_near_to_is_told_by_its_id_also_when_that_is_gone(
    encoding: str, kind: str
) -> None:
    ids: dict[str, list[Any]] = {"u64": [2**64 - 5, 7], "str": ["ä", 'b"'], "auto": [1, 2]}
    one, two = ids[kind]
    async with running() as server, client(server) as raw:
        await raw.create(metric="cosine", ids=kind, capacity=1)
        reader = await novel(raw, 0.9, encoding=encoding)
        for key, vector in ((one, [1, 0]), (two, [0.6, 0.8])):
            named = {} if kind == "auto" else {"id": str(key) if kind == "u64" else key}
            await raw.ok("add", collection="items", rows=[{**named, "vector": vector}])
        await reader.until(2)
        near = str(one) if kind == "u64" else one
        assert reader.told[2] == (float(np.float32(0.6)), near)


@ENCODINGS
async def test_resuming_compares_rows_with_those_before_them_that_are_there_still(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(novels, "PAST_ROWS", 7)
    monkeypatch.setattr(core_before, "vectors_of_piece", lambda rows, dim: 3)
    async with running() as server, client(server) as raw, client(server) as writer:
        epoch = (await raw.create(metric="cosine", capacity=50, columns=COLUMNS))["epoch"]
        random = np.random.default_rng(11)
        twin = Twin(writer, 50, [])
        for _ in range(12):
            await twin.add(made(random, 8))
        await twin.delete(random.integers(0, 60, 10).tolist())
        first_seq = twin.naive.first_seq
        for document, last in ((None, None), ({"kind": "a"}, None), (None, 5), ({"kind": "b"}, 9)):
            fields = {
                **({} if document is None else {"filter": document}),
                **({} if last is None else {"last": last}),
            }
            reader = await novel(
                raw, 0.99, from_seq=first_seq + 3, epoch=epoch, encoding=encoding, **fields
            )
            assert reader.to_seq == first_seq + 2
            there = twin.naive.live(document)
            wanted = {}
            for row in there:
                found = best(twin.naive, row, twin.naive.live(), document, last)
                if row.seq >= first_seq + 3 and found[0] < np.float32(0.99):
                    wanted[row.seq] = found
            await reader.until(max(wanted))
            assert reader.told == wanted
            assert reader.gaps == []
        # What follows comes behind it, without a seam; and who left is a gap first.
        late = await novel(raw, 2.0, from_seq=1, epoch=epoch, encoding=encoding)
        await twin.add(made(random, 1))
        await late.until(twin.naive.last_seq)
        assert late.gaps[0] == (1, first_seq - 1, "evicted")
        assert max(late.told) == twin.naive.last_seq
        assert set(late.told) >= set(twin.naive.rows)


async def test_of_the_past_at_most_max_pending_rows_are_compared_and_the_rest_is_a_gap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(core_before, "vectors_of_piece", lambda rows, dim: 2)
    async with running(max_pending_rows=5) as server, client(server) as raw:
        epoch = (await raw.create(metric="cosine", capacity=100))["epoch"]
        rows = [{"id": n, "vector": [math.cos(n), math.sin(n)]} for n in range(1, 31)]
        await raw.ok("add", collection="items", rows=rows)
        await raw.ok("delete", collection="items", ids=[2, 3])
        reader = await novel(raw, 2.0, from_seq=1, epoch=epoch)
        await reader.until(30)
        assert list(reader.told) == [1, 4, 5, 6, 7]
        assert reader.gaps == [(8, 30, "slow")]
        exactly = await novel(raw, 2.0, from_seq=26, epoch=epoch)
        await exactly.until(30)
        assert (list(exactly.told), exactly.gaps) == ([26, 27, 28, 29, 30], [])


async def test_more_than_max_pending_rows_that_wait_are_a_gap() -> None:
    async with (
        running(max_pending_rows=5) as server,
        client(server) as raw,
        client(server) as writer,
    ):
        await raw.create(metric="cosine", capacity=1000, ids="str")
        reader = await novel(raw, 2.0)
        async with slow_sockets(server):
            for number in range(1, 41):
                row = {"id": f"{number}", "vector": [1, 0.01 * number]}
                await writer.ok("add", collection="items", rows=[row])
            (query,) = server.context.engine.novels.of(
                server.context.catalog.find("default", "items").shard
            )
            assert len(query.hits) == 5
            assert query.hits.near_of(5).tolist() == ["1", "2", "3", "4", "5"]
        await reader.until(40)
        assert reader.gaps == [(7, 40, "slow")]
        assert list(reader.told) == [1, 2, 3, 4, 5, 6]


async def test_what_left_by_age_before_it_was_taken_is_a_gap() -> None:
    async with running() as server, client(server) as raw, client(server) as writer:
        await raw.create(metric="cosine", capacity=3)
        reader = await novel(raw, 2.0)
        async with slow_sockets(server):
            for number in range(1, 11):
                await writer.add(number)
        await reader.until(10)
        assert reader.gaps == [(2, 7, "evicted")]
        assert list(reader.told) == [1, 8, 9, 10]


@pytest.mark.parametrize(
    ("fields", "code", "says"),
    [
        ({}, "bad_request", "below: missing"),
        ({"below": "1"}, "bad_request", "below: must be a number"),
        ({"below": None}, "bad_request", "below: must be a number"),
        ({"below": 1, "last": 0}, "bad_request", "last: at least 1"),
        ({"below": 1, "last": 1.5}, "bad_request", "last: must be an integer"),
        ({"below": 1, "filter": {"x": 1}}, "bad_filter", "filter.x"),
        ({"below": 1, "vector": [1, 0]}, "bad_request", "vector: unknown field"),
        ({"below": 1, "min_score": 1}, "bad_request", "min_score: unknown field"),
        ({"below": 1, "from_seq": 1}, "bad_request", "epoch: missing"),
        ({"below": 1, "from_seq": 9, "epoch": "right"}, "bad_request", "from_seq: 9 is beyond"),
        ({"below": 1, "from_seq": 1, "epoch": "x"}, "wrong_epoch", "epoch"),
        ({"below": 1, "encoding": "text"}, "bad_request", "encoding"),
        ({"below": 1, "include": ["x"]}, "bad_request", "include"),
    ],
)
async def test_a_fault_is_named_and_leaves_nothing_behind(
    fields: dict[str, Any], code: str, says: str
) -> None:
    async with running() as server, client(server) as raw:
        epoch = (await raw.create(metric="cosine"))["epoch"]
        budget = server.context.catalog.budget
        before = budget.taken_bytes
        if fields.get("epoch") == "right":
            fields = {**fields, "epoch": epoch}
        error = await raw.error("subscribe", kind="novel", collection="items", **fields)
        assert (error["code"], error["message"][: len(says)]) == (code, says)
        await raw.ok("count", collection="items")
        assert budget.taken_bytes == before
        assert server.metrics.subscriptions["novel"] == 0
        assert len(server.context.catalog.find("default", "items").shard.window.novelty) == 0
        await novel(raw, 1.0)


async def test_its_end_gives_back_what_it_took_and_its_collection_goes_on() -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        await raw.create(metric="cosine", columns=COLUMNS)
        budget = server.context.catalog.budget
        before = budget.taken_bytes
        reader = await novel(raw, 1.0, filter={"kind": "a"})
        assert budget.taken_bytes > before
        shard = server.context.catalog.find("default", "items").shard
        await other.add(1)
        assert await raw.ok("unsubscribe", sub=reader.sub) == {}
        assert len(shard.window.novelty) == 0
        assert budget.taken_bytes - before < 1000  # the row's id and nothing else
        second = await novel(raw, 1.0)
        await raw.ok("drop", collection="items")
        ended = await raw.named("ended")
        assert (ended["sub"], ended["reason"]) == (second.sub, "dropped")


async def test_while_an_add_is_compared_reads_go_on_and_changes_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(standing_queries, "CATCH_UP_US", 0)
    pieces: list[int] = []

    def one_vector(rows: int, dim: int) -> int:
        pieces.append(rows)
        return 1

    monkeypatch.setattr(core_before, "vectors_of_piece", one_vector)
    async with running() as server, client(server) as raw, client(server) as other:
        await raw.create(metric="cosine", capacity=9000)
        reader = await novel(raw, 2.0)
        shard = server.context.catalog.find("default", "items").shard
        rows = [{"id": n, "vector": [math.cos(n), math.sin(n)]} for n in range(6000)]
        added = await raw.ok("add", collection="items", rows=rows)
        assert added["last_seq"] == 6000
        waits = await other.send("add", collection="items", rows=[{"id": 5, "vector": [1, 0]}])
        second = await raw.send("subscribe", kind="novel", collection="items", below=2.0)
        await queued(server, 1)
        assert (await raw.ok("count", collection="items"))["count"] == 6000
        assert (await other.reply(waits))["ok"]["version"] == 2
        begun = (await raw.reply(second))["ok"]
        assert begun["version"] in (1, 2)
        await reader.until(6001)
        assert reader.told.keys() >= {*range(1, 6), *range(7, 6002)}
        assert not shard.is_catching_up
        assert len(pieces) >= 6000


async def test_expiry_leaves_rows_out_of_what_is_compared() -> None:
    clock = Clock()
    async with running(Server(settings(), clock_us=clock)) as server, client(server) as raw:
        await raw.create(metric="cosine", capacity=30, ttl=10)
        reader = await novel(raw, 0.9)
        row = {"id": 1, "vector": [1, 0]}
        await raw.ok("add", collection="items", rows=[row])
        await raw.ok("add", collection="items", rows=[{**row, "id": 2}])
        clock.move(11)
        await raw.ok("add", collection="items", rows=[{**row, "id": 3}])
        await reader.until(3)
        assert {seq: near for seq, (_, near) in reader.told.items()} == {1: None, 3: None}
