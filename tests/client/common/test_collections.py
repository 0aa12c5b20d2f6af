"""Collections, by every kind of client."""

from __future__ import annotations

from typing import Any

import pytest

from omendb_ws import errors
from tests.client.common.places import Place


async def test_a_created_collection_is_described_opened_listed_and_dropped(db: Any) -> None:
    made = await db.create(
        "items", dim=4, capacity=100, metric="l2", ids="str", columns={"price": "f64"}, ttl=60
    )
    assert (made.collection, made.dim, made.capacity, made.metric) == ("items", 4, 100, "l2")
    assert (made.ids, dict(made.columns), made.ttl) == ("str", {"price": "f64"}, 60)
    assert (made.version, made.first_seq, made.last_seq, made.rows) == (0, 1, 0, 0)
    assert await db.describe("items") == await db.open("items") == made
    assert await db.list() == [made]
    assert await db.list_unavailable() == []
    await db.drop("items")
    assert await db.list() == []
    for call in (db.describe, db.open, db.drop, db.count):
        with pytest.raises(errors.NotFound):
            await call("items")


async def test_create_takes_what_is_there_only_if_asked_and_the_same(db: Any) -> None:
    made = await db.create("items", dim=4, capacity=100)
    assert await db.create("items", dim=4, capacity=100, if_exists="ok") == made
    with pytest.raises(errors.Exists):
        await db.create("items", dim=4, capacity=100)
    with pytest.raises(errors.Exists):
        await db.create("items", dim=5, capacity=100, if_exists="ok")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"collection": "no spaces", "dim": 4, "capacity": 1}, errors.BadName),
        ({"collection": "x", "dim": 0, "capacity": 1}, errors.BadRequest),
        ({"collection": "x", "dim": 5000, "capacity": 1}, errors.TooLarge),
        ({"collection": "x", "dim": 4, "capacity": 10**7}, errors.Quota),
        ({"collection": "x", "dim": 4, "capacity": 1, "metric": "cos"}, errors.BadRequest),
        ({"collection": "x", "dim": 4, "capacity": 1, "columns": {"a": "f32"}}, errors.BadRequest),
        ({"collection": "x", "dim": 4, "capacity": 1, "durability": "always"}, errors.Unsupported),
    ],
)
async def test_a_definition_that_cannot_be_raises_its_class(
    db: Any, fields: dict[str, Any], error: type[errors.OmenError]
) -> None:
    with pytest.raises(error):
        await db.create(**{"dim": 4096, **fields} if error is errors.Quota else fields)
    await db.ping()


async def test_a_client_shows_where_it_leads_and_whether_it_does(place: Place) -> None:
    async with place.connect() as db:
        assert f"<Client of {place.url}, connected>" in repr(db)
    assert f"<Client of {place.url}, this client is closed>" in repr(db)
