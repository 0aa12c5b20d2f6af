"""Searches whose answer is shaped, by every kind of client."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest

from omendb_ws import errors

#: Scores against (1, 0) are 9, 8, … 1 under dot.
VECTORS = [[9.0, 0], [8, 1], [7, 0], [6, 2], [5, 0], [4, 3], [3, 0], [2, 5], [1, 0]]
GROUPS = ["a", "a", "b", None, None, "c", "a", "b", "c"]
PRICES: list[float | None] = [4.0, 3.0, None, 1.0, 0.5, -2.0, 7.0, 8.0, 9.0]
IDS = [1, 2, 3, 4, 5, 6, 7, 8, 2**63]


async def filled(db: Any, ids: str = "u64") -> None:
    columns = {"group": "str", "price": "f64"}
    await db.create("items", dim=2, capacity=100, metric="dot", ids=ids, columns=columns)
    given: Any = {"u64": IDS, "str": [*map(str, IDS)]}[ids]
    await db.add("items", VECTORS, ids=given, columns={"group": GROUPS, "price": PRICES})


def said(answer: Any) -> list[Any]:
    """Everything of an answer but when it was made."""
    return [
        answer.version,
        answer.at,
        *(
            list(one) if isinstance(one, list) or one is None else one.tobytes()
            for one in (answer.ids, answer.seqs, answer.scores, answer.ranks, answer.weights)
            if one is not None
        ),
    ]


async def test_a_plain_answer_has_no_ranks(db: Any) -> None:
    await filled(db)
    answer = await db.search("items", [1, 0], k=2)
    assert (answer.ranks, answer.weights, answer.at) == (None, None, None)
    assert [(row.rank, row.weight) for row in answer] == [(None, None)] * 2


@pytest.mark.parametrize("ids", ["u64", "str"])
async def test_ids_and_vectors_are_examples(db: Any, ids: str) -> None:
    await filled(db, ids)
    as_id: Any = {"u64": int, "str": str}[ids]
    for positive, negative in (
        ([as_id(1), [1.0, 2.0]], [as_id(4)]),
        ((as_id(1), np.array([1, 2], np.int16)), (as_id(4), [6.0, 2.0])),
        ([as_id(1), np.float64([1, 2])], np.array([[6.0, 2.0]])),
    ):
        answer = await db.search("items", positive=positive, negative=negative, k=3)
        # P = (5, 1), N = (6, 2): the target is (4, 0)
        assert answer.scores.tolist()[:2] == [32, 28]
        assert list(answer.ids)[:2] == [as_id(2), as_id(3)]
    alone = await db.search("items", positive=[as_id(2)])
    assert said(alone) == said(await db.search("items", like=as_id(2)))
    assert as_id(2**63) in list(alone.ids)
    assert as_id(2**63) not in list((await db.search("items", positive=[as_id(2**63)])).ids)


async def test_arrays_of_ids_are_examples_and_exclusions(db: Any) -> None:
    await filled(db)
    answer = await db.search("items", positive=np.array([1, 3]), exclude=np.array([2, 4, 77]))
    assert answer.ids.tolist() == [5, 6, 7, 8, 2**63]
    for exclude in ([1, 2**63], (1, str(2**63)), np.array([1, 2**63], np.uint64)):
        answer = await db.search("items", [1, 0], exclude=exclude)
        assert answer.ids.tolist() == [2, 3, 4, 5, 6, 7, 8]
    assert (await db.search("items", [1, 0], exclude=[])).ids.tolist() == IDS


async def test_decay_gives_ranks_and_weights_at_a_time(db: Any) -> None:
    await filled(db)
    before = time.time()
    decay = {"half_life": 2, "column": "price"}
    answer = await db.search("items", [1, 0], k=9, decay=decay)
    assert before - 60 < answer.at < time.time() + 60
    ranks = {
        id_: math.log2(x) + price / 2
        for id_, (x, _), price in zip(IDS, VECTORS, PRICES, strict=True)
        if price is not None
    }
    newest_first = reversed(ranks)
    assert answer.ids.tolist() == [*sorted(newest_first, key=lambda id_: -ranks[id_]), 3]
    assert [row.rank for row in answer][:-1] == pytest.approx(sorted(ranks.values(), reverse=True))
    assert (answer[8].rank, answer[8].weight) == (None, None)
    assert math.isnan(answer.ranks[8])
    assert math.isnan(answer.weights[8])
    at_four = await db.search("items", [1, 0], k=9, decay=decay, at=4)
    assert at_four.at == 4.0
    assert {row.id: row.weight for row in at_four if row.id in (1, 4, 8)} == {
        1: 1.0, 8: 4.0, 4: pytest.approx(2**-1.5),
    }  # fmt: skip


async def test_the_time_of_an_answer_gives_it_again(db: Any) -> None:
    await filled(db)
    for shape in (
        {"decay": {"half_life": 0.25}},
        {"rank": {"$sub": ["$score", {"$mul": ["$age", 1000]}]}},
    ):
        first = await db.search("items", [1, 2], **shape)
        assert said(await db.search("items", [1, 2], **shape, at=first.at)) == said(first)
        by_json = await db.search("items", like=5, **shape, at=first.at)
        assert said(by_json) == said(
            await db.search("items", positive=[5], **shape, at=np.float64(first.at))
        )


async def test_rank_orders_by_an_expression(db: Any) -> None:
    await filled(db)
    answer = await db.search("items", [1, 0], rank={"$mul": ["$score", "price"]}, k=3)
    assert [(row.id, row.rank, row.weight) for row in answer] == [
        (1, 36.0, None), (2, 24.0, None), (7, 21.0, None),
    ]  # fmt: skip
    assert (await db.search("items", [1, 0], rank="price", k=1)).ids.tolist() == [2**63]
    assert (await db.search("items", [1, 0], rank=1, k=1)).ids.tolist() == [1]
    assert (await db.search("items", [1, 0], rank=np.float32(1), k=1)).ranks.tolist() == [1]


async def test_selections_select(db: Any) -> None:
    await filled(db)
    search = db.search
    grouped = await search("items", [1, 0], group={"by": "group", "size": 2})
    assert grouped.ids.tolist() == [1, 2, 3, 4, 5, 6, 8, 2**63]
    spread = await search("items", [1, 0], spread={"max_similarity": 40})
    assert spread.ids.tolist() == [1, 6, 7, 8, 2**63]
    mmr = await search("items", [1, 0], k=2, mmr={"lambda": 0.1, "candidates": 6})
    assert mmr.ids.tolist() == [1, 6]


async def test_many_vectors_are_shaped_at_one_time(db: Any) -> None:
    await filled(db)
    queries = np.random.default_rng(1).normal(size=(600, 2))
    shape: dict[str, Any] = {"rank": {"$mul": ["$score", "$age"]}, "group": {"by": "group"}}
    answers = await db.search("items", queries, k=3, **shape)
    assert {answer.at for answer in answers} == {answers[0].at}
    for place in (0, 255, 256, 599):
        alone = await db.search("items", queries[place], k=3, **shape, at=answers[0].at)
        assert said(alone) == said(answers[place])


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"positive": [1], "vector": [1, 0]}, errors.BadRequest, "vector, like and positive"),
        ({"positive": [1], "like": 1}, errors.BadRequest, "vector, like and positive"),
        ({"vector": None}, errors.BadRequest, "vector, like and positive"),
        ({"negative": [1]}, errors.BadRequest, "^negative: needs positive"),
        ({"positive": []}, errors.BadRequest, "^positive: must not be empty"),
        ({"positive": [1] * 65}, errors.BadRequest, "^positive: at most 64"),
        ({"positive": [1], "negative": [1] * 65}, errors.BadRequest, "^negative: at most 64"),
        ({"positive": 1}, errors.BadRequest, "^positive: must be a list"),
        ({"positive": {1, 2}}, errors.BadRequest, "^positive: must be a list"),
        ({"positive": "12"}, errors.BadRequest, "^positive: must be a list"),
        ({"positive": {"1": 2}}, errors.BadRequest, "^positive: must be a list"),
        ({"positive": np.zeros((1, 1, 2))}, errors.BadRequest, "^positive: must be a list"),
        ({"positive": [1, 1.5]}, errors.BadId, "^positive: "),
        ({"positive": [-1]}, errors.BadId, "^positive: "),
        ({"positive": [True]}, errors.BadId, "^positive: "),
        ({"positive": [None]}, errors.BadId, "^positive: "),
        ({"positive": [1, [1, "2"]]}, errors.BadVector, "^positive: "),
        ({"positive": [1, []]}, errors.BadVector, "^positive: "),
        ({"positive": [1, [[1, 2]]]}, errors.BadVector, "^positive: "),
        ({"positive": [1, [1, math.inf]]}, errors.NonFinite, "^positive: "),
        ({"positive": [1, [1, 2, 3]]}, errors.DimMismatch, "^positive: "),
        ({"positive": [1, 99]}, errors.NotFound, "^positive: "),
        ({"positive": [1], "negative": [1, 99]}, errors.NotFound, "^negative: "),
        ({"exclude": {1}}, errors.BadId, "^exclude: "),
        ({"exclude": [1, 1.5]}, errors.BadId, "^exclude: "),
        ({"exclude": "1"}, errors.BadId, "^exclude: "),
        ({"exclude": range(10_001)}, errors.TooLarge, "^exclude: "),
        ({"decay": 3600}, errors.BadRequest, "^decay: "),
        ({"decay": {"half_life": math.nan}}, errors.BadRequest, r"^decay\.half_life: "),
        ({"decay": {"half_life": 1e-300}}, errors.BadRequest, r"^decay\.half_life: "),
        ({"decay": {"half_life": 1e300}}, errors.BadRequest, r"^decay\.half_life: "),
        ({"decay": {"half_life": "1"}}, errors.BadRequest, r"^decay\.half_life: "),
        ({"decay": {}}, errors.BadRequest, r"^decay\.half_life: "),
        ({"decay": {"half_life": 1, "column": "group"}}, errors.BadRequest, r"^decay\.column: "),
        ({"decay": {"half_life": 1, 2: 3}}, errors.BadRequest, "^decay: "),
        ({"decay": {"half_life": 1}, "rank": 1}, errors.BadRequest, "^decay: "),
        ({"rank": {"$exec": 1}}, errors.BadRank, r"^rank\.\$exec: "),
        ({"rank": "os.remove"}, errors.BadRank, "^rank: "),
        ({"rank": {1: 2}}, errors.BadRank, "^rank: "),
        ({"rank": b"$score"}, errors.BadRank, "^rank: "),
        ({"rank": math.inf}, errors.BadRank, "^rank: "),
        ({"group": "group"}, errors.BadRequest, "^group: "),
        ({"group": {"by": "nope"}}, errors.BadRequest, r"^group\.by: "),
        ({"group": {"by": "group", "size": 0}}, errors.BadRequest, r"^group\.size: "),
        ({"spread": 0.5}, errors.BadRequest, "^spread: "),
        ({"spread": {"max_similarity": None}}, errors.BadRequest, r"^spread\.max_similarity: "),
        ({"mmr": 0.5}, errors.BadRequest, "^mmr: "),
        ({"mmr": {"lambda": 2}}, errors.BadRequest, r"^mmr\.lambda: "),
        ({"mmr": {"lambda": 1, "candidates": 2}}, errors.BadRequest, r"^mmr\.candidates: "),
        ({"mmr": {"lambda": 1}, "spread": {"max_similarity": 1}}, errors.BadRequest, "^spread: "),
        ({"at": 1}, errors.BadRequest, "^at: needs decay or rank"),
        ({"at": "now", "rank": 1}, errors.BadRequest, "^at: "),
        ({"at": math.inf, "rank": 1}, errors.BadRequest, "^at: "),
        ({"at": True, "rank": 1}, errors.BadRequest, "^at: "),
    ],
    ids=str,
)
async def test_what_is_no_shape_is_refused_by_name(
    db: Any, fields: dict[str, Any], error: type[errors.OmenError], message: str
) -> None:
    await filled(db)
    if fields.keys().isdisjoint(("vector", "positive", "like")):
        fields = {"vector": [1, 0], **fields}
    with pytest.raises(error, match=message):
        await db.search("items", **fields)
    assert len(await db.search("items", [1, 0], k=3)) == 3


async def test_a_fault_of_an_example_has_its_place(db: Any) -> None:
    await filled(db)
    for positive, negative in (([1, 99], []), ([1, [1, "x"]], []), ([1], [[1, 0], [1, 2, 3]])):
        with pytest.raises(errors.OmenError) as caught:
            await db.search("items", positive=positive, negative=negative)
        assert caught.value.row == 1
