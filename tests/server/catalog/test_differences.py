"""What ``create`` says of a collection that is there and is not what was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.raw import client, running

ITEMS: dict[str, Any] = {
    "dim": 2,
    "capacity": 10,
    "metric": "cosine",
    "columns": {"price": "f64", "kind": "str"},
}


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"dim": 3}, "dim is 2, not 3"),
        ({"capacity": 20}, "capacity is 10, not 20"),
        ({"metric": "l2"}, "metric is cosine, not l2"),
        ({"ids": "str"}, "ids is u64, not str"),
        ({"ttl": 60.5}, "ttl is null, not 60.5"),
        ({"shards": 2}, "shards is 1, not 2"),
        ({"shards": 3}, "shards is 1, not 3"),
        ({"columns": {"price": "i64", "kind": "str"}}, "columns.price is f64, not i64"),
        ({"columns": {"kind": "str"}}, "columns.price is f64, not null"),
        ({"columns": ITEMS["columns"] | {"n": "i64"}}, "columns.n is null, not i64"),
        ({"dim": 3, "metric": "dot"}, "dim is 2, not 3; metric is cosine, not dot"),
    ],
)
async def test_each_field_that_differs_is_named(other: dict[str, Any], said: str) -> None:
    async with running() as server, client(server) as raw:
        await raw.create(**ITEMS)
        await raw.create(if_exists="ok", **ITEMS)
        refused = await raw.error("create", collection="items", if_exists="ok", **(ITEMS | other))
        assert refused["code"] == "exists"
        assert refused["message"] == f"collection: there is a 'items' already, but its {said}"


async def test_of_many_differences_some_are_named() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(**ITEMS | {"columns": {f"c{number}": "f64" for number in range(20)}})
        refused = await raw.error(
            "create", collection="items", if_exists="ok", **(ITEMS | {"columns": {}})
        )
        assert refused["message"].endswith("columns.c7 is f64, not null; and 12 more")
        assert len(refused["message"]) < 1000


async def test_whoever_asks_for_a_new_one_is_told_of_the_name_alone() -> None:
    async with running() as server, client(server) as raw:
        await raw.create(**ITEMS)
        refused = await raw.error("create", collection="items", **(ITEMS | {"dim": 3}))
        assert refused["message"] == "collection: there is a 'items' already"
