"""``count`` by a column, over sockets: what it says and refuses, and that it is of one version."""

from __future__ import annotations

from typing import Any

import pytest
from omendb_core import counting

from tests import count_oracle
from tests.filter_oracle import VALUES, passes
from tests.patience import eventually
from tests.server.raw import Raw, client, engine_held, running, with_keys
from tests.server.streams.test_beginning import long_reads

COLUMNS = {"f": "f64", "i": "i64", "on": "bool", "text": "str"}
FILTERS: list[dict[str, Any]] = [
    {},
    {"i": {"$gte": 1}},
    {"$or": [{"text": {"$exists": False}}, {"on": True}]},
    {"text": "nobody has it"},
]


def metadata(number: int) -> dict[str, Any]:
    """Values of some columns; -0.0, texts beyond the first plane and nulls among them."""
    return {
        name: VALUES[type_][number * step % len(VALUES[type_])]
        for step, (name, type_) in enumerate(COLUMNS.items(), 1)
        if number % (step + 5)
    }


async def filled(raw: Raw, count: int = 200, **fields: Any) -> list[dict[str, Any]]:
    """What the rows of a new window hold."""
    await raw.create(**{"capacity": count, "columns": COLUMNS, **fields})
    every = [metadata(number) for number in range(count)]
    rows = [
        {"id": number, "vector": [1.0, 0.0], "metadata": one} for number, one in enumerate(every)
    ]
    await raw.ok("add", collection="items", rows=rows)
    return every


@pytest.fixture
def in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts by value are made in pieces, and small ones."""
    monkeypatch.setattr(counting, "is_short", lambda state: False)
    monkeypatch.setattr(counting, "BLOCK_ROWS", 64)
    monkeypatch.setattr(counting, "_TEXTS", 2)


@pytest.mark.parametrize("filter_", FILTERS)
async def test_rows_that_pass_are_counted_by_value(filter_: dict[str, Any]) -> None:
    async with running() as server, client(server) as raw:
        every = await filled(raw)
        passed = [one for one in every if passes(filter_, one)]
        for by in COLUMNS:
            for limit in (1, 3, 1000):
                asked = {"by": by, "limit": limit, "filter": filter_}
                found = await raw.ok("count", collection="items", **asked)
                assert found.pop("version") == 1
                assert found == count_oracle.reply(passed, by, limit)
        assert await raw.ok("count", collection="items", by="i") == {
            "version": 1,
            **count_oracle.reply(every, "i"),
        }


async def test_values_come_back_as_their_columns_type() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(columns=COLUMNS)
        one = {"f": 5, "i": 2**53 - 1, "on": False, "text": 'q"\\\n\u0000é'}
        row = {"id": 1, "vector": [1, 0], "metadata": one}
        await raw.ok("add", collection="items", rows=[row])
        for by, wanted in one.items():
            (found,) = (await raw.ok("count", collection="items", by=by))["by"]
            assert found == {"value": wanted, "count": 1}
            assert type(found["value"]) is (float if by == "f" else type(wanted))


async def test_an_empty_collection_has_no_values() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(columns=COLUMNS)
        for by in COLUMNS:
            assert await raw.ok("count", collection="items", by=by) == {
                "version": 0, "count": 0, "by": [], "others": 0,
            }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "code", "names"),
    [
        ({"by": "nix"}, "bad_request", "by: nix is not a declared column (declared: f, i, on"),
        ({"by": ""}, "bad_request", "by:  is not a declared column"),
        ({"by": "\u0000é" * 999}, "bad_request", "by: '\\x00"),
        ({"by": "id"}, "bad_request", "by: id is not a declared column"),
        ({"by": 3}, "bad_request", "by: must be a string"),
        ({"limit": 3}, "bad_request", "limit"),
        ({"by": "f", "limit": 0}, "bad_request", "limit: at least 1"),
        ({"by": "f", "limit": 1001}, "bad_request", "limit: at most 1000"),
        ({"by": "f", "limit": "3"}, "bad_request", "limit: must be an integer"),
        ({"by": "f", "filter": {"nix": 1}}, "bad_filter", "nix"),
        ({"by": "f", "collection": "nix"}, "not_found", "nix"),
        ({"by": "f", "k": 3}, "bad_request", "k: unknown field"),
    ],
)
async def test_what_is_wrong_is_named_and_the_connection_lives(
    fields: dict[str, Any], code: str, names: str
) -> None:
    async with running() as server, client(server) as raw:
        every = await filled(raw)
        error = await raw.error("count", **{"collection": "items", **fields})
        assert error["code"] == code
        assert names in error["message"]
        assert len(error["message"]) < 400
        found = await raw.ok("count", collection="items", by="f")
        assert found == {"version": 1, **count_oracle.reply(every, "f")}
        assert server.metrics.faults == 0


async def test_a_collection_without_columns_has_nothing_to_count_by() -> None:
    async with running() as server, client(server) as raw:
        await raw.create()
        error = await raw.error("count", collection="items", by="f")
        assert error["message"] == "by: f is not a declared column (none is declared)"


async def test_a_count_that_no_message_holds_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(max_message_bytes=1 << 16) as server, client(server) as raw:
        await raw.create(capacity=64, columns={"text": "str"})
        rows = [
            {"id": n, "vector": [1, 0], "metadata": {"text": f"{n:02}" + "x" * 4000}}
            for n in range(40)
        ]
        for n in range(0, 40, 10):
            await raw.ok("add", collection="items", rows=rows[n : n + 10])
        assert await raw.code("count", collection="items", by="text") == "too_large"
        found = await raw.ok("count", collection="items", by="text", limit=3)
        assert (len(found["by"]), found["others"]) == (3, 37)


async def test_counting_takes_the_right_to_read(tmp_path: Any) -> None:
    from omendb_ws.net.server import Server

    async with running(Server(with_keys(tmp_path))) as server:
        async with client(server, token="token-root") as root:
            await root.create(columns=COLUMNS)
        async with client(server, token="token-writer") as writer:
            assert await writer.code("count", collection="items", by="f") == "forbidden"
        async with client(server, token="token-reader") as reader:
            assert (await reader.ok("count", collection="items", by="f"))["by"] == []
        async with client(server, token="token-other") as other:
            assert await other.code("count", collection="items", by="f") == "not_found"


@pytest.mark.usefixtures("in_pieces")
async def test_a_count_in_pieces_is_of_one_version_whatever_comes_between() -> None:
    """Each change replaces every row's values: a mixture would count those of two of them."""
    async with running() as server, client(server) as raw, client(server) as other:
        await raw.create(capacity=200, columns={"i": "i64", "text": "str"})

        async def change(number: int) -> None:
            rows = [
                {"id": id_, "vector": [1, 0], "metadata": {"i": number, "text": f"t{number}"}}
                for id_ in range(200)
            ]
            await other.ok("add", collection="items", rows=rows)

        await change(1)
        for turn in range(2, 30):
            asked = [
                await raw.send("count", collection="items", by=by, filter=filter_)
                for by in ("i", "text")
                for filter_ in ({}, {"i": {"$gt": -turn}})
            ]
            await change(turn)
            for id_ in asked:
                found = (await raw.reply(id_))["ok"]
                (only,) = found["by"]
                assert only["value"] in (found["version"], f"t{found['version']}")
                assert (only["count"], found["others"]) == (200, 0)
        assert long_reads(server).pieces > 100
        assert server.metrics.faults == 0


@pytest.mark.usefixtures("in_pieces")
async def test_others_are_answered_while_a_count_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from omendb_ws.engine.pieces import long_reads as pieces

    monkeypatch.setattr(pieces, "SLICE_US", 0)
    async with running() as server, client(server) as raw, client(server) as other:
        every = await filled(raw, 2000)
        async with engine_held(server):
            asked = [await raw.send("count", collection="items", by="text") for _ in range(20)]
        small = await other.ok("count", collection="items")
        assert small["count"] == 2000
        assert asked[-1] not in raw.replies
        for id_ in asked:
            found = (await raw.reply(id_))["ok"]
            assert found == {"version": 1, **count_oracle.reply(every, "text")}


@pytest.mark.usefixtures("in_pieces")
async def test_a_drop_behind_a_count_comes_after_it() -> None:
    async with running() as server, client(server) as raw:
        every = await filled(raw)
        asked = await raw.send("count", collection="items", by="i")
        dropped = await raw.send("drop", collection="items")
        assert (await raw.reply(asked))["ok"] == {"version": 1, **count_oracle.reply(every, "i")}
        assert (await raw.reply(dropped))["ok"] == {}


@pytest.mark.usefixtures("in_pieces")
async def test_whoever_leaves_in_the_middle_lets_the_window_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from omendb_ws.engine.pieces import long_reads as pieces

    monkeypatch.setattr(pieces, "SLICE_US", 0)
    async with running() as server, client(server) as raw:
        await filled(raw, 4000)
        (shard,) = server.context.catalog.shards()
        async with client(server) as other:
            before = long_reads(server).pieces
            for _ in range(50):
                await other.send("count", collection="items", by="text")
            await eventually(lambda: long_reads(server).pieces > before)
        await eventually(lambda: not shard.is_held and not len(long_reads(server)))
        await raw.add(5)
