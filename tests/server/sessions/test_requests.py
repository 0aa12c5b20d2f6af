"""Every op over a real socket, and what reads see (PROTOCOL sections 2 to 5)."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from omendb_core.model.change import RowBatch
from omendb_core.model.types import Include, StrColumn

from omendb_ws.net.server import Server
from omendb_ws.wire import binary
from omendb_ws.wire.opcodes import DESCRIPTION, OPS, Limits
from tests.server.raw import (
    PATIENCE_SECONDS,
    Clock,
    batch,
    client,
    engine_held,
    queued,
    rows,
    running,
    settings,
)


async def test_the_server_greets_first_with_every_limit() -> None:
    async with running() as server, client(server) as raw:
        assert raw.hello["protocol"] == "omendb.v1"
        assert raw.hello["server"].startswith("omendb-ws/")
        assert raw.hello["auth"] == "none"
        assert raw.hello["limits"].keys() == Limits().as_hello().keys()
        assert raw.hello["limits"]["max_memory_bytes"] == 256 << 20


async def test_a_create_answers_with_the_description_and_a_handle() -> None:
    async with running() as server, client(server) as raw:
        made = await raw.ok(
            "create",
            collection="a",
            dim=4,
            capacity=10,
            columns={"price": "f64"},
            ttl=60,
            if_exists="error",
        )
        assert made.keys() == {*DESCRIPTION, "handle"}
        assert made["handle"] == 1
        assert (made["version"], made["first_seq"], made["last_seq"], made["rows"]) == (0, 1, 0, 0)
        assert (made["metric"], made["ids"], made["durability"]) == ("cosine", "u64", "memory")
        assert made["ttl"] == 60
        assert (await raw.ok("open", collection="a")) == made
        del made["handle"]
        assert (await raw.ok("describe", collection="a")) == made
        assert (await raw.ok("list")) == {"collections": [made]}


async def test_a_second_create_is_refused_unless_the_same_is_allowed_to_exist() -> None:
    async with running() as server, client(server) as raw:
        first = await raw.create("a")
        same = {"collection": "a", "dim": 2, "capacity": 8, "metric": "dot"}
        assert await raw.code("create", **same) == "exists"
        assert await raw.ok("create", **same, if_exists="ok") == first
        other = {**same, "capacity": 9, "if_exists": "ok"}
        assert await raw.code("create", **other) == "exists"


async def test_a_row_added_is_found_counted_got_updated_and_deleted() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(columns={"price": "f64"})
        added = await raw.ok(
            "add",
            collection="items",
            rows=[
                {"id": 1, "vector": [1, 0], "metadata": {"price": 1.5, "note": "kept"}},
                {"id": 2, "vector": [0, 1]},
            ],
        )
        assert added == {"version": 1, "first_seq": 1, "last_seq": 2}
        found = await raw.ok("search", collection="items", vector=[1, 0], include=["metadata"])
        assert found["version"] == 1
        assert found["took_us"] >= 0
        assert found["results"] == [
            {"id": 1, "seq": 1, "score": 1.0, "metadata": {"price": 1.5, "note": "kept"}},
            {"id": 2, "seq": 2, "score": 0.0, "metadata": {}},
        ]
        assert (await raw.ok("count", collection="items", filter={"price": {"$gt": 1}})) == {
            "version": 1,
            "count": 1,
        }
        updated = await raw.ok(
            "update", collection="items", rows=[{"id": 2, "metadata": {"price": 3}}]
        )
        assert updated == {"version": 2}
        got = await raw.ok("get", collection="items", ids=[2, 9], include=["metadata", "vector"])
        assert got == {
            "version": 2,
            "rows": [{"id": 2, "seq": 2, "metadata": {"price": 3}, "vector": [0.0, 1.0]}, None],
        }
        assert await raw.ok("delete", collection="items", ids=[1, 9]) == {
            "version": 3,
            "deleted": 1,
        }
        assert await raw.ok("delete", collection="items", ids=[1]) == {"version": 3, "deleted": 0}
        assert (await raw.ok("count", collection="items"))["count"] == 1


async def test_several_vectors_give_a_list_for_each() -> None:
    async with running() as server, client(server) as raw:
        await raw.create()
        await raw.add(1, 2, 3)
        found = await raw.ok("search", collection="items", vectors=[[1, 0], [-1, 0]], k=2)
        assert [[row["id"] for row in one] for one in found["results"]] == [[3, 2], [1, 2]]


async def test_like_searches_by_a_stored_row_and_leaves_it_out() -> None:
    async with running() as server, client(server) as raw:
        await raw.create()
        await raw.add(1, 2, 3)
        found = await raw.ok("search", collection="items", like=2)
        assert [row["id"] for row in found["results"]] == [3, 1]
        assert await raw.code("search", collection="items", like=9) == "not_found"


async def test_binary_adds_and_searches_answer_in_binary() -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create(columns={"price": "f64", "kind": "str"}))["handle"]
        rows_ = RowBatch(
            vectors=np.array([[1, 0], [0, 1]], np.float32),
            ids=np.array([7, 2**63], np.uint64),
            columns={
                "price": np.array([1.5, np.nan]),
                "kind": StrColumn(np.array([0, 1], np.uint32), ("a", "b")),
            },
        )
        added = await raw.add_binary(handle, rows_)
        assert (added.version, added.first_seq, added.last_seq) == (1, 1, 2)
        found = await raw.search_binary(
            handle, [[1, 0], [0, 1]], k=1, include=Include(metadata=True, vector=True)
        )
        assert found.version == 1
        assert found.counts.tolist() == [1, 1]
        assert found.hits.ids.tolist() == [7, 2**63]
        assert list(found.hits.metadata or ()) == [{"price": 1.5, "kind": "a"}, {"kind": "b"}]
        assert found.hits.vectors is not None
        assert found.hits.vectors.tolist() == [[1, 0], [0, 1]]
        got = await raw.ok("get", collection="items", ids=[str(2**63)])
        assert got["rows"][0]["id"] == str(2**63)


async def test_errors_of_binary_requests_come_as_text() -> None:
    async with running() as server, client(server) as raw:
        await raw.create()
        id = raw.next_id()
        await raw.send_binary(binary.encode_search(id, 99, np.zeros((1, 2), np.float32)))
        assert (await raw.reply(id))["error"]["code"] == "not_found"


async def test_requests_may_be_pipelined_without_waiting_for_any_reply() -> None:
    async with running() as server, client(server) as raw:
        sent = [
            await raw.send("create", collection="a", dim=2, capacity=4, metric="dot"),
            await raw.send("add", collection="a", rows=rows(1, 2)),
            await raw.send("search", collection="a", vector=[1, 0]),
            await raw.send("delete", collection="a", ids=[2]),
            await raw.send("search", collection="a", vector=[1, 0]),
            await raw.send("drop", collection="a"),
            await raw.send("search", collection="a", vector=[1, 0]),
            await raw.send("create", collection="a", dim=3, capacity=4),
            await raw.send("describe", collection="a"),
        ]
        answers = [await raw.reply(id) for id in sent]
        assert "ok" in answers[0]
        assert answers[1]["ok"]["version"] == 1
        # A read reflects what was sent before it, and may reflect what came later.
        assert answers[2]["ok"]["version"] in (1, 2)
        assert answers[4]["ok"]["version"] == 2
        assert [row["id"] for row in answers[4]["ok"]["results"]] == [1]
        assert answers[5]["ok"] == {}
        assert answers[6]["error"]["code"] == "not_found"
        assert answers[8]["ok"]["dim"] == 3
        assert answers[8]["ok"]["epoch"] != answers[0]["ok"]["epoch"]


async def test_every_read_sees_all_that_its_connection_wrote_before() -> None:
    async with running() as server, client(server) as raw, client(server) as neighbour:
        await raw.create(capacity=1000)
        noise = [await neighbour.send("count", collection="items") for _ in range(50)]
        sent = []
        for number in range(100):
            await raw.send("add", collection="items", rows=rows(number))
            sent.append(await raw.send("count", collection="items"))
        counts = [(await raw.reply(id))["ok"]["count"] for id in sent]
        assert all(count >= number + 1 for number, count in enumerate(counts))
        assert counts == sorted(counts)
        assert counts[-1] == 100
        for id in noise:
            await neighbour.reply(id)


async def test_what_is_acknowledged_on_one_connection_is_seen_on_any_other() -> None:
    async with running() as server, client(server) as writer, client(server) as reader:
        await writer.create(capacity=100)
        for number in range(30):
            version = (await writer.add(number))["version"]
            found = await reader.ok("search", collection="items", vector=[1, 0], k=1)
            assert found["version"] >= version
            assert found["results"][0]["id"] == number


async def test_handles_are_of_one_connection_and_die_with_their_collection() -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        first = (await raw.create("a"))["handle"]
        second = (await raw.create("b"))["handle"]
        assert (first, second) == (1, 2)
        assert (await raw.ok("open", collection="a"))["handle"] == first
        assert (await other.ok("open", collection="b"))["handle"] == 1
        await raw.ok("drop", collection="a")
        await raw.create("a")
        id = raw.next_id()
        await raw.send_binary(binary.encode_add(id, first, batch(1)))
        assert (await raw.reply(id))["error"]["code"] == "not_found"
        assert (await raw.ok("open", collection="a"))["handle"] == 3
        assert (await raw.ok("describe", collection="a"))["rows"] == 0


async def test_dead_handles_do_not_pile_up() -> None:
    async with running() as server, client(server) as raw:
        for _ in range(1100):
            await raw.create("a")
            await raw.ok("drop", collection="a")
        (session,) = server._sessions.values()
        assert len(session.handles._collections) <= 512
        assert len(session.handles._handles) == len(session.handles._collections)
        assert (await raw.create("a"))["handle"] == 1101


async def test_a_repeated_batch_is_acknowledged_again_and_changes_nothing() -> None:
    async with running() as server, client(server) as raw:
        await raw.create()
        asked = {"collection": "items", "producer": "cam", "batch": 1}
        first = await raw.ok("add", rows=rows(1), **asked)
        again = await raw.ok("add", rows=rows(1), **asked)
        assert again == {**first, "duplicate": True}
        # The batch is looked at before the rows, so even bad rows are a duplicate.
        assert (await raw.ok("add", rows=[{"id": 1, "vector": "x"}], **asked))["duplicate"]
        ahead = {**asked, "batch": 5}
        refused = await raw.error("add", rows=rows(2), **ahead)
        assert (refused["code"], refused["expected"]) == ("out_of_order", 2)
        # A refused batch does not use up its number.
        asked = {**asked, "batch": 2}
        assert await raw.code("add", rows=[{"id": 1, "vector": [1]}], **asked) == "dim_mismatch"
        assert (await raw.ok("add", rows=rows(3), **asked))["version"] == 2


async def test_the_newest_rows_stay_and_the_oldest_are_evicted() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(capacity=4)
        for number in range(1, 7):
            await raw.add(number)
        described = await raw.ok("describe", collection="items")
        assert (described["first_seq"], described["last_seq"], described["rows"]) == (3, 6, 4)
        assert (await raw.ok("get", collection="items", ids=[2, 3]))["rows"][0] is None
        found = await raw.ok("search", collection="items", vector=[1, 0], last=2)
        assert [row["id"] for row in found["results"]] == [6, 5]


async def test_a_search_of_an_empty_window_answers_nothing() -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create())["handle"]
        assert (await raw.ok("search", collection="items", vector=[1, 0]))["results"] == []
        assert (await raw.search_binary(handle, [[1, 0]])).counts.tolist() == [0]
        assert (await raw.ok("get", collection="items", ids=[]))["rows"] == []


@pytest.mark.parametrize("kind", ["auto", "str"])
async def test_other_kinds_of_ids(kind: str) -> None:
    async with running() as server, client(server) as raw:
        await raw.create(ids=kind)
        ids = [{}, {}] if kind == "auto" else [{"id": "ä"}, {"id": "b"}]
        given = [{**one, "vector": [number, 1]} for number, one in enumerate(ids)]
        await raw.ok("add", collection="items", rows=given)
        names = [1, 2] if kind == "auto" else ["ä", "b"]
        found = await raw.ok("search", collection="items", vector=[1, 0])
        assert [row["id"] for row in found["results"]] == names[::-1]
        assert await raw.ok("delete", collection="items", ids=names[:1]) == {
            "version": 2,
            "deleted": 1,
        }
        got = await raw.ok("get", collection="items", ids=names)
        assert [row and row["id"] for row in got["rows"]] == [None, names[1]]


async def test_searches_that_wait_together_share_one_scan() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(capacity=100)
        await raw.add(*range(50))
        async with engine_held(server):
            sent = [
                await raw.send("search", collection="items", vector=[number, 1], k=number % 5 + 1)
                for number in range(64)
            ]
            await queued(server, 64)
        answers = [(await raw.reply(id))["ok"]["results"] for id in sent]
        assert [len(answer) for answer in answers] == [number % 5 + 1 for number in range(64)]
        assert server.metrics.scan_queries.count == 1
        assert server.metrics.scan_queries.total == 64


async def test_every_op_of_the_table_is_answered() -> None:
    """No op falls through: each gets a reply to a request with its required fields alone."""
    sample = {
        "collection": "items",
        "dim": 2,
        "capacity": 4,
        "rows": rows(1),
        "ids": [1],
        "kind": "live",
        "sub": 1,
        "vector": [1, 0],
        "token": "t",
        "node": "one",
    }
    async with running() as server, client(server) as raw:
        await raw.create()
        await raw.add(1)
        for op in OPS.values():
            fields = {one.name: sample[one.name] for one in op.fields if one.required}
            if op.one_of:
                fields[op.one_of[0]] = sample[op.one_of[0]]
            if op.name == "update":
                await raw.add(1)
                fields["rows"] = [{"id": 1, "metadata": {}}]
            if op.name == "move":
                fields["vector"] = [1, 0]
            if op.name == "subscribe":
                fields |= {"collection": "items", "vector": [1, 0]}
            if op.name in ("create", "restore"):
                fields["collection"] = f"{op.name}-new"
            if op.name == "drop":
                continue
            reply = await raw.ask(op.name, **fields)
            if op.name in ("cluster", "move_owner", "evacuate", "heal"):
                assert reply["error"]["code"] == "unsupported", (op.name, reply)
                continue
            assert "ok" in reply, (op.name, reply)
        assert await raw.ok("drop", collection="items") == {}


async def test_rows_expire_by_the_clock_and_an_update_does_not_keep_them() -> None:
    clock = Clock()
    server = Server(settings(), clock_us=clock)
    async with running(server), client(server) as raw:
        await raw.create(ttl=10)
        await raw.add(1)
        clock.move(6)
        await raw.add(2)
        await raw.ok("update", collection="items", rows=[{"id": 1, "metadata": {"a": 1}}])
        clock.move(3.9)
        assert (await raw.ok("count", collection="items"))["count"] == 2
        clock.move(0.2)
        # One step of expiry is one change; it comes at most a second late, here before the read.
        described = await raw.ok("describe", collection="items")
        assert (described["version"], described["rows"]) == (4, 1)
        assert (described["first_seq"], described["last_seq"]) == (2, 2)
        assert (await raw.ok("get", collection="items", ids=[1, 2]))["rows"][0] is None
        clock.move(100)
        described = await raw.ok("describe", collection="items")
        assert (described["rows"], described["first_seq"]) == (0, 3)
        assert (await raw.ok("search", collection="items", vector=[1, 0]))["results"] == []
        assert (await raw.add(3))["first_seq"] == 3


async def test_rows_expire_without_anybody_asking() -> None:
    clock = Clock()
    server = Server(settings(), clock_us=clock)
    async with running(server), client(server) as raw:
        await raw.create(ttl=10)
        await raw.add(1)
        window = server.context.catalog.find("default", "items").shard.window
        clock.move(11)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while window.rows:  # noqa: ASYNC110 - the engine's thread
                await asyncio.sleep(0.001)


async def test_a_search_that_waits_is_answered_before_its_collection_is_dropped() -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        await raw.create()
        await raw.add(1, 2)
        async with engine_held(server):
            before = [
                await other.send("search", collection="items", vector=[1, 0]) for _ in range(300)
            ]
            await queued(server, 300)
            drop = await raw.send("drop", collection="items")
            await queued(server, 301)
            after = await other.send("search", collection="items", vector=[1, 0])
            assert (await other.reply(after))["error"]["code"] == "not_found"
        for id in before:
            assert len((await other.reply(id))["ok"]["results"]) == 2
        assert (await raw.reply(drop))["ok"] == {}


async def test_a_search_does_not_wait_behind_the_adds_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("omendb_ws.engine.changing.TICK_CHANGES_US", 0)  # one change a tick
    async with running() as server, client(server) as raw, client(server) as other:
        await raw.create(capacity=1000)
        async with engine_held(server):
            adds = [await raw.send("add", collection="items", rows=rows(i)) for i in range(100)]
            own = await raw.send("count", collection="items")
            await queued(server, 101)
            search = await other.send("search", collection="items", vector=[1, 0])
            await queued(server, 102)
        assert (await other.reply(search))["ok"]["version"] == 1
        # But one that follows adds on its own connection waits for these.
        assert (await raw.reply(own))["ok"] == {"version": 100, "count": 100}
        for version, id in enumerate(adds, 1):
            assert (await raw.reply(id))["ok"]["version"] == version
