"""A collection that is ``unavailable``: waited out as long as a call may take, then raised."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from omendb_core.model.errors import Internal, OmenError, Overloaded, Unavailable

from omendb_ws.client import backoff, connection
from omendb_ws.client.backoff import MAX_ATTEMPTS, Backoff
from omendb_ws.wire import binary_replies, messages

from .fake import AT_ONCE, PATIENCE_SECONDS, FakeServer, client_of

#: More refusals than one waits out that is busy.
MANY = 3 * MAX_ATTEMPTS
USES: dict[str, Callable[[Any], Any]] = {
    "open": lambda db: db.open("items"),
    "count": lambda db: db.count("items"),
    "search": lambda db: db.search("items", [1, 2]),
    "add": lambda db: db.add("items", [[1, 2]], [1]),
    "live": lambda db: anext(db.live("items", [1, 2])),
    "feed": lambda db: anext(db.feed("items")),
    "map": lambda db: anext(db.watch_map("items")),
}


@pytest.mark.parametrize("limit", [None, 30.0])
async def test_a_collection_that_comes_back_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, limit: float | None
) -> None:
    monkeypatch.setattr(backoff, "RETRY", AT_ONCE)
    server = FakeServer()
    left = [Unavailable("recovering")] * MANY
    server.handlers[messages.Count] = lambda _, request: (
        left.pop() if left else {"version": 1, "count": 5}
    )
    async with client_of(server, request_timeout_seconds=limit) as db:
        assert await db.count("items") == 5
    assert len(server.of(messages.Count)) == MANY + 1


async def test_an_add_waits_for_it_as_other_calls_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "RETRY", AT_ONCE)
    server = FakeServer()
    left: list[OmenError] = [Internal("unknown")] * (MAX_ATTEMPTS - 1)
    left += [Unavailable("recovering")] * MANY
    server.handlers[messages.Add] = lambda _, request: (
        left.pop() if left else binary_replies.encode_added(request.id, messages.Added(1, 1, 1))
    )
    async with client_of(server) as db:
        assert (await db.add("items", [[1, 2]], [1])).version == 1
    assert len(server.of(messages.Add)) == MANY + MAX_ATTEMPTS
    assert len({(one.producer, one.batch) for one in server.of(messages.Add)}) == 1


async def test_an_add_whose_time_is_over_meanwhile_was_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backoff, "RETRY", Backoff(base_seconds=1e9, cap_seconds=1e9))
    server = FakeServer()
    server.handlers[messages.Add] = lambda _, request: Unavailable("needs repair")
    async with client_of(server, request_timeout_seconds=1.0) as db:
        async with asyncio.timeout(PATIENCE_SECONDS):
            with pytest.raises(Unavailable, match="needs repair") as raised:
                await db.add("items", [[1, 2]], [1])
    assert raised.value.details["rows_added"] == 0


@pytest.mark.parametrize("name", USES)
async def test_one_that_does_not_is_unavailable_when_the_time_is_over(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(backoff, "RETRY", Backoff(base_seconds=0.005, cap_seconds=0.005))
    limit = 3.0 if name == "live" else 2.0  # these ask together, and give up a little before
    server = FakeServer()
    for kind in (messages.Open, messages.Count, messages.Subscribe):
        server.handlers[kind] = lambda _, request: Unavailable("needs repair")
    async with client_of(server, request_timeout_seconds=limit) as db:
        async with asyncio.timeout(PATIENCE_SECONDS):
            with pytest.raises(Unavailable, match="needs repair"):
                await USES[name](db)
    assert len(server.requests) > MAX_ATTEMPTS


@pytest.mark.parametrize("name", USES)
async def test_one_whose_time_is_over_while_it_waits_to_ask_again_was_refused(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As a machine that stood still has it."""
    monkeypatch.setattr(backoff, "RETRY", Backoff(base_seconds=1e9, cap_seconds=1e9))
    monkeypatch.setattr(connection, "LAST_PART", float("inf"))
    server = FakeServer()
    for kind in (messages.Open, messages.Count, messages.Subscribe):
        server.handlers[kind] = lambda _, request: Unavailable("needs repair")
    async with client_of(server, request_timeout_seconds=1.0) as db:
        async with asyncio.timeout(PATIENCE_SECONDS):
            with pytest.raises(Unavailable, match="needs repair"):
                await USES[name](db)


async def test_what_is_refused_to_the_end_is_not_called_unanswered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A refusal is an answer: with little time it is raised, and no TimeoutError."""
    monkeypatch.setattr(backoff, "RETRY", Backoff(base_seconds=60, cap_seconds=60))
    server = FakeServer()
    server.handlers[messages.Ping] = lambda _, request: Overloaded("busy", retry_after_ms=60_000)
    async with client_of(server, request_timeout_seconds=30) as db:
        async with asyncio.timeout(PATIENCE_SECONDS):
            with pytest.raises(Overloaded):
                await db.ping()
    assert len(server.of(messages.Ping)) == 1
