"""What only the asyncio client can show of searches whose answer is shaped."""

from __future__ import annotations

import asyncio

import numpy as np

import omendb_ws


async def test_arrays_may_change_once_a_search_has_begun() -> None:
    async with omendb_ws.connect("memory://") as db:
        await db.create("items", dim=2, capacity=10, metric="dot", ids="u64")
        await db.add("items", [[3, 0], [2, 0], [1, 0]], ids=[1, 2, 3])
        example, exclude = np.array([1.0, 0.0], np.float32), [1]
        call = asyncio.ensure_future(db.search("items", positive=[example], exclude=exclude))
        await asyncio.sleep(0)
        example[:], exclude[:] = -1, [2]
        answer = await call
        assert list(answer.ids) == [2, 3]
