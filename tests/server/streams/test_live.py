"""``live`` subscriptions over real sockets: stream, reasons, moves, the end (section 6)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omendb_core.standing import renewals

from omendb_ws.net.server import Server
from omendb_ws.wire import binary
from omendb_ws.wire.messages import Include, Live, Results
from tests.server.live_view import View, live, slow_sockets, sub_of, view_of, views_of
from tests.server.raw import (
    Clock,
    Raw,
    client,
    engine_held,
    queued,
    rows,
    running,
    settings,
    with_keys,
)

V = [1.0, 0.0]
LIVE = {"kind": "live", "collection": "items", "vector": V}
ENCODINGS = pytest.mark.parametrize("encoding", ["json", "binary"])


pytestmark = pytest.mark.usefixtures("whole_ticks")


async def poke(raw: Raw) -> None:
    """Give the engine a tick, and take what was pushed."""
    await raw.ok("count", collection="items")
    await raw.ok("ping")


def reasons(view: View) -> list[tuple[Any, int, str]]:
    return sorted(view.leaves, key=lambda leave: leave[1])


def ids(view: View) -> list[Any]:
    return [row.id for row in view.answer]


# -- the stream -------------------------------------------------------------------------------


@ENCODINGS
async def test_the_reply_comes_first_and_pushes_start_exactly_after_it(encoding: str) -> None:
    async with running() as server, client(server) as raw, client(server) as writer:
        await raw.create(capacity=1000)
        async with engine_held(server):
            before = [
                await writer.send("add", collection="items", rows=rows(number))
                for number in range(1, 6)
            ]
            await queued(server, 5)
            asked = await raw.send("subscribe", **LIVE, k=1000, encoding=encoding)
            await queued(server, 6)
            for number in range(6, 11):
                await writer.send("add", collection="items", rows=rows(number))
            await queued(server, 11)
        view = view_of(raw, (await raw.reply(asked))["ok"])
        first = raw.order.index(next(one for one in raw.order if _is_about(one, view.sub)))
        assert raw.order[first]["id"] == asked
        # Whatever the snapshot held, the pushes bring the rest: nothing missed, nothing doubled.
        await view.until_version(10)
        assert ids(view) == list(range(10, 0, -1))
        for id_ in before:
            await writer.reply(id_)
        # One by one, each push is one version further.
        for number in range(11, 31):
            done = await writer.add(number)
            await view.step()
            assert view.version == done["version"]
            assert [row.id for row in view.entered] == [number]
            assert view.leaves == []


def _is_about(message: Any, sub: int) -> bool:
    if isinstance(message, dict) and "ok" in message:
        return bool(message["ok"].get("sub") == sub)
    return isinstance(message, Live | dict) and sub_of(message) == sub


async def test_what_was_sent_before_the_subscribe_on_its_connection_is_in_the_snapshot() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(capacity=100)
        for number in range(20):
            await raw.send("add", collection="items", rows=rows(number))
        view = await live(raw, V, k=100)
        assert ids(view) == list(range(19, -1, -1))
        assert view.version == 20


async def test_subscribe_move_and_unsubscribe_need_not_be_waited_for() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(capacity=100)
        for number in range(30):
            base = 1000 + 10 * number
            await raw.send("subscribe", id=base, **LIVE, k=3)
            await raw.send("add", id=base + 1, collection="items", rows=rows(number))
            await raw.send("move", id=base + 2, sub=number + 1, vector=[-1.0, 0.0])
            await raw.send("add", id=base + 3, collection="items", rows=rows(number + 50))
            await raw.send("unsubscribe", id=base + 4, sub=number + 1)
            await raw.send("add", id=base + 5, collection="items", rows=rows(number))
        for number in range(30):
            base = 1000 + 10 * number
            replies = [await raw.reply(base + step) for step in range(6)]
            assert all("ok" in one for one in replies), replies
            assert replies[0]["ok"]["sub"] == number + 1
            assert replies[2]["ok"]["results"]
            # Each subscription is one stream in order.
            mine = [
                one for one in raw.order
                if one in (replies[0], replies[2], replies[4]) or sub_of(one) == number + 1
            ]  # fmt: skip
            assert mine[0] == replies[0]
            assert mine[-1] == replies[4]
            place = mine.index(replies[2])
            view = view_of(raw, replies[0]["ok"])
            for push in mine[1:place]:
                view.apply(push)
                assert all(row.score == row.id for row in view.answer)
            moved = {"sub": view.sub, "epoch": "", **replies[2]["ok"]}
            view = view_of(raw, moved)
            for push in mine[place + 1 : -1]:
                view.apply(push)
                assert all(row.score == -float(row.id) + 0.0 for row in view.answer)
        await raw.ok("ping")
        assert server.metrics.subscriptions["live"] == 0
        assert len(server.context.catalog.find("default", "items").shard.window.standing) == 0


async def test_nothing_comes_after_the_reply_to_unsubscribe() -> None:
    async with running() as server, client(server) as raw, client(server) as writer:
        await raw.create(capacity=1000)
        view = await live(raw, V)
        for number in range(50):
            await writer.send("add", collection="items", rows=rows(number))
        left = await raw.send("unsubscribe", sub=view.sub)
        reply = await raw.reply(left)
        for number in range(50, 80):
            await writer.add(number)
        await raw.ok("ping")
        place = raw.order.index(reply)
        assert not [one for one in raw.order[place:] if "event" in one]


# -- reasons ----------------------------------------------------------------------------------


@ENCODINGS
async def test_every_reason_to_leave_in_turn(encoding: str) -> None:
    clock = Clock()
    server = Server(settings(), clock_us=clock)
    async with running(server), client(server) as raw:
        await raw.create(capacity=4, ttl=10, columns={"price": "f64"})
        fields = {"encoding": encoding, "include": ["metadata"], "filter": {"price": {"$lt": 9}}}

        async def add(*priced: tuple[int, float]) -> None:
            given = [{**rows(id_)[0], "metadata": {"price": price}} for id_, price in priced]
            await raw.ok("add", collection="items", rows=given)

        async def update(id_: int, price: float) -> None:
            row = {"id": id_, "metadata": {"price": price}}
            await raw.ok("update", collection="items", rows=[row])

        view = await live(raw, V, k=2, **fields)
        await add((10, 1), (20, 1))
        await view.step()
        assert (ids(view), view.leaves) == ([20, 10], [])
        await add((30, 1))  # seq 3
        await view.step()
        assert (ids(view), view.leaves) == ([30, 20], [(10, 1, "displaced")])
        await raw.ok("delete", collection="items", ids=[30])
        await view.step()
        assert (ids(view), view.leaves) == ([20, 10], [(30, 3, "deleted")])
        await add((20, 2))  # seq 4
        await view.step()
        assert (ids(view), view.leaves) == ([20, 10], [(20, 2, "replaced")])
        assert [row.metadata for row in view.entered] == [{"price": 2}]
        await update(20, 3)
        await view.step()
        assert (ids(view), view.leaves) == ([20, 10], [(20, 4, "updated")])
        assert [(row.seq, row.metadata) for row in view.entered] == [(4, {"price": 3})]
        await update(20, 9)
        await view.step()
        assert (ids(view), view.leaves) == ([10], [(20, 4, "filtered")])
        await update(20, 8)
        await view.step()
        assert (ids(view), view.leaves) == ([20, 10], [])
        await add((1, 1))  # seq 5: row 1 is overwritten
        await view.step()
        assert (ids(view), view.leaves) == ([20, 1], [(10, 1, "evicted")])
        clock.move(11)
        await raw.ok("count", collection="items")
        await view.step()
        assert ids(view) == []
        assert reasons(view) == [(20, 4, "expired"), (1, 5, "expired")]
        assert view.rows == {}


#: What happens in one tick to rows of ids and seqs 1 to 4 in a window of four, after so many
#: seconds (a row lives 10) -> why they left.
PRECEDENCE: dict[str, tuple[list[tuple[str, int]], float, dict[int, str]]] = {
    "evicted though deleted": ([("delete", 1), ("add", 5)], 0, {1: "evicted"}),
    "evicted though replaced": ([("add", 1)], 0, {1: "evicted"}),
    "evicted though expired": (
        [("add", 5)],
        11,
        {1: "evicted", 2: "expired", 3: "expired", 4: "expired"},
    ),
    "deleted though replaced before": (
        [("delete", 3), ("add", 2), ("delete", 2)],
        0,
        {1: "evicted", 2: "deleted", 3: "deleted"},
    ),
    "deleted though filtered": ([("hide", 4), ("delete", 4)], 0, {4: "deleted"}),
    "replaced though filtered": ([("hide", 4), ("add", 4)], 0, {1: "evicted", 4: "replaced"}),
    "replaced though deleted before": (
        [("delete", 4), ("add", 4)],
        0,
        {1: "evicted", 4: "replaced"},
    ),
    "filtered though updated": ([("touch", 4), ("hide", 4)], 0, {4: "filtered"}),
    "updated though filtered before": ([("hide", 4), ("touch", 4)], 0, {4: "updated"}),
}


@ENCODINGS
@pytest.mark.parametrize("case", PRECEDENCE)
async def test_of_several_reasons_the_first_that_holds_is_given(case: str, encoding: str) -> None:
    steps, seconds, expected = PRECEDENCE[case]
    clock = Clock()
    server = Server(settings(), clock_us=clock)
    async with running(server), client(server) as raw, client(server) as writer:
        await raw.create(capacity=4, ttl=10, columns={"price": "f64"})
        await raw.add(1, 2, 3, 4)
        view = await live(
            raw, V, k=4, encoding=encoding, include=["metadata"],
            filter={"price": {"$ne": 9}},
        )  # fmt: skip
        assert len(view.rows) == 4
        async with engine_held(server):
            clock.move(seconds)
            for step, id_ in steps:
                if step == "add":
                    await writer.send("add", collection="items", rows=rows(id_))
                elif step == "delete":
                    await writer.send("delete", collection="items", ids=[id_])
                else:
                    row = {"id": id_, "metadata": {"price": 9 if step == "hide" else 1}}
                    await writer.send("update", collection="items", rows=[row])
            await queued(server, len(steps))
        await view.step()
        assert {id_: why for id_, _, why in view.leaves} == expected
        # (What was changed a second time in the tick is told once.)
        await raw.ok("ping")
        assert raw.events == []


async def test_a_row_that_was_replaced_and_then_deleted_is_deleted_and_the_other_way_round() -> (
    None
):
    async with running() as server, client(server) as raw, client(server) as writer:
        await raw.create(capacity=100)
        await raw.add(1, 2)
        view = await live(raw, V, k=4)
        async with engine_held(server):
            await writer.send("add", collection="items", rows=rows(1))
            await writer.send("delete", collection="items", ids=[1])
            await writer.send("delete", collection="items", ids=[2])
            await writer.send("add", collection="items", rows=rows(2))
            await queued(server, 4)
        await view.step()
        assert reasons(view) == [(1, 1, "deleted"), (2, 2, "replaced")]
        assert view.hits == [(2, 4, 2.0)]


# -- what is asked ----------------------------------------------------------------------------


@ENCODINGS
@pytest.mark.parametrize("include", [[], ["metadata"], ["vector"], ["metadata", "vector"]])
async def test_entering_rows_carry_what_include_asks(encoding: str, include: list[str]) -> None:
    async with running() as server, client(server) as raw:
        await raw.create(columns={"price": "f64"}, ids="str")
        row = {"id": 'ä\u2028"', "vector": [0.5, 2], "metadata": {"price": 1.5, "note": [1, None]}}
        other = {"id": "b", "vector": [0.25, 2]}
        view = await live(raw, V, encoding=encoding, include=include, id_kind="str")
        await raw.ok("add", collection="items", rows=[row, other])
        await view.step()
        first, second = view.entered
        assert (first.id, first.seq, first.score) == (row["id"], 1, 0.5)
        assert first.metadata == (row["metadata"] if "metadata" in include else None)
        assert first.vector == (row["vector"] if "vector" in include else None)
        assert second.metadata == ({} if "metadata" in include else None)
        # An update of metadata that is not asked for changes nothing.
        update = [{"id": row["id"], "metadata": {"price": 2}}]
        version = (await raw.ok("update", collection="items", rows=update))["version"]
        if "metadata" in include:
            await view.step()
            assert view.leaves == [(row["id"], 1, "updated")]
            assert view.entered[0].metadata == {"price": 2}
        else:
            done = await raw.ok("delete", collection="items", ids=["b"])
            await view.step()
            assert view.version == done["version"] == version + 1
            assert view.leaves == [("b", 2, "deleted")]


@ENCODINGS
async def test_min_score_is_met_by_rows_at_it_and_by_none_below(encoding: str) -> None:
    async with running() as server, client(server) as raw:
        await raw.create(capacity=100)
        exact = float(np.float32(0.1))
        just_below = float(np.nextafter(np.float32(0.1), np.float32(0)))
        view = await live(raw, V, k=10, min_score=0.1, encoding=encoding)
        given = [
            {"id": number, "vector": [value, 1.0]}
            for number, value in enumerate([just_below, exact, -1.0, 0.2])
        ]
        await raw.ok("add", collection="items", rows=given)
        await view.step()
        assert ids(view) == [3, 1]
        found = await raw.ok("search", collection="items", vector=V, min_score=0.1)
        assert [one["id"] for one in found["results"]] == [3, 1]


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("u64", [0, 1, 2**53 - 1, 2**53, 2**53 + 1, 2**63, 2**64 - 1]),
        ("str", ["a", "\u00e4", "\U0001d11e", "x" * 256, "'\"\\", "\n"]),
        ("auto", None),
    ],
)
@ENCODINGS
async def test_ids_of_every_kind_come_and_go_as_they_are(
    kind: str, given: list[Any] | None, encoding: str
) -> None:
    async with running() as server, client(server) as raw:
        await raw.create(capacity=100, ids=kind)
        view = await live(raw, V, k=100, encoding=encoding, id_kind=kind)
        wire = [
            str(one) if isinstance(one, int) and one > 2**53 - 1 else one
            for one in given or [1, 2, 3]
        ]
        added = [
            {"vector": [float(place), 1.0], **({} if given is None else {"id": one})}
            for place, one in enumerate(wire)
        ]
        await raw.ok("add", collection="items", rows=added)
        await view.step()
        expected = given or [1, 2, 3]
        assert sorted(ids(view), key=str) == sorted(expected, key=str)
        if encoding == "json":
            # Output uses the string only above 2**53 - 1.
            raw_ids = {one["id"] for one in raw.order[-1]["enter"]}
            assert raw_ids == set(wire)
        await raw.ok("delete", collection="items", ids=wire)
        await view.step()
        assert view.rows == {}
        assert {id_ for id_, _, why in view.leaves if why == "deleted"} == set(expected)


async def test_every_is_the_least_time_between_pushes_and_what_lies_between_is_merged() -> None:
    clock = Clock()
    server = Server(settings(), clock_us=clock)
    async with running(server), client(server) as raw:
        await raw.create(capacity=100)
        slow, fast = await live(raw, V, k=2, every=1000), await live(raw, V, k=2)
        await raw.add(1)
        await slow.step()  # nothing was pushed before
        await fast.step()
        for number in range(2, 12):
            await raw.add(number)
            await fast.step()
            clock.move(0.05)
        await poke(raw)
        assert not [one for one in raw.events if sub_of(one) == slow.sub]
        clock.move(0.5)
        await poke(raw)
        await slow.step()
        assert (ids(slow), slow.pushes) == ([11, 10], 2)
        assert reasons(slow) == [(1, 1, "displaced")]
        assert fast.pushes == 11
        # What came and went in between is not told at all.
        await raw.add(50)
        await raw.ok("delete", collection="items", ids=[50])
        clock.move(2)
        await poke(raw)
        assert not [one for one in raw.events if sub_of(one) == slow.sub]
        # A snapshot of a move does not wait.
        await raw.add(60)
        await slow.step()
        await raw.add(70)
        ok = await raw.ok("move", sub=slow.sub, vector=[0.0, 1.0])
        assert ok["version"] == 15


@ENCODINGS
@pytest.mark.parametrize("by", ["json", "binary"])
async def test_a_move_points_it_elsewhere_from_its_reply_on(encoding: str, by: str) -> None:
    async with running() as server, client(server) as raw:
        await raw.create(capacity=100)
        await raw.add(1, 2, 3)
        view = await live(raw, V, k=2, encoding=encoding, filter={}, include=["vector"])
        for _ in range(3):  # pushes before the reply are for the old one
            await raw.send("add", collection="items", rows=rows(9))
        to = [-1.0, 0.5]
        if by == "binary":
            id_ = raw.next_id()
            await raw.send_binary(binary.encode_move(id_, view.sub, np.array([to], np.float32)))
            results = await raw.reply(id_)
            assert isinstance(results, Results)
            assert results.subs is None
            (moved,) = views_of(raw, dataclasses.replace(results, subs=[view.sub]))
        else:
            ok = await raw.ok("move", sub=view.sub, vector=to)
            assert ok.keys() == {"version", "results"}
            moved = view_of(raw, {"sub": view.sub, "epoch": "", **ok})
        place = max(n for n, one in enumerate(raw.order) if not isinstance(one, Live) and (
            isinstance(one, tuple) or "ok" in one))  # fmt: skip
        for push in [one for one in raw.order[:place] if sub_of_message(one) == view.sub]:
            view.apply(push)
            assert all(row.score == row.id for row in view.answer)
        raw.events.clear()
        assert moved.version == 4
        assert moved.hits == [(1, 1, -0.5), (2, 2, -1.5)]
        assert [row.vector for row in moved.answer] == [[1.0, 1.0], [2.0, 1.0]]
        await raw.add(0)
        await moved.step()
        assert moved.hits == [(0, 7, 0.5), (1, 1, -0.5)]
        assert reasons(moved) == [(2, 2, "displaced")]


def sub_of_message(message: Any) -> int | None:
    return None if isinstance(message, tuple) else sub_of(message)


async def test_a_binary_subscribe_makes_one_subscription_for_each_vector() -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create(capacity=100))["handle"]
        await raw.add(1, 2, 3)
        vectors = np.array([[1, 0], [-1, 0], [0, 1], [1, 0]], np.float32)
        for encoding in ("json", "binary"):
            frame = binary.encode_subscribe(
                900, handle, vectors, k=2, min_score=-2.5, include=Include(vector=True),
                encoding=encoding,
            )  # fmt: skip
            await raw.send_binary(frame)
            results = await raw.reply(900)
            views = views_of(raw, results)
            assert len({view.sub for view in views}) == 4
            assert [ids(view) for view in views] == [[3, 2], [1, 2], [3, 2], [3, 2]]
            assert views[0].answer[0].vector == [3.0, 1.0]
            await raw.add(4)
            for view, expected in zip(views, [[4, 3], None, [4, 3], [4, 3]], strict=True):
                if expected is not None:
                    await view.step()
                    assert ids(view) == expected
            await raw.ok("ping")
            assert not [one for one in raw.events if sub_of(one) == views[1].sub]
            kinds = {type(one) for one in raw.order if sub_of_message(one) == views[0].sub}
            assert kinds == {Live if encoding == "binary" else dict}
            for view in views:
                await raw.ok("unsubscribe", sub=view.sub)
            await raw.ok("delete", collection="items", ids=[4])
            raw.events.clear()


async def test_binary_and_json_pushes_say_the_same() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(capacity=6, columns={"price": "f64"})
        fields = {"k": 3, "include": ["metadata", "vector"], "filter": {"price": {"$ne": 9}}}
        views = [await live(raw, V, encoding=one, **fields) for one in ("json", "binary")]
        random = np.random.default_rng(5)
        for _ in range(60):
            id_ = int(random.integers(0, 9))
            vector = [float(x) for x in random.standard_normal(2).astype(np.float32)]
            price = float(random.choice([1.0, 9.0]))
            row = {"id": id_, "vector": vector, "metadata": {"price": price}}
            op = random.choice(["add", "add", "update", "delete"])
            if op == "add":
                await raw.ok("add", collection="items", rows=[row])
            elif op == "delete":
                await raw.ok("delete", collection="items", ids=[id_])
            else:
                await raw.ask("update", collection="items", rows=[
                    {"id": id_, "metadata": {"price": price}}])  # fmt: skip
            await raw.ok("ping")
            told = [0, 0]
            for event in raw.events:
                for place, view in enumerate(views):
                    if view.is_mine(event):
                        view.apply(event)
                        told[place] += 1
            raw.events.clear()
            assert told[0] == told[1]
            assert views[0].answer == views[1].answer
            assert views[0].version == views[1].version
            assert reasons(views[0]) == reasons(views[1])
            assert views[0].entered == views[1].entered
        assert views[0].pushes > 15


# -- the end ----------------------------------------------------------------------------------


async def test_a_drop_ends_live_and_match_queries_of_all_connections() -> None:
    async with running() as server, client(server) as raw, client(server) as other:
        await raw.create()
        mine = await live(raw, V)
        ok = await other.ok("subscribe", kind="match", collection="items", vector=V, min_score=0.0)
        await other.ok("drop", collection="items")
        for connection, sub in ((raw, mine.sub), (other, ok["sub"])):
            ended = await connection.named("ended")
            assert ended == {"event": "ended", "sub": sub, "reason": "dropped"}
            assert await connection.code("unsubscribe", sub=sub) == "not_found"
        await raw.create()
        await raw.add(1)
        await raw.ok("ping")
        await other.ok("ping")
        assert raw.events == other.events == []


async def test_an_unsubscribe_that_meets_a_drop_is_answered_once_and_truly() -> None:
    async with running() as server, client(server) as raw, client(server) as admin:
        await raw.create()
        view = await live(raw, V)
        async with engine_held(server):
            await admin.send("drop", collection="items")
            await queued(server, 1)
            left = await raw.send("unsubscribe", sub=view.sub)
            await queued(server, 2)
        reply = await raw.reply(left)
        await raw.ok("ping")
        if "error" in reply:
            assert reply["error"]["code"] == "not_found"
        assert [one["event"] for one in raw.events] in ([], ["ended"])
        assert server.metrics.subscriptions["live"] == 0


async def test_a_token_without_the_right_ends_subscriptions(tmp_path: Path) -> None:
    async with (
        running(Server(with_keys(tmp_path))) as server,
        client(server, token="token-root") as raw,
        client(server, token="token-root") as writer,
    ):
        await raw.create()
        view = await live(raw, V)
        near = await raw.ok("subscribe", kind="match", collection="items", vector=V, min_score=0.0)
        await writer.add(1)
        await view.step()
        await raw.ok("auth", token="token-writer")
        ended = {(await raw.named("ended"))["sub"] for _ in range(2)}
        assert ended == {view.sub, near["sub"]}
        raw.events.clear()
        await writer.add(2)
        await raw.ok("ping")
        assert raw.events == []
        shard = server.context.catalog.find("acme", "items").shard
        assert len(shard.window.standing) == 0


@pytest.mark.parametrize("kind", ["live", "match", "feed", "SUBSCRIBE"])
async def test_a_right_that_is_lost_before_the_reply_ends_what_began_before_it(
    kind: str, tmp_path: Path
) -> None:
    async with (
        running(Server(with_keys(tmp_path))) as server,
        client(server, token="token-root") as raw,
        client(server, token="token-root") as writer,
    ):
        handle = (await raw.create())["handle"]
        empty = server.context.catalog.reserved_bytes
        fields: dict[str, Any] = {"kind": kind, "collection": "items"}
        if kind != "feed":
            fields["vector"] = V
        if kind == "match":
            fields["min_score"] = 0.0
        async with engine_held(server):
            if kind == "SUBSCRIBE":
                await raw.send_binary(
                    binary.encode_subscribe(700, handle, np.array([V, V], np.float32))
                )
            else:
                await raw.send("subscribe", id=700, **fields)
            await queued(server, 1)
            auth = await raw.send("auth", token="token-writer")
        count = 2 if kind == "SUBSCRIBE" else 1
        reply = await raw.reply(700)
        assert "ok" in await raw.reply(auth)
        ended = [await raw.named("ended") for _ in range(count)]
        assert {one["sub"] for one in ended} == set(range(1, count + 1))
        assert {one["reason"] for one in ended} == {"forbidden"}
        # The reply is the first of the stream, and "ended" the last.
        about = [one for one in raw.order if _is_reply(one, reply) or sub_of_message(one)]
        assert _is_reply(about[0], reply)
        await writer.add(1)
        await raw.ok("ping")
        assert raw.events == []
        shard = server.context.catalog.find("acme", "items").shard
        assert len(shard.window.standing) == len(server.context.engine.feeds.of(shard)) == 0
        assert server.context.catalog.reserved_bytes == empty
        assert server.metrics.subscriptions.total() == 0


def _is_reply(message: Any, reply: Any) -> bool:
    return message is reply or (isinstance(message, tuple) and message[1] is reply)


# -- slow readers -----------------------------------------------------------------------------


@ENCODINGS
async def test_a_slow_reader_gets_one_merged_push_of_what_is_true_now(encoding: str) -> None:
    async with running() as server, client(server) as raw, client(server) as writer:
        await raw.create(capacity=1000)
        view = await live(raw, V, k=3, encoding=encoding)
        async with slow_sockets(server):
            for number in range(1, 201):
                await writer.add(number)
        await view.until_version(200)
        assert ids(view) == [200, 199, 198]
        assert view.pushes <= 3
        shard = server.context.catalog.find("default", "items").shard
        assert server.metrics.merged_pushes >= 197
        (query,) = server.context.engine.live.of(shard)
        assert len(query.told) == 3


async def test_a_slow_reader_that_moved_gets_nothing_of_the_old_vector_afterwards() -> None:
    async with running() as server, client(server) as raw, client(server) as writer:
        await raw.create(capacity=1000)
        view = await live(raw, V, k=3)
        async with slow_sockets(server):
            for number in range(1, 21):
                await writer.add(number)
            ok = await raw.ok("move", sub=view.sub, vector=[-1.0, 0.0])
            for number in range(21, 41):
                await writer.add(number)
            await writer.ok("delete", collection="items", ids=[1])
            await raw.ok("ping")
            raw.events.clear()
        moved = view_of(raw, {"sub": view.sub, "epoch": "", **ok})
        assert ids(moved) == [1, 2, 3]
        await moved.step()
        assert ids(moved) == [2, 3, 4]
        assert moved.leaves == [(1, 1, "deleted")]


async def test_a_slow_reader_hears_nothing_of_a_list_that_is_not_made_anew_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running() as server, client(server) as raw, client(server) as writer:
        await raw.create(capacity=100)
        await raw.add(*range(1, 31))
        views = [await live(raw, V, k=1, include=["metadata"]) for _ in range(5)]
        async with slow_sockets(server) as slow:
            for number in range(31, 41):
                await writer.add(number)
            with monkeypatch.context() as patch:
                # All lists run short, and none is made anew for now.
                patch.setattr(renewals.Renewals, "next", lambda *_: np.empty(0, np.int64))
                deleted = await writer.ok("delete", collection="items", ids=[*range(20, 41)])
                await raw.ok("ping")
                heard = len(raw.events)
                slow.take_held()
                for _ in range(3):
                    await writer.ok("count", collection="items")
                    await raw.ok("ping")
                assert len(raw.events) == heard
                update = [{"id": 19, "metadata": {"n": 1}}]
                updated = await writer.ok("update", collection="items", rows=update)
            assert updated["version"] == deleted["version"] + 1
            await writer.ok("count", collection="items")
        for view in views:
            await view.until_version(deleted["version"])
            assert [(row.id, row.metadata) for row in view.answer] == [(19, {"n": 1})]
