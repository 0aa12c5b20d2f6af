"""Any node takes any op: what another node answers is as if it were answered here."""

from __future__ import annotations

from tests.server.links.pair import held_by_b
from tests.server.raw import rows


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
