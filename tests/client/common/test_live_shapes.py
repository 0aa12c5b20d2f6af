"""Live queries with what shapes an answer, and moves of it, through every kind of client."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from omendb_ws import errors

from ..fake import PATIENCE_SECONDS

V = [1.0, 0.0]


async def begin(db: Any, **fields: Any) -> None:
    """Rows n = 0 … 9 at (n, 1), of kinds "even" and "odd"; dot."""
    columns = {"kind": "str", "n": "i64"}
    await db.create("items", dim=2, capacity=100, metric="dot", columns=columns, **fields)
    await add(db, *range(10))


async def add(db: Any, *numbers: int) -> Any:
    return await db.add(
        "items",
        [[n, 1] for n in numbers],
        ids=list(numbers),
        metadata=[{"kind": "odd" if n % 2 else "even", "n": n} for n in numbers],
    )


async def step(query: Any) -> Any:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await query.__anext__()


def ids(answer: Any) -> list[int]:
    return [row.id for row in answer]


SHAPES: list[dict[str, Any]] = [
    {"exclude": [9, 7]},
    {"exclude": np.array([9, 2**64 - 1], np.uint64)},
    {"decay": {"half_life": 0.5, "column": "n"}},
    {"decay": {"half_life": 3600}},
    {"rank": {"$neg": {"$abs": {"$sub": ["n", 4]}}}},
    {"rank": "n", "filter": {"n": {"$lt": 8}}},
    {"group": {"by": "kind"}},
    {"group": {"by": "kind", "size": 2}, "decay": {"half_life": 60}, "min_score": 3},
    {"spread": {"max_similarity": 40}, "rank": {"$min": ["$score", 5]}},
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda one: "-".join(one))
async def test_a_shaped_answer_is_what_search_returns(db: Any, shape: dict[str, Any]) -> None:
    await begin(db)
    async with db.live("items", V, 4, **shape) as query:
        for _ in range(3):
            answer = await step(query)
            expected = await db.search("items", V, 4, **shape)
            assert ids(answer) == ids(expected)
            assert answer.scores.tolist() == expected.scores.tolist()
            is_ranked = "decay" in shape or "rank" in shape
            assert (answer.ranks is not None) == is_ranked
            if is_ranked:
                assert answer.ranks.tolist() == expected.ranks.tolist()
                assert [row.rank for row in answer] == [row.rank for row in expected]
                assert not answer.ranks.flags.writeable
            await db.delete("items", [ids(expected)[0]])


async def test_examples_and_what_they_leave_out(db: Any) -> None:
    await begin(db)
    async with db.live("items", k=2, positive=[9, np.array([5, 1])], negative=[[0, 1]]) as query:
        assert ids(await step(query)) == [8, 7]
        await query.move(positive=[0], negative=[np.float32([5, 1])])
        answer = await step(query)
        assert (ids(answer), answer.moved) == ([1, 2], True)
        await query.move(V)
        assert ids(await step(query)) == [9, 8]


async def test_a_row_whose_rank_changed_was_updated(db: Any) -> None:
    await begin(db)
    async with db.live("items", V, 2, rank={"$neg": "n"}) as query:
        assert ids(await step(query)) == [0, 1]
        await db.update("items", [0], [{"n": -5}])
        answer = await step(query)
        assert (ids(answer), answer.ranks.tolist()) == ([0, 1], [5.0, -1.0])
        assert [tuple(one) for one in answer.left] == [(0, 1, "updated")]
        assert ids(answer.entered) == [0]
        await db.update("items", [0], [{}])
        answer = await step(query)
        assert [tuple(one) for one in answer.left] == [(0, 1, "filtered")]
        assert ids(answer) == [1, 2]


async def test_a_move_changes_what_it_gives_and_nothing_else(db: Any) -> None:
    await begin(db)
    async with db.live("items", V, 3, exclude=[9], group={"by": "kind", "size": 2}) as query:
        assert ids(await step(query)) == [8, 7, 6]
        await query.move(filter={"n": {"$lt": 8}})
        answer = await step(query)
        assert (ids(answer), answer.moved) == ([7, 6, 5], True)
        await query.move([-1.0, 0.0], min_score=-3)
        assert ids(await step(query)) == [0, 1, 2]
        await query.move(exclude=[0, 1], min_score=None)
        assert ids(await step(query)) == [2, 3, 4]
        await query.move(exclude=None, filter=None)
        assert ids(await step(query)) == [0, 1, 2]
        await query.move(V)
        assert ids(await step(query)) == [9, 8, 7]


async def test_moves_of_different_things_are_all_made_whatever_their_order(db: Any) -> None:
    await begin(db)
    async with db.live("items", [0.0, 1.0], 3) as query:
        await step(query)
        ends = await asyncio.gather(
            query.move(exclude=[9]),
            query.move(filter={"undeclared": 1}),
            query.move(filter={"kind": "even"}),
            query.move(positive=[1234]),
            query.move(min_score=5),
            query.move(V),
            return_exceptions=True,
        )
        kinds = [type(one) for one in ends]
        assert kinds[0] is kinds[2] is kinds[4] is kinds[5] is type(None)
        assert kinds[1] in (errors.BadFilter, type(None))  # or the one behind it was sent instead
        assert kinds[3] in (errors.NotFound, type(None))
        answer = await step(query)
        while ids(answer) != [8, 6]:
            answer = await step(query)


async def test_what_is_wrong_with_a_shape_is_told_when_it_begins(db: Any) -> None:
    await begin(db)
    wrong: list[tuple[dict[str, Any], type[Exception]]] = [
        ({"decay": {"half_life": 0}}, errors.BadRequest),
        ({"rank": "$age"}, errors.BadRank),
        ({"rank": {"$add": [1]}}, errors.BadRank),
        ({"group": {"by": "undeclared"}}, errors.BadRequest),
        ({"spread": {"max_similarity": "1"}}, errors.BadRequest),
        ({"exclude": ["text"]}, errors.BadId),
    ]
    for fields, kind in wrong:
        with pytest.raises(kind, match=rf"^{next(iter(fields))}\b"):
            async with db.live("items", V, **fields):
                pass
    with pytest.raises(errors.NotFound, match=r"^negative\b") as caught:
        async with db.live("items", positive=[1], negative=[2, 1234]):
            pass
    assert caught.value.row == 1
    for nothing in ({}, {"negative": [1]}, {"vector": V, "positive": [1]}):
        with pytest.raises(errors.BadRequest):
            db.live("items", **nothing)
