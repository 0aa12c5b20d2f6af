"""Shaped searches and counts over a real connection, in text and in binary, are the oracle's.

The window changes as in the law of live queries, a change at a time or many in one tick. Ranks,
scores, ids and order are compared to the bit, refusals by code and row.
"""

from __future__ import annotations

import math
from random import Random
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from omendb_ws.wire.messages import Results
from tests.core.test_window_state_machine import COLUMNS
from tests.oracle.asking import RARELY, any_metadata, any_vector, draw_search, filters
from tests.oracle.runs import runs
from tests.oracle.served import SERVED
from tests.oracle.shaping import Hit, Refused, counts, search
from tests.oracle.strategies import times
from tests.server.shaped import ask_binary, row_of, rows_of
from tests.server.streams.test_live_law import LawMachine, as_json

DECLARED = tuple(COLUMNS.items())
MAX_K = 1000
#: Live queries have a machine of their own.
NOT_HERE = None


class ShapedLawMachine(LawMachine):
    subscribe = subscribe_to_matches = move = unsubscribe = NOT_HERE
    change = change_in_one_tick = read = NOT_HERE

    @initialize(
        metric=st.sampled_from(["cosine", "dot", "l2"]),
        ids=st.sampled_from(["auto", "u64", "str"]),
        capacity=st.sampled_from([9, 30, 64]),
        ttl=RARELY,
        seed=st.integers(0, 2**32),
    )
    def start(self, metric: str, ids: str, capacity: int, ttl: bool, seed: int) -> None:
        self.begin_server(metric, ids, capacity, ttl)
        self.keys = (
            [f"id-{n}" for n in range(40)] if ids == "str" else [0, 2**64 - 1, *range(1, 39)]
        )
        self.add(seed, 40)

    @rule(seed=st.integers(0, 2**32), count=st.integers(1, 20))
    def add(self, seed: int, count: int) -> None:
        random = Random(seed)
        self.ask_for("add", self.random_rows(random, count))
        self.runner.run(self.pass_time(random.choice([0, 1e-6, 0.25, 1])))

    def random_rows(self, random: Random, count: int) -> list[dict[str, Any]]:
        keys = self.keys if self.ids != "auto" else list(range(1, 41))
        return [
            {"key": key, "vector": any_vector(random), "metadata": any_metadata(random, COLUMNS)}
            for key in random.sample(keys, min(count, self.capacity))
        ]

    def random_updates(self, random: Random, keys: list[Any]) -> list[dict[str, Any]]:
        return [{"key": key, "metadata": any_metadata(random, COLUMNS)} for key in keys]

    @rule(seed=st.integers(0, 2**32), count=st.integers(1, 5))
    def update(self, seed: int, count: int) -> None:
        random = Random(seed)
        there = [row.id for row in self.oracle.rows.values()]
        rows = self.random_updates(random, random.sample(there, min(count, len(there))))
        if rows:
            self.ask_for("update", rows)

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        there = [row.id for row in self.oracle.rows.values()]
        ids = st.lists(st.sampled_from([*there, self.keys[-1]]), max_size=3)
        self.ask_for("delete", data.draw(ids))

    def ask_for(self, op: str, fields: Any) -> None:
        reply = self.runner.run(self.writer.ask(op, collection="items", **self.request(op, fields)))
        self.compare_reply(reply, self.do(op, fields))

    # -- what is asked ---------------------------------------------------------------------------

    @rule(data=st.data(), count=st.integers(1, 4), at=st.one_of(st.none(), times))
    def search(self, data: st.DataObject, count: int, at: float | None) -> None:
        for _ in range(count):
            fields = draw_search(data, self.oracle, self.keys[-1], DECLARED, MAX_K)
            if "decay" in fields or "rank" in fields:
                fields |= {} if at is None else {"at": at}
            if "filter" in fields:
                fields["filter"] = as_json(fields["filter"])
            self.runner.run(self.compare_search(fields))

    async def compare_search(self, fields: dict[str, Any]) -> None:
        now = self.clock.now_us / 1_000_000
        sent = self.wire_fields(fields)
        reply = await self.reader.ask("search", collection="items", **sent)
        at = fields.get("at", now)
        binary = None
        if "like" not in fields:
            binary = await ask_binary(self.reader, self.handle, **sent)
        try:
            expected = [
                hit
                for one in fields.get("vectors", [None])
                for hit in search(self.oracle, {**fields, "vector": one}, at, MAX_K, SERVED)
            ]
        except Refused as error:
            refused = error
        else:
            assert "ok" in reply, (reply, fields)
            self.compare_answers(fields, at, reply["ok"], binary, expected)
            return
        for one in (reply, binary):
            if one is not None:
                assert one["error"]["code"] == refused.code
                assert "like" in fields or one["error"].get("row") == refused.row

    def wire_fields(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Ids as JSON has them."""
        sent = dict(fields)
        for name in ("exclude", "positive", "negative"):
            if name in sent:
                sent[name] = [
                    one if isinstance(one, list) else self.wire_id(one) for one in sent[name]
                ]
        if "like" in sent:
            sent["like"] = self.wire_id(sent["like"])
        return sent

    def compare_answers(
        self,
        fields: dict[str, Any],
        at: float,
        ok: dict[str, Any],
        binary: Results | None,
        expected: list[Hit],
    ) -> None:
        is_ordered = "decay" in fields or "rank" in fields
        assert ok["version"] == self.oracle.version
        assert ok.get("at") == (at if is_ordered else None)
        lists = ok["results"] if "vectors" in fields else [ok["results"]]
        keys = {"id", "seq", "score"} | ({"rank"} if is_ordered else set())
        keys |= {"weight"} if "decay" in fields else set()
        assert all(one.keys() == keys for rows in lists for one in rows)
        found = [row_of(one) for rows in lists for one in rows]
        assert [
            (row.id if self.ids == "str" else int(row.id), row.seq, row.score, row.rank)
            for row in found
        ] == [(hit.id, hit.seq, hit.score, hit.rank) for hit in expected], (fields, at)
        for row, hit in zip(found, expected, strict=True):
            assert (row.weight is None) == (hit.weight is None)
            if row.weight is not None and hit.weight is not None:
                assert math.isclose(row.weight, hit.weight, rel_tol=2**-22, abs_tol=2**-149)
        if binary is not None:
            assert isinstance(binary, Results), binary
            assert binary.at == ok.get("at")
            assert (binary.hits.ranks is not None) == is_ordered
            assert (binary.hits.weights is not None) == ("decay" in fields)
            assert binary.counts.tolist() == list(map(len, lists))
            assert rows_of(binary) == [
                row._replace(id=row.id if self.ids == "str" else int(row.id)) for row in found
            ]

    @rule(data=st.data(), column=st.sampled_from(sorted(COLUMNS)), limit=st.integers(1, 5))
    def count(self, data: st.DataObject, column: str, limit: int) -> None:
        document = as_json(data.draw(filters(DECLARED))) if data.draw(RARELY) else {}
        ok = self.runner.run(
            self.reader.ok("count", collection="items", by=column, limit=limit, filter=document)
        )
        listed, others = counts(self.oracle, column, limit, document)
        assert ok.keys() == {"version", "count", "by", "others"}
        assert [(one["value"], one["count"]) for one in ok["by"]] == listed
        assert (ok["others"], ok["count"]) == (others, sum(n for _, n in listed) + others)
        assert ok["version"] == self.oracle.version


TestShapedLaw = ShapedLawMachine.TestCase
TestShapedLaw.settings = runs(40, 25, shrinks=False)
