"""``add`` with ``unless_near`` over real sockets: who is left out, in what order, exactly once."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omendb_core.model.change import RowBatch
from omendb_core.novelty import unless_near

from omendb_ws.engine.writes import preparing
from omendb_ws.journal.local.store import LocalStore
from omendb_ws.net.server import Server
from omendb_ws.wire import binary
from omendb_ws.wire.messages import Added
from tests.server.journal.test_durability import held, ready, waiting
from tests.server.raw import Raw, client, engine_held, queued, rows, running, settings, with_keys

NEAR = {"score": 0.999}


@pytest.fixture(params=["at once", "in pieces"])
def pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "in pieces":
        small_pieces(monkeypatch)


def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row is a piece, and a tick does one."""
    monkeypatch.setattr(preparing, "AT_ONCE_US", -1.0)
    monkeypatch.setattr(preparing, "SLICE_US", 0)
    monkeypatch.setattr(unless_near, "vectors_of_piece", lambda rows, dim: 1)


def turned(*degrees: float, first_id: int | None = 1, **fields: Any) -> list[dict[str, Any]]:
    """Rows whose vectors have length 1 and point there."""
    return [
        {
            **({} if first_id is None else {"id": first_id + place}),
            "vector": [float(np.cos(np.radians(one))), float(np.sin(np.radians(one)))],
            **fields,
        }
        for place, one in enumerate(degrees)
    ]


@pytest.mark.usefixtures("pieces")
async def test_rows_near_those_that_are_there_or_went_in_before_are_left_out() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(metric="cosine", capacity=100)
        first = await raw.ok(
            "add", collection="items", rows=turned(0, 90, 1, 45, 46), unless_near=NEAR
        )
        assert first == {
            "version": 1, "first_seq": 1, "last_seq": 3, "skipped": [2, 4], "near": [1, 4],
        }  # fmt: skip
        again = await raw.ok(
            "add", collection="items", rows=turned(1, 44.9, first_id=11), unless_near=NEAR
        )
        assert again == {
            "version": 1, "first_seq": None, "last_seq": None, "skipped": [0, 1], "near": [1, 4],
        }  # fmt: skip
        described = await raw.ok("describe", collection="items")
        assert (described["version"], described["last_seq"], described["rows"]) == (1, 3, 3)
        none = await raw.ok(
            "add", collection="items", rows=turned(180, first_id=21), unless_near=NEAR
        )
        assert none == {"version": 2, "first_seq": 4, "last_seq": 4, "skipped": [], "near": []}
        plain = await raw.ok("add", collection="items", rows=turned(180, first_id=31))
        assert plain == {"version": 3, "first_seq": 5, "last_seq": 5}


@pytest.mark.usefixtures("pieces")
async def test_a_row_is_not_held_against_the_one_that_it_replaces() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(metric="cosine")
        await raw.ok("add", collection="items", rows=turned(0, 90))
        own = await raw.ok("add", collection="items", rows=turned(1), unless_near=NEAR)
        assert (own["skipped"], own["last_seq"]) == ([], 3)
        other = await raw.ok("add", collection="items", rows=turned(91), unless_near=NEAR)
        assert (other["skipped"], other["near"]) == ([0], [2])
        # The old row 1 counts still, which row 1 of the same request replaces.
        both = [*turned(180), *turned(1.5, first_id=5)]
        found = await raw.ok("add", collection="items", rows=both, unless_near=NEAR)
        assert (found["skipped"], found["near"]) == ([1], [1])


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("kind", ["u64", "str", "auto"])
async def test_binary_adds_are_answered_with_flag_2_and_a_json_section(kind: str) -> None:
    large = 2**64 - 5
    ids: dict[str, Any] = {
        "u64": [np.array([large, 2, 3], np.uint64), ["18446744073709551611"] * 2],
        "str": [["ä", "b", "c"], ["ä"] * 2],
        "auto": [None, [1] * 2],
    }
    given, near = ids[kind]
    vectors = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    async with running() as server, client(server) as raw:
        handle = (await raw.create(metric="cosine", ids=kind))["handle"]
        added = await raw.add_binary(handle, RowBatch(vectors, given), unless_near=NEAR)
        assert added == Added(1, 1, 2, False, True, [1], near[:1])
        if kind != "auto":
            given = given[::-1] if kind == "str" else given[::-1].copy()
        again = await raw.add_binary(
            handle, RowBatch(vectors[:1], None if given is None else given[1:2]), unless_near=NEAR
        )
        assert again == Added(1, None, None, False, True, [0], near[:1])


@pytest.mark.usefixtures("pieces")
async def test_a_filter_says_which_rows_the_others_are_held_against() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(metric="cosine", columns={"kind": "str"})
        near = {"score": 0.999, "filter": {"kind": "a"}}
        made = [
            *turned(0, first_id=1, metadata={"kind": "b"}),
            *turned(1, first_id=2, metadata={"kind": "a"}),
            *turned(2, first_id=3, metadata={"kind": "b"}),
        ]
        found = await raw.ok("add", collection="items", rows=made, unless_near=near)
        assert (found["skipped"], found["near"]) == ([2], [2])
        more = [*turned(1, first_id=4), *turned(90, first_id=5)]
        found = await raw.ok("add", collection="items", rows=more, unless_near=near)
        assert (found["skipped"], found["near"]) == ([0], [2])
        await raw.ok("update", collection="items", rows=[{"id": 2, "metadata": {"kind": "c"}}])
        found = await raw.ok("add", collection="items", rows=more[:1], unless_near=near)
        assert found["skipped"] == []


@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        (5, "bad_request", "unless_near: must be an object"),
        (None, "bad_request", "unless_near: must be an object"),
        ({}, "bad_request", "unless_near.score: missing"),
        ({"score": "1"}, "bad_request", "unless_near.score: must be a number"),
        ({"score": None}, "bad_request", "unless_near.score: must be a number"),
        ({"score": True}, "bad_request", "unless_near.score: must be a number"),
        ({"score": 1, "last": 5}, "bad_request", "unless_near.last: unknown field"),
        ({"score": 1, "filter": []}, "bad_filter", "unless_near.filter: must be an object"),
        ({"score": 1, "filter": None}, "bad_filter", "unless_near.filter: must be an object"),
        ({"score": 1, "filter": {"x": 1}}, "bad_filter", "unless_near.filter.x"),
    ],
)
async def test_a_fault_in_it_is_named_and_nothing_is_changed(
    given: Any, code: str, says: str
) -> None:
    async with running() as server, client(server) as raw:
        handle = (await raw.create(metric="cosine"))["handle"]
        fields: dict[str, Any] = {"producer": "p", "batch": 1}
        error = await raw.error(
            "add", collection="items", rows=turned(0), unless_near=given, **fields
        )
        assert (error["code"], error["message"].startswith(says)) == (code, True), error
        if given is not None:
            id = raw.next_id()
            await raw.send_binary(
                binary.encode_add(
                    id, handle, RowBatch(np.ones((1, 2), np.float32), np.ones(1, np.uint64)),
                    unless_near=given, **fields,
                )
            )  # fmt: skip
            error = (await raw.reply(id))["error"]
            assert (error["code"], error["message"].startswith(says)) == (code, True), error
        assert (await raw.ok("describe", collection="items"))["version"] == 0
        first = await raw.ok("add", collection="items", rows=turned(0), unless_near=NEAR, **fields)
        assert first["first_seq"] == 1


@pytest.mark.usefixtures("pieces")
async def test_faults_of_rows_are_told_and_a_quota_counts_only_what_goes_in() -> None:
    async with running(max_payload_bytes=300) as server, client(server) as raw:
        await raw.create(metric="cosine")
        error = await raw.error(
            "add",
            collection="items",
            rows=[*turned(0), {"id": 1, "vector": [1, 0]}],
            unless_near=NEAR,
        )
        assert (error["code"], error["row"]) == ("duplicate_id", 1)
        long = {"metadata": {"text": "x" * 200}}
        kept = await raw.ok(
            "add", collection="items", rows=turned(0, 0.1, 0.2, **long), unless_near=NEAR
        )
        assert kept["skipped"] == [1, 2]
        code = await raw.code(
            "add", collection="items", rows=turned(90, first_id=9, **long), unless_near=NEAR
        )
        assert code == "quota"


async def test_it_takes_the_right_to_read_too(tmp_path: Path) -> None:
    async with (
        running(Server(with_keys(tmp_path))) as server,
        client(server, token="token-root") as root,
        client(server, token="token-writer") as writer,
        client(server, token="token-reader") as reader,
    ):
        await root.create()
        await writer.add(1)
        for raw in (writer, reader):
            fields = {"collection": "items", "rows": rows(2), "unless_near": {"score": 1e9}}
            assert await raw.code("add", **fields) == "forbidden"
        assert (await root.ok("add", **fields))["version"] == 2


async def adds(raw: Raw, batch: int, *degrees: float, first_id: int) -> dict[str, Any]:
    return await raw.ok(
        "add", collection="items", rows=turned(*degrees, first_id=first_id), unless_near=NEAR,
        producer="p", batch=batch,
    )  # fmt: skip


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("durability", ["memory", "everysec", "always"])
async def test_a_batch_is_taken_once_whether_rows_of_it_go_in_or_not(
    tmp_path: Path, durability: str
) -> None:
    known = {"skipped": None, "near": None, "duplicate": True}
    async with running(data_dir=str(tmp_path)) as server, client(server) as raw:
        await raw.create(metric="cosine", durability=durability)
        assert (await adds(raw, 1, 0, first_id=1))["last_seq"] == 1
        none = await adds(raw, 2, 0.1, 0.2, first_id=2)
        assert (none["version"], none["skipped"], none["near"]) == (1, [0, 1], [1, 1])
        empty = {"version": 1, "first_seq": None, "last_seq": None, **known}
        assert await adds(raw, 2, 45, first_id=2) == empty
        error = await raw.error(
            "add", collection="items", rows=turned(45), producer="p", batch=4, unless_near=NEAR
        )
        assert (error["code"], error["expected"]) == ("out_of_order", 3)
        # A plain repetition of it is a repetition.
        plain = await raw.ok("add", collection="items", rows=turned(45), producer="p", batch=2)
        assert plain == {"version": 1, "first_seq": None, "last_seq": None, "duplicate": True}
    if durability == "memory":
        return
    for _ in range(2):
        async with Server(settings(data_dir=str(tmp_path))) as server, client(server) as raw:
            await ready(server)
            assert await adds(raw, 2, 45, first_id=2) == empty
            assert (await adds(raw, 1, 45, first_id=2)) == {
                "version": 1, "first_seq": 1, "last_seq": 1, **known,
            }  # fmt: skip
    async with Server(settings(data_dir=str(tmp_path))) as server, client(server) as raw:
        await ready(server)
        third = await adds(raw, 3, 90, first_id=3)
        assert (third["version"], third["first_seq"]) == (2, 2)


async def test_a_batch_of_which_nothing_went_in_is_acknowledged_only_once_it_is_safe() -> None:
    async with held() as (_, store, one, other):
        await_first = await one.send("add", collection="items", rows=rows(1))
        await waiting(store, 1)
        store.log("items").let_go()
        await one.reply(await_first)
        near = {"score": -1e9}
        fields = {"collection": "items", "unless_near": near, "producer": "p"}
        first = await one.send("add", rows=rows(2), batch=1, **fields)
        await waiting(store, 1)
        again = await other.send("add", rows=rows(2), batch=1, **fields)
        second = await other.send("add", rows=rows(3), batch=2, **fields)
        await waiting(store, 2)
        assert not {first, again, second} & (one.replies.keys() | other.replies.keys())
        store.log("items").let_go()
        assert (await one.reply(first))["ok"]["skipped"] == [0]
        assert (await other.reply(again))["ok"]["duplicate"] is True
        assert (await other.reply(second))["ok"] == {
            "version": 1, "first_seq": None, "last_seq": None, "skipped": [0], "near": [1],
        }  # fmt: skip


@pytest.mark.usefixtures("pieces")
async def test_behind_adds_that_are_on_their_way_it_waits_and_is_held_against_them() -> None:
    async with held() as (_, store, one, other):
        plain = await one.send("add", collection="items", rows=rows(1))
        await waiting(store, 1)
        judged = await other.send(
            "add", collection="items", rows=rows(7), unless_near={"score": -1e9}
        )
        behind = await one.send("add", collection="items", rows=rows(8))
        store.log("items").let_go()
        assert (await one.reply(plain))["ok"]["version"] == 1
        found = (await other.reply(judged))["ok"]
        assert (found["skipped"], found["near"]) == ([0], [1])
        await waiting(store, 1)
        store.log("items").let_go()
        assert (await one.reply(behind))["ok"]["version"] == 2


async def test_adds_of_one_tick_are_held_against_each_other_in_their_order() -> None:
    async with running() as server, client(server) as one, client(server) as other:
        await one.create(metric="cosine")
        async with engine_held(server):
            first = await one.send("add", collection="items", rows=turned(0), unless_near=NEAR)
            await queued(server, 1)
            second = await other.send(
                "add", collection="items", rows=turned(0.5, first_id=2), unless_near=NEAR
            )
            await queued(server, 2)
            third = await one.send(
                "add", collection="items", rows=turned(90, first_id=3), unless_near=NEAR
            )
            await queued(server, 3)
        assert (await one.reply(first))["ok"]["skipped"] == []
        found = (await other.reply(second))["ok"]
        assert (found["skipped"], found["near"]) == ([0], [1])
        assert (await one.reply(third))["ok"]["first_seq"] == 2


async def test_while_a_long_one_is_compared_reads_go_on_and_changes_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small_pieces(monkeypatch)
    may_end = threading.Event()
    compared = preparing._compared

    def long(work: preparing.Add) -> preparing._Steps:
        while not may_end.is_set():
            yield
        yield from compared(work)

    monkeypatch.setattr(preparing, "_compared", long)
    async with running() as server, client(server) as one, client(server) as other:
        await one.create(metric="cosine", capacity=3000)
        await one.create("elsewhere")
        many = turned(*(place / 10 for place in range(2000)))
        judged = await one.send(
            "add", collection="items", rows=many, unless_near={"score": 0.99999}
        )
        while not server.context.engine.tick.changing.preparing:
            await other.ok("ping")
        read = await other.ok("count", collection="items")
        await other.add(1, name="elsewhere")
        assert judged not in one.replies
        assert read["count"] == 0
        waits = await other.send("add", collection="items", rows=turned(270, first_id=5000))
        drop = await other.send("drop", collection="items")
        may_end.set()
        found = (await one.reply(judged))["ok"]
        # Rows that are 0.2° apart score 0.9999939, and 0.3° 0.9999863.
        assert (found["version"], found["last_seq"]) == (1, 667)
        assert found["skipped"][:4] == [1, 2, 4, 5]
        assert found["near"][:4] == [1, 1, 4, 4]
        assert (await other.reply(waits))["ok"]["version"] == 2
        assert (await other.reply(drop))["ok"] == {}


async def test_a_reply_that_would_be_too_long_is_refused_and_nothing_goes_in() -> None:
    async with running(max_message_bytes=64 << 10) as server, client(server) as raw:
        await raw.create(metric="cosine", ids="str", capacity=2000)
        await raw.ok("add", collection="items", rows=[{"id": "ä" * 120, "vector": [1, 0]}])
        many = [{"id": f"{n}", "vector": [1, 0.001]} for n in range(300)]
        code = await raw.code(
            "add", collection="items", rows=many, unless_near=NEAR, producer="p", batch=1
        )
        assert code == "too_large"
        few = await raw.ok(
            "add", collection="items", rows=many[:100], unless_near=NEAR, producer="p", batch=1
        )
        assert few["skipped"] == list(range(100))


async def test_a_batch_without_rows_outlives_a_killed_server(tmp_path: Path) -> None:
    """What a killed process leaves are the bytes that it wrote: a copy is taken of these."""
    live, copy = tmp_path / "live", tmp_path / "copy"
    async with running(data_dir=str(live)) as server, client(server) as raw:
        await raw.create(metric="cosine", durability="everysec")
        await adds(raw, 1, 0, first_id=1)
        await adds(raw, 2, 0.1, first_id=2)
        taken = {
            path.relative_to(live): path.read_bytes() for path in live.rglob("*") if path.is_file()
        }
        for name, data in taken.items():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes(data)
    async with (
        Server(settings(data_dir=str(copy)), open_store=lambda path: LocalStore(path)) as server,
        client(server) as raw,
    ):
        await ready(server)
        assert (await adds(raw, 2, 45, first_id=2))["duplicate"] is True
        assert (await adds(raw, 3, 45, first_id=2))["first_seq"] == 2
