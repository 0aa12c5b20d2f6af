"""What is new, and what is left out because it is known, by every kind of client."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np
import pytest

from omendb_ws import errors
from tests.client.common.places import Place
from tests.patience import PATIENCE_SECONDS


def turned(*degrees: float) -> np.ndarray:
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


NEAR = {"score": 0.999}
IDS: dict[str, Any] = {
    "u64": [2**64 - 1, 2, 3, 4],
    "str": ["ä", "b", "c", "d"],
    "auto": None,
}


@pytest.mark.parametrize("kind", ["u64", "str", "auto"])
async def test_rows_near_others_are_left_out_and_told_with_what_they_are_near(
    db: Any, kind: Any
) -> None:
    await db.create("items", dim=2, capacity=100, ids=kind)
    ids = IDS[kind]
    added = await db.add("items", turned(0, 90, 1, 180), ids, unless_near=NEAR)
    assert (added.version, added.first_seq, added.last_seq, added.rows) == (1, 1, 3, 4)
    assert list(added.skipped) == [2]
    assert list(added.near) == [1 if ids is None else ids[0]]
    more = None if ids is None else ids[:1]
    again = await db.add("items", turned(91), more, unless_near=NEAR)
    assert (again.version, again.first_seq, again.last_seq) == (1, None, None)
    assert list(again.skipped) == [0]
    assert list(again.near) == [2 if ids is None else ids[1]]
    plain = await db.add("items", turned(91), more)
    assert (plain.skipped, plain.near, plain.last_seq) == (None, None, 4)


async def test_a_large_add_tells_the_places_of_the_whole_call(db: Any) -> None:
    await db.create("items", dim=128, capacity=5_000, columns={"kind": "str"})
    rows = np.random.default_rng(1).standard_normal((2_000, 128)).astype(np.float32)
    rows[1_000:] = rows[:1_000]  # in other frames than their originals
    added = await db.add("items", rows, range(2_000), unless_near=NEAR)
    assert list(added.skipped) == list(range(1_000, 2_000))
    assert list(added.near) == list(range(1_000))
    assert (added.rows, added.last_seq) == (2_000, 1_000)
    last = await db.add(
        "items",
        rows[:3],
        range(5_000, 5_003),
        [{"kind": "a"}] * 3,
        unless_near={"score": 0.999, "filter": {"kind": "a"}},
    )
    assert list(last.skipped) == []


async def test_a_named_batch_is_taken_once_and_knows_its_skipped_rows_once(db: Any) -> None:
    await db.create("items", dim=2, capacity=100)
    fields: dict[str, Any] = {"producer": "p", "unless_near": NEAR}
    await db.add("items", turned(0), [1], batch=1, **fields)
    none = await db.add("items", turned(0.1), [2], batch=2, **fields)
    assert (list(none.skipped), list(none.near), none.first_seq) == ([0], [1], None)
    again = await db.add("items", turned(0.1), [2], batch=2, **fields)
    assert (again.duplicate, again.skipped, again.near) == (True, None, None)
    assert (await db.add("items", turned(90), [2], batch=3, **fields)).first_seq == 2


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (5, "unless_near: must be a mapping"),
        ({}, "unless_near.score: missing"),
        ({"score": "1"}, "unless_near.score: must be a number"),
        ({"score": math.nan}, "unless_near.score: must be finite"),
        ({"score": 1, "last": 5}, "unless_near.last: unknown field"),
        ({"score": 1, "filter": 5}, "unless_near.filter: must be a mapping"),
        ({"score": 1, "filter": {"x": 1}}, "unless_near.filter.x"),
    ],
)
async def test_a_fault_in_unless_near_is_named(db: Any, given: Any, says: str) -> None:
    await db.create("items", dim=2, capacity=100)
    with pytest.raises((errors.BadRequest, errors.BadFilter), match=f"^{says}"):
        await db.add("items", turned(0), [1], unless_near=given)
    assert await db.count("items") == 0


@pytest.mark.parametrize("kind", ["u64", "str", "auto"])
async def test_what_is_new_comes_with_its_best_score_and_what_that_is_of(
    place: Place, shared: Any, kind: Any
) -> None:
    ids = IDS[kind]
    await shared.create("items", dim=2, capacity=100, ids=kind, columns={"kind": "str"})
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        shared.novel("items", 0.999, include=["metadata"]) as novel,
        shared.novel("items", 0.999, filter={"kind": "b"}, last=1) as other,
        place.connect() as producer,
    ):
        metadata = [{"kind": "a"}, {"kind": "b"}, {"kind": "b"}, {"kind": "b"}]
        await producer.add("items", turned(0, 60, 1, 1), ids, metadata)
        rows = await anext(novel)
        given = [1, 2, 3, 4] if ids is None else ids
        assert (list(rows.ids), rows.seqs.tolist()) == (given[:2], [1, 2])
        assert list(rows.near) == [None, given[0]]
        assert rows.scores[0] == -np.inf
        assert rows.scores[1] == np.float32(rows[1].score)
        assert abs(rows[1].score - 0.5) < 1e-6
        assert [(row.id, row.near) for row in rows] == [(given[0], None), (given[1], given[0])]
        assert rows.metadata == metadata[:2]
        seen = await anext(other)
        assert list(seen.near) == [None, given[1]]
        assert seen.seqs.tolist() == [2, 3]


async def test_it_goes_on_where_it_was_and_states_what_it_does_not_tell(db: Any) -> None:
    made = await db.create("items", dim=2, capacity=10)
    await db.add("items", turned(*range(0, 250, 10)), range(25))
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        db.novel("items", 2.0, from_seq=1, epoch=made.epoch) as novel,
    ):
        first = await anext(novel)
        assert (first.gap.from_seq, first.gap.to_seq, first.gap.reason) == (1, 15, "evicted")
        rows = await anext(novel)
        assert rows.seqs.tolist() == list(range(16, 26))
        assert list(rows.near) == [None, *range(15, 24)]
        assert (novel.to_seq, novel.epoch) == (25, made.epoch)
    for wrong in ("x", math.inf):
        with pytest.raises(errors.BadRequest, match=r"^below: "):
            db.novel("items", wrong)
    with pytest.raises(errors.BadRequest, match=r"^last: "):
        db.novel("items", 1.0, last=0)
    with pytest.raises(errors.BadRequest, match="go together"):
        db.novel("items", 1.0, from_seq=1)
