"""The law over several shards: at every push a reader holds what one window of all rows would say
at the ``versions`` that it names.

The machine is that of one window (``streams/test_shaped_live_law.py``); the judge is an oracle for
each shard, and what they hold together.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize
from omendb_core.standing import renewals

from omendb_ws.wire.messages import Live, Results
from tests.oracle.asking import RARELY, vectors
from tests.oracle.runs import runs
from tests.patience import eventually
from tests.server.raw import engine_held
from tests.server.sharding.oracle import ShardedOracle
from tests.server.streams.test_shaped_live_law import ShapedLiveLaw

#: ``make torture`` goes on for longer.
RUNS = int(os.environ.get("SHARD_LIVE_RUNS", "6"))


@pytest.fixture(autouse=True)
def few_lists_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewals, "RENEWED_AT_ONCE", 1)


class ShardedLiveLaw(ShapedLiveLaw):
    @initialize(
        metric=st.sampled_from(["cosine", "dot", "l2"]),
        ids=st.sampled_from(["auto", "u64", "str"]),
        shards=st.sampled_from([2, 3]),
        ttl=RARELY,
        seed=st.integers(0, 2**31),
    )
    def start(self, metric: str, ids: str, shards: int, ttl: bool, seed: int) -> None:
        self.shards = shards
        self.begin_server(metric, ids, 40 * shards, ttl)
        self.keys = (
            [f"id-{n}" for n in range(40)] if ids == "str" else [0, 2**64 - 1, *range(1, 39)]
        )
        for more in range(2):
            self.add(seed + more, 20)

    async def open(self, fields: dict[str, Any]) -> None:
        await super().open({**fields, "shards": self.shards})

    def note(self) -> None:
        if not isinstance(self.oracle, ShardedOracle):
            self.oracle = ShardedOracle(self.oracle, self.shards)  # type: ignore[assignment]
            self.states = self.oracle  # type: ignore[assignment]
        self.oracle.note()  # type: ignore[attr-defined]

    async def pass_time(self, seconds: float) -> None:
        for shard in self.server.context.catalog.shards():
            await eventually(
                lambda shard=shard: not (shard.is_held or shard.window.standing.behind)
            )
        self.clock.move(seconds)
        if self.oracle.expire(self.clock.now_us):
            self.note()
        found = await self.writer.ok("count", collection="items")
        versions = self.oracle.versions  # type: ignore[attr-defined]
        rows = len(self.oracle.rows)
        assert found == {"version": sum(versions), "versions": versions, "count": rows}

    async def together(self, drawn: list[tuple[str, Any]]) -> None:
        async with engine_held(self.server):
            asked = [
                await self.writer.send(op, collection="items", **self.request(op, fields))
                for op, fields in drawn
            ]
            await self.writer.ok("ping")  # their parts wait for the engine
        for id_, (op, fields) in zip(asked, drawn, strict=True):
            outcome = self.do(op, fields)
            reply = await self.writer.reply(id_)
            if isinstance(outcome, str):
                assert reply["error"]["code"] == outcome, reply
            else:
                assert "ok" in reply, reply

    # -- what is asked, and what is not there yet ------------------------------------------------

    def draw_targets(self, data: st.DataObject, count: int) -> list[dict[str, Any]]:
        some = st.lists(vectors, min_size=count, max_size=count)
        return [{"vector": one} for one in data.draw(some)]

    # -- what is said ----------------------------------------------------------------------------

    def take_until(self, reply: Any) -> None:
        super().take_until(reply)
        if isinstance(reply, Results):
            assert reply.versions is not None
            self.oracle.hear(reply.version, reply.versions)  # type: ignore[attr-defined]
        elif isinstance(reply, dict) and "results" in reply.get("ok", {}):
            self.hear(reply["ok"])

    def hear(self, said: dict[str, Any]) -> None:
        """Whoever looks at a message as one of a single window finds nothing more in it."""
        self.oracle.hear(said["version"], said.pop("versions"))  # type: ignore[attr-defined]

    def push(self, event: Any) -> None:
        if isinstance(event, Live):
            assert event.versions is not None
            self.oracle.hear(event.version, event.versions)  # type: ignore[attr-defined]
        else:
            self.hear(event)
        super().push(event)

    def reason(self, asked: Any, seq: int, id_: Any) -> str:
        version = asked.view.version
        if seq not in self.states[version].rows:
            return self.oracle.why_gone(version, seq, id_)  # type: ignore[attr-defined,no-any-return]
        return super().reason(asked, seq, id_)


TestShardedLiveLaw = ShardedLiveLaw.TestCase
TestShardedLiveLaw.settings = runs(RUNS, 30, shrinks=False)
