"""Searches whose answer is shaped (PROTOCOL section 5) over sockets, in text and in binary."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from omendb_ws.net.server import Server
from tests.server.raw import Clock, Raw, client, running, settings
from tests.server.shaped import ask_binary, both, row_of, rows_of

HOUR_SECONDS = 3600.0
#: id -> (vector, category, price); scores against (1, 0) are 9, 8, … 1.
ROWS: dict[int, tuple[list[float], str | None, float | None]] = {
    1: ([9.0, 0.0], "a", 4.0),
    2: ([8.0, 1.0], "a", 3.0),
    3: ([7.0, 0.0], "b", None),
    4: ([6.0, 2.0], None, 1.0),
    5: ([5.0, 0.0], None, 0.5),
    6: ([4.0, 3.0], "c", -2.0),
}
COLUMNS = {"category": "str", "price": "f64", "on": "bool"}


@asynccontextmanager
async def filled(**fields: Any) -> AsyncIterator[tuple[Raw, int, Clock]]:
    """A window of ``ROWS``, one an hour; the clock stands an hour after the last one."""
    clock = Clock()
    server = Server(settings(), clock_us=clock)
    async with running(server), client(server) as raw:
        handle = (await raw.create(columns=COLUMNS, **fields))["handle"]
        for id_, (vector, category, price) in ROWS.items():
            metadata = {"category": category, "price": price}
            row = {"id": id_, "vector": vector, "metadata": metadata}
            await raw.ok("add", collection="items", rows=[row])
            clock.move(HOUR_SECONDS)
        yield raw, handle, clock


async def test_a_plain_answer_has_neither_rank_nor_weight_nor_time() -> None:
    async with filled() as (raw, handle, _):
        found = await both(raw, handle, vector=[1, 0])
        assert found.ids == [1, 2, 3, 4, 5, 6]
        assert found.at is None
        assert found.keys == {"id", "seq", "score"}


async def test_examples_are_the_query_and_their_rows_are_left_out() -> None:
    async with filled() as (raw, handle, _):
        found = await both(raw, handle, positive=[1, [1.0, 2.0]], negative=[4])
        # P = (5, 1), N = (6, 2): the target is (4, 0)
        assert found.ids == [2, 3, 5, 6]
        assert [row.score for row in found.rows] == [32, 28, 20, 16]
        alone = await both(raw, handle, positive=[2])
        like = await raw.ok("search", collection="items", like=2)
        assert alone.rows == [row_of(one) for one in like["results"]]


async def test_excluded_ids_are_left_out_and_those_that_are_not_there_passed_over() -> None:
    async with filled() as (raw, handle, _):
        found = await both(raw, handle, vector=[1, 0], exclude=[1, 3, 99, "12345678901234567890"])
        assert found.ids == [2, 4, 5, 6]
        assert (await both(raw, handle, vector=[1, 0], exclude=[])).ids == [*ROWS]


async def test_decay_orders_by_age_and_states_rank_weight_and_time() -> None:
    async with filled() as (raw, handle, clock):
        found = await both(raw, handle, vector=[1, 0], decay={"half_life": HOUR_SECONDS})
        assert found.at == clock.now_us / 1e6
        assert found.keys == {"id", "seq", "score", "rank", "weight"}
        assert found.ids == [6, 5, 4, 3, 2, 1]
        assert [row.weight for row in found.rows] == [0.5, 0.25, 2**-3, 2**-4, 2**-5, 2**-6]
        began = found.at - (len(ROWS)) * HOUR_SECONDS
        for row in found.rows:
            accepted = began + (row.seq - 1) * HOUR_SECONDS
            assert row.rank == pytest.approx(math.log2(row.score) + accepted / HOUR_SECONDS)


async def test_the_same_time_gives_the_same_answer_and_another_one_other_weights_only() -> None:
    async with filled() as (raw, handle, clock):
        decay = {"half_life": HOUR_SECONDS, "column": "price"}
        first = await both(raw, handle, vector=[1, 0], decay=decay)
        clock.move(12345.678)
        assert await both(raw, handle, vector=[1, 0], decay=decay, at=first.at) == first
        for at in (-1e18, 0, 2.0**62, 1e300):
            other = await both(raw, handle, vector=[1, 0], decay=decay, at=at)
            assert other.at == at
            assert [row._replace(weight=None) for row in other.rows] == [
                row._replace(weight=None) for row in first.rows
            ]
            assert {row.id for row in other.rows if row.weight is None} == {3}
            assert all(row.weight is None or math.isfinite(row.weight) for row in other.rows)


async def test_rank_orders_by_its_value_and_leaves_out_what_has_none() -> None:
    async with filled() as (raw, handle, _):
        rank = {"$mul": ["$score", "price"]}
        found = await both(raw, handle, vector=[1, 0], rank=rank)
        assert found.keys == {"id", "seq", "score", "rank"}
        assert [(row.id, row.rank) for row in found.rows] == [
            (1, 36), (2, 24), (4, 6), (5, 2.5), (6, -8),
        ]  # fmt: skip
        assert found.at is not None


async def test_ages_count_to_the_time_asked_for() -> None:
    async with filled() as (raw, handle, clock):
        now = clock.now_us / 1e6
        for at in (None, now, now - 10 * HOUR_SECONDS, now + 0.5):
            given = {} if at is None else {"at": at}
            found = await both(raw, handle, vector=[1, 0], rank="$age", **given)
            assert found.at == (now if at is None else at)
            for row in found.rows:
                age = found.at - (now - (len(ROWS) - row.seq + 1) * HOUR_SECONDS)
                assert row.rank == pytest.approx(age)
            assert found.ids == [*ROWS]


async def test_groups_spreads_and_marginal_relevance_select() -> None:
    async with filled() as (raw, handle, _):
        group = {"by": "category"}
        assert (await both(raw, handle, vector=[1, 0], group=group)).ids == [1, 3, 4, 6]
        group = {"by": "category", "size": 2}
        assert (await both(raw, handle, vector=[1, 0], k=4, group=group)).ids == [1, 2, 3, 4]
        spread = {"max_similarity": 40}
        assert (await both(raw, handle, vector=[1, 0], spread=spread)).ids == [1, 6]
        assert (await both(raw, handle, vector=[1, 0], spread={"max_similarity": -1e9})).ids == [1]
        mmr = {"lambda": 1.0}
        assert (await both(raw, handle, vector=[1, 0], k=3, mmr=mmr)).ids == [1, 2, 3]
        mmr = {"lambda": 0.1, "candidates": 6}
        assert (await both(raw, handle, vector=[1, 0], k=2, mmr=mmr)).ids == [1, 6]


async def test_many_vectors_are_each_shaped_for_themselves() -> None:
    async with filled() as (raw, handle, _):
        fields = {"group": {"by": "category"}, "decay": {"half_life": 60.0}, "k": 2, "at": 5e8}
        vectors = [[1, 0], [0, 1], [-1, 0]]
        ok = await raw.ok("search", collection="items", vectors=vectors, **fields)
        results = await ask_binary(raw, handle, vectors=vectors, **fields)
        assert [row_of(one) for rows in ok["results"] for one in rows] == rows_of(results)
        for vector, rows in zip(vectors, ok["results"], strict=True):
            alone = await raw.ok("search", collection="items", vector=vector, **fields)
            assert alone["results"] == rows
            assert alone["at"] == ok["at"] == 5e8


async def test_everything_goes_together() -> None:
    async with filled() as (raw, handle, _):
        found = await both(
            raw, handle, positive=[1], negative=[[0, 1]], exclude=[2], k=2, min_score=1,
            filter={"price": {"$gt": -5}}, include=["metadata", "vector"], last=6,
            rank={"$add": [{"$if": [{"category": "c"}, 100, 0]}, "$score"]},
            group={"by": "category"}, spread={"max_similarity": 1e3}, at=12.5,
        )  # fmt: skip
        # the target is (18, -1)
        assert [(row.id, row.score, row.rank) for row in found.rows] == [
            (6, 69, 169),
            (4, 106, 106),
        ]
        assert found.keys == {"id", "seq", "score", "rank", "metadata", "vector"}
        assert found.at == 12.5


async def test_examples_that_left_between_two_requests_are_not_found() -> None:
    async with filled() as (raw, handle, _):
        assert (await both(raw, handle, positive=[2], negative=[1])).ids
        for id_ in range(10, 17):
            await raw.ok("add", collection="items", rows=[{"id": id_, "vector": [1, 1]}])
        error = await raw.error("search", collection="items", positive=[16, 2], negative=[1])
        assert (error["code"], error["row"]) == ("not_found", 1)
        assert error["message"].startswith("positive: ")
        refused = await ask_binary(raw, handle, positive=[16, 15], negative=[10, 9, 1])
        assert (refused["error"]["code"], refused["error"]["row"]) == ("not_found", 1)
        assert refused["error"]["message"].startswith("negative: ")


@pytest.mark.parametrize("half_life", [1e-3, 1e12])
async def test_the_shortest_and_the_longest_half_life_give_finite_ranks(half_life: float) -> None:
    async with filled() as (raw, handle, _):
        found = await both(raw, handle, vector=[1, 0], decay={"half_life": half_life})
        assert len(found.rows) == len(ROWS)
        assert all(row.rank is not None and math.isfinite(row.rank) for row in found.rows)
        assert found.ids == ([6, 5, 4, 3, 2, 1] if half_life < 1 else [1, 2, 3, 4, 5, 6])


async def test_string_ids_are_examples_and_exclusions() -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create(ids="str"))["handle"]
        rows = [{"id": id_, "vector": [n, 1]} for n, id_ in enumerate("abcä")]
        await raw.ok("add", collection="items", rows=rows)
        found = await both(raw, handle, positive=["ä"], exclude=["b", "nobody"])
        assert found.ids == ["c", "a"]


async def test_ten_thousand_exclusions_are_taken_and_one_more_is_refused() -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create(capacity=20_000))["handle"]
        rows = [{"id": id_, "vector": [-id_, 1]} for id_ in range(10_005)]
        await raw.ok("add", collection="items", rows=rows)
        most = list(range(10_000))
        found = await both(raw, handle, vector=[1, 0], exclude=most)
        assert found.ids == [10_000, 10_001, 10_002, 10_003, 10_004]
        error = await raw.error("search", collection="items", vector=[1, 0], exclude=[*most, 1])
        assert error["code"] == "too_large"
        assert error["message"].startswith("exclude: at most 10000")
        refused = await ask_binary(raw, handle, vector=[1, 0], exclude=[*most, 1])
        assert refused["error"] == error
