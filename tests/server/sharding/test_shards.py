"""Collections of several shards over real sockets, beside one collection of the same rows.

Both stand on one server with one clock, so a row is scored, and aged, alike in both.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omendb_core.model.change import RowBatch
from omendb_core.model.types import Include
from xxhash import xxh3_64_intdigest

from omendb_ws.net.server import Server
from omendb_ws.sharding import selecting
from tests.patience import PATIENCE_SECONDS
from tests.server.raw import Clock, Raw, client, settings

DIM = 8
VECTOR = [1.0] * DIM
COLUMNS = {"price": "f64", "city": "str", "new": "bool"}
CITIES = ["Bonn", "Köln", "Ulm", None]


@asynccontextmanager
async def both(shards: int, **fields: Any) -> AsyncIterator[tuple[Raw, Clock]]:
    """A connection to a server with "many", of so many shards, and "one", alike."""
    clock = Clock()
    async with Server(settings(), clock_us=clock) as server, client(server) as raw:
        for name, more in (("many", {"shards": shards}), ("one", {})):
            given = {"dim": DIM, "capacity": 6400, "columns": COLUMNS, **fields, **more}
            await raw.create(name, **given)
        yield raw, clock


def drawn(generator: np.random.Generator, ids: list[Any]) -> list[dict[str, Any]]:
    """Rows with random vectors and metadata."""
    return [
        {
            "id": id,
            "vector": generator.standard_normal(DIM).tolist(),
            "metadata": {
                "price": int(generator.integers(5)),
                "city": CITIES[int(generator.integers(4))],
                "new": bool(generator.integers(2)),
                "other": "x",
            },
        }
        for id in ids
    ]


async def answers(raw: Raw, op: str, **fields: Any) -> dict[str, Any]:
    """What both say, but for seqs and versions, which must be equal: the answer of "many"."""
    found = {name: await raw.ok(op, collection=name, **fields) for name in ("many", "one")}
    many, one = found["many"], found["one"]
    assert many["version"] == sum(many["versions"])
    assert plain(many) == plain(one), (op, fields)
    return many


def plain(value: Any) -> Any:
    """Without what counts by shards."""
    if isinstance(value, dict):
        left_out = ("version", "versions", "seq", "took_us")
        return {name: plain(one) for name, one in value.items() if name not in left_out}
    return [plain(one) for one in value] if isinstance(value, list) else value


SEARCHES: list[dict[str, Any]] = [
    {},
    {"k": 500},
    {"k": 3, "include": ["metadata", "vector"]},
    {"filter": {"price": {"$gt": 2}}, "include": ["metadata"]},
    {"min_score": 0.2, "k": 100},
    {"exclude": "some"},
    {"decay": {"half_life": 30}, "at": 2000, "k": 40},
    {"decay": {"half_life": 1, "column": "price"}, "at": 2, "k": 40},
    {"rank": {"$mul": ["$score", {"$default": ["price", 0]}]}, "k": 40},
    {"group": {"by": "city", "size": 2}, "k": 7, "include": ["metadata"]},
    {"group": {"by": "price"}, "k": 50, "filter": {"new": True}},
    {"group": {"by": "new", "size": 5}, "decay": {"half_life": 30}, "at": 2000, "k": 9},
    {"spread": {"max_similarity": 0.3}, "k": 12, "include": ["vector"]},
    {"spread": {"max_similarity": 0.5}, "group": {"by": "city", "size": 3}, "k": 10},
    {"spread": {"max_similarity": -0.2}, "k": 40},
    {"mmr": {"lambda": 0.4, "candidates": 60}, "k": 9},
    {"mmr": {"lambda": 0.7}, "group": {"by": "price", "size": 4}, "k": 5},
    {"mmr": {"lambda": 0.5}, "rank": {"$mul": ["$score", -1]}, "k": 6},
    {"rank": {"$sub": [{"$if": [{"new": True}, 2, 1]}, "$age"]}, "at": 2000.5, "k": 400},
]


@pytest.mark.parametrize("shards", [2, 4, 8])
@pytest.mark.parametrize("ids", ["u64", "str"])
async def test_answers_are_those_of_one_window_to_the_bit(shards: int, ids: str) -> None:
    generator = np.random.default_rng(shards)
    make = (lambda n: f"id-{n}") if ids == "str" else (lambda n: n)
    async with both(shards, ids=ids, metric="cosine") as (raw, clock):
        for start in range(0, 300, 60):
            clock.move(10)
            rows = drawn(generator, [make(n) for n in range(start, start + 60)])
            for name in ("many", "one"):
                await raw.ok("add", collection=name, rows=rows)
        gone = [make(n) for n in range(7, 90, 7)]
        changed = [{"id": make(n), "metadata": {"city": "Bonn"}} for n in range(0, 200, 9)]
        changed = [one for one in changed if one["id"] not in gone]
        again = drawn(generator, [make(n) for n in range(0, 300, 11)])
        for name in ("many", "one"):
            said = await raw.ok("delete", collection=name, ids=[*gone, make(9999)])
            assert said["deleted"] == len(gone)
            await raw.ok("update", collection=name, rows=changed)
            await raw.ok("add", collection=name, rows=again)
        for fields in SEARCHES:
            if "exclude" in fields:
                fields = {"exclude": [make(n) for n in range(0, 300, 2)], "k": 200}
            vectors = generator.standard_normal((3, DIM)).tolist()
            await answers(raw, "search", vector=vectors[0], **fields)
            await answers(raw, "search", vectors=vectors, **fields)
        for fields in (
            {"like": make(1)},
            {"like": make(22), "decay": {"half_life": 30}, "at": 2000},
            {"like": make(11), "spread": {"max_similarity": 0.3}},
            {"positive": [make(1)]},
            {"positive": [make(1), make(2), vectors[0]], "negative": [make(8), vectors[1]]},
            {"positive": [vectors[0]], "exclude": [make(4)], "group": {"by": "city"}},
        ):
            await answers(raw, "search", k=8, **fields)
        for fields in ({"like": make(9999)}, {"positive": [make(1), make(9999)]}):
            errors = [
                await raw.error("search", collection=name, **fields) for name in ("many", "one")
            ]
            assert errors[0] == errors[1]
        asked = [make(n) for n in (299, 14, 5, 9999, 0, 21, 298)]
        await answers(raw, "get", ids=asked, include=["metadata", "vector"])
        await answers(raw, "count")
        for by in COLUMNS:
            await answers(raw, "count", by=by, limit=2, filter={"new": {"$exists": True}})


async def test_the_reply_to_an_add_says_what_each_shard_has() -> None:
    async with both(4) as (raw, _):
        rows = drawn(np.random.default_rng(1), list(range(40)))
        said = await raw.ok("add", collection="many", rows=rows)
        assert (said["first_seq"], said["last_seq"], said["version"]) == (None, None, 4)
        found = await raw.ok("get", collection="many", ids=list(range(40)))
        for one in said["shards"]:
            seqs = [row["seq"] for row in found["rows"] if (row["seq"] - 1) % 4 == one["shard"]]
            assert (one["first_seq"], one["last_seq"]) == (min(seqs), max(seqs))
            assert one["version"] == 1
        for row in found["rows"]:
            digest = xxh3_64_intdigest(row["id"].to_bytes(8, "little"), 0)
            assert (row["seq"] - 1) % 4 == digest % 4


async def test_a_numbered_batch_is_exactly_once_in_every_shard() -> None:
    async with both(4) as (raw, _):
        rows = drawn(np.random.default_rng(2), [1, 2, 3])
        numbered = {"collection": "many", "producer": "p", "rows": rows}
        said = await raw.ok("add", batch=1, **numbered)
        assert len(said["shards"]) == 4
        again = await raw.ok("add", batch=1, **numbered)
        assert again["duplicate"]
        assert again["version"] == said["version"]
        assert [one["first_seq"] for one in again["shards"]] == [
            one["first_seq"] for one in said["shards"]
        ]
        assert (await raw.error("add", batch=3, **numbered))["expected"] == 2
        bad = {**numbered, "rows": [{"id": 1, "vector": [1.0]}]}
        assert (await raw.ok("add", batch=1, **bad))["duplicate"]
        assert await raw.code("add", batch=2, **bad) == "dim_mismatch"
        assert (await raw.ok("add", batch=2, **numbered)).get("duplicate") is None
        assert (await raw.ok("count", collection="many"))["count"] == 3


async def test_what_is_wrong_with_a_row_is_found_before_any_shard_changes() -> None:
    async with both(4, metric="cosine") as (raw, _):
        rows = drawn(np.random.default_rng(3), list(range(20)))
        for fault, code in (
            ({"vector": [0.0] * DIM}, "zero_norm"),
            ({"vector": [1.0]}, "dim_mismatch"),
            ({"metadata": {"price": "much"}}, "bad_metadata"),
            ({"id": 0}, "duplicate_id"),
        ):
            given = [*rows[:13], {**rows[13], **fault}, *rows[14:]]
            error = await raw.error("add", collection="many", rows=given)
            assert (error["code"], error["row"]) == (code, 13)
        assert (await raw.ok("describe", collection="many"))["version"] == 0
        await raw.ok("add", collection="many", rows=rows)
        missing = [{"id": n, "metadata": {}} for n in (1, 2, 77, 3)]
        fault = await raw.error("update", collection="many", rows=missing)
        assert (fault["code"], fault["row"]) == ("not_found", 2)


async def test_rows_without_ids_go_in_turn_and_are_known_by_their_seqs() -> None:
    async with both(3, ids="auto") as (raw, _):
        rows = [{"vector": [float(n)] * DIM} for n in range(2)]
        shards = []
        for _ in range(3):
            said = await raw.ok("add", collection="many", rows=rows)
            (one,) = said["shards"]
            assert (one["first_seq"] - 1) % 3 == one["shard"]
            assert one["last_seq"] == one["first_seq"] + 3
            shards.append(one["shard"])
        assert sorted(shards) == [0, 1, 2]
        found = await raw.ok("search", collection="many", vector=VECTOR, k=10)
        assert [row["id"] for row in found["results"]] == [6, 5, 4, 3, 2, 1]
        assert all(row["id"] == row["seq"] for row in found["results"])
        assert (await raw.ok("delete", collection="many", ids=[5, 2, 99, 0]))["deleted"] == 2
        got = await raw.ok("get", collection="many", ids=[6, 5, 1])
        assert [row and row["id"] for row in got["rows"]] == [6, None, 1]


async def test_an_answer_is_by_the_example_as_it_was_at_the_versions_stated() -> None:
    async with Server(settings()) as server, client(server) as raw, client(server) as other:
        await raw.create("many", dim=2, metric="l2", shards=4, capacity=400)
        ends = [[0.0, 0.0], [100.0, 0.0]]
        rows = [{"id": n, "vector": [n % 2 * 100.0 + n, 1.0]} for n in range(2, 12)]
        await raw.ok("add", collection="many", rows=rows)
        said = await raw.ok("add", collection="many", rows=[{"id": 1, "vector": ends[0]}])
        (first,) = said["shards"]
        asked, changes = [], []
        for n in range(1, 60):
            one = [{"id": 1, "vector": ends[n % 2]}]
            changes.append(await other.send("add", collection="many", rows=one))
            fields: dict[str, Any] = {"spread": {"max_similarity": -1}} if n % 3 == 0 else {}
            asked.append(await raw.send("search", collection="many", like=1, k=3, **fields))
        for id in changes:
            assert "ok" in await other.reply(id)
        for id in asked:
            answer = await raw.reply(id)
            if "error" in answer:  # it was replaced again and again
                assert answer["error"]["code"] == "overloaded"
                continue
            is_far = (answer["ok"]["versions"][first["shard"]] - first["version"]) % 2
            assert {row["id"] % 2 for row in answer["ok"]["results"]} == {is_far}


async def test_a_selection_that_would_read_too_deep_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(selecting, "MOST_ROWS", 60)
    async with both(4) as (raw, _):
        rows = drawn(np.random.default_rng(6), list(range(200)))
        await raw.ok("add", collection="many", rows=rows)
        asked = {"collection": "many", "vector": VECTOR, "k": 5}
        error = await raw.error("search", spread={"max_similarity": -1000}, **asked)
        assert error["code"] == "unsupported"
        assert error["message"].startswith("spread")
        found = await raw.ok("search", spread={"max_similarity": 1000}, **asked)
        assert len(found["results"]) == 5


async def test_each_shard_keeps_the_newest_of_its_own() -> None:
    async with both(2, capacity=7) as (raw, _):
        assert (await raw.ok("describe", collection="many"))["capacity"] == 8
        for n in range(40):
            await raw.ok("add", collection="many", rows=drawn(np.random.default_rng(n), [n]))
        own = [[], []]
        for n in range(40):
            own[xxh3_64_intdigest(n.to_bytes(8, "little"), 0) % 2].append(n)
        left = {*own[0][-4:], *own[1][-4:]}
        found = await raw.ok("search", collection="many", vector=VECTOR, k=100)
        assert {row["id"] for row in found["results"]} == left


async def test_binary_messages_say_the_same() -> None:
    async with both(4) as (raw, _):
        handle = (await raw.ok("open", collection="many"))["handle"]
        generator = np.random.default_rng(4)
        ids = np.arange(50, dtype=np.uint64)
        vectors = generator.standard_normal((50, DIM)).astype(np.float32)
        added = await raw.add_binary(handle, RowBatch(vectors=vectors, ids=ids))
        assert (added.first_seq, added.last_seq, added.version) == (None, None, 4)
        assert added.shards is not None
        assert len(added.shards) == 4
        asked = generator.standard_normal((2, DIM)).astype(np.float32)
        found = await raw.search_binary(handle, asked, k=7)
        json = await raw.ok("search", collection="many", vectors=asked.tolist(), k=7)
        assert found.counts.tolist() == [7, 7]
        assert found.versions == json["versions"] == [1] * 4
        rows = [row for one in json["results"] for row in one]
        assert [row["seq"] for row in rows] == found.hits.seqs.tolist()
        with_metadata = await raw.search_binary(handle, asked, k=7, include=Include(metadata=True))
        assert with_metadata.hits.seqs.tolist() == found.hits.seqs.tolist()


async def test_collections_of_shards_are_listed_described_and_dropped_as_others() -> None:
    async with both(4) as (raw, _):
        listed = (await raw.ok("list"))["collections"]
        assert [one["collection"] for one in listed] == ["many", "one"]
        assert listed[0]["shards"] == 4
        assert listed[0]["versions"] == [0] * 4
        assert "shards" not in listed[1]
        again = {"collection": "many", "dim": DIM, "capacity": 6400, "columns": COLUMNS}
        again |= {"metric": "dot", "if_exists": "ok"}
        assert (await raw.ok("create", shards=4, **again))["shards"] == 4
        for shards in ({"shards": 2}, {"shards": 1}, {}):
            assert await raw.code("create", **again, **shards) == "exists"
        assert await raw.code("create", shards=65, **again) == "bad_request"
        opened = await raw.send("search", collection="many", vector=VECTOR)
        dropped = await raw.send("drop", collection="many")
        made = await raw.send("create", **again)
        assert (await raw.reply(opened))["ok"]["versions"] == [0] * 4
        assert (await raw.reply(dropped))["ok"] == {}
        assert "shards" not in (await raw.reply(made))["ok"]


UNSUPPORTED: list[tuple[str, str, dict[str, Any]]] = [
    ("last", "search", {"vector": VECTOR, "last": 5}),
    (
        "unless_near",
        "add",
        {"rows": [{"id": 1, "vector": VECTOR}], "unless_near": {"score": 1}},
    ),
    ("kind", "subscribe", {"kind": "novel", "below": 0.5}),
    ("kind", "subscribe", {"kind": "count"}),
    ("kind", "subscribe", {"kind": "map"}),
    ("positive", "subscribe", {"kind": "live", "positive": [1]}),
    ("collection", "snapshot", {}),
]


async def test_what_is_not_there_yet_is_refused_by_its_field_and_harms_nobody() -> None:
    async with both(2) as (raw, _):
        for field, op, fields in UNSUPPORTED:
            error = await raw.error(op, collection="many", **fields)
            assert error["code"] == "unsupported", (op, fields, error)
            assert error["message"].startswith(field), (op, fields, error)
        assert await raw.code("count", collection="many", epoch="another") == "wrong_epoch"
        assert (await raw.ok("describe", collection="many"))["version"] == 0


def log_of(data_dir: Path, name: str) -> Path:
    """The one file of a shard's log."""
    (found,) = [one for one in data_dir.rglob("*.log") if name in str(one)]
    return found


async def test_statistics_are_of_all_shards_together(tmp_path: Path) -> None:
    async with Server(settings(data_dir=str(tmp_path))) as server, client(server) as raw:
        for name, more in (("many", {"shards": 4}), ("one", {})):
            await raw.create(name, dim=DIM, capacity=400, columns=COLUMNS, **more)
            rows = drawn(np.random.default_rng(1), list(range(100)))
            await raw.ok("add", collection=name, rows=rows)
            for _ in range(5):
                await raw.ok("search", collection=name, vector=VECTOR)
        many, one = [await raw.ok("stats", collection=name) for name in ("many", "one")]
        assert many.keys() == one.keys()
        assert many["journal"].keys() == one["journal"].keys()
        for name in ("rows", "dim", "capacity", "adds_per_s", "searches_per_s"):
            assert (many[name] > 0) == (one[name] > 0), name
        assert (many["rows"], many["capacity"], many["version"]) == (100, 400, 4)
        assert many["dim"] == DIM
        assert many["collection"] == "many"


async def test_reads_wait_for_a_sum_of_versions() -> None:
    async with both(4) as (raw, _):
        epoch = (await raw.ok("describe", collection="many"))["epoch"]
        said = await raw.ok("add", collection="many", rows=drawn(np.random.default_rng(1), [1, 2]))
        asked = {"collection": "many", "epoch": epoch, "min_version": said["version"]}
        assert (await raw.ok("count", **asked))["count"] == 2
        asked["min_version"] += 1
        waiting = await raw.send("count", **asked)
        await raw.ok("add", collection="many", rows=drawn(np.random.default_rng(2), [3]))
        assert (await raw.reply(waiting))["ok"]["count"] == 3


async def ready(server: Server) -> None:
    """Return when everything stored is back, or known not to come."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while server.status() == "recovering":  # noqa: ASYNC110 - polled, as a probe does
            await asyncio.sleep(0)


@pytest.mark.parametrize("durability", ["everysec", "always"])
async def test_a_restart_brings_all_shards_back(tmp_path: Path, durability: str) -> None:
    rows = drawn(np.random.default_rng(5), list(range(60)))
    vector = rows[0]["vector"]
    async with Server(settings(data_dir=str(tmp_path))) as server, client(server) as raw:
        made = await raw.create(
            "many", dim=DIM, capacity=100, columns=COLUMNS, shards=3, durability=durability
        )
        numbered = {"collection": "many", "producer": "p", "rows": rows}
        await raw.ok("add", batch=1, **numbered)
        before = await raw.ok("search", collection="many", vector=vector, k=60)
    async with Server(settings(data_dir=str(tmp_path))) as server:
        await ready(server)
        async with client(server) as raw:
            described = await raw.ok("describe", collection="many")
            assert described["epoch"] == made["epoch"]
            assert (described["shards"], described["rows"]) == (3, 60)
            after = await raw.ok("search", collection="many", vector=vector, k=60)
            assert {**after, "took_us": 0} == {**before, "took_us": 0}
            assert (await raw.ok("add", batch=1, **numbered))["duplicate"]
            await raw.ok("drop", collection="many")
            assert await raw.code("describe", collection="many") == "not_found"
            await raw.create("many", dim=DIM, durability=durability, shards=2)
    async with Server(settings(data_dir=str(tmp_path))) as server:
        await ready(server)
        async with client(server) as raw:
            assert (await raw.ok("describe", collection="many"))["shards"] == 2


async def test_a_collection_that_misses_a_shard_says_so_and_can_be_dropped(tmp_path: Path) -> None:
    async with Server(settings(data_dir=str(tmp_path))) as server, client(server) as raw:
        await raw.create("many", dim=DIM, shards=3, durability="everysec")
        await raw.add(1, name="many", dim=DIM)
    shutil.rmtree(log_of(tmp_path, "many%231.3").parent)
    async with Server(settings(data_dir=str(tmp_path))) as server:
        await ready(server)
        async with client(server) as raw:
            error = await raw.error("describe", collection="many")
            assert error["code"] == "unavailable"
            assert "shards" in error["message"]
            listed = await raw.ok("list")
            assert [one["collection"] for one in listed["unavailable"]] == ["many"]
            await raw.ok("drop", collection="many")
            await raw.create("many", dim=DIM, shards=3, durability="everysec")


async def test_a_collection_with_a_damaged_shard_can_be_dropped_whole(tmp_path: Path) -> None:
    async with Server(settings(data_dir=str(tmp_path))) as server, client(server) as raw:
        await raw.create("many", dim=DIM, shards=3, durability="always")
        await raw.add(*range(1, 9), name="many", dim=DIM)
    log = log_of(tmp_path, "many%231.3")
    data = bytearray(log.read_bytes())
    data[100] ^= 0xFF
    log.write_bytes(bytes(data))
    async with Server(settings(data_dir=str(tmp_path))) as server:
        await ready(server)
        async with client(server) as raw:
            assert await raw.code("describe", collection="many") == "unavailable"
            await raw.ok("drop", collection="many")
            assert await raw.code("describe", collection="many") == "not_found"
            await raw.create("many", dim=DIM, shards=3, durability="always")
            assert (await raw.ok("count", collection="many"))["count"] == 0
    async with Server(settings(data_dir=str(tmp_path))) as server:
        await ready(server)
        async with client(server) as raw:
            assert (await raw.ok("describe", collection="many"))["shards"] == 3
