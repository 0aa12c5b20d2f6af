"""Descriptions count the rows that their reader may see, of wide windows in pieces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omendb_core.filters import mask_cache
from omendb_core.filters import masks as filter_masks

from omendb_ws.engine.pieces import long_reads as pieces
from omendb_ws.net.server import Server
from tests.patience import eventually
from tests.server.raw import client, engine_held, queued, rows, running
from tests.server.streams.test_beginning import long_reads
from tests.server.tokens import token, with_secret

COLUMNS = {"owner": "str"}
READER = {"rights": ["read"], "filter": {"owner": "me"}}
#: name -> rows, a third of which are mine.
SIZES = {"a": 300, "b": 6, "c": 90}


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "SLICE_US", 0)
    monkeypatch.setattr(mask_cache, "AT_ONCE_NS", 0)
    monkeypatch.setattr(mask_cache, "BLOCK_ROWS", 64)
    monkeypatch.setattr(filter_masks, "BLOCK_ROWS", 64)


async def filled(server: Server) -> None:
    async with client(server, token=token()) as root:
        for name, count in SIZES.items():
            await root.create(name, capacity=500, columns=COLUMNS)
            owned = [
                {**row, "metadata": {"owner": "you" if row["id"] % 3 else "me"}}
                for row in rows(*range(count))
            ]
            await root.ok("add", collection=name, rows=owned)


async def test_every_description_is_made_in_pieces_and_right(tmp_path: Path) -> None:
    async with running(Server(with_secret(tmp_path))) as server:
        await filled(server)
        async with client(server, token=token(READER)) as raw:
            before = long_reads(server).pieces
            listed = (await raw.ok("list"))["collections"]
            assert {one["collection"]: one["rows"] for one in listed} == {"a": 100, "b": 2, "c": 30}
            assert long_reads(server).pieces - before > 2 * len(SIZES)
            async with client(server, token=token()) as root:
                await root.ok("delete", collection="a", ids=[3])
            for op in ("describe", "stats", "open"):
                assert (await raw.ok(op, collection="a"))["rows"] == 99


async def test_others_have_their_turn_between_two_collections(tmp_path: Path) -> None:
    async with (
        running(Server(with_secret(tmp_path))) as server,
        client(server, token=token(READER)) as raw,
        client(server, token=token()) as root,
    ):
        await filled(server)
        async with engine_held(server):
            asked = await raw.send("list")
            await queued(server, 1)
        # An add of what the first of them holds comes in before the last of them is described.
        version = (await root.ok("add", collection="c", rows=rows(400)))["version"]
        listed = (await raw.reply(asked))["ok"]["collections"]
        assert [one["rows"] for one in listed] == [100, 2, 30]
        assert listed[2]["version"] in (version - 1, version)


async def test_one_that_is_dropped_meanwhile_is_left_out(tmp_path: Path) -> None:
    async with (
        running(Server(with_secret(tmp_path))) as server,
        client(server, token=token(READER)) as raw,
        client(server, token=token()) as root,
    ):
        await filled(server)
        shard = next(one for one in server.context.catalog.shards() if one.name == "c")
        async with engine_held(server):
            asked = await raw.send("list")
            await queued(server, 1)
            dropped = await root.send("drop", collection="c")
            await queued(server, 2)
        assert (await root.reply(dropped))["ok"] == {}
        listed = (await raw.reply(asked))["ok"]["collections"]
        assert [one["collection"] for one in listed] == ["a", "b"]
        assert not shard.makes_mask
        assert server.metrics.faults == 0


async def test_whoever_leaves_in_the_middle_of_a_list_lets_the_masks_go(tmp_path: Path) -> None:
    async with running(Server(with_secret(tmp_path))) as server:
        await filled(server)
        async with client(server, token=token(READER)) as raw:
            before = long_reads(server).pieces
            await raw.send("list")
            await eventually(lambda: long_reads(server).pieces > before)
        await eventually(lambda: not len(long_reads(server)))
        assert not any(one.makes_mask for one in server.context.catalog.shards())


async def test_one_in_need_of_repair_is_described_as_it_is(tmp_path: Path) -> None:
    async with running(Server(with_secret(tmp_path))) as server:
        await filled(server)
        next(
            one for one in server.context.catalog.shards() if one.name == "a"
        ).broken = "for a test"
        async with client(server, token=token(READER)) as raw:
            said: Any = await raw.ok("list")
            assert [one["rows"] for one in said["collections"]][1:] == [2, 30]
