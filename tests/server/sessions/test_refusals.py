"""Each row of the table of errors over a real socket: the right code, nothing changed, still alive.

PROTOCOL section 9. ``unavailable`` and ``internal`` stand in ``test_faults.py``, ``draining`` in
``test_drain.py``, ``unauthenticated`` and ``forbidden`` in ``test_rights.py``.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import orjson
import pytest
from omendb_core.model.change import RowBatch
from omendb_core.model.errors import BY_CODE
from omendb_core.model.types import Include

from omendb_ws.net.server import Server
from omendb_ws.wire import binary
from tests.server.raw import Clock, Raw, batch, client, engine_held, queued, rows, running, settings

V = [1.0, 0.0]
ROW = {"id": 5, "vector": V}
DEEP: Any = {"price": 1}
for _ in range(12):
    DEEP = {"$not": DEEP}


def add(*given: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"op": "add", "collection": "items", "rows": list(given), **fields}


def search(**fields: Any) -> dict[str, Any]:
    return {"op": "search", "collection": "items", **fields}


def create(name: str = "new", **fields: Any) -> dict[str, Any]:
    return {"op": "create", "collection": name, "dim": 2, "capacity": 8, **fields}


def feed(**fields: Any) -> dict[str, Any]:
    return {"op": "subscribe", "kind": "feed", "collection": "items", **fields}


#: (code, request) and where a row is at fault, which.
REFUSED: list[tuple[str, dict[str, Any], int | None]] = [
    ("bad_request", {"op": "fly"}, None),
    ("bad_request", {"op": "search", "collection": "items"}, None),
    ("bad_request", search(vector=V, colour="red"), None),
    ("bad_request", search(vector=V, like=1), None),
    ("bad_request", search(vector=V, last=0), None),
    ("bad_request", search(vector=V, last=1.0), None),
    ("bad_request", search(vector=V, min_score="high"), None),
    ("bad_request", search(vector=V, include=["everything"]), None),
    ("bad_request", {"op": "count", "collection": 7}, None),
    ("bad_request", add(), None),
    ("bad_request", add(ROW, producer="p"), None),
    ("bad_request", add(ROW, batch=1), None),
    ("bad_request", add(ROW, producer="", batch=1), None),
    ("bad_request", add(ROW, producer="p", batch=0), None),
    ("bad_request", add({"id": 5}), 0),
    ("bad_request", add(ROW, {"id": 6, "vector": V, "colour": 1}), 1),
    ("bad_request", create(dim=0), None),
    ("bad_request", create(dim=True), None),
    ("bad_request", create(capacity=1.5), None),
    ("bad_request", create(metric="manhattan"), None),
    ("bad_request", create(ttl=0), None),
    ("unsupported", create(replicas=2), None),
    ("bad_request", create(replicas=0), None),
    ("bad_request", create(replicas=9), None),
    ("bad_request", create(ttl=-1), None),
    ("bad_request", create(columns={"a": "date"}), None),
    ("bad_request", feed(from_seq=1), None),
    ("bad_request", feed(every=100), None),
    ("bad_request", {"op": "subscribe", "kind": "weather"}, None),
    ("bad_request", {"op": "subscribe", "kind": "stats", "every": 99}, None),
    ("bad_request", {"op": "subscribe", "kind": "stats", "every": 60001}, None),
    ("bad_vector", search(vector="abc"), None),
    ("bad_vector", search(vector=[1, "a"]), None),
    ("bad_vector", search(vector=[1, None]), None),
    ("bad_vector", search(vector=[1, True]), None),
    ("bad_vector", search(vectors=[]), None),
    ("bad_vector", add(ROW, {"id": 6, "vector": [V]}), 1),
    ("dim_mismatch", search(vector=[1, 0, 0]), None),
    ("dim_mismatch", search(vector=[]), None),
    ("dim_mismatch", add(ROW, {"id": 6, "vector": [1.0]}), 1),
    ("non_finite", add(ROW, {"id": 6, "vector": [1e39, 0.0]}), 1),
    ("non_finite", search(vector=[1e39, 0]), None),
    ("non_finite", search(vector=[3e38, 3e38]), None),
    ("zero_norm", {**add({"vector": [0.0, 0.0]}), "collection": "cosines"}, 0),
    ("zero_norm", {**search(vector=[1e-30, 0]), "collection": "cosines"}, None),
    ("bad_id", add({**ROW, "id": -1}), 0),
    ("bad_id", add({**ROW, "id": 1.5}), 0),
    ("bad_id", add({**ROW, "id": True}), 0),
    ("bad_id", add({**ROW, "id": 2**53}), 0),
    ("bad_id", add({**ROW, "id": str(2**64)}), 0),
    ("bad_id", add({**ROW, "id": "007"}), 0),
    ("bad_id", add({"vector": V}), 0),
    ("bad_id", {**add({"id": 1, "vector": V}), "collection": "cosines"}, 0),
    ("bad_id", {**add({"id": "", "vector": V}), "collection": "texts"}, 0),
    ("bad_id", {**add({"id": "a\0", "vector": V}), "collection": "texts"}, 0),
    ("bad_id", {**add({"id": "é" * 129, "vector": V}), "collection": "texts"}, 0),
    ("bad_id", {"op": "delete", "collection": "items", "ids": [1, []]}, 1),
    ("bad_id", {"op": "get", "collection": "texts", "ids": [1]}, 0),
    ("bad_id", search(like={}), None),
    ("duplicate_id", add(ROW, {"id": 6, "vector": V}, ROW), 2),
    (
        "duplicate_id",
        {"op": "update", "collection": "items", "rows": [{"id": 1, "metadata": {}}] * 2},
        1,
    ),
    ("bad_k", search(vector=V, k=0), None),
    ("bad_k", search(vector=V, k=-1), None),
    ("bad_k", search(vector=V, k=True), None),
    ("bad_k", search(vector=V, k=1.5), None),
    ("bad_k", search(vector=V, k="10"), None),
    ("bad_k", search(vector=V, k=1001), None),
    ("bad_filter", search(vector=V, filter=[]), None),
    ("bad_filter", search(vector=V, filter={"weight": 1}), None),
    ("bad_filter", search(vector=V, filter={"price": None}), None),
    ("bad_filter", search(vector=V, filter={"price": {}}), None),
    ("bad_filter", search(vector=V, filter={"price": "cheap"}), None),
    ("bad_filter", search(vector=V, filter={"$or": []}), None),
    ("bad_filter", search(vector=V, filter={"price": {"$regex": ".*"}}), None),
    (
        "bad_filter",
        search(vector=V, filter={"price": {"$lt": {"$mul": ["__import__('os')", 1]}}}),
        None,
    ),
    ("bad_filter", search(vector=V, filter={"price": {"$in": list(range(1025))}}), None),
    ("bad_filter", {"op": "count", "collection": "items", "filter": DEEP}, None),
    ("bad_filter", feed(filter={"weight": 1}), None),
    ("bad_name", create(""), None),
    ("bad_name", create("-a"), None),
    ("bad_name", create("a b"), None),
    ("bad_name", create("a" * 65), None),
    ("bad_name", create("ä"), None),
    ("bad_name", create(columns={"a b": "f64"}), None),
    ("bad_metadata", add({**ROW, "metadata": {"price": "9"}}), 0),
    ("bad_metadata", add(ROW, {"id": 6, "vector": V, "metadata": {"price": True}}), 1),
    ("bad_metadata", add({**ROW, "metadata": []}), 0),
    ("out_of_order", add(ROW, producer="new", batch=2), None),
    ("wrong_epoch", feed(from_seq=1, epoch="another"), None),
    ("bad_request", feed(from_seq=100, epoch="EPOCH"), None),
    ("not_found", {"op": "open", "collection": "none"}, None),
    ("not_found", {"op": "describe", "collection": "none"}, None),
    ("not_found", {"op": "drop", "collection": "none"}, None),
    ("not_found", {**add(ROW), "collection": "none"}, None),
    ("not_found", {**search(vector=V), "collection": "none"}, None),
    ("not_found", {"op": "get", "collection": "none", "ids": [1]}, None),
    ("not_found", {"op": "count", "collection": "none"}, None),
    ("not_found", {"op": "delete", "collection": "none", "ids": [1]}, None),
    ("not_found", {"op": "update", "collection": "none", "rows": [{}]}, None),
    ("not_found", {"op": "stats", "collection": "none"}, None),
    ("not_found", feed(collection="none"), None),
    ("not_found", {"op": "unsubscribe", "sub": 1}, None),
    ("not_found", search(like=77), None),
    (
        "not_found",
        {
            "op": "update",
            "collection": "items",
            "rows": [{"id": 1, "metadata": {}}, {"id": 77, "metadata": {}}],
        },
        1,
    ),
    ("exists", create("items"), None),
    ("exists", create("items", if_exists="ok"), None),
    ("unsupported", create(durability="everysec"), None),
    ("unsupported", create(durability="always"), None),
    ("too_large", add(*(ROW for _ in range(9))), None),
    ("too_large", add({**ROW, "metadata": {"note": "x" * 4096}}), 0),
    ("too_large", create(dim=4097), None),
    ("too_large", create(capacity=10_000_001), None),
    ("too_large", {"op": "get", "collection": "items", "ids": [1] * 10_001}, None),
    ("too_large", search(vectors=[V] * 257), None),
    ("quota", create(dim=4096, capacity=10_000_000), None),
]


async def furnish(raw: Raw) -> str:
    """The collections that ``REFUSED`` speaks of; the epoch of ``items``."""
    made = await raw.create(columns={"price": "f64"})
    await raw.create("cosines", metric="cosine", ids="auto")
    await raw.create("texts", ids="str")
    await raw.add(1, 2)
    return str(made["epoch"])


async def everything(raw: Raw) -> list[Any]:
    """What may not have changed."""
    described = (await raw.ok("list"))["collections"]
    found = await raw.ok("get", collection="items", ids=[1, 2, 5, 6], include=["metadata"])
    return [described, found]


async def test_each_refusal_has_its_code_changes_nothing_and_harms_nothing() -> None:
    async with running() as server, client(server) as raw:
        epoch = await furnish(raw)
        before = await everything(raw)
        for number, (code, request, row) in enumerate(REFUSED):
            request = {**request, "id": 1000 + number}
            if request.get("epoch") == "EPOCH":
                request["epoch"] = epoch
            await raw.send_text(orjson.dumps(request))
            reply = await raw.reply(request["id"])
            assert "error" in reply, (code, request)
            error = reply["error"]
            assert error["code"] == code, (request, error)
            assert error["retry"] is BY_CODE[code].retry
            assert error.get("row") == row, (request, error)
            assert error["message"]
        assert await everything(raw) == before


async def test_only_a_live_query_moves() -> None:
    async with running() as server, client(server) as raw:
        await raw.create()
        sub = (await raw.ok("subscribe", kind="feed", collection="items"))["sub"]
        assert await raw.code("move", sub=sub, vector=V) == "bad_request"
        assert await raw.code("move", sub=sub + 1, vector=V) == "not_found"


UNREADABLE = [
    ("bad_request", "not json"),
    ("bad_request", '"a text"'),
    ("bad_request", "[1, 2]"),
    ("bad_request", '{"op":"ping"}'),
    ("bad_request", '{"id":-1,"op":"ping"}'),
    ("bad_request", '{"id":4294967296,"op":"ping"}'),
    ("bad_request", '{"id":1.0,"op":"ping"}'),
    ("bad_request", '{"id":"1","op":"ping"}'),
    ("bad_request", "[" * 100_000),
    ("bad_request", '{"id":1,"op":"ping"'),
    ("bad_request", '{"id":1,"op":"\\ud800"}'),
    ("bad_request", ""),
]


async def test_what_has_no_id_is_answered_by_an_error_event() -> None:
    async with running() as server, client(server) as raw:
        for code, text in UNREADABLE:
            await raw.send_text(text)
            event = await raw.named("error")
            assert event["code"] == code, text
            assert event["message"]
        assert await raw.ok("ping") == {}


async def test_the_last_of_duplicate_keys_counts() -> None:
    async with running() as server, client(server) as raw:
        await raw.send_text('{"id":1,"op":"fly","op":"ping","id":2}')
        assert (await raw.reply(2))["ok"] == {}


async def test_every_binary_message_that_is_none_is_refused_and_the_connection_lives() -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create())["handle"]
        whole = binary.encode_add(7, handle, batch(1, 2))
        for length in range(len(whole)):
            await raw.send_binary(whole[:length])
            if length < 8:
                assert (await raw.named("error"))["code"] == "bad_frame"
            else:
                assert (await raw.reply(7))["error"]["code"] == "bad_frame", length
        await raw.send_binary(whole + b"\0" * 8)
        assert (await raw.reply(7))["error"]["code"] == "bad_frame"
        for kind in (0, 2, 4, 5, 6, 9, 255):
            await raw.send_binary(whole[:2] + bytes([kind]) + whole[3:])
            assert (await raw.reply(7))["error"]["code"] == "bad_frame"
        for n, dim in ((0, 2), (2**32 - 1, 2**32 - 1), (2**31, 2**31), (2, 2**30)):
            frame = bytearray(whole)
            struct.pack_into("<II", frame, 12, n, dim)
            await raw.send_binary(bytes(frame))
            assert (await raw.reply(7))["error"]["code"] == "bad_frame"
        assert (await raw.ok("describe", collection="items"))["version"] == 0
        await raw.send_binary(whole)
        assert (await raw.reply(7)).version == 1


async def test_rows_of_binary_adds_are_refused_as_in_text() -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create(columns={"price": "f64"}))["handle"]
        good = batch(1, 2).vectors
        ids = np.array([1, 2], np.uint64)
        bad = good.copy()
        bad[1, 0] = np.nan
        refused = [
            ("non_finite", RowBatch(bad, ids)),
            ("duplicate_id", RowBatch(good, np.array([1, 1], np.uint64))),
            ("bad_id", RowBatch(good)),
            ("bad_id", RowBatch(good, ["a", "b"])),
            ("dim_mismatch", RowBatch(np.ones((2, 3), np.float32), ids)),
            ("bad_metadata", RowBatch(good, ids, {"price": np.array([np.inf, 1.0])})),
            ("bad_metadata", RowBatch(good, ids, {"weight": np.array([1.0, 1.0])})),
            ("bad_metadata", RowBatch(good, ids, {"price": np.array([1, 2])})),
            ("too_large", RowBatch(np.ones((9, 2), np.float32), np.arange(9, dtype=np.uint64))),
        ]
        for code, rows_ in refused:
            id = raw.next_id()
            await raw.send_binary(binary.encode_add(id, handle, rows_))
            error = (await raw.reply(id))["error"]
            assert error["code"] == code, error
        assert (await raw.ok("describe", collection="items"))["version"] == 0


async def test_text_over_its_limit_stays_unread() -> None:
    async with running(max_text_bytes=1000) as server, client(server) as raw:
        await raw.send_text(orjson.dumps({"id": 1, "op": "ping", "x": "y" * 1000}))
        assert (await raw.named("error"))["code"] == "too_large"
        assert await raw.ok("ping") == {}


async def test_a_message_over_its_limit_closes_the_connection() -> None:
    async with running(max_message_bytes=100_000) as server, client(server) as raw:
        await raw.send_binary(b"\xdb" * 100_001)
        assert await raw.closed() == 1009


async def test_text_that_is_no_utf8_closes_the_connection() -> None:
    async with running() as server, client(server) as raw:
        await raw.send_text(b'{"id":1,"op":"\xff"}')
        assert await raw.closed() == 1007


async def test_an_id_that_waits_for_its_answer_may_not_be_used_again() -> None:
    async with running() as server, client(server) as raw:
        await raw.create()
        await raw.send("count", id=5, collection="items")
        await raw.send("ping", id=5)
        replies = [await raw.message(), await raw.message()]
        assert sorted("ok" in reply for reply in replies) == [False, True]
        assert next(r for r in replies if "error" in r)["error"]["code"] == "bad_request"
        await raw.reply(5)
        assert await raw.ok("ping", id=5) == {}


async def test_one_create_cannot_take_all_memory_and_a_drop_gives_it_back() -> None:
    async with running(max_memory_bytes=1 << 20) as server, client(server) as raw:
        big = {"dim": 64, "capacity": 2500}
        assert (await raw.create("a", **big))["bytes"] > 512 << 10
        error = await raw.error("create", collection="b", **big)
        assert error["code"] == "quota"
        assert "max_memory_bytes" in error["message"]
        # Nothing is waited for: the budget is free for what comes right behind the drop.
        dropped = await raw.send("drop", collection="a")
        assert (await raw.create("b", **big))["version"] == 0
        await raw.reply(dropped)
        await raw.ok("count", collection="b")  # the engine's: the old window went before
        assert server.context.catalog.reserved_bytes <= 1 << 20


async def test_a_tenant_has_so_many_collections_and_no_more() -> None:
    async with running(max_collections=2) as server, client(server) as raw:
        await raw.create("a")
        await raw.create("b")
        assert await raw.code("create", collection="c", dim=2, capacity=2) == "quota"
        await raw.ok("drop", collection="a")
        await raw.create("c")


async def test_subscriptions_are_bounded_for_a_connection_and_for_the_server() -> None:
    limits = {"max_subscriptions": 2, "max_server_subscriptions": 3}
    async with running(**limits) as server, client(server) as raw, client(server) as other:
        asked = {"kind": "stats", "every": 60000}
        subs = [(await raw.ok("subscribe", **asked))["sub"] for _ in range(2)]
        assert await raw.code("subscribe", **asked) == "quota"
        await other.ok("subscribe", **asked)
        assert await other.code("subscribe", **asked) == "quota"
        await raw.ok("unsubscribe", sub=subs[0])
        await other.ok("subscribe", **asked)


async def test_payloads_are_bounded_for_a_collection() -> None:
    async with running(max_payload_bytes=1000) as server, client(server) as raw:
        await raw.create()
        big = {"note": "x" * 400}
        given = [{**row, "metadata": big} for row in rows(1, 2)]
        await raw.ok("add", collection="items", rows=given)
        given = [{**row, "metadata": big} for row in rows(3)]
        assert await raw.code("add", collection="items", rows=given) == "quota"
        assert (await raw.ok("describe", collection="items"))["version"] == 1


@pytest.mark.parametrize("is_binary", [True, False])
async def test_a_reply_that_cannot_fit_is_refused_before_the_work(is_binary: bool) -> None:
    async with running(max_message_bytes=20_000) as server, client(server) as raw:
        handle = (await raw.create(dim=100, capacity=200))["handle"]
        for start in range(0, 200, 20):
            await raw.add_binary(handle, batch(*range(start, start + 20), dim=100))
        engine_scans = server.metrics.scan_queries.count
        vector = [1.0, *[0.0] * 99]
        window = server.context.catalog.find("default", "items").shard.window
        window.state.scan = None  # a scan would now be a fault
        if is_binary:
            id = raw.next_id()
            query = np.array([vector], np.float32)
            include = Include(vector=True)
            await raw.send_binary(binary.encode_search(id, handle, query, k=100, include=include))
            error = (await raw.reply(id))["error"]
        else:
            asked = {"collection": "items", "vector": vector, "include": ["vector"], "k": 100}
            error = await raw.error("search", **asked)
        assert error["code"] == "too_large"
        assert server.metrics.scan_queries.count in (engine_scans, engine_scans + 1)
        assert server.metrics.faults == 0
        asked = {"collection": "items", "ids": list(range(100)), "include": ["vector"]}
        assert await raw.code("get", **asked) == "too_large"
        assert await raw.code("get", collection="items", ids=[1] * 5_000) == "too_large"


async def test_the_largest_binary_reply_that_fits_is_sent_and_one_row_more_is_not() -> None:
    row_bytes = 8 + 8 + 4 + 4 * 16
    size = 32 + 8 + 8 + 100 * row_bytes
    async with running(max_message_bytes=size) as server, client(server) as raw:
        handle = (await raw.create(dim=16, capacity=101))["handle"]
        for start in range(0, 101, 50):
            await raw.add_binary(handle, batch(*range(start, min(start + 50, 101)), dim=16))
        vector = np.zeros((1, 16), np.float32)
        include = Include(vector=True)
        found = await raw.search_binary(handle, vector, k=100, include=include)
        assert len(found.hits.seqs) == 100
        id = raw.next_id()
        await raw.send_binary(binary.encode_search(id, handle, vector, k=101, include=include))
        assert (await raw.reply(id))["error"]["code"] == "too_large"


async def test_json_that_turns_out_too_long_is_refused_after_all() -> None:
    async with running(max_message_bytes=10_000) as server, client(server) as raw:
        await raw.create(dim=100, capacity=10)
        vectors = np.random.default_rng(1).normal(size=(10, 100)).astype(np.float32).tolist()
        given = [{"id": id, "vector": vector} for id, vector in enumerate(vectors)]
        for row in given:
            await raw.ok("add", collection="items", rows=[row])
        asked = {"collection": "items", "vector": vectors[0], "include": ["vector"]}
        assert await raw.code("search", **asked) == "too_large"
        assert len((await raw.ok("search", **{**asked, "k": 5}))["results"]) == 5


async def test_more_messages_than_a_second_may_have_are_told_when_to_come_back() -> None:
    server = Server(settings(max_messages_per_second=5), clock_us=Clock())
    async with running(server), client(server) as raw:
        sent = [await raw.send("ping") for _ in range(8)]
        replies = [await raw.reply(id) for id in sent]
        assert ["ok" in reply for reply in replies] == [True] * 5 + [False] * 3
        refused = [reply["error"] for reply in replies[5:]]
        assert {error["code"] for error in refused} == {"rate_limited"}
        assert all(error["retry"] and error["retry_after_ms"] >= 1 for error in refused)
        assert all(error["retry_after_ms"] <= 400 for error in refused)


async def test_work_that_waited_too_long_is_shed_and_changed_nothing() -> None:
    clock = Clock()
    server = Server(settings(queue_deadline_ms=50), clock_us=clock)
    async with running(server), client(server) as raw:
        await raw.create()
        await raw.add(1)
        async with engine_held(server):
            late = [
                await raw.send("add", collection="items", rows=rows(3)),
                await raw.send("search", collection="items", vector=V),
                await raw.send("subscribe", kind="feed", collection="items"),
            ]
            await queued(server, 3)
            clock.move(0.051)
        for id in late:
            error = (await raw.reply(id))["error"]
            assert (error["code"], error["retry"]) == ("overloaded", True)
        assert (await raw.ok("describe", collection="items"))["version"] == 1
        assert (await raw.ok("stats"))["subscriptions"] == 0
