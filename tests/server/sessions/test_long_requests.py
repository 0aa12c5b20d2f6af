"""Long text requests are read in pieces: others have their turns, the sender's order stays."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Generator
from typing import Any

import numpy as np
import orjson
import pytest
from omendb_core.model.change import RowBatch

from omendb_ws.sessions import long_work
from omendb_ws.sessions.long_work import LongRequests
from omendb_ws.wire import binary, long_text
from tests.patience import eventually
from tests.server.raw import client, rows, running
from tests.wire.test_long_frames import with_json

ROWS = 6000


def long_add(id: int, *, name: str = "items", ids: range = range(ROWS), **fields: Any) -> bytes:
    """A text of several pieces."""
    made = [{**one, "metadata": {"note": "n" * 20}} for one in rows(*ids)]
    return orjson.dumps({"id": id, "op": "add", "collection": name, "rows": made, **fields})


@pytest.fixture
def one_piece_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_work, "SLICE_US", 0)


async def test_a_long_add_is_as_a_short_one() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(capacity=2 * ROWS)
        await raw.send_text(long_add(70))
        reply = await raw.reply(70)
        assert reply["ok"]["last_seq"] == ROWS
        assert server.context.long_requests.pieces > len(long_add(70)) // long_text.MOST_CHARACTERS
        got = await raw.ok(
            "get", collection="items", ids=[ROWS - 1], include=["metadata", "vector"]
        )
        assert got["rows"][0]["metadata"] == {"note": "n" * 20}
        assert got["rows"][0]["vector"] == [ROWS - 1, 1.0]


@pytest.mark.usefixtures("one_piece_a_turn")
async def test_others_are_served_between_the_pieces() -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        await raw.create(capacity=2 * ROWS)
        long = server.context.long_requests
        at_pings: list[int] = []
        await raw.send_text(long_add(70))
        await eventually(lambda: long.pieces, each_turn=True)
        while not raw.replies and len(at_pings) < 5:
            await other.ok("ping")
            at_pings.append(long.pieces)
        await raw.reply(70)
        assert at_pings[0] < long.pieces


@pytest.mark.usefixtures("one_piece_a_turn")
async def test_what_one_connection_says_stays_in_order() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(capacity=2 * ROWS)
        await raw.send_text(long_add(70))
        await raw.send("count", collection="items", id=71)
        await raw.send_text(long_add(72, ids=range(ROWS, 2 * ROWS)))
        await raw.send("count", collection="items", id=73)
        for id in (70, 71, 72, 73):
            await raw.reply(id)
        order = [one["id"] for one in raw.order if one.get("id", 0) >= 70]
        counts = [one["ok"]["count"] for one in raw.order if one.get("id") in (71, 73)]
        assert order == [70, 71, 72, 73]
        assert counts == [ROWS, 2 * ROWS]


async def test_fragments_wait_behind_it_too() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(capacity=2 * ROWS)
        text = long_add(70).decode()
        await raw.socket.send([text[:100_000], text[100_000:]])
        await raw.socket.send(['{"id":71,"op":"count",', '"collection":"items"}'])
        assert (await raw.reply(71))["ok"]["count"] == ROWS
        assert (await raw.reply(70))["ok"]["last_seq"] == ROWS


@pytest.mark.parametrize(
    ("change", "code", "row"),
    [
        ((b'"vector":[5000.0,1.0]', b'"vector":[5000.0]'), "dim_mismatch", 5000),
        ((b'"id":5000', b'"id":-5000'), "bad_id", 5000),
        ((b'"collection":"items"', b'"collection":"other"'), "not_found", None),
        ((b'"op":"add"', b'"op":"adds"'), "bad_request", None),
        ((b'"id":70,', b""), "bad_request", None),
        ((b'"id":5000,', b'"id":5000'), "bad_request", None),
    ],
    ids=["vector", "id", "collection", "op", "no id", "no JSON"],
)
async def test_a_refusal_names_the_row_and_harms_nothing(
    change: tuple[bytes, bytes], code: str, row: int | None
) -> None:
    async with running() as server, client(server) as raw:
        await raw.create(capacity=2 * ROWS)
        await raw.send_text(long_add(70).replace(*change))
        if change[1] == b"" or change[1] == b'"id":5000':
            error = await raw.named("error")
        else:
            error = (await raw.reply(70))["error"]
        assert error["code"] == code
        assert error.get("row") == row
        assert (await raw.ok("count", collection="items"))["count"] == 0
        await raw.send_text(long_add(70))
        assert "ok" in await raw.reply(70)


async def test_updates_and_string_ids() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(capacity=2 * ROWS, ids="str")
        made = [{"id": f"row {n}", "vector": [n, 1]} for n in range(ROWS)]
        await raw.ok("add", collection="items", rows=made)
        changed = [{"id": f"row {n}", "metadata": {"n": n}} for n in range(ROWS)]
        assert (await raw.ok("update", collection="items", rows=changed))["version"] == 2
        ids = [f"row {n} {'-' * 20}" for n in range(ROWS)] + ["row 17"]
        got = await raw.ok("get", collection="items", ids=ids, include=["metadata"])
        assert got["rows"][-1]["metadata"] == {"n": 17}


@pytest.mark.usefixtures("one_piece_a_turn")
async def test_a_collection_that_is_made_again_meanwhile() -> None:
    """The rows are read for the collection that is there when they have been read."""
    async with running() as server, client(server) as raw, client(server) as other:
        await raw.create(capacity=2 * ROWS)
        long = server.context.long_requests
        await raw.send_text(long_add(70))
        await eventually(lambda: long.pieces, each_turn=True)
        put_aside = list(long._waiting)
        long._waiting.clear()
        await other.ok("drop", collection="items")
        await other.create(capacity=2 * ROWS, ids="str")
        for steps, failed in put_aside:
            long.begin(steps, failed)
        error = (await raw.reply(70)).get("error")
        assert error is not None
        assert error["code"] == "bad_id"


@pytest.mark.usefixtures("one_piece_a_turn")
async def test_a_connection_that_ends_meanwhile_leaves_nothing() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(capacity=2 * ROWS)
        before = set(server._sessions)
        async with client(server) as other:
            await other.send_text(long_add(70))
            await eventually(lambda: server.context.long_requests.pieces, each_turn=True)
            (connection,) = set(server._sessions) - before
            connection.shed()
        await eventually(lambda: not server.context.long_requests.is_busy, each_turn=True)
        assert (await raw.ok("count", collection="items"))["count"] == 0


@pytest.mark.usefixtures("one_piece_a_turn")
async def test_a_server_that_leaves_answers_it_first() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(capacity=2 * ROWS)
        await raw.send_text(long_add(70))
        await eventually(lambda: server.context.long_requests.pieces, each_turn=True)
        stopping = asyncio.create_task(server.drain())
        assert (await raw.reply(70))["ok"]["last_seq"] == ROWS
        await stopping


async def test_a_fault_is_told_and_the_connection_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as server, client(server) as raw:
        await raw.create(capacity=2 * ROWS)

        def boom(*_: object) -> None:
            raise MemoryError

        with monkeypatch.context() as patch:
            patch.setattr("omendb_ws.wire.long_rows.parse_rows", boom)
            await raw.send_text(long_add(70))
            assert (await raw.reply(70))["error"]["code"] == "internal"
        with monkeypatch.context() as patch:
            patch.setattr("omendb_ws.wire.long_text.load", boom)
            await raw.send_text(long_add(71))
            assert (await raw.reply(71))["error"]["code"] == "internal"
        await raw.send_text(long_add(72))
        assert "ok" in await raw.reply(72)


async def test_all_of_them_share_one_slice_of_a_turn() -> None:
    """However many there are, a turn has the same time for them; they have it by turns."""
    now_ns = 0
    did: list[int] = []
    failed: list[Exception] = []

    def piece_by_piece(which: int) -> Generator[None, None, None]:
        nonlocal now_ns
        for _ in range(4):
            did.append(which)
            now_ns += 600_000
            yield

    long = LongRequests(lambda: now_ns)
    for which in range(3):
        long.begin(piece_by_piece(which), failed.append)
    turns = []
    while long.is_busy:
        before = len(did)
        await asyncio.sleep(0)
        turns.append(len(did) - before)
    assert did == [0, 1, 2] * 4
    assert max(turns) == 2
    assert not failed


# -- binary adds with much metadata -------------------------------------------------------------


def long_frame(id: int, handle: int) -> bytes:
    metadata = [{"note": "n" * 40, "n": n} for n in range(ROWS)]
    ids = np.arange(ROWS, dtype=np.uint64)
    vectors = np.ones((ROWS, 2), np.float32)
    return binary.encode_add(id, handle, RowBatch(vectors, ids, metadata=metadata))


@pytest.mark.usefixtures("one_piece_a_turn")
async def test_a_binary_add_with_much_metadata_is_read_in_pieces() -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        handle = (await raw.create(capacity=2 * ROWS, columns={"n": "i64"}))["handle"]
        long = server.context.long_requests
        await raw.send_binary(long_frame(70, handle))
        counted = await raw.send("count", collection="items", filter={"n": {"$gte": 10}})
        await eventually(lambda: long.pieces, each_turn=True)
        await other.ok("ping")
        assert not raw.replies
        assert (await raw.reply(counted))["ok"]["count"] == ROWS - 10
        added = await raw.reply(70)
        assert (added.first_seq, added.last_seq) == (1, ROWS)
        assert long.pieces > 2 * ROWS // 512
        got = await raw.ok("get", collection="items", ids=[ROWS - 1], include=["metadata"])
        assert got["rows"][0]["metadata"] == {"note": "n" * 40, "n": ROWS - 1}


@pytest.mark.parametrize(
    ("wrong", "code", "row"),
    [
        ({"note": "n" * 5000}, "too_large", 5000),
        ({"n": "text"}, "bad_metadata", 5000),
        ({"n": 2**70}, "bad_metadata", 5000),
        ({"lists": [[]] * 300_000}, "bad_request", None),
    ],
)
async def test_a_refused_one_names_the_row_and_harms_nothing(
    wrong: Any, code: str, row: int | None
) -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create(capacity=2 * ROWS, columns={"n": "i64"}))["handle"]
        metadata: list[Any] = [{"note": "n" * 40} for _ in range(ROWS)]
        metadata[5000] = "here"
        frame = long_frame(70, handle)
        body = json.dumps({"metadata": metadata}).replace('"here"', json.dumps(wrong)).encode()
        await raw.send_binary(with_json(frame, body))
        error = (await raw.reply(70))["error"]
        assert error["code"] == code
        assert error.get("row") == row
        assert (await raw.ok("count", collection="items"))["count"] == 0
        await raw.send_binary(long_frame(71, handle))
        assert (await raw.reply(71)).last_seq == ROWS


async def test_a_fault_in_a_binary_one_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create(capacity=2 * ROWS))["handle"]

        def boom(*_: object) -> None:
            raise MemoryError

        for id, where in ((70, "long_frames.load_rows"), (71, "long_rows.complete_payloads")):
            with monkeypatch.context() as patch:
                patch.setattr(f"omendb_ws.wire.{where}", boom)
                await raw.send_binary(long_frame(id, handle))
                assert (await raw.reply(id))["error"]["code"] == "internal"
        await raw.send_binary(long_frame(72, handle))
        assert (await raw.reply(72)).last_seq == ROWS
