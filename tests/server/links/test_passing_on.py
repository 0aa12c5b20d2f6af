"""Any node takes any op: what another node answers is as if it were answered here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from omendb_core.model.change import RowBatch

from omendb_ws.sessions.receive import Receiver
from omendb_ws.sessions.routing.routed import RoutedSession
from omendb_ws.sessions.session import Session
from omendb_ws.sessions.traced import receiver
from omendb_ws.wire import binary
from omendb_ws.wire.messages import Added, Live
from tests.patience import eventually
from tests.server.links.pair import held_by_b, pair
from tests.server.raw import batch, client, engine_held, rows, running, settings, with_keys


async def test_changes_and_reads_of_another_nodes_collection_are_answered() -> None:
    async with held_by_b() as (nodes, raw):
        added = await raw.ok("add", collection="items", rows=rows(1, 2, 3))
        assert (added["version"], added["last_seq"]) == (1, 3)
        assert (await raw.ok("delete", collection="items", ids=[2]))["deleted"] == 1
        found = await raw.ok("search", collection="items", vector=[1, 0], k=10)
        assert sorted(one["id"] for one in found["results"]) == [1, 3]
        assert (await raw.ok("count", collection="items"))["count"] == 2
        assert (await raw.ok("describe", collection="items"))["version"] == 2
        assert nodes["a"].metrics.passed_on == 5
        assert nodes["b"].metrics.passed_on == 0
        assert (await raw.error("search", collection="items", vector=[1], k=10))["code"] == (
            "dim_mismatch"
        )


async def test_handles_are_of_the_connection_wherever_their_collections_are() -> None:
    async with pair() as nodes:
        async with client(nodes["b"]) as raw:
            await raw.create("first")
            await raw.create("theirs", dim=2)
        nodes.place("theirs", "b")
        async with client(nodes["a"]) as raw:
            ours = (await raw.create("ours", dim=3))["handle"]
            theirs = (await raw.ok("open", collection="theirs"))["handle"]
            assert ours != theirs
            assert (await raw.ok("open", collection="theirs"))["handle"] == theirs
            assert isinstance(await raw.add_binary(theirs, batch(1, 2)), Added)
            assert isinstance(await raw.add_binary(ours, batch(5, dim=3)), Added)
            found = await raw.search_binary(theirs, [[1, 0]], k=5)
            assert sorted(found.hits.ids.tolist()) == [1, 2]
            found = await raw.search_binary(ours, [[1, 0, 0]], k=5)
            assert found.hits.ids.tolist() == [5]


async def test_a_handle_dies_with_its_collection_and_moves_with_it() -> None:
    async with held_by_b() as (nodes, raw):
        handle = (await raw.ok("open", collection="items"))["handle"]
        async with client(nodes["b"]) as other:
            await other.ok("drop", collection="items")
            await other.create("items")
        asked = raw.next_id()
        await raw.send_binary(binary.encode_add(asked, handle, batch(1)))
        assert (await raw.reply(asked))["error"]["code"] == "not_found"
        newer = (await raw.ok("open", collection="items"))["handle"]
        assert newer != handle
        await raw.add_binary(newer, batch(1))


async def test_a_frame_of_many_bytes_goes_through() -> None:
    async with held_by_b() as (nodes, raw):
        async with client(nodes["b"]) as other:
            await other.create("wide", dim=1024, capacity=4000, metric="dot")
        nodes.place("wide", "b")
        handle = (await raw.ok("open", collection="wide"))["handle"]
        vectors = np.random.default_rng(1).normal(size=(3800, 1024)).astype(np.float32)
        ids = np.arange(1, 3801, dtype=np.uint64)
        added = await raw.add_binary(handle, RowBatch(vectors, ids))
        assert added.last_seq == 3800
        got = await raw.ok("get", collection="wide", ids=[3800], include=["vector"])
        assert np.array_equal(np.array(got["rows"][0]["vector"], np.float32), vectors[-1])


@pytest.mark.parametrize("count", [3, 40, 900])
async def test_a_text_goes_on_wherever_its_fields_stand(count: int) -> None:
    async with held_by_b() as (nodes, raw):
        async with client(nodes["b"]) as other:
            await other.ok("drop", collection="items")
            await other.create("items", capacity=1000)
        made = [
            {"id": one, "vector": [1, 0], "metadata": {"text": "x" * 100}} for one in range(count)
        ]
        assert "ok" in await raw.ask("add", rows=made, collection="items")
        assert (await raw.ok("count", filter={}, collection="items"))["count"] == count
        made[-1]["vector"] = [1]
        refused = await raw.error("add", rows=made, collection="items")
        assert (refused["code"], refused["row"]) == ("dim_mismatch", count - 1)
        assert nodes["a"].metrics.passed_on == 3


async def test_a_text_that_is_no_json_is_refused_and_the_connection_lives() -> None:
    async with held_by_b() as (_, raw):
        for length in (10, 2000, 70_000):
            text = '{"op":"add","id":5,"collection":"items","rows":[%s' % ("1," * length)
            await raw.send_text(text)
            said = await raw.message()
            assert said.get("error", said)["code"] == "bad_request"
        assert (await raw.ok("count", collection="items"))["count"] == 0


async def test_a_client_reads_what_it_wrote_while_this_node_is_behind() -> None:
    async with pair() as nodes:
        for name in ("a", "b"):
            async with client(nodes[name]) as raw:
                await raw.create("items")
        nodes.place("items", "b", "a")  # the copy of a follows nothing: it stays behind
        async with client(nodes["a"]) as raw:
            assert (await raw.ok("count", collection="items"))["count"] == 0
            assert nodes["a"].metrics.passed_on == 0
            asked = [await raw.send("add", collection="items", rows=rows(one)) for one in (1, 2)]
            counted = await raw.send("count", collection="items")
            assert (await raw.reply(counted))["ok"]["count"] == 2
            for one in asked:
                assert "ok" in await raw.reply(one)
            assert (await raw.ok("count", collection="items"))["count"] == 2


async def test_changes_take_effect_in_the_order_sent_on_whatever_nodes() -> None:
    async with held_by_b() as (nodes, raw):
        await raw.create("ours")
        async with engine_held(nodes["b"]):
            theirs = await raw.send("add", collection="items", rows=rows(1))
            ours = await raw.send("add", collection="ours", rows=rows(1))
            listed = await raw.send("ping")
            await eventually(lambda: nodes["b"].context.engine.depth)
            async with client(nodes["a"]) as other:
                assert (await other.ok("count", collection="ours"))["count"] == 0
        for one in (theirs, ours, listed):
            assert "ok" in await raw.reply(one)
        assert raw.order[-3]["id"] == theirs
        async with engine_held(nodes["a"]):
            ours = await raw.send("add", collection="ours", rows=rows(2))
            theirs = await raw.send("add", collection="items", rows=rows(2))
            await eventually(lambda: nodes["a"].context.engine.depth)
            async with client(nodes["b"]) as other:
                assert (await other.ok("count", collection="items"))["count"] == 1
        assert "ok" in await raw.reply(theirs)
        assert (await raw.ok("count", collection="items"))["count"] == 2


async def test_subscriptions_of_several_nodes_have_numbers_of_their_own() -> None:
    async with held_by_b() as (nodes, raw):
        await raw.create("ours")
        one = await raw.ok("subscribe", kind="live", collection="items", vector=[1, 0], k=2)
        other = await raw.ok("subscribe", kind="feed", collection="ours")
        third = await raw.ok(
            "subscribe", kind="live", collection="items", vector=[1, 0], k=2, encoding="binary"
        )
        assert len({one["sub"], other["sub"], third["sub"]}) == 3
        await raw.ok("add", collection="items", rows=rows(1))
        await raw.ok("add", collection="ours", rows=rows(2))
        live = await raw.named("live")
        assert (live["sub"], live["enter"][0]["id"]) == (one["sub"], 1)
        assert (await raw.named("feed"))["sub"] == other["sub"]
        binary_live = await raw.event(lambda event: isinstance(event, Live))
        assert binary_live.sub == third["sub"]
        moved = await raw.ok("move", sub=one["sub"], vector=[0, 1])
        assert moved["results"][0]["id"] == 1
        await raw.ok("unsubscribe", sub=one["sub"])
        await raw.ok("unsubscribe", sub=third["sub"])
        assert (await raw.error("unsubscribe", sub=one["sub"]))["code"] == "not_found"
        assert nodes["b"].metrics.subscriptions.total() == 0


async def test_a_collection_that_is_dropped_elsewhere_ends_its_subscriptions() -> None:
    async with held_by_b() as (nodes, raw):
        sub = (await raw.ok("subscribe", kind="feed", collection="items"))["sub"]
        async with client(nodes["b"]) as other:
            await other.ok("drop", collection="items")
        ended = await raw.named("ended")
        assert (ended["sub"], ended["reason"]) == (sub, "dropped")
        del nodes.map.holders["items"]
        assert (await raw.error("count", collection="items"))["code"] == "not_found"


async def test_a_list_is_of_all_nodes(tmp_path: Path) -> None:
    async with pair(with_keys(tmp_path), names=("a", "b", "c")) as nodes:
        for name in ("b", "c"):
            async with client(nodes[name], token="token-root") as raw:
                await raw.create(f"of-{name}")
                await raw.add(1, 2, name=f"of-{name}")
            nodes.place(f"of-{name}", name)
        async with client(nodes["a"], token="token-root") as raw:
            made = await raw.send("create", collection="of-a", dim=2, capacity=9)
            listed = await raw.ok("list")
            assert "ok" in await raw.reply(made)
            named = {one["collection"]: one["rows"] for one in listed["collections"]}
            assert named == {"of-a": 0, "of-b": 2, "of-c": 2}
            await nodes["c"].drain()
            listed = await raw.ok("list")
            assert {one["collection"] for one in listed["collections"]} == {"of-a", "of-b"}
        async with client(nodes["a"], token="token-other") as raw:
            assert (await raw.ok("list"))["collections"] == []


async def test_a_snapshot_is_read_where_it_was_begun() -> None:
    async with held_by_b() as (_, raw):
        await raw.ok("add", collection="items", rows=rows(1, 2))
        begun = await raw.ok("snapshot", collection="items")
        asked = await raw.send("snapshot", snapshot=begun["snapshot"])
        assert (await raw.reply(asked)).data
        await raw.ok("snapshot", end=begun["snapshot"])


async def test_no_message_goes_round_in_circles() -> None:
    async with pair(names=("a", "b", "c")) as nodes:
        nodes.place("items", "b")
        async with client(nodes["a"]) as raw:  # b has none, whatever is said
            for op, fields in (("count", {}), ("add", {"rows": rows(1)})):
                refused = await raw.error(op, collection="items", **fields)
                assert (refused["code"], refused["retry"]) == ("unavailable", True)
        nodes.place("items", "c")
        assert nodes["b"].metrics.passed_on == 0


async def test_without_an_owner_changes_are_unavailable_and_reads_go_on() -> None:
    async with held_by_b() as (nodes, raw):
        await raw.ok("describe", collection="items")
        nodes.place("items", None, "b")
        assert (await raw.error("add", collection="items", rows=rows(1)))["code"] == "unavailable"
        assert (await raw.ok("count", collection="items"))["count"] == 0
        async with client(nodes["b"]) as near:  # which knows why it is nobody's
            assert (await near.ok("drop", collection="items")) == {}


async def test_a_request_with_the_id_of_one_that_another_node_owes_is_refused() -> None:
    async with held_by_b() as (nodes, raw):
        async with engine_held(nodes["b"]):
            await raw.send("count", collection="items", id=9)
            await raw.send("count", collection="items", id=9)
            assert (await raw.reply(9))["error"]["code"] == "bad_request"
        assert "ok" in await raw.reply(9)


async def test_what_others_owe_counts_as_unanswered() -> None:
    async with held_by_b(settings(max_inflight=3)) as (nodes, raw):
        async with engine_held(nodes["b"]):
            asked = [await raw.send("count", collection="items") for _ in range(9)]
            (session,) = nodes["a"]._sessions.values()
            await eventually(lambda: not session.has_room)
            assert isinstance(session, RoutedSession)
            assert session.inflight_bytes > 0
            assert len(session.router.pending) == 3
            assert nodes["a"].metrics.passed_on == 3
        for one in asked:
            assert "ok" in await raw.reply(one)
        assert session.inflight_bytes == 0


async def test_a_client_that_goes_leaves_nothing_at_other_nodes() -> None:
    async with held_by_b() as (nodes, raw):
        await raw.ok("subscribe", kind="feed", collection="items")
        assert nodes["b"].context.metrics.subscriptions.total() == 1
        await raw.socket.close()
        await eventually(lambda: not nodes["b"]._sessions)
        assert nodes["b"].context.metrics.subscriptions.total() == 0
        assert not next(iter(nodes["b"].context.accounts)).visits


async def test_a_node_that_is_alone_has_the_plain_objects() -> None:
    async with running() as server, client(server):
        (session,) = server._sessions.values()
        assert type(session) is Session
        assert type(receiver(session)) is Receiver
