"""The law over a real connection: after every push a reader holds what search returned then.

Adds, replacements, deletes, updates, evictions and expiry, alone or many in one tick; readers that
come, move, leave, lose their connection, or take nothing for a while. Every push is held to the
oracle's answer at the version that the push names, to the bit, with the reasons and the metadata;
match queries to the oracle's rows.
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
from contextlib import AsyncExitStack
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from omendb_core.standing import renewals

from omendb_ws.net.server import Server
from omendb_ws.wire import binary
from omendb_ws.wire.messages import Live, Results, Rows
from tests.core.test_window_state_machine import COLUMNS, TTL_SECONDS, metadata
from tests.core.test_window_state_machine import vector as any_vector
from tests.examples import examples
from tests.filter_oracle import filters_for, passes
from tests.oracle import Oracle
from tests.patience import eventually
from tests.server.live_view import Matched, SlowSockets, View, sub_of, view_of, views_of
from tests.server.raw import Clock, Raw, client, engine_held, queued, settings

MOST_ROUNDS = 300


def as_json(document: Any) -> Any:
    """As a JSON reader has it that knows integers of 64 bits only."""
    if isinstance(document, dict):
        return {name: as_json(value) for name, value in document.items()}
    if isinstance(document, list):
        return [as_json(value) for value in document]
    return float(document) if isinstance(document, int) and document > 2**63 else document


#: float32 values, as the oracle takes them
vector = any_vector.map(lambda one: np.array(one, np.float32).tolist())
LIVE_FIELDS = st.fixed_dictionaries(
    {"k": st.sampled_from([1, 1, 2, 3, 8])},
    optional={
        "filter": filters_for(COLUMNS).map(as_json),
        "min_score": st.sampled_from([-4.0, 0.0, 0.5, 1.0, 0.3]),
        "include": st.lists(st.sampled_from(["metadata", "vector"]), unique=True),
        "every": st.sampled_from([0, 200]),
        "encoding": st.sampled_from(["json", "binary"]),
    },
)


@dataclasses.dataclass
class Asked:
    """What a subscription asks. ``fields`` as JSON has them."""

    vector: list[float]
    fields: dict[str, Any]
    view: View | Matched
    start_seq: int = 1

    @property
    def include(self) -> list[str]:
        return self.fields.get("include", [])


@pytest.fixture(autouse=True)
def few_lists_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewals, "RENEWED_AT_ONCE", 1)


class LawMachine(RuleBasedStateMachine):
    @initialize(
        metric=st.sampled_from(["cosine", "dot", "l2"]),
        ids=st.sampled_from(["auto", "u64", "str"]),
        capacity=st.sampled_from([2, 5, 9, 64]),
        ttl=st.booleans(),
    )
    def start(self, metric: str, ids: str, capacity: int, ttl: bool) -> None:
        self.begin_server(metric, ids, capacity, ttl)

    def begin_server(self, metric: str, ids: str, capacity: int, ttl: bool) -> None:
        self.ids, self.capacity = ids, capacity
        self.clock = Clock()
        self.oracle = Oracle(
            capacity, metric, ids, TTL_SECONDS * 1_000_000 if ttl else None, passes
        )
        self.keys = (
            [f"id-{n}" for n in range(12)] if ids == "str" else [0, 2**64 - 1, *range(1, 11)]
        )
        self.states: dict[int, Oracle] = {}
        self.asked: dict[int, Asked] = {}
        self.note()
        self.runner = asyncio.Runner()
        self.stack, self.reading = AsyncExitStack(), AsyncExitStack()
        fields = {"metric": metric, "ids": ids, "capacity": capacity, "columns": COLUMNS}
        self.runner.run(self.open({**fields, "ttl": TTL_SECONDS if ttl else None}))

    async def open(self, fields: dict[str, Any]) -> None:
        self.server = await self.stack.enter_async_context(
            Server(settings(max_pending_rows=6), clock_us=self.clock)
        )
        self.writer = await self.stack.enter_async_context(client(self.server))
        made = await self.writer.ok("create", collection="items", dim=3, **fields)
        self.epoch = made["epoch"]
        self.slow = SlowSockets(self.server)
        await self.connect()

    async def connect(self) -> None:
        self.reader = await self.reading.enter_async_context(client(self.server))
        self.reader.order.clear()
        self.reader.events.clear()
        self.handle = (await self.reader.ok("open", collection="items"))["handle"]

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            try:
                self.runner.run(self.settle_all())
            finally:
                self.runner.run(self.reading.aclose())
                self.runner.run(self.stack.aclose())
                self.runner.close()

    # -- the oracle, at every version ------------------------------------------------------------

    def note(self) -> None:
        rows = {seq: copy.copy(row) for seq, row in self.oracle.rows.items()}
        self.states[self.oracle.version] = dataclasses.replace(self.oracle, rows=rows)

    def do(self, op: str, fields: Any) -> str | int:
        """One change, done by the oracle: its version, or the code of its error."""
        now_us = self.clock.now_us
        if op == "add":
            keys = None if self.ids == "auto" else [one["key"] for one in fields]
            self.oracle.add(
                [one["vector"] for one in fields], keys, [one["metadata"] for one in fields], now_us
            )
        elif op == "delete":
            if self.oracle.delete(fields):
                self.oracle.time_us = max(self.oracle.time_us, now_us)
        else:
            if any(self.oracle.find(one["key"]) is None for one in fields):
                return "not_found"
            self.oracle.update(
                [one["key"] for one in fields], [one["metadata"] for one in fields], now_us
            )
        self.note()
        return self.oracle.version

    def wire_id(self, key: int | str) -> int | str:
        return str(key) if isinstance(key, int) and key > 2**53 - 1 else key

    def request(self, op: str, fields: Any) -> dict[str, Any]:
        if op == "delete":
            return {"ids": [self.wire_id(key) for key in fields]}
        rows = [{name: value for name, value in one.items() if name != "key"} for one in fields]
        if self.ids != "auto" or op == "update":
            for row, one in zip(rows, fields, strict=True):
                row["id"] = self.wire_id(one["key"])
        return {"rows": rows}

    # -- changes ---------------------------------------------------------------------------------

    def changes(self) -> st.SearchStrategy[tuple[str, Any]]:
        pool = self.keys if self.ids != "auto" else list(range(1, 40))
        key = st.sampled_from(pool)
        there = sorted((row.id for row in self.oracle.rows.values()), key=str) or pool
        row = st.fixed_dictionaries({"key": key, "vector": vector, "metadata": metadata})
        update = st.fixed_dictionaries({"key": st.sampled_from(there), "metadata": metadata})
        most = min(self.capacity, 6)

        def rows(one: Any) -> Any:
            return st.lists(one, min_size=1, max_size=most, unique_by=lambda row: row["key"])

        add = st.tuples(st.just("add"), rows(row))
        return st.one_of(
            add,
            add,
            st.tuples(st.just("delete"), st.lists(key, max_size=4)),
            st.tuples(st.just("update"), rows(update)),
        )

    @rule(data=st.data(), count=st.integers(1, 3))
    def change(self, data: st.DataObject, count: int) -> None:
        for _ in range(count):
            op, fields = data.draw(self.changes())
            reply = self.runner.run(
                self.writer.ask(op, collection="items", **self.request(op, fields))
            )
            self.compare_reply(reply, self.do(op, fields))

    @rule(data=st.data(), count=st.integers(2, 6))
    def change_in_one_tick(self, data: st.DataObject, count: int) -> None:
        drawn = data.draw(st.lists(self.changes(), min_size=count, max_size=count))
        self.runner.run(self.together(drawn))

    async def together(self, drawn: list[tuple[str, Any]]) -> None:
        async with engine_held(self.server):
            asked = [
                await self.writer.send(op, collection="items", **self.request(op, fields))
                for op, fields in drawn
            ]
            await queued(self.server, len(asked))
        for id_, (op, fields) in zip(asked, drawn, strict=True):
            self.compare_reply(await self.writer.reply(id_), self.do(op, fields))

    def compare_reply(self, reply: Any, outcome: str | int) -> None:
        if isinstance(outcome, str):
            assert reply["error"]["code"] == outcome, reply
        else:
            assert reply["ok"]["version"] == outcome, reply

    @rule(seconds=st.sampled_from([0.3, 1, 4, 20]))
    def let_time_pass(self, seconds: float) -> None:
        self.runner.run(self.pass_time(seconds))

    async def pass_time(self, seconds: float) -> None:
        # Expiry waits while standing queries catch up, or are made anew, which takes the ticks
        # that it takes.
        (shard,) = self.server.context.catalog.shards()
        standing = shard.window.standing
        await eventually(lambda: not (shard.is_held or standing.behind))
        self.clock.move(seconds)
        if self.oracle.expire(self.clock.now_us):
            self.note()
        found = await self.writer.ok("count", collection="items")
        assert found == {"version": self.oracle.version, "count": len(self.oracle.rows)}

    # -- readers ---------------------------------------------------------------------------------

    @precondition(lambda self: len(self.asked) < 12)
    @rule(
        fields=LIVE_FIELDS,
        vectors=st.lists(vector, min_size=1, max_size=3),
        together=st.booleans(),
    )
    def subscribe(self, fields: dict[str, Any], vectors: list[list[float]], together: bool) -> None:
        run = self.runner.run
        if together:
            run(self.subscribe_binary(vectors, fields))
        else:
            for one in vectors:
                run(self.subscribe_json(one, fields))

    async def subscribe_json(self, one: list[float], fields: dict[str, Any]) -> None:
        id_ = await self.reader.send(
            "subscribe", kind="live", collection="items", vector=one, **fields
        )
        reply = await self.reader.reply(id_)
        self.take_until(reply)
        view = view_of(self.reader, reply["ok"], self.ids)
        assert reply["ok"]["epoch"] == self.epoch
        self.begin(Asked(one, fields, view))

    async def subscribe_binary(self, vectors: list[list[float]], fields: dict[str, Any]) -> None:
        include = binary.Include(
            *(name in fields.get("include", ()) for name in ("metadata", "vector"))
        )
        id_ = self.reader.next_id()
        others = {name: fields[name] for name in fields if name not in ("include", "every")}
        frame = binary.encode_subscribe(
            id_, self.handle, np.array(vectors, np.float32), include=include,
            every_ms=fields.get("every"), **others,
        )  # fmt: skip
        await self.reader.send_binary(frame)
        reply = await self.reader.reply(id_)
        assert isinstance(reply, Results), reply
        self.take_until(reply)
        for one, view in zip(vectors, views_of(self.reader, reply, self.ids), strict=True):
            self.begin(Asked(one, fields, view))

    def begin(self, asked: Asked) -> None:
        self.asked[asked.view.sub] = asked
        self.compare(asked)

    @precondition(lambda self: len(self.asked) < 12)
    @rule(one=vector, min_score=st.sampled_from([-4.0, 0.0, 0.5]), back=st.integers(0, 6),
          encoding=st.sampled_from(["json", "binary"]))  # fmt: skip
    def subscribe_to_matches(
        self, one: list[float], min_score: float, back: int, encoding: str
    ) -> None:
        fields: dict[str, Any] = {"min_score": min_score, "encoding": encoding}
        if back:
            from_seq = max(1, self.oracle.last_seq + 2 - back)
            fields |= {"from_seq": from_seq, "epoch": self.epoch}
        self.runner.run(self.subscribe_match(one, fields))

    async def subscribe_match(self, one: list[float], fields: dict[str, Any]) -> None:
        id_ = await self.reader.send(
            "subscribe", kind="match", collection="items", vector=one, **fields
        )
        reply = await self.reader.reply(id_)
        self.take_until(reply)
        ok = reply["ok"]
        assert ok["to_seq"] == fields.get("from_seq", self.oracle.last_seq + 1) - 1
        self.asked[ok["sub"]] = Asked(
            one,
            fields,
            Matched(self.reader, ok["sub"], ok["to_seq"], ids=self.ids),
            ok["to_seq"] + 1,
        )

    @precondition(lambda self: any(isinstance(one.view, View) for one in self.asked.values()))
    @rule(data=st.data(), to=vector, as_binary=st.booleans())
    def move(self, data: st.DataObject, to: list[float], as_binary: bool) -> None:
        subs = [sub for sub, one in self.asked.items() if isinstance(one.view, View)]
        asked = self.asked[data.draw(st.sampled_from(subs))]
        self.runner.run(self.move_to(asked, to, as_binary))

    async def move_to(self, asked: Asked, to: list[float], as_binary: bool) -> None:
        view = asked.view
        if as_binary:
            id_ = self.reader.next_id()
            await self.reader.send_binary(
                binary.encode_move(id_, view.sub, np.array([to], np.float32))
            )
        else:
            id_ = await self.reader.send("move", sub=view.sub, vector=to)
        reply = await self.reader.reply(id_)
        self.take_until(reply)
        if as_binary:
            assert reply.subs is None
            (moved,) = views_of_move(self.reader, reply, view)
        else:
            assert reply["ok"].keys() == {"version", "results"}
            moved = view_of(self.reader, {"sub": view.sub, "epoch": "", **reply["ok"]}, self.ids)
        asked.view, asked.vector = moved, to
        self.compare(asked)

    @precondition(lambda self: len(self.asked) > 1)
    @rule(data=st.data())
    def unsubscribe(self, data: st.DataObject) -> None:
        sub = data.draw(st.sampled_from(sorted(self.asked)))
        self.runner.run(self.leave(sub))

    async def leave(self, sub: int) -> None:
        reply = await self.reader.ask("unsubscribe", sub=sub)
        assert reply["ok"] == {}
        self.take_until(reply)
        del self.asked[sub]

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
        await self.take()
        await self.reading.aclose()
        self.reading = AsyncExitStack()
        await self.connect()
        before, self.asked = self.asked, {}
        for one in before.values():
            if isinstance(one.view, View):
                await self.subscribe_json(one.vector, one.fields)
            else:
                fields = {**one.fields, "from_seq": one.view.to_seq + 1, "epoch": self.epoch}
                await self.subscribe_match(one.vector, fields)

    async def settle_all(self) -> None:
        """Whoever reads is current in the end."""
        self.slow.release()
        await self.pass_time(0.3)
        for _ in range(MOST_ROUNDS):
            await self.take()
            if all(map(self.is_current, self.asked.values())):
                return
            await self.writer.ok("count", collection="items")
        raise AssertionError([one for one in self.asked.values() if not self.is_current(one)])

    # -- what comes ------------------------------------------------------------------------------

    async def take(self) -> None:
        """Take what was sent so far."""
        self.take_until(await self.reader.ask("ping"))

    def take_until(self, reply: Any) -> None:
        """Every push before ``reply``, in order."""
        order = self.reader.order
        while order:
            coming = order.pop(0)
            if coming is reply or (isinstance(coming, tuple) and coming[1] is reply):
                break
            if isinstance(coming, Live | Rows) or (isinstance(coming, dict) and "event" in coming):
                self.push(coming)
        else:
            raise AssertionError("the reply is not where it was")
        self.reader.events.clear()

    def push(self, event: Any) -> None:
        asked = self.asked[sub_of(event)]
        if isinstance(asked.view, Matched):
            known = set(asked.view.rows)
            asked.view.apply(event)
            self.compare_matched(asked, set(asked.view.rows) - known)
            return
        before = dict(asked.view.rows)
        asked.view.apply(event)
        self.compare(asked)
        for id_, seq, reason in asked.view.leaves:
            assert id_ == before[seq].id
            assert reason == self.reason(asked, seq, id_), (seq, reason)

    def compare(self, asked: Asked) -> None:
        """The law."""
        view, fields = asked.view, asked.fields
        state = self.states[view.version]
        expected = state.search(
            asked.vector,
            fields["k"],
            document=fields.get("filter"),
            min_score=fields.get("min_score"),
        )
        assert view.hits == expected
        for row in view.answer:
            there = state.rows[row.seq]
            assert row.metadata == (there.metadata if "metadata" in asked.include else None)
            assert row.vector == (there.vector if "vector" in asked.include else None)

    def reason(self, asked: Asked, seq: int, id_: Any) -> str:
        """PROTOCOL section 6: the first of these that holds."""
        state = self.states[asked.view.version]
        if seq <= state.last_seq - state.capacity:
            return "evicted"
        if seq < state.first_seq:
            return "expired"
        if seq not in state.rows:
            return "deleted" if state.find(id_) is None else "replaced"
        document = asked.fields.get("filter")
        if document is not None and not passes(document, state.rows[seq].metadata):
            return "filtered"
        if seq in asked.view.rows:
            assert "metadata" in asked.include
            return "updated"
        return "displaced"

    def compare_matched(self, asked: Asked, new: set[int]) -> None:
        view = asked.view
        assert not new & view.missed
        if not new:
            return
        state = self.states[view.version]
        scored = {seq: (id_, found) for id_, seq, found in self.near(state, asked)}
        for seq in new:
            row = view.rows[seq]
            assert scored[seq] == (row.id, row.score), "a dead row, or one too far away"

    def near(self, state: Oracle, asked: Asked) -> list[tuple[Any, int, float]]:
        return state.search(asked.vector, 10_000, min_score=asked.fields["min_score"])

    def is_current(self, asked: Asked) -> bool:
        view = asked.view
        if isinstance(view, View):
            version = view.version
            view.version = self.oracle.version
            try:
                self.compare(asked)
            except (AssertionError, KeyError):
                return False
            finally:
                view.version = version
            return True
        wanted = {
            seq
            for _, seq, _ in self.near(self.oracle, asked)
            if seq >= asked.start_seq and seq not in view.missed
        }
        return wanted <= view.rows.keys()


def views_of_move(raw: Raw, reply: Results, view: View) -> list[View]:
    return views_of(raw, dataclasses.replace(reply, subs=[view.sub]), view.ids)


TestLaw = LawMachine.TestCase
TestLaw.settings = hypothesis_settings(
    max_examples=examples(80),
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # each example starts a server: shrinking would take minutes
)
