"""What a collection will take is what it takes: memory as the server counts it, and the disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from omendb_core.model.types import Definition, IdKind
from omendb_core.scan.choice import choose

import omendb_ws
from omendb_ws.node import sizing
from omendb_ws.node.sizing import Wanted
from tests.project.pages import page
from tests.server.raw import running

ROWS, DIM = 2_000, 32
METADATA = {"text": "x" * 200}
METADATA_BYTES = len('{"text":""}') + 200


def vectors(seed: int = 0, rows: int = ROWS) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, DIM), dtype=np.float32)


@pytest.mark.parametrize("ids", ["auto", "u64"])
async def test_a_full_window_takes_what_was_said(ids: IdKind) -> None:
    wanted = Wanted(Definition(dim=DIM, capacity=ROWS, ids=ids), METADATA_BYTES)
    said = sizing.memory(wanted, choose())
    async with running() as server, omendb_ws.connect(server.url) as db:
        made = await db.create("notes", dim=DIM, capacity=ROWS, ids=ids)
        assert made.bytes == said.window
        given = None if ids == "auto" else list(range(ROWS))
        await db.add("notes", vectors(), ids=given, metadata=[METADATA] * ROWS)
        taken = (await db.describe("notes")).bytes
        assert taken <= said.counted
        # At most: a block or two of metadata are begun and not full.
        assert taken - said.window >= 0.8 * said.metadata


@pytest.mark.parametrize("k", [1, 10, 100])
async def test_live_queries_take_what_was_said(k: int) -> None:
    count = 20
    wanted = Wanted(Definition(dim=DIM, capacity=ROWS), subscriptions=count, k=k)
    said = sizing.memory(wanted, choose())
    async with running() as server, omendb_ws.connect(server.url) as db:
        await db.create("notes", dim=DIM, capacity=ROWS)
        before = server.context.catalog.reserved_bytes
        queries = [db.live("notes", vector, k=k) for vector in vectors(rows=count)]
        for query in queries:
            await anext(aiter(query))
        assert server.context.catalog.reserved_bytes - before == said.subscriptions


def size_of(folder: Path) -> int:
    return sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())


async def test_a_log_is_never_longer_than_was_said(tmp_path: Path) -> None:
    definition = Definition(dim=DIM, capacity=ROWS, ids="u64")
    said = sizing.disk(Wanted(definition, METADATA_BYTES))
    async with running(data_dir=str(tmp_path)) as server, omendb_ws.connect(server.url) as db:
        await db.create("notes", dim=DIM, capacity=ROWS, durability="always")
        ids, longest = list(range(ROWS)), 0
        for round_ in range(6):
            await db.add("notes", vectors(round_), ids=ids, metadata=[METADATA] * ROWS)
            longest = max(longest, size_of(tmp_path))
        assert longest <= said.streaming
        each = 0
        for _ in range(30):
            before = size_of(tmp_path)
            await db.update("notes", ids, metadata=[METADATA] * ROWS)
            longest = max(longest, now := size_of(tmp_path))
            each = max(each, now - before)
    # It was written anew meanwhile, and was longer before than what only comes and leaves. What is
    # changed while it is written anew comes on top, here some updates where the disk is slow.
    assert said.streaming < longest <= said.most + 3 * each


@pytest.mark.parametrize("dim", [16, 128, 768])
@pytest.mark.parametrize(
    ("rows", "formula", "row_bytes"),
    [
        (20_000, "`5 × dim + 56` bytes a row", lambda dim: 5 * dim + 56),
        (100_000, "`5.5 × dim + 72`", lambda dim: 5.5 * dim + 72),
    ],
)
def test_a_row_takes_what_the_page_says(
    dim: int, rows: int, formula: str, row_bytes: Callable[[int], float]
) -> None:
    said = sizing.memory(Wanted(Definition(dim=dim, capacity=rows, ids="u64")), choose())
    assert formula in page("docs/how-to/memory.md")
    assert said.window / rows == pytest.approx(row_bytes(dim), rel=0.02)


def test_more_of_anything_takes_more() -> None:
    base = Wanted(Definition(dim=DIM, capacity=ROWS), 100, 10, 10)
    more = [
        base._replace(definition=Definition(dim=DIM, capacity=2 * ROWS)),
        base._replace(definition=Definition(dim=2 * DIM, capacity=ROWS)),
        base._replace(metadata_bytes=200),
    ]
    scan = choose()
    for one in more:
        assert sizing.memory(one, scan).counted > sizing.memory(base, scan).counted
        assert sizing.disk(one).most > sizing.disk(base).most
    for one in (base._replace(subscriptions=20), base._replace(k=100)):
        assert sizing.memory(one, scan).counted > sizing.memory(base, scan).counted
        assert sizing.disk(one) == sizing.disk(base)
