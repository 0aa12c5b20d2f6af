"""Batches over rows that are hard to tell apart: pieces by what a batch took before."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from omendb_core.model.change import RowBatch
from omendb_core.scan import parts

from omendb_ws.engine.model.scan_cost import ScanCost
from omendb_ws.engine.pieces.long_reads import PIECE_US
from omendb_ws.engine.reads import wide
from omendb_ws.engine.reads.long_answers import AT_ONCE_US
from tests.server.raw import Raw, client, running

QUERIES = np.random.default_rng(1).standard_normal((16, 2)).astype(np.float32)


async def filled(raw: Raw) -> int:
    made = await raw.create(capacity=100)
    ids = np.arange(1, 101, dtype=np.uint64)
    vectors = np.random.default_rng(2).standard_normal((100, 2)).astype(np.float32)
    await raw.add_binary(made["handle"], RowBatch(vectors, ids))
    return int(made["handle"])


@pytest.mark.parametrize(
    ("before_us", "first"),
    [(None, 16), (AT_ONCE_US / 2, 16), (2 * AT_ONCE_US, int(PIECE_US / AT_ONCE_US * 8))],
)
async def test_a_batch_is_cut_by_what_one_of_its_size_took_before(
    before_us: float | None, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running() as server, client(server) as raw:
        handle = await filled(raw)
        (shard,) = server.context.catalog.shards()
        if before_us is not None:
            shard.batch_cost.note(16, 100, before_us)
        window, sizes = shard.window, []
        search, search_all = window.search, window.search_all

        def in_pieces(queries: Any) -> Any:
            sizes.extend(len(query.vectors) for query in queries)
            return search(queries)

        def at_once(vectors: Any, *rest: Any) -> Any:
            sizes.append(len(vectors))
            return search_all(vectors, *rest)

        monkeypatch.setattr(window, "search", in_pieces)
        monkeypatch.setattr(window, "search_all", at_once)
        found = await raw.search_binary(handle, QUERIES, k=3)
        assert found.counts.tolist() == [3] * 16
        monkeypatch.undo()
        assert sum(sizes) == 16
        assert sizes[0] == first
        assert all(size <= 2 * before for before, size in pairwise(sizes)), "they were quick"
        learned_us = shard.batch_cost.learned_us(16, 100)
        assert 0.0 < learned_us < (before_us or float("inf")), "rows were easy this time"
        again = await raw.search_binary(handle, QUERIES, k=3)
        assert again.hits.seqs.tolist() == found.hits.seqs.tolist()


@pytest.mark.parametrize("vectors", [4, 16, 40])
async def test_where_four_vectors_take_long_a_piece_is_some_rows(
    vectors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = np.random.default_rng(3).standard_normal((vectors, 2)).astype(np.float32)
    scanned: list[int] = []
    look = parts.TopKInParts._look

    def counted(self: Any, start: int, stop: int) -> None:
        scanned.append(len(self._question.queries))
        look(self, start, stop)

    async with running() as server, client(server) as raw:
        handle = await filled(raw)
        at_once = await raw.search_binary(handle, queries, k=3)
        (shard,) = server.context.catalog.shards()
        monkeypatch.setattr(parts.TopKInParts, "_look", counted)
        monkeypatch.setattr(wide, "_LEAST_ELEMENTS", 2 * 64)
        before_us = 1e9
        shard.scan_cost, shard.batch_cost = ScanCost(), ScanCost()
        shard.batch_cost.note(vectors, 100, before_us)
        in_parts = await raw.search_binary(handle, queries, k=3)
        assert len(scanned) == 2 * -(-vectors // 16), "of 100 rows 64 are a step"
        assert max(scanned) == min(vectors, 16)
        for name in ("seqs", "scores"):
            assert getattr(in_parts.hits, name).tolist() == getattr(at_once.hits, name).tolist()
        assert 0.0 < shard.batch_cost.learned_us(vectors, 100) < before_us, "it is unlearned"


def test_only_what_was_done_is_known() -> None:
    cost = ScanCost()
    assert cost.learned_us(16, 2_000) == 0.0
    cost.note(16, 2_000, 500.0)
    assert cost.learned_us(16, 2_000) == 500.0
    assert cost.learned_us(16, 4_000) == 1_000.0
    assert cost.learned_us(4, 2_000) == 0.0
