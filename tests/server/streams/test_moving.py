"""A ``move`` of a query whose list takes long is done in pieces: others' work in between.

No test here goes by time: ten rows are a piece, and every tick does one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import pytest
from omendb_core.search import deep
from omendb_core.standing.live_lists import LiveLists

from omendb_ws.engine.pieces import long_reads as pieces
from omendb_ws.engine.streams import beginning, snapshots
from omendb_ws.net.server import Server
from tests.patience import eventually
from tests.server.raw import Raw, client, running
from tests.server.streams.test_beginning import long_reads, nothing_is_left

ROWS = 300
RANK = {"$add": ["$score", 0]}


@pytest.fixture(autouse=True)
def ten_rows_a_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beginning, "AT_ONCE_US", 0)
    monkeypatch.setattr(pieces, "SLICE_US", 0)
    monkeypatch.setattr(deep, "_PIECE_ROWS", 10)


async def watched(raw: Raw, **fields: Any) -> dict[str, Any]:
    """A collection of rows, the later the larger, and a live query in it."""
    await raw.create(capacity=1000)
    await raw.add(*range(1, ROWS + 1))
    asked = {"kind": "live", "vector": [1.0, 0.0], "k": 3, "rank": RANK} | fields
    return await raw.ok("subscribe", collection="items", **asked)


def ids_of(results: list[dict[str, Any]]) -> list[int]:
    return [row["id"] for row in results]


@pytest.fixture
def stops(monkeypatch: pytest.MonkeyPatch) -> Callable[[Server], list[int]]:
    """Let a list be made no further than to its first pieces, while the list says where it is."""

    def stop(server: Server) -> list[int]:
        renewed, at = LiveLists.renew_in_pieces, [0]

        def held(lists: LiveLists, handles: Any) -> Generator[None, None, None]:
            for _ in renewed(lists, handles):
                at[0] += 1
                yield
                while at[0] == 3:
                    yield

        monkeypatch.setattr(LiveLists, "renew_in_pieces", held)
        return at

    return stop


async def test_others_are_answered_while_a_query_moves(stops: Any) -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        begun = await watched(raw)
        assert ids_of(begun["results"]) == [300, 299, 298]
        at = stops(server)
        moved = await raw.send("move", sub=begun["sub"], vector=[-1.0, 0.0])
        await eventually(lambda: at[0] == 3)
        found = await other.ok("search", collection="items", vector=[1.0, 0.0], k=1)
        assert ids_of(found["results"]) == [300]
        assert moved not in raw.replies
        added = await other.send("add", collection="items", rows=[{"id": 7, "vector": [-9.0, 0.0]}])
        again = await raw.send("move", sub=begun["sub"], vector=[1.0, 0.0])
        assert added not in other.replies
        at[0] = 4
        reply = (await raw.reply(moved))["ok"]
        assert at[0] >= ROWS // 10
        assert (ids_of(reply["results"]), reply["version"]) == ([1, 2, 3], found["version"])
        await other.reply(added)
        assert ids_of((await raw.reply(again))["ok"]["results"]) == [300, 299, 298]


async def test_what_changed_while_a_query_moved_is_its_next_push(stops: Any) -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        begun = await watched(raw)
        at = stops(server)
        moved = await raw.send("move", sub=begun["sub"], vector=[-1.0, 0.0])
        await eventually(lambda: at[0] == 3)
        added = await other.send("add", collection="items", rows=[{"id": 7, "vector": [-9.0, 0.0]}])
        at[0] = 4
        assert ids_of((await raw.reply(moved))["ok"]["results"]) == [1, 2, 3]
        pushed = await raw.event()
        assert (ids_of(pushed["enter"]), pushed["leave"][0]["id"]) == ([7], 3)
        assert (await other.reply(added))["ok"]["version"] == pushed["version"]


async def test_a_connection_that_goes_while_its_query_moves_leaves_nothing(stops: Any) -> None:
    async with running() as server, client(server) as other:
        await other.create(capacity=1000)
        await other.add(*range(1, ROWS + 1))
        reserved_bytes = server.context.catalog.reserved_bytes
        async with client(server) as raw:
            asked = {"kind": "live", "vector": [1.0, 0.0], "k": 3, "rank": RANK}
            begun = await raw.ok("subscribe", collection="items", **asked)
            at = stops(server)
            await raw.send("move", sub=begun["sub"], vector=[-1.0, 0.0])
            await eventually(lambda: at[0] == 3)
        await nothing_is_left(server, reserved_bytes)
        (shard,) = server.context.catalog.shards()
        assert not shard.is_held
        await other.add(1000)


async def test_a_move_that_cannot_be_told_leaves_the_query_what_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def boom(*_: Any) -> Any:
        raise MemoryError("on purpose")

    async with running() as server, client(server) as raw, client(server) as other:
        begun = await watched(raw)
        with monkeypatch.context() as patch:
            patch.setattr(snapshots, "moved", boom)
            done = long_reads(server).pieces
            error = await raw.error("move", sub=begun["sub"], vector=[-1.0, 0.0])
            assert error["code"] == "internal"
            assert long_reads(server).pieces - done > 2 * ROWS // 10  # there, and back
        await other.add(301)
        pushed = await raw.event()
        assert (ids_of(pushed["enter"]), pushed["leave"][0]["id"]) == ([301], 298)


async def test_a_query_that_takes_little_moves_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beginning, "AT_ONCE_US", 1e9)
    async with running() as server, client(server) as raw:
        begun = await watched(raw)
        done = long_reads(server).pieces
        moved = await raw.ok("move", sub=begun["sub"], vector=[-1.0, 0.0])
        assert ids_of(moved["results"]) == [1, 2, 3]
        assert long_reads(server).pieces == done
