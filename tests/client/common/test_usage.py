"""``usage``: what a tenant may use, and uses, by every client."""

from __future__ import annotations

from typing import Any

import numpy as np

from omendb_ws.tenants.limits import FIELDS


async def test_usage_is_that_of_this_moment(db: Any) -> None:
    await db.create("items", dim=2, capacity=100)
    await db.add("items", np.ones((7, 2)), ids=range(7))
    found = await db.usage()
    assert found["tenant"] == "default"
    assert list(found["limits"]) == list(FIELDS)
    assert found["limits"].pop("weight") == 1
    assert set(found["limits"].values()) == {None}
    taken = found["use"]
    assert (taken["connections"], taken["subscriptions"], taken["collections"]) == (1, 0, 1)
    assert taken["memory_bytes"] == (await db.describe("items")).bytes
    assert taken["rows_per_second"] > 0
    await db.drop("items")
    after = (await db.usage())["use"]
    assert (after["memory_bytes"], after["collections"]) == (0, 0)
