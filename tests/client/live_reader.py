"""Readers of live queries that hold every step to what the one before it and its delta say."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from omendb_ws.client import LiveAnswer, LiveQuery
from omendb_ws.client.answers import Rows
from omendb_ws.client.backoff import Backoff

from .fake import PATIENCE_SECONDS

DIM = 6
SOON = Backoff(base_seconds=0.001, cap_seconds=0.01)


def vectors(count: int, seed: int = 1) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)


async def step(query: Any) -> Any:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await anext(query)


def held(rows: Rows) -> dict[str, Any]:
    """All that rows hold, to the bit."""
    return {
        "ids": list(rows.ids) if isinstance(rows.ids, list) else rows.ids.tolist(),
        "seqs": rows.seqs.tolist(),
        "scores": None if rows.scores is None else rows.scores.tobytes(),
        "ranks": None if rows.ranks is None else rows.ranks.tolist().__repr__(),
        "metadata": None if rows.metadata is None else list(rows.metadata),
        "vectors": None if rows.vectors is None else rows.vectors.tobytes(),
    }


class Reader:
    """Reads a query; holds every step to what the one before it and its delta say."""

    def __init__(self, query: LiveQuery) -> None:
        self.query = query
        self.answer: LiveAnswer | None = None

    async def step(self, *, patient: bool = False) -> LiveAnswer:
        before = self.answer
        answer = await (anext(self.query) if patient else step(self.query))
        assert isinstance(answer, LiveAnswer)
        seqs = set() if before is None else set(before.seqs.tolist())
        if before is not None:
            assert answer.version >= before.version
            assert answer.entered.seqs.size or answer.left or answer.resumed or answer.moved
        gone = [one.seq for one in answer.left]
        assert len(set(gone)) == len(gone)
        assert set(gone) <= seqs
        seqs -= set(gone)
        came = answer.entered.seqs.tolist()
        assert not seqs & set(came)
        assert seqs | set(came) == set(answer.seqs.tolist())
        if before is not None:
            ids = dict(zip(before.seqs.tolist(), list(before.ids), strict=True))
            assert all(ids[one.seq] == one.id for one in answer.left)
        again = {one.seq for one in answer.left if one.reason == "updated"}
        assert again == set(gone) & set(came)
        self.answer = answer
        return answer

    async def until(self, version: int) -> LiveAnswer:
        """Step to an answer that holds at ``version``, where nothing has changed since then."""
        while self.answer is None or self.answer.version < version:
            await self.step()
        return self.answer
