"""Every call of the asyncio client against a real server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omendb_core.score import prepare, score_pairs
from omendb_core.types import StrColumn

import omendb_ws
from omendb_ws import errors
from omendb_ws.client import Client, connect
from omendb_ws.client.answers import Answer, Row
from omendb_ws.server import Server
from tests.certificates import make_certificate
from tests.server.raw import running, with_keys


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with running() as started:
        yield started


@pytest.fixture
async def db(server: Server) -> AsyncIterator[Client]:
    async with connect(server.url) as client:
        yield client


def vectors(count: int, dim: int = 4, seed: int = 1) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


# -- collections --------------------------------------------------------------------------------


async def test_a_created_collection_is_described_opened_listed_and_dropped(db: Client) -> None:
    made = await db.create(
        "items", dim=4, capacity=100, metric="l2", ids="str", columns={"price": "f64"}, ttl=60
    )
    assert (made.collection, made.dim, made.capacity, made.metric) == ("items", 4, 100, "l2")
    assert (made.ids, dict(made.columns), made.ttl) == ("str", {"price": "f64"}, 60)
    assert (made.version, made.first_seq, made.last_seq, made.rows) == (0, 1, 0, 0)
    assert await db.describe("items") == await db.open("items") == made
    assert await db.list() == [made]
    await db.drop("items")
    assert await db.list() == []
    for call in (db.describe, db.open, db.drop, db.count):
        with pytest.raises(errors.NotFound):
            await call("items")


async def test_create_takes_what_is_there_only_if_asked_and_the_same(db: Client) -> None:
    made = await db.create("items", dim=4, capacity=100)
    assert await db.create("items", dim=4, capacity=100, if_exists="ok") == made
    with pytest.raises(errors.Exists):
        await db.create("items", dim=4, capacity=100)
    with pytest.raises(errors.Exists):
        await db.create("items", dim=5, capacity=100, if_exists="ok")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"collection": "no spaces", "dim": 4, "capacity": 1}, errors.BadName),
        ({"collection": "x", "dim": 0, "capacity": 1}, errors.BadRequest),
        ({"collection": "x", "dim": 5000, "capacity": 1}, errors.TooLarge),
        ({"collection": "x", "dim": 4, "capacity": 10**7}, errors.Quota),
        ({"collection": "x", "dim": 4, "capacity": 1, "metric": "cos"}, errors.BadRequest),
        ({"collection": "x", "dim": 4, "capacity": 1, "columns": {"a": "f32"}}, errors.BadRequest),
        ({"collection": "x", "dim": 4, "capacity": 1, "durability": "always"}, errors.Unsupported),
    ],
)
async def test_a_definition_that_cannot_be_raises_its_class(
    db: Client, fields: dict[str, Any], error: type[errors.OmenError]
) -> None:
    with pytest.raises(error):
        await db.create(**{"dim": 4096, **fields} if error is errors.Quota else fields)
    await db.ping()


# -- rows ---------------------------------------------------------------------------------------


async def test_rows_can_be_added_got_updated_counted_and_deleted(db: Client) -> None:
    await db.create("items", dim=4, capacity=100, metric="dot", columns={"n": "i64"})
    rows = vectors(3)
    added = await db.add("items", rows, ids=[7, 8, 2**64 - 1], metadata=[{"n": 1}, None, {"x": 2}])
    assert (added.version, added.first_seq, added.last_seq, added.rows) == (1, 1, 3, 3)
    assert not added.duplicate
    got = await db.get("items", [2**64 - 1, 5, 7], include=["metadata", "vector"])
    assert got[1] is None
    last, first = got[0], got[2]
    assert isinstance(last, Row)
    assert isinstance(first, Row)
    assert (last.id, last.seq, last.metadata) == (2**64 - 1, 3, {"x": 2})
    assert (first.id, first.seq, first.metadata) == (7, 1, {"n": 1})
    assert first.vector is not None
    assert first.vector.dtype == np.float32
    np.testing.assert_array_equal(first.vector, rows[0])
    assert await db.update("items", [8], [{"n": 5}]) == 2
    assert await db.count("items", {"n": {"$gte": 1}}) == 2
    assert await db.delete("items", np.array([7, 8, 9], np.uint64)) == 2
    assert await db.count("items") == 1


async def test_ids_may_be_strings_or_the_servers(db: Client) -> None:
    await db.create("names", dim=4, capacity=10, ids="str")
    await db.add("names", vectors(2), ids=["a", "ü€𝄞"])
    [row] = await db.get("names", ["ü€𝄞"])
    assert isinstance(row, Row)
    assert (row.id, row.seq) == ("ü€𝄞", 2)
    assert (await db.search("names", [1, 0, 0, 0], k=2)).ids.sort() is None
    await db.create("auto", dim=4, capacity=10, ids="auto")
    await db.add("auto", vectors(3))
    answer = await db.search("auto", [1, 0, 0, 0], k=3)
    assert sorted(answer.ids.tolist()) == [1, 2, 3]


async def test_columns_of_every_type_arrive_nulls_too(db: Client) -> None:
    types = {"f": "f64", "i": "i64", "b": "bool", "s": "str", "t": "str"}
    await db.create("items", dim=4, capacity=10, columns=types)  # type: ignore[arg-type]
    await db.add(
        "items",
        vectors(3),
        ids=[1, 2, 3],
        metadata=[{"more": [1]}, None, None],
        columns={
            "f": np.array([0.5, np.nan, -1]),
            "i": [1, None, 2**53 - 1],
            "b": [True, False, None],
            "s": ["x", None, "y"],
            "t": StrColumn(np.array([1, 1, 2**32 - 1], np.uint32), ("unused", "z")),
        },
    )
    got = await db.get("items", [1, 2, 3], include=["metadata"])
    assert [row and row.metadata for row in got] == [
        {"more": [1], "f": 0.5, "i": 1, "b": True, "s": "x", "t": "z"},
        {"b": False, "t": "z"},
        {"f": -1.0, "i": 2**53 - 1, "s": "y"},
    ]
    assert await db.count("items", {"i": {"$exists": False}}) == 1
    assert await db.count("items", {"s": "y"}) == 1


async def test_a_large_add_is_split_and_its_rows_are_in_order(db: Client) -> None:
    await db.create("items", dim=64, capacity=20_000, metric="dot", ids="u64")
    rows = vectors(10_000, dim=64)
    added = await db.add("items", rows, ids=np.arange(10_000))
    assert (added.first_seq, added.last_seq, added.rows) == (1, 10_000, 10_000)
    assert added.version > 10
    for at in (0, 4_999, 9_999):
        [row] = await db.get("items", [at], include=["vector"])
        assert isinstance(row, Row)
        assert row.seq == at + 1
        np.testing.assert_array_equal(row.vector, rows[at])


async def test_adds_of_many_tasks_all_go_in_in_the_order_of_the_calls(db: Client) -> None:
    await db.create("items", dim=4, capacity=10_000, metric="dot")
    rows = vectors(10)
    calls = [db.add("items", rows, ids=range(at * 10, at * 10 + 10)) for at in range(300)]
    added = await asyncio.gather(*calls)
    assert [one.first_seq for one in added] == [1 + 10 * at for at in range(300)]


async def test_adds_larger_than_the_window_go_in_as_frames_that_fit(db: Client) -> None:
    await db.create("items", dim=4, capacity=7, metric="dot")
    added = await db.add("items", vectors(100), ids=range(100))
    assert (added.rows, added.last_seq) == (100, 100)
    assert (await db.describe("items")).first_seq == 94


async def test_a_named_batch_goes_in_once_from_any_client(server: Server, db: Client) -> None:
    await db.create("items", dim=4, capacity=100)
    rows = vectors(6)
    named = {"producer": "file", "columns": None}
    first, second = await asyncio.gather(
        *[db.add("items", rows[at : at + 3], range(at, at + 3), batch=1 + at // 3, **named)
          for at in (0, 3)]
    )  # fmt: skip
    assert (first.first_seq, first.last_seq, first.rows, first.duplicate) == (1, 3, 3, False)
    assert (second.first_seq, second.last_seq) == (4, 6)
    async with connect(server.url) as another:
        again = await another.add("items", rows[3:], range(3, 6), producer="file", batch=2)
        assert (again.first_seq, again.rows, again.duplicate) == (4, 3, True)
        with pytest.raises(errors.OutOfOrder) as caught:
            await another.add("items", rows[:1], [9], producer="file", batch=9)
        assert caught.value.details["expected"] == 3
    assert (await db.describe("items")).last_seq == 6


@pytest.mark.parametrize("half", [{"producer": "file"}, {"batch": 1}])
async def test_half_a_name_of_a_batch_is_refused(db: Client, half: dict[str, Any]) -> None:
    await db.create("items", dim=4, capacity=100)
    with pytest.raises(errors.BadRequest, match="go together"):
        await db.add("items", vectors(1), [1], **half)
    assert (await db.describe("items")).version == 0


async def test_a_row_refused_by_the_server_is_named_as_the_caller_counts(db: Client) -> None:
    await db.create("items", dim=64, capacity=20_000, metric="cosine")
    rows = vectors(5_000, dim=64)
    rows[4_321] = 0
    with pytest.raises(errors.ZeroNorm) as caught:
        await db.add("items", rows, ids=range(5_000))
    assert caught.value.row == 4_321
    rows_in = caught.value.details["rows_added"]
    assert 0 < int(rows_in) <= 4_321
    assert await db.count("items") == rows_in
    rows[4_321] = 1
    await db.add("items", rows, ids=range(5_000))
    assert await db.count("items") == 5_000


@pytest.mark.parametrize(
    ("fields", "error", "row"),
    [
        ({"vectors": [[1, 2, 3]]}, errors.DimMismatch, 0),
        ({"vectors": [[1, 2, 3, 4], [1, 2, 3]]}, errors.DimMismatch, 1),
        ({"vectors": [[1, 2, 3, "4"]]}, errors.BadVector, None),
        ({"vectors": [[True] * 4]}, errors.BadVector, None),
        ({"vectors": [1, 2, 3, 4]}, errors.BadVector, None),
        ({"vectors": []}, errors.BadRequest, None),
        ({"vectors": [[1, 2, 3, 4], [1, 2, 3, np.nan]]}, errors.NonFinite, 1),
        ({"vectors": [[1, 2, 3, 1e39]]}, errors.NonFinite, 0),
        ({"vectors": [[1, 2, 3, 2.0**62], [3e18, 3e18, 3e18, 3e18]]}, errors.NonFinite, 1),
        ({"ids": None}, errors.BadId, None),
        ({"ids": [1]}, errors.BadId, None),
        ({"ids": [1, -1]}, errors.BadId, 1),
        ({"ids": [1, 2**64]}, errors.BadId, 1),
        ({"ids": [1, 1.5]}, errors.BadId, 1),
        ({"ids": [True, 2]}, errors.BadId, 0),
        ({"ids": ["1", 2]}, errors.BadId, 0),
        ({"ids": np.array([1.0, 2.0])}, errors.BadId, 0),
        ({"ids": [3, 3]}, errors.DuplicateId, 1),
        ({"metadata": [{}]}, errors.BadMetadata, None),
        ({"metadata": [{}, 5]}, errors.BadMetadata, 1),
        ({"metadata": [{}, {"n": "x"}]}, errors.BadMetadata, 1),
        ({"metadata": [{}, {"big": "x" * 5000}]}, errors.OmenError, 1),
        ({"metadata": [{}, {"n": object()}]}, errors.OmenError, None),
        ({"columns": {"m": [1, 2]}}, errors.BadMetadata, None),
        ({"columns": {"n": [1]}}, errors.BadMetadata, None),
        ({"columns": {"n": [1, 2.5]}}, errors.BadMetadata, None),
        ({"columns": {"n": np.array([1, 2**53])}}, errors.BadMetadata, 1),
        ({"columns": {"n": [1, 2]}, "metadata": [{"n": 1}, None]}, errors.BadMetadata, 0),
    ],
)
async def test_rows_that_cannot_be_raise_their_class_and_change_nothing(
    db: Client, fields: dict[str, Any], error: type[errors.OmenError], row: int | None
) -> None:
    made = await db.create("items", dim=4, capacity=10, columns={"n": "i64"})
    whole = {"vectors": vectors(2), "ids": [1, 2], **fields}
    if "vectors" in fields:
        whole["ids"] = list(range(len(fields["vectors"])))
    with pytest.raises(error) as caught:
        await db.add("items", **whole)
    assert row is None or caught.value.row == row
    assert await db.describe("items") == made
    await db.add("items", vectors(2), ids=[1, 2])


async def test_an_empty_collection_name_or_a_missing_one_is_refused(db: Client) -> None:
    with pytest.raises(errors.NotFound):
        await db.add("nothing", vectors(1), ids=[1])
    with pytest.raises(errors.BadName):
        await db.add("", vectors(1), ids=[1])
    with pytest.raises(errors.NotFound):
        await db.search("nothing", [1, 2, 3, 4])


async def test_a_collection_made_anew_takes_rows_of_its_new_kind(db: Client) -> None:
    await db.create("items", dim=4, capacity=10)
    await db.add("items", vectors(1), ids=[1])
    async with asyncio.timeout(20):
        await db.drop("items")
        await db.create("items", dim=2, capacity=10, ids="str")
        await db.add("items", [[1, 2]], ids=["a"])
        assert (await db.search("items", [1, 2])).ids == ["a"]


async def test_a_collection_made_anew_by_another_client_is_noticed(
    server: Server, db: Client
) -> None:
    await db.create("items", dim=4, capacity=10)
    await db.add("items", vectors(1), ids=[1])
    await db.search("items", [1, 2, 3, 4])
    async with connect(server.url) as other:
        await other.drop("items")
        await other.create("items", dim=2, capacity=10, ids="str")
    added = await db.add("items", [[1, 2], [3, 4]], ids=["a", "b"])
    assert added.last_seq == 2
    assert (await db.search("items", [3, 4], k=1)).ids == ["b"]


# -- search -------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
async def test_an_answer_is_the_sort_of_the_scores_to_the_bit(db: Client, metric: Any) -> None:
    await db.create("items", dim=16, capacity=500, metric=metric)
    rows, query = vectors(500, dim=16), vectors(1, dim=16, seed=2)
    await db.add("items", rows, ids=range(500))
    answer = await db.search("items", query[0], k=20)
    asked = np.repeat(prepare(query, metric), 500, axis=0)
    scores = score_pairs(metric, prepare(rows, metric), asked)
    order = np.lexsort((-np.arange(500), -scores))[:20]
    assert answer.ids.tolist() == order.tolist()
    assert answer.seqs.tolist() == (order + 1).tolist()
    np.testing.assert_array_equal(answer.scores, scores[order])
    assert (answer.version, len(answer)) == ((await db.describe("items")).version, 20)
    assert answer.took_us >= 0


async def test_the_arrays_of_an_answer_are_views_on_what_was_received(db: Client) -> None:
    await db.create("items", dim=4, capacity=10, metric="dot")
    await db.add("items", vectors(5), ids=range(5))
    answer = await db.search("items", [1, 2, 3, 4], include=["vector"])
    assert isinstance(answer, Answer)
    for array in (answer.ids, answer.seqs, answer.scores, answer.vectors):
        assert isinstance(array, np.ndarray)
        assert not array.flags.owndata
    assert isinstance(answer.ids, np.ndarray)
    assert (answer.ids.dtype, answer.seqs.dtype) == (np.uint64, np.uint64)


async def test_rows_of_an_answer_carry_what_was_asked_for(db: Client) -> None:
    await db.create("items", dim=4, capacity=10, metric="dot")
    rows = vectors(3)
    await db.add("items", rows, ids=[5, 6, 7], metadata=[{"a": 1}, {"a": 2}, None])
    answer = await db.search("items", rows[1], k=3, include=["metadata", "vector"])
    for row in answer:
        assert row.metadata == {5: {"a": 1}, 6: {"a": 2}, 7: {}}[int(row.id)]
        np.testing.assert_array_equal(row.vector, rows[int(row.id) - 5])
    assert [row.score for row in answer] == sorted((row.score for row in answer), reverse=True)
    plain = next(iter(await db.search("items", rows[1])))
    assert (plain.metadata, plain.vector) == (None, None)


async def test_several_vectors_are_asked_at_once_however_many(db: Client) -> None:
    await db.create("items", dim=4, capacity=100, metric="dot")
    rows = vectors(100)
    await db.add("items", rows, ids=range(100))
    queries = vectors(600, seed=3)
    answers = await db.search("items", queries, k=3)
    assert len(answers) == 600
    for at in (0, 255, 256, 599):
        alone = await db.search("items", queries[at], k=3)
        assert answers[at].ids.tolist() == alone.ids.tolist()
        np.testing.assert_array_equal(answers[at].scores, alone.scores)
    assert await db.search("items", queries[:1], k=3) != []


async def test_filters_thresholds_and_the_newest_rows_narrow_an_answer(db: Client) -> None:
    await db.create("items", dim=2, capacity=100, metric="dot", columns={"n": "i64"})
    await db.add("items", [[i, 0] for i in range(10)], ids=range(10), columns={"n": range(10)})
    search = db.search
    assert (await search("items", [1, 0], filter={"n": {"$lt": 3}})).ids.tolist() == [2, 1, 0]
    assert (await search("items", [1, 0], min_score=8)).ids.tolist() == [9, 8]
    assert (await search("items", [-1, 0], last=3)).ids.tolist() == [7, 8, 9]
    assert (await search("items", [1, 0], k=2)).ids.tolist() == [9, 8]
    assert len(await search("items", [1, 0], filter={"n": {"$gt": 100}})) == 0


@pytest.mark.parametrize("kind", ["u64", "str", "auto"])
async def test_like_searches_by_a_stored_row_and_leaves_it_out(db: Client, kind: Any) -> None:
    await db.create("items", dim=4, capacity=10, metric="l2", ids=kind)
    ids: Any = {"u64": [1, 2**63, 3], "str": ["1", "2", "3"], "auto": None}[kind]
    rows = [[0, 0, 0, 0], [1, 0, 0, 0], [3, 0, 0, 0]]
    await db.add("items", rows, ids=ids, metadata=[{"at": 0}, {"at": 1}, {"at": 3}])
    middle = ids[1] if ids else 2
    answer = await db.search("items", like=middle, include=["metadata", "vector"])
    expected = [ids[0], ids[2]] if ids else [1, 3]
    assert list(answer.ids) == expected
    assert [row.score for row in answer] == [-1.0, -4.0]
    assert [row.metadata for row in answer] == [{"at": 0}, {"at": 3}]
    assert answer.vectors is not None
    assert answer.vectors.tolist() == [rows[0], rows[2]]
    with pytest.raises(errors.NotFound):
        await db.search("items", like="9" if kind == "str" else 9)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"vector": [1, 2]}, errors.DimMismatch),
        ({"vector": [[1, 2, 3, 4], [1, 2]]}, errors.DimMismatch),
        ({"vector": [1, 2, 3, np.inf]}, errors.NonFinite),
        ({"vector": [0, 0, 0, 0]}, errors.ZeroNorm),
        ({"vector": [1e20, 0, 0, 0]}, errors.NonFinite),
        ({"vector": "1234"}, errors.BadVector),
        ({"vector": [None, 1, 2, 3]}, errors.BadVector),
        ({"vector": np.zeros((0, 4))}, errors.BadVector),
        ({"vector": np.zeros((1, 1, 4))}, errors.BadVector),
        ({}, errors.BadRequest),
        ({"vector": [1, 2, 3, 4], "like": 1}, errors.BadRequest),
        ({"like": 1.5}, errors.BadId),
        ({"like": -1}, errors.BadId),
        ({"k": 0}, errors.BadK),
        ({"k": -1}, errors.BadK),
        ({"k": True}, errors.BadK),
        ({"k": 1.5}, errors.BadK),
        ({"k": 1001}, errors.BadK),
        ({"k": 2**32}, errors.BadK),
        ({"last": 0}, errors.BadRequest),
        ({"filter": {"nope": 1}}, errors.BadFilter),
        ({"filter": {"$where": "import os"}}, errors.BadFilter),
        ({"include": ["score"]}, errors.BadRequest),
        ({"include": "metadata"}, errors.BadRequest),
    ],
)
async def test_a_search_that_cannot_be_raises_its_class(
    db: Client, fields: dict[str, Any], error: type[errors.OmenError]
) -> None:
    await db.create("items", dim=4, capacity=10)
    await db.add("items", vectors(1), ids=[1])
    if fields and "vector" not in fields and "like" not in fields:
        fields = {"vector": [1, 2, 3, 4], **fields}
    with pytest.raises(error):
        await db.search("items", **fields)
    assert len(await db.search("items", [1, 2, 3, 4])) == 1


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda db: db.get("items", [1.5]), errors.BadId),
        (lambda db: db.get("items", "12"), errors.BadId),
        (lambda db: db.get("items", ["x"]), errors.BadId),
        (lambda db: db.get("items", range(20_000)), errors.TooLarge),
        (lambda db: db.delete("items", [-1]), errors.BadId),
        (lambda db: db.update("items", [1], []), errors.BadRequest),
        (lambda db: db.update("items", [2], [{}]), errors.NotFound),
        (lambda db: db.update("items", [1, 1], [{}, {}]), errors.DuplicateId),
        (lambda db: db.count("items", {"x": 1}), errors.BadFilter),
        (lambda db: db.stats("nothing"), errors.NotFound),
    ],
)
async def test_other_calls_that_cannot_be_raise_their_class(
    db: Client, call: Any, error: type[errors.OmenError]
) -> None:
    await db.create("items", dim=4, capacity=10)
    await db.add("items", vectors(1), ids=[1])
    with pytest.raises(error):
        await call(db)
    await db.ping()


# -- subscriptions ------------------------------------------------------------------------------


async def test_a_feed_delivers_every_row_that_is_added(server: Server, db: Client) -> None:
    await db.create("items", dim=4, capacity=5_000, metric="dot", columns={"n": "i64"})
    rows = vectors(1_000)
    seen: list[Row] = []
    async with asyncio.timeout(20), db.feed("items", include=["metadata", "vector"]) as feed:
        async with connect(server.url) as producer:
            for at in range(0, 1_000, 100):
                part = slice(at, at + 100)
                ids = range(at, at + 100)
                await producer.add("items", rows[part], ids=ids, columns={"n": ids})
        async for batch in feed:
            assert batch.gap is None
            seen += batch
            if len(seen) == 1_000:
                break
    assert [row.seq for row in seen] == list(range(1, 1_001))
    assert [row.metadata for row in seen] == [{"n": at} for at in range(1_000)]
    np.testing.assert_array_equal(np.array([row.vector for row in seen]), rows)


async def test_a_feed_can_begin_in_the_past_and_states_what_has_left_the_window(
    db: Client,
) -> None:
    made = await db.create("items", dim=4, capacity=10, metric="dot", columns={"n": "i64"})
    await db.add("items", vectors(25), ids=range(25), columns={"n": [at % 2 for at in range(25)]})
    feed = db.feed("items", filter={"n": 1}, from_seq=1, epoch=made.epoch)
    async with asyncio.timeout(20), feed:
        first = await anext(feed)
        assert first.gap is not None
        assert (first.gap.from_seq, first.gap.to_seq, first.gap.reason) == (1, 15, "evicted")
        assert [row.id for row in await anext(feed)] == [15, 17, 19, 21, 23]
    with pytest.raises(errors.BadRequest):
        async with db.feed("items", from_seq=100, epoch=made.epoch):
            pass


async def test_a_feed_ends_when_its_collection_is_dropped(db: Client) -> None:
    await db.create("items", dim=4, capacity=10)
    async with asyncio.timeout(20), db.feed("items") as feed:
        await db.drop("items")
        assert [rows async for rows in feed] == []


async def test_statistics_come_once_and_again(db: Client) -> None:
    await db.create("items", dim=4, capacity=10)
    await db.add("items", vectors(3), ids=range(3))
    assert (await db.stats())["connections"] == 1
    assert (await db.stats("items"))["rows"] == 3
    async with asyncio.timeout(20), db.watch_stats("items", every_ms=100) as stats:
        assert (await anext(stats))["rows"] == 3
        assert (await anext(stats))["rows"] == 3
    async with asyncio.timeout(20), db.watch_stats(every_ms=100) as stats:
        assert "uptime_s" in await anext(stats)
    with pytest.raises(errors.BadRequest):
        async with db.watch_stats(every_ms=1):
            pass


# -- tokens -------------------------------------------------------------------------------------


async def test_a_token_gives_its_rights_and_no_more(tmp_path: Path) -> None:
    async with Server(with_keys(tmp_path)) as server:
        async with connect(server.url, "token-root") as root:
            await root.create("items", dim=4, capacity=10)
            rights = await root.auth("token-root")
            assert rights["tenant"] == "acme"
            async with connect(server.url, "token-reader") as reader:
                assert len(await reader.list()) == 1
                assert await reader.count("items") == 0
                with pytest.raises(errors.Forbidden):
                    await reader.add("items", vectors(1), ids=[1])
                with pytest.raises(errors.Forbidden):
                    await reader.drop("items")
            async with connect(server.url, "token-other") as other:
                assert await other.list() == []
                with pytest.raises(errors.NotFound):
                    await other.add("items", vectors(1), ids=[1])
        for wrong in ("wrong", None):
            with pytest.raises(errors.Unauthenticated):
                async with connect(server.url, wrong):
                    pass


async def test_a_token_that_cannot_be_a_header_is_refused_here(server: Server) -> None:
    for token in ("new\nline", "ü€", ""):
        with pytest.raises(errors.Unauthenticated):
            async with connect(server.url, token):
                pass


# -- where there is no server -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("ws://127.0.0.1:1/v1", errors.ConnectionLost),
        ("http://127.0.0.1:1/v1", errors.BadRequest),
        ("nonsense", errors.BadRequest),
    ],
)
async def test_a_server_that_is_not_there_is_said_so(
    url: str, error: type[errors.OmenError]
) -> None:
    with pytest.raises(error):
        async with connect(url):
            pass


async def test_a_path_that_is_no_endpoint_is_unsupported(server: Server) -> None:
    with pytest.raises(errors.Unsupported):
        async with connect(server.url.replace("/v1", "/v7")):
            pass


async def test_a_server_that_takes_no_more_connections_may_take_one_later() -> None:
    async with running(max_connections=1) as server:
        async with connect(server.url):
            with pytest.raises(errors.ConnectionLost, match="503"):
                await connect(server.url)
        async with connect(server.url) as db:
            await db.ping()


async def test_tls_is_trusted_only_as_told(tmp_path: Path) -> None:
    files = make_certificate(tmp_path)
    tls = {"tls_certificate_file": files.certificate_file, "tls_key_file": files.key_file}
    async with running(**tls) as server:
        assert server.url.startswith("wss://")
        async with connect(server.url, tls=files.trusting()) as db:
            await db.create("items", dim=4, capacity=10)
            await db.add("items", vectors(2), ids=[1, 2])
            assert len(await db.search("items", [1, 0, 0, 0])) == 2
        with pytest.raises(errors.ConnectionLost, match="certificate"):
            await connect(server.url)


async def test_a_client_can_be_awaited_and_closed(server: Server) -> None:
    db = await connect(server.url)
    await db.ping()
    await db.close()
    await db.close()
    with pytest.raises(errors.ConnectionLost):
        await db.ping()


# -- the package --------------------------------------------------------------------------------


def test_the_package_gives_connect_and_every_error_by_name() -> None:
    for name in omendb_ws.__all__:
        assert getattr(omendb_ws, name) is not None
        assert name in dir(omendb_ws)
    for error in errors.OmenError.__subclasses__():
        assert getattr(omendb_ws, error.__name__) is getattr(errors, error.__name__)
    with pytest.raises(AttributeError):
        _ = omendb_ws.nothing


def test_the_package_is_imported_without_numpy_or_websockets() -> None:
    program = (
        "import sys, omendb_ws\n"
        "assert not {'numpy', 'websockets', 'asyncio'} & set(sys.modules)\n"
        "assert omendb_ws.errors.NotFound is omendb_ws.NotFound\n"
        "omendb_ws.connect\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
