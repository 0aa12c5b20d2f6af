"""Search, by every kind of client."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from omendb_core.scoring.score import prepare, score_pairs

from omendb_ws import errors
from omendb_ws.client.answers import Answer
from tests.client.common.places import vectors


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
async def test_an_answer_is_the_sort_of_the_scores_to_the_bit(db: Any, metric: Any) -> None:
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


async def test_the_arrays_of_an_answer_are_views_on_what_was_received(db: Any) -> None:
    await db.create("items", dim=4, capacity=10, metric="dot")
    await db.add("items", vectors(5), ids=range(5))
    answer = await db.search("items", [1, 2, 3, 4], include=["vector"])
    assert isinstance(answer, Answer)
    for array in (answer.ids, answer.seqs, answer.scores, answer.vectors):
        assert isinstance(array, np.ndarray)
        assert not array.flags.owndata
    assert isinstance(answer.ids, np.ndarray)
    assert (answer.ids.dtype, answer.seqs.dtype) == (np.uint64, np.uint64)


async def test_rows_of_an_answer_carry_what_was_asked_for(db: Any) -> None:
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


async def test_several_vectors_are_asked_at_once_however_many(db: Any) -> None:
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


async def test_filters_thresholds_and_the_newest_rows_narrow_an_answer(db: Any) -> None:
    await db.create("items", dim=2, capacity=100, metric="dot", columns={"n": "i64"})
    await db.add("items", [[i, 0] for i in range(10)], ids=range(10), columns={"n": range(10)})
    search = db.search
    assert (await search("items", [1, 0], filter={"n": {"$lt": 3}})).ids.tolist() == [2, 1, 0]
    assert (await search("items", [1, 0], min_score=8)).ids.tolist() == [9, 8]
    assert (await search("items", [-1, 0], last=3)).ids.tolist() == [7, 8, 9]
    assert (await search("items", [1, 0], k=2)).ids.tolist() == [9, 8]
    assert len(await search("items", [1, 0], filter={"n": {"$gt": 100}})) == 0


@pytest.mark.parametrize("kind", ["u64", "str", "auto"])
async def test_like_searches_by_a_stored_row_and_leaves_it_out(db: Any, kind: Any) -> None:
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
    db: Any, fields: dict[str, Any], error: type[errors.OmenError]
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
    db: Any, call: Any, error: type[errors.OmenError]
) -> None:
    await db.create("items", dim=4, capacity=10)
    await db.add("items", vectors(1), ids=[1])
    with pytest.raises(error):
        await call(db)
    await db.ping()
