"""Arrays that a caller uses again while a request is pending, or is sent again."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from omendb_core.model.change import RowBatch
from omendb_core.model.types import Hits

from omendb_ws.wire import binary_replies, messages
from tests.client.fake import FakeServer, client_of


def rows_of(request: messages.Add) -> list[list[float]]:
    assert isinstance(request.rows, RowBatch)
    found: list[list[float]] = request.rows.vectors.tolist()
    return found


@pytest.mark.parametrize("named", [{}, {"producer": "p", "batch": 1}])
async def test_an_add_that_is_sent_again_holds_what_it_was_first_sent_with(
    named: dict[str, Any],
) -> None:
    server = FakeServer(ids="u64")
    rows, ids = np.ones((2, 2), np.float32), np.array([1, 2], np.uint64)
    metadata = [{"a": 1}, {"a": 2}]
    async with client_of(server) as db:
        await db.open("items")
        server.hold = True
        adding = asyncio.ensure_future(db.add("items", rows, ids, metadata, **named))
        await server.arrived(messages.Add)
        rows[:], ids[:] = 9, 9
        metadata[0]["a"] = 9
        server.handlers[messages.Add] = lambda _, request: binary_replies.encode_added(
            request.id, messages.Added(1, 1, 2)
        )
        server.hold = False
        server.connection.cut()
        await adding
        first, again = server.of(messages.Add)
    assert rows_of(first) == rows_of(again) == [[1, 1], [1, 1]]
    assert again.rows.ids.tolist() == [1, 2]
    assert again.rows.metadata == [{"a": 1}, {"a": 2}]
    assert (first.producer, first.batch) == (again.producer, again.batch)


async def test_a_search_that_is_asked_again_asks_for_the_same() -> None:
    server = FakeServer()
    vector = np.ones(2, np.float32)
    nothing = Hits(*(np.empty(0, np.uint64) for _ in range(2)), np.empty(0, np.float32))
    async with client_of(server) as db:
        await db.open("items")
        server.hold = True
        searching = asyncio.ensure_future(db.search("items", vector))
        await server.arrived(messages.Search)
        vector[:] = 9
        server.handlers[messages.Search] = lambda _, request: binary_replies.encode_results(
            request.id, messages.Results(1, np.zeros(1, np.uint32), nothing, 0)
        )
        server.hold = False
        server.connection.cut()
        await searching
        for one in server.of(messages.Search):
            assert one.vectors.tolist() == [[1, 1]]


async def test_an_add_that_was_cancelled_leaves_the_arrays_to_the_caller() -> None:
    server = FakeServer(ids="u64")
    rows = np.ones((2, 2), np.float32)
    async with client_of(server) as db:
        await db.open("items")
        server.handlers[messages.Add] = lambda *_: None  # no answer
        adding = asyncio.ensure_future(db.add("items", rows, [1, 2]))
        await server.arrived(messages.Add)
        adding.cancel()
        await asyncio.wait([adding])
        rows[:] = 9
        server.connection.cut()
        again = await server.arrived(messages.Add, 2)
        assert rows_of(again) == [[1, 1], [1, 1]]
