"""The law with everything that shapes an answer: what a reader holds after a push is what search
says at that version, in text and in binary, through every change of the window and every move.

The judge is the oracle. What examples come to is worked out by it too, at the version at which the
subscription, or the move, was answered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from omendb_core.standing import renewals

from omendb_ws.wire import binary
from omendb_ws.wire.messages import Results
from tests.filter_oracle import passes
from tests.oracle import Oracle
from tests.oracle.asking import RARELY, draw_others, vectors
from tests.oracle.runs import runs
from tests.oracle.served import SERVED
from tests.oracle.shaping import (
    Refused,
    every_row_that_passes,
    in_order,
    query_vector,
    selection,
)
from tests.oracle.strategies import examples
from tests.server.engine.test_shaped_state_machine import DECLARED, MAX_K, ShapedLawMachine
from tests.server.live_view import Row, View, order_asked, rows_of, view_of, views_of
from tests.server.streams.test_live_law import Asked, as_json

EXAMPLES = ("positive", "negative")
NOT_HERE = None


@pytest.fixture(autouse=True)
def few_lists_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewals, "RENEWED_AT_ONCE", 1)


@dataclass
class ShapedAsked(Asked):
    """``vector`` is the target as rows are scored with it; ``left_out`` the ids of examples."""

    left_out: set[Any] = field(default_factory=set)


class ShapedLiveLaw(ShapedLawMachine):
    search = count = NOT_HERE

    # -- they begin ------------------------------------------------------------------------------

    @precondition(lambda self: len(self.asked) < 10)
    @rule(data=st.data(), as_binary=st.booleans(), together=st.integers(1, 3))
    def subscribe(self, data: st.DataObject, as_binary: bool, together: int) -> None:
        fields = draw_others(data, self.oracle, self.keys[-1], DECLARED, MAX_K, live=True)
        fields["encoding"] = data.draw(st.sampled_from(["json", "binary"]))
        if data.draw(RARELY):
            fields["every"] = 200
        if data.draw(RARELY):
            fields["include"] = data.draw(st.sampled_from([["metadata"], ["vector", "metadata"]]))
        if "filter" in fields:
            fields["filter"] = as_json(fields["filter"])
        targets = self.draw_targets(data, together if as_binary else 1)
        self.runner.run(self.begin_live(fields, targets, as_binary))

    def draw_targets(self, data: st.DataObject, count: int) -> list[dict[str, Any]]:
        if data.draw(RARELY):
            known = sorted((row.id for row in self.oracle.rows.values()), key=str)
            drawn: dict[str, Any] = data.draw(examples(vectors, [*known, self.keys[-1]]))
            return [drawn]
        some = st.lists(vectors, min_size=count, max_size=count)
        return [{"vector": one} for one in data.draw(some)]

    async def begin_live(
        self, fields: dict[str, Any], targets: list[dict[str, Any]], as_binary: bool
    ) -> None:
        """Subscribe with each target; with examples there is one."""
        if as_binary:
            frame = self.subscribe_frame(fields, targets)
            await self.reader.send_binary(frame)
            reply = await self.reader.reply(int.from_bytes(frame[4:8], "little"))
        else:
            sent = self.wire_fields({**fields, **targets[0]})
            reply = await self.reader.reply(
                await self.reader.send("subscribe", kind="live", collection="items", **sent)
            )
        self.take_until(reply)
        try:
            asked = [self.asked_with(fields, one) for one in targets]
        except Refused as refused:
            self.is_refused(reply, refused)
            return
        order = order_asked(fields)
        if as_binary:
            assert isinstance(reply, Results), (reply, fields)
            views = views_of(self.reader, reply, self.ids, order)
        else:
            assert "ok" in reply, (reply, fields)
            views = [view_of(self.reader, reply["ok"], self.ids, order)]
        for one, view in zip(asked, views, strict=True):
            one.view = view
            self.begin(one)
            self.compare_snapshot(one)

    def subscribe_frame(self, fields: dict[str, Any], targets: list[dict[str, Any]]) -> bytes:
        given = self.wire_fields({**fields, **targets[0]})
        named = ("vector", "k", "filter", "min_score", "include", "every", "encoding")
        shaping = {name: value for name, value in given.items() if name not in named}
        for name in EXAMPLES:
            if name in shaping:
                shaping[name] = as_arrays(shaping[name])
        return binary.encode_subscribe(
            self.reader.next_id(),
            self.handle,
            None if "positive" in given else np.array([one["vector"] for one in targets], "f4"),
            given["k"],
            given.get("filter"),
            given.get("min_score"),
            binary.Include(*(name in given.get("include", ()) for name in ("metadata", "vector"))),
            given.get("every"),
            given["encoding"],
            shaping,
        )

    def asked_with(self, fields: dict[str, Any], target: dict[str, Any]) -> ShapedAsked:
        """What is asked, its target fixed by the rows of now. Refused."""
        vector, left_out = query_vector(self.oracle, target)
        return ShapedAsked(vector, fields, None, left_out=left_out)  # type: ignore[arg-type]

    def is_refused(self, reply: Any, refused: Refused) -> None:
        assert isinstance(reply, dict), reply
        assert reply["error"]["code"] == refused.code
        assert reply["error"].get("row") == refused.row

    # -- they move -------------------------------------------------------------------------------

    @precondition(lambda self: len(self.asked) > 0)
    @rule(data=st.data(), as_binary=st.booleans())
    def move(self, data: st.DataObject, as_binary: bool) -> None:
        self.move_one(self.asked[data.draw(st.sampled_from(sorted(self.asked)))], data, as_binary)

    def move_one(self, asked: Any, data: st.DataObject, as_binary: bool) -> None:
        others = draw_others(data, self.oracle, self.keys[-1], DECLARED, MAX_K, live=True)
        changes = {
            name: others[name] for name in ("exclude", "filter", "min_score") if name in others
        }
        changes |= {
            name: clear
            for name, clear in (("exclude", []), ("filter", {}), ("min_score", None))
            if name in asked.fields and data.draw(RARELY)
        }
        if "filter" in changes:
            changes["filter"] = as_json(changes["filter"])
        if not changes or data.draw(st.booleans()):
            changes |= self.draw_targets(data, 1)[0]
        self.runner.run(self.move_live(asked, changes, as_binary))

    async def move_live(self, asked: Any, changes: dict[str, Any], as_binary: bool) -> None:
        view = asked.view
        sent = self.wire_fields(changes)
        if as_binary:
            id_ = self.reader.next_id()
            vector = sent.pop("vector", None)
            for name in EXAMPLES:
                if name in sent:
                    sent[name] = as_arrays(sent[name])
            to = None if vector is None else np.array([vector], np.float32)
            await self.reader.send_binary(binary.encode_move(id_, view.sub, to, sent))
        else:
            id_ = await self.reader.send("move", sub=view.sub, **sent)
        reply = await self.reader.reply(id_)
        self.take_until(reply)
        target = {name: changes[name] for name in ("vector", *EXAMPLES) if name in changes}
        if target:
            try:
                vector, left_out = query_vector(self.oracle, target)
            except Refused as refused:
                self.is_refused(reply, refused)
                self.compare(asked)
                return
            asked.vector, asked.left_out = vector, left_out
        fields = {**asked.fields, **changes}
        asked.fields = {
            name: value
            for name, value in fields.items()
            if name not in ("vector", *EXAMPLES)
            and not (name in changes and value in (None, [], {}))
        }
        asked.view = self.moved_view(view, reply)
        self.compare(asked)
        self.compare_snapshot(asked)

    def moved_view(self, view: View, reply: Any) -> View:
        if isinstance(reply, Results):
            assert reply.subs is None
            reply = {"results": reply.hits, "version": reply.version, "at": reply.at}
        else:
            assert "ok" in reply, reply
            reply = reply["ok"]
        rows = {row.seq: row for row in rows_of(reply["results"], self.ids)}
        return View(
            self.reader, view.sub, rows, reply["version"], self.ids, order=view.order,
            at=reply.get("at"),
        )  # fmt: skip

    # -- the law ---------------------------------------------------------------------------------

    def expected(self, asked: Any, state: Oracle) -> list[Any]:
        left_out = asked.left_out | set(asked.fields.get("exclude") or ())
        rows = every_row_that_passes(state, asked.fields, asked.vector, left_out)
        at = asked.view.at or 0.0
        ranked = in_order(rows, asked.fields, at, SERVED)
        return [one.hit for one in selection(ranked, asked.fields, state.metric)]

    def compare(self, asked: Any) -> None:
        view, state = asked.view, self.states[asked.view.version]
        found = [(row.id, row.seq, row.score, row.rank) for row in view.answer]
        hits = self.expected(asked, state)
        assert found == [(hit.id, hit.seq, hit.score, hit.rank) for hit in hits], asked.fields
        for row in view.answer:
            there = state.rows[row.seq]
            assert row.metadata == (there.metadata if "metadata" in asked.include else None)
            assert row.vector == (there.vector if "vector" in asked.include else None)

    def compare_snapshot(self, asked: Any) -> None:
        """Weights, and the time that they count to."""
        view = asked.view
        is_ordered = view.order != "score"
        assert view.at == (self.clock.now_us / 1_000_000 if is_ordered else None)
        for row, hit in zip(view.answer, self.expected(asked, self.oracle), strict=True):
            assert (row.weight is None) == (hit.weight is None)
            if row.weight is not None:
                assert math.isclose(row.weight, hit.weight, rel_tol=2**-22, abs_tol=2**-149)

    def push(self, event: Any) -> None:
        asked = self.asked[event.sub if hasattr(event, "sub") else event["sub"]]
        self.before: dict[int, Row] = dict(asked.view.rows)
        super().push(event)

    def reason(self, asked: Any, seq: int, id_: Any) -> str:
        state = self.states[asked.view.version]
        if seq not in state.rows:
            return super().reason(asked, seq, id_)
        row = state.rows[seq]
        document = asked.fields.get("filter")
        if document is not None and not passes(document, row.metadata):
            return "filtered"
        if "rank" in asked.fields and not self.has_rank(asked, state, seq):
            return "filtered"
        if seq in asked.view.rows:
            is_ranked_anew = self.before[seq].rank != asked.view.rows[seq].rank
            assert is_ranked_anew or "metadata" in asked.include
            return "updated"
        return "displaced"

    def has_rank(self, asked: Any, state: Oracle, seq: int) -> bool:
        rows = every_row_that_passes(state, {}, asked.vector, set())
        ranked = in_order(rows, asked.fields, 0.0, SERVED)
        return any(one.row.seq == seq for one in ranked)

    # -- the rest --------------------------------------------------------------------------------

    @rule(seed=st.integers(0, 2**32), count=st.integers(2, 5))
    def change_in_one_tick(self, seed: int, count: int) -> None:
        random = Random(seed)
        drawn: list[tuple[str, Any]] = []
        for _ in range(count):
            there = [row.id for row in self.oracle.rows.values()]
            op = random.choice(["add", "add", "update", "delete"])
            if op == "add":
                drawn.append((op, self.random_rows(random, random.randint(1, 3))))
            elif op == "delete":
                drawn.append((op, random.sample(there, min(2, len(there)))))
            elif there:
                drawn.append((op, self.random_updates(random, random.sample(there, 1))))
        self.runner.run(self.together(drawn))

    @precondition(lambda self: len(self.asked) > 1)
    @rule(data=st.data())
    def unsubscribe(self, data: st.DataObject) -> None:
        self.runner.run(self.leave(data.draw(st.sampled_from(sorted(self.asked)))))

    @rule(what=st.sampled_from(["stop", "stop", "go on", "read", "settle", "reconnect"]))
    def read(self, what: str) -> None:
        if what == "stop":
            self.slow.is_slow = True
        elif what == "go on":
            self.slow.release()
        else:
            does = {"read": self.take, "settle": self.settle_all, "reconnect": self.reconnect}
            self.runner.run(does[what]())

    async def reconnect(self) -> None:
        """A reader that comes back asks by what its target had come to."""
        await self.take()
        await self.reading.aclose()
        self.reading = type(self.reading)()
        await self.connect()
        before, self.asked = self.asked, {}
        for one in before.values():
            vector = [float(element) for element in one.vector]
            exclude = [*one.fields.get("exclude", ()), *one.left_out]  # type: ignore[attr-defined]
            fields = {**one.fields, "exclude": exclude} if exclude else one.fields
            await self.begin_live(fields, [{"vector": vector}], as_binary=False)


def as_arrays(given: list[Any]) -> list[Any]:
    """Examples as the codec takes them."""
    return [np.array(one, np.float32) if isinstance(one, list) else one for one in given]


TestShapedLiveLaw = ShapedLiveLaw.TestCase
TestShapedLiveLaw.settings = runs(40, 30, shrinks=False)
