"""A tenant's rates are those of each node: of the one that does the work, whichever is asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.nats import NatsServer, nats_server
from tests.patience import eventually
from tests.server.cluster.nodes import node, until_taken
from tests.server.cluster.test_several_nodes import knows, owns
from tests.server.links.test_cluster import knows as knows_owner
from tests.server.raw import Raw, client, rows


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with nats_server(tmp_path / "nats") as server:
        yield server


async def code(raw: Raw, op: str, **fields: Any) -> str:
    reply = await raw.ask(op, **fields)
    if "ok" in reply:
        return "ok"
    assert reply["error"].get("retry_after_ms", 1) > 0
    return str(reply["error"]["code"])


async def test_rows_and_queries_count_on_the_node_that_does_the_work(
    nats: NatsServer, tmp_path: Path
) -> None:
    tenants = tmp_path / "tenants.toml"
    # What is owed is paid back in hours: the second request is refused.
    tenants.write_text("[default]\nrows_per_second = 0.001\nqueries_per_second = 0.001\n")
    fields: dict[str, Any] = {"tenants_file": str(tenants)}
    async with node(nats, "one", **fields) as one, node(nats, "two", **fields) as two:
        await knows(one, "one", "two")
        await knows(two, "one", "two")
        async with client(one) as raw, client(two) as other:
            for asked, server, name, at in (
                (raw, one, "items", "one"), (other, two, "others", "two")
            ):  # fmt: skip
                await asked.create(name, replicas=1)
                await asked.ok("move_owner", collection=name, to=at)
                assert owns(server, name)
            await eventually(lambda: knows_owner(one, "others") and knows_owner(two, "items"))
            await until_taken(other, "add", collection="items", rows=rows(1))
            for asked in (raw, other):
                assert await code(asked, "add", collection="items", rows=rows(2)) == "rate_limited"
            await until_taken(raw, "add", collection="others", rows=rows(1))
            for asked in (raw, other):
                assert await code(asked, "add", collection="others", rows=rows(2)) == "rate_limited"
            search: dict[str, Any] = {"vector": [1, 0], "k": 1}
            assert await code(raw, "search", collection="items", **search) == "ok"
            assert await code(other, "search", collection="items", **search) == "rate_limited"
            assert await code(raw, "search", collection="others", **search) == "ok"
            assert await code(other, "search", collection="others", **search) == "rate_limited"
