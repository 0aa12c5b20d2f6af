"""Changes with much metadata: their columns are made in pieces, before they are admitted."""

from __future__ import annotations

from typing import Any

import pytest
from omendb_core.rows import memory

from omendb_ws.engine.writes import preparing
from omendb_ws.net.server import Server

from ..raw import Raw, client, running

COLUMNS = {"price": "f64", "kind": "str"}
ROWS = 60


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "VALUES_AT_ONCE", 10)
    monkeypatch.setattr(preparing, "SLICE_US", 0)


class Pieces:
    """How many pieces the engine did."""

    def __init__(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        changing = server.context.engine.tick.changing
        run = changing.preparing.run

        def counted() -> None:
            self.count += 1
            run()

        monkeypatch.setattr(changing.preparing, "run", counted)


def rows(price: float, ids: range = range(ROWS), **extra: Any) -> list[dict[str, Any]]:
    return [
        {"id": id, "vector": [1.0, 0.0], "metadata": {"price": price + id, "kind": f"k{id % 7}"}}
        | extra
        for id in ids
    ]


def updates(price: float) -> list[dict[str, Any]]:
    return [{"id": row["id"], "metadata": row["metadata"]} for row in rows(price)]


async def prices(raw: Raw) -> list[float]:
    found = await raw.ok("get", collection="items", ids=list(range(ROWS)), include=["metadata"])
    return [row["metadata"]["price"] for row in found["rows"]]


@pytest.mark.parametrize("durability", ["memory", "everysec"])
async def test_adds_and_updates_are_what_they_are_at_once(
    durability: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    fields = {} if durability == "memory" else {"data_dir": str(tmp_path / "data")}
    async with running(**fields) as server, client(server) as raw:
        pieces = Pieces(server, monkeypatch)
        await raw.create(columns=COLUMNS, capacity=100, durability=durability)
        await raw.ok("add", collection="items", rows=rows(0.0))
        assert pieces.count >= ROWS * len(COLUMNS) // 10
        assert await prices(raw) == [float(id) for id in range(ROWS)]
        before = pieces.count
        await raw.ok("update", collection="items", rows=updates(100.0))
        assert pieces.count - before >= ROWS * len(COLUMNS) // 10
        assert await prices(raw) == [100.0 + id for id in range(ROWS)]
        for kind, count in (("k0", 9), ("k6", 8)):
            found = await raw.ok("count", collection="items", filter={"kind": kind})
            assert found["count"] == count
        server.context.catalog.find("default", "items").shard.window.check()


async def test_what_follows_on_its_connection_and_in_its_collection_is_done_after_it() -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        await raw.create(columns=COLUMNS, capacity=100)
        await raw.ok("add", collection="items", rows=rows(0.0))
        asked = [
            await raw.send("update", collection="items", rows=updates(10.0 * turn))
            for turn in range(1, 5)
        ]
        asked.append(await raw.send("delete", collection="items", ids=[0]))
        asked.append(await raw.send("count", collection="items"))
        await other.ok("search", collection="items", vector=[1.0, 0.0])
        found = [(await raw.reply(id))["ok"] for id in asked]
        assert [one["version"] for one in found] == [2, 3, 4, 5, 6, 6]
        assert found[-1]["count"] == ROWS - 1


async def test_a_fault_names_its_row_and_nothing_is_changed() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(columns=COLUMNS, capacity=100)
        await raw.ok("add", collection="items", rows=rows(0.0))
        wrong = updates(5.0)
        wrong[41]["metadata"]["kind"] = 7
        for op, asked in (("update", wrong), ("add", [{**one, "vector": [1, 1]} for one in wrong])):
            error = await raw.error(op, collection="items", rows=asked)
            assert (error["code"], error["row"]) == ("bad_metadata", 41)
            assert "kind" in error["message"]
        assert (await raw.ok("count", collection="items"))["version"] == 1
        assert await prices(raw) == [float(id) for id in range(ROWS)]


async def test_a_repeated_batch_is_one_whatever_its_metadata() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(columns=COLUMNS, capacity=100)
        batch = {"collection": "items", "producer": "p", "batch": 1}
        first = await raw.ok("add", **batch, rows=rows(0.0))
        again = rows(0.0)
        again[3]["metadata"]["price"] = "dear"
        assert (await raw.ok("add", **batch, rows=again)) == {**first, "duplicate": True}


async def test_a_drop_waits_for_what_is_prepared() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(columns=COLUMNS, capacity=100)
        added = await raw.send("add", collection="items", rows=rows(0.0))
        dropped = await raw.send("drop", collection="items")
        assert (await raw.reply(added))["ok"]["last_seq"] == ROWS
        assert "ok" in await raw.reply(dropped)


async def test_a_connection_that_goes_leaves_its_change_done_and_nothing_held() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(columns=COLUMNS, capacity=100)
        async with client(server) as gone:
            await gone.send("add", collection="items", rows=rows(0.0))
            gone.socket.transport.abort()
        await raw.ok("add", collection="items", rows=rows(1.0))
        assert await prices(raw) == [1.0 + id for id in range(ROWS)]


@pytest.mark.parametrize("ids", ["u64", "str"])
async def test_the_memory_of_the_ids_of_a_wide_window_is_touched_before_its_first_rows(
    ids: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the first add that thousands of ids are in, that memory came within it: 200 ms."""
    monkeypatch.setattr(memory, "_TOUCHED_FROM_BYTES", 0)
    monkeypatch.setattr(memory, "_TOUCHED_AT_ONCE_BYTES", 4096)
    async with running() as server, client(server) as raw:
        await raw.create(ids=ids, capacity=5000)
        pieces = Pieces(server, monkeypatch)
        (shard,) = server.context.catalog.shards()
        key = "7" if ids == "str" else 7
        row = {"id": key, "vector": [1.0, 0.0]}
        await raw.ok("add", collection="items", rows=[row])
        assert pieces.count >= 10
        assert not shard.window.state.ids.untouched
        before = pieces.count
        await raw.ok("add", collection="items", rows=[row])
        assert pieces.count == before
        found = await raw.ok("get", collection="items", ids=[key])
        assert [one["id"] for one in found["rows"]] == [key]
