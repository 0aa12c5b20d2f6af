"""A walk over everything that a collection of several shards takes, beside one window of the same.

Steps are drawn: adds (numbered, repeated, in binary), deletes, updates, searches of every shape,
gets and counts, some of them pipelined. The two collections have the same rows at the same times,
so what they say is equal to the bit but for seqs and versions, and among equal scores.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from tests.server.raw import Raw
from tests.server.sharding.test_shards import COLUMNS, DIM, SEARCHES, answers, both, drawn

#: ``make torture`` walks on.
WALKS = int(os.environ.get("SHARD_WALKS", "2"))
STEPS = 40
IDS = 120


async def added(raw: Raw, generator: np.random.Generator, batch: int) -> None:
    """Some rows, now and then twice."""
    ids = generator.choice(IDS, size=int(generator.integers(1, 25)), replace=False).tolist()
    rows = drawn(generator, ids)
    for name in ("many", "one"):
        numbered = {"collection": name, "rows": rows, "producer": "p", "batch": batch}
        first = await raw.ok("add", **numbered)
        assert "duplicate" not in first
        if generator.integers(2):
            assert (await raw.ok("add", **numbered))["duplicate"]


async def changed(raw: Raw, generator: np.random.Generator) -> None:
    """Rows that are there get other metadata, or leave."""
    ids = generator.choice(IDS, size=12, replace=False).tolist()
    there = (await raw.ok("get", collection="one", ids=ids))["rows"]
    present = [row["id"] for row in there if row is not None]
    if generator.integers(2):
        said = [await raw.ok("delete", collection=name, ids=ids) for name in ("many", "one")]
        assert [one["deleted"] for one in said] == [len(present)] * 2
        return
    rows = [{"id": id, "metadata": {"price": int(generator.integers(9))}} for id in present]
    for name in ("many", "one") if rows else ():
        await raw.ok("update", collection=name, rows=rows)


async def read(raw: Raw, generator: np.random.Generator) -> None:
    """A search of some shape, and what else is read."""
    fields = dict(SEARCHES[int(generator.integers(len(SEARCHES)))])
    if "exclude" in fields:
        fields["exclude"] = generator.choice(IDS, size=30, replace=False).tolist()
    vectors = generator.standard_normal((2, DIM)).tolist()
    many = await answers(raw, "search", vectors=vectors, **fields)
    assert len(many["versions"]) > 1
    await answers(raw, "get", ids=list(range(0, IDS, 3)), include=["metadata", "vector"])
    by: Any = generator.choice(list(COLUMNS))
    await answers(raw, "count", by=by, limit=int(generator.integers(1, 6)))


@pytest.mark.parametrize("seed", range(WALKS))
async def test_a_walk_over_all_that_is_there_for_shards(seed: int) -> None:
    generator = np.random.default_rng(1000 + seed)
    async with both(int(generator.integers(2, 9)), metric="cosine") as (raw, clock):
        batch = 0
        for _ in range(STEPS):
            clock.move(float(generator.integers(5)))
            step = generator.integers(4)
            if step == 0 or not batch:
                batch += 1
                await added(raw, generator, batch)
            elif step == 1:
                await changed(raw, generator)
            else:
                await read(raw, generator)
