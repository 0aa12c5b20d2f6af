"""Principals with different grants at once, over real sockets: each is told what it may see.

They add, replace, update and delete, search, count and get, and keep every kind of subscription,
in text and in binary, while the window is evicted from and expires, tokens are renewed with wider
and narrower grants, and a key file changes. Whatever one is told is held to an oracle of the
protocol that is given the rows which that one may see, and no others.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule
from omendb_core.standing import renewals

from omendb_ws.wire.messages import Live, Rows
from tests.core.test_window_state_machine import COLUMNS
from tests.oracle.asking import RARELY, draw_others, draw_search, filters
from tests.oracle.grants import forced, seen
from tests.oracle.runs import runs
from tests.oracle.shaping import Refused
from tests.server.engine.test_shaped_state_machine import DECLARED, MAX_K, ShapedLawMachine
from tests.server.granted import Counted, Told
from tests.server.granted_changes import ChangesMachine, names, some_grants
from tests.server.granted_people import GRANTS, KEYED, NAME, NAMES, Person
from tests.server.live_view import sub_of
from tests.server.raw import engine_held
from tests.server.streams.test_count_pushes import beat
from tests.server.streams.test_live_law import Asked, as_json
from tests.server.tokens import token


@pytest.fixture(autouse=True)
def few_lists_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewals, "RENEWED_AT_ONCE", 1)


class GrantsMachine(ChangesMachine):
    """What each one asks for and is told, by its grants of the moment."""

    # -- what is asked ---------------------------------------------------------------------------

    @rule(name=names, data=st.data(), seed=st.integers(0, 2**32))
    def search(self, name: str, data: st.DataObject, seed: int) -> None:
        if not self.act(name).may_read:
            code = self.runner.run(self.reader.code("search", collection=NAME, vector=[1, 1, 1]))
            assert code == "forbidden"
            return
        self.hide_behind(seed)
        for _ in range(2):
            fields = draw_search(data, self.oracle, self.keys[-1], DECLARED, MAX_K)
            if "filter" in fields:
                fields["filter"] = as_json(fields["filter"])
            self.runner.run(self.compare_search(fields))

    @rule(
        name=names, data=st.data(), column=st.sampled_from(sorted(COLUMNS)), limit=st.integers(1, 5)
    )
    def count(self, name: str, data: st.DataObject, column: str, limit: int) -> None:
        if self.act(name).may_read:
            ShapedLawMachine.count(self, data, column, limit)
        else:
            code = self.runner.run(self.reader.code("count", collection=NAME))
            assert code == "forbidden"

    @rule(name=names)
    def look(self, name: str) -> None:
        self.act(name)
        self.runner.run(self.look_at_rows())

    async def look_at_rows(self) -> None:
        """Rows by id, and how many there are, by every op that says so."""
        raw, there = self.reader, self.oracle
        ids = sorted({*self.keys, *(row.id for row in self.world.rows.values())}, key=str)
        asked = {"ids": [self.wire_id(one) for one in ids], "include": ["metadata", "vector"]}
        reply = await raw.ask("get", collection=NAME, **asked)
        if not self.who.may_read:
            assert reply["error"]["code"] == "forbidden"
        else:
            for id_, row in zip(ids, reply["ok"]["rows"], strict=True):
                wanted = there.find(id_)
                assert (row is None) == (wanted is None), (id_, row)
                if row is not None and wanted is not None:
                    assert (row["seq"], row["metadata"]) == (wanted.seq, wanted.metadata)
                    assert [float(np.float32(x)) for x in row["vector"]] == wanted.vector
            await self.look_for_hidden([one for one in ids if there.find(one) is None])
        await self.look_at_numbers()

    async def look_for_hidden(self, ids: list[Any]) -> None:
        """Of a row that is not there for it a principal learns what it would of none at all."""
        raw = self.reader
        absent = self.wire_id("none" if self.ids == "str" else 2**64 - 7)
        for id_ in map(self.wire_id, ids[-3:]):
            for fields in ({"like": id_}, {"positive": [[1, 1, 1], id_]}):
                error = await raw.error("search", collection=NAME, **fields)
                sent = json.loads(json.dumps(fields).replace(json.dumps(id_), json.dumps(absent)))
                wanted = await raw.error("search", collection=NAME, **sent)
                wanted["message"] = wanted["message"].replace(str(absent), str(id_))
                assert error == wanted
            code = await raw.code("subscribe", kind="live", collection=NAME, positive=[id_])
            assert code == "not_found"
        if self.ids != "str":
            both = [[1.0, 0.5, -1.0], [0.0, 1.0, 0.5]]  # without padding, so it is read as plain
            found = await raw.search_binary(self.handle, both, k=MAX_K)
            hits = [hit for one in both for hit in self.oracle.search(one, MAX_K)]
            assert found.hits.seqs.tolist() == [seq for _, seq, _ in hits]
            assert found.hits.scores.tolist() == [score for _, _, score in hits]

    async def look_at_numbers(self) -> None:
        raw = self.reader
        try:
            filters_ = self.who.sees(None)
        except Refused:
            assert (await raw.ok("list")) == {"collections": []}
            assert await raw.code("describe", collection=NAME) == "forbidden"
            return
        rows = len(seen(self.world, filters_).rows)
        (listed,) = (await raw.ok("list"))["collections"]
        for said in (listed, await raw.ok("describe", collection=NAME)):
            assert (said["rows"], said["bytes"] is None) == (rows, filters_ is not None)
        if self.who.may_read:
            said = await raw.ok("stats", collection=NAME)
            assert said["rows"] == len(self.oracle.rows)
            assert (said["adds_per_s"] is None) == (self.who.sees() is not None)

    # -- subscriptions ---------------------------------------------------------------------------

    @rule(name=names, data=st.data(), as_binary=st.booleans(), together=st.integers(1, 3),
          seed=st.integers(0, 2**32))  # fmt: skip
    def subscribe_live(
        self, name: str, data: st.DataObject, as_binary: bool, together: int, seed: int
    ) -> None:
        if self.act(name).may_read and len(self.asked) < 9:
            self.hide_behind(seed)
            self.subscribe_to_answers(data, as_binary, together)

    def subscribe_to_answers(self, data: st.DataObject, as_binary: bool, together: int) -> None:
        fields = draw_others(data, self.oracle, self.keys[-1], DECLARED, MAX_K, live=True)
        fields["encoding"] = data.draw(st.sampled_from(["json", "binary"]))
        if data.draw(RARELY):
            fields["include"] = data.draw(st.sampled_from([["metadata"], ["vector", "metadata"]]))
        if "filter" in fields:
            fields["filter"] = as_json(fields["filter"])
        targets = self.draw_targets(data, together if as_binary else 1)
        self.runner.run(self.begin_live(fields, targets, as_binary))

    @rule(name=names, data=st.data(), kind=st.sampled_from(["match", "feed", "novel", "count"]),
          back=st.integers(0, 6))  # fmt: skip
    def subscribe(self, name: str, data: st.DataObject, kind: str, back: int) -> None:
        if len(self.act(name).asked) < 9:
            self.subscribe_to(data, kind, back)

    def subscribe_to(self, data: st.DataObject, kind: str, back: int) -> None:
        fields = self.draw_stream(data, kind)
        if back and kind != "count" and self.who.may_read:
            from_seq = max(1, self.world.last_seq + 2 - back)
            fields |= {"from_seq": from_seq, "epoch": self.epoch}
        self.runner.run(self.begin_stream(kind, fields))

    def ask_for_everything(self, name: str, data: st.DataObject) -> None:
        """Keep every kind of subscription, unless there are some."""
        if self.act(name).may_read and not self.asked:
            for as_binary in (False, True):
                self.subscribe_to_answers(data, as_binary, 1)
            for kind in ("match", "feed", "novel", "count"):
                self.subscribe_to(data, kind, data.draw(st.sampled_from([0, 5])))

    def draw_stream(self, data: st.DataObject, kind: str) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if data.draw(RARELY):
            fields["filter"] = as_json(data.draw(filters(DECLARED)))
        if kind == "count":
            if data.draw(st.booleans()):
                fields |= {"by": data.draw(st.sampled_from(sorted(COLUMNS))), "limit": 2}
            return fields
        if data.draw(st.booleans()):
            fields["include"] = data.draw(st.sampled_from([["metadata"], ["vector", "metadata"]]))
        fields["encoding"] = data.draw(st.sampled_from(["json", "binary"]))
        if kind == "match":
            fields["min_score"] = data.draw(st.sampled_from([-4.0, 0.0, 0.5]))
            fields["vector"] = [1.0, 0.5, -1.0]
        elif kind == "novel":
            fields["below"] = data.draw(st.sampled_from([-1.0, 0.5, 0.999, 100.0]))
            if data.draw(RARELY):
                fields["last"] = data.draw(st.integers(1, 10))
        return fields

    async def begin_stream(self, kind: str, fields: dict[str, Any]) -> None:
        sent = {**fields, "every": 60_000} if kind == "count" else fields
        reply = await self.reader.reply(
            await self.reader.send("subscribe", kind=kind, collection=NAME, **sent)
        )
        self.take_until(reply)
        if not self.who.may_read:
            assert reply["error"]["code"] == "forbidden"
            return
        ok = reply["ok"]
        if kind == "count":
            told = {name: value for name, value in ok.items() if name not in ("sub", "epoch")}
            counted = self.asked[ok["sub"]] = Counted(ok["sub"], fields, told)
            counted.check(self.states)
            return
        began = self.world.last_seq + 1
        begins = fields.get("from_seq", began)
        assert ok["to_seq"] == begins - 1
        fields = {**fields, "begins": begins, "since": self.world.version}
        self.asked[ok["sub"]] = Told(
            kind, ok["sub"], fields, self.ids, ok["to_seq"], began, ok["version"]
        )

    @rule(name=names, data=st.data(), as_binary=st.booleans(), seed=st.integers(0, 2**32))
    def move(self, name: str, data: st.DataObject, as_binary: bool, seed: int) -> None:
        self.act(name)
        self.hide_behind(seed)
        live = sorted(sub for sub, one in self.asked.items() if isinstance(one, Asked))
        if not live:
            return
        asked = self.asked[data.draw(st.sampled_from(live))]
        if data.draw(st.booleans()):
            self.move_one(asked, data, as_binary)
        else:
            changes = {"filter": as_json(data.draw(filters(DECLARED)))}
            self.runner.run(self.move_live(asked, changes, as_binary))

    @rule(name=names, data=st.data())
    def unsubscribe(self, name: str, data: st.DataObject) -> None:
        if len(self.act(name).asked) > 1:
            self.runner.run(self.leave(data.draw(st.sampled_from(sorted(self.asked)))))

    # -- other grants ----------------------------------------------------------------------------

    @rule(name=names, which=some_grants, between=st.booleans(), data=st.data())
    def renew(self, name: str, which: int, between: bool, data: st.DataObject) -> None:
        self.runner.run(self.renew_as(name, GRANTS[which], between))
        self.ask_for_everything(name, data)

    async def renew_as(self, name: str, grants: list[dict[str, Any]], between: bool) -> None:
        """By a token, with requests under way or not; or by the key file."""
        person = self.act(name)
        self.ending = self.touched_by(grants)
        if name == KEYED:
            self.write_keys(grants)
            await self.server.node.reloads.look()
            await self.take()
        else:
            await self.renew_by_auth(person, grants, between)
        assert not self.ending, "a subscription goes on under other grants"
        person.grants = grants
        self.act(name)
        if not person.handle and (person.may_read or person.may_write):
            person.handle = (await person.raw.ok("open", collection=NAME))["handle"]
            person.raw.order.clear()

    async def renew_by_auth(
        self, person: Person, grants: list[dict[str, Any]], between: bool
    ) -> None:
        fields = {"token": token(*grants, sub=person.name)}
        if not between:
            reply = await person.raw.reply(await person.raw.send("auth", **fields))
            self.take_until(reply)
            return
        old = self.counted_now(person.grants)
        async with engine_held(self.server):
            before = await person.raw.send("count", collection=NAME)
            auth = await person.raw.send("auth", **fields)
            behind = await person.raw.send("count", collection=NAME)
        assert self.said(await person.raw.reply(before)) == old
        reply = await person.raw.reply(auth)
        assert self.said(await person.raw.reply(behind)) == self.counted_now(grants)
        order = [one["id"] for one in person.raw.order if isinstance(one, dict) and "id" in one]
        assert order[-3:] == [before, auth, behind] or grants == person.grants
        self.take_until(reply)

    def counted_now(self, grants: list[dict[str, Any]]) -> int | str:
        try:
            return len(seen(self.world, forced(grants, "read", NAME)).rows)
        except Refused as refused:
            return refused.code

    def said(self, reply: dict[str, Any]) -> int | str:
        found = reply["ok"]["count"] if "ok" in reply else reply["error"]["code"]
        assert isinstance(found, int | str)
        return found

    def touched_by(self, grants: list[dict[str, Any]]) -> set[int]:
        """Subscriptions that end: these grants do not allow them, or other rows."""
        try:
            goes_on = self.who.may_read and forced(grants, "read", NAME) == self.who.sees()
        except Refused:
            goes_on = False
        return set() if goes_on else set(self.asked)

    @rule(seed=st.integers(0, 2**32), which=some_grants, data=st.data())
    def lose_key(self, seed: int, which: int, data: st.DataObject) -> None:
        self.runner.run(self.lose_and_come_back(seed, which))
        self.ask_for_everything(KEYED, data)

    async def lose_and_come_back(self, seed: int, which: int) -> None:
        person = self.act(KEYED)
        self.write_keys(None)
        await self.server.node.reloads.look()
        version = self.world.version
        fields = self.draw_change(Random(seed), "root", "add", 3)
        await self.change_at_once("root", "add", fields, False)
        assert await person.raw.closed() == 4401
        self.act(KEYED)
        *pushes, error = person.raw.order
        for one in pushes:
            if isinstance(one, Live | Rows) or (isinstance(one, dict) and "event" in one):
                self.push(one)
        assert all(version_told(one) <= version for one in self.asked.values())
        assert (error["event"], error["code"]) == ("error", "unauthenticated")
        await person.stack.aclose()
        self.write_keys(GRANTS[which])
        await self.server.node.reloads.look()
        await self.connect_as(KEYED, GRANTS[which])

    # -- what comes ------------------------------------------------------------------------------

    @rule(what=st.sampled_from(["stop", "stop", "go on", "read", "settle"]))
    def read(self, what: str) -> None:
        if what == "stop":
            self.slow.is_slow = True
        elif what == "go on":
            self.slow.release()
        else:
            self.runner.run(self.take_all() if what == "read" else self.settle_all())

    async def take_all(self) -> None:
        for name in NAMES:
            self.act(name)
            await self.take()

    async def settle_all(self) -> None:
        """Each is current in the end."""
        self.slow.release()
        await self.pass_time(0.3)
        for _ in range(300):
            await beat(self.server)
            await self.take_all()
            if all(map(self.is_settled, NAMES)):
                return
            await self.writer.ok("count", collection=NAME)
        raise AssertionError([name for name in NAMES if not self.is_settled(name)])

    def is_settled(self, name: str) -> bool:
        self.act(name)
        return all(map(self.is_current, self.asked.values()))

    def is_current(self, asked: Any) -> bool:
        if isinstance(asked, Counted):
            return asked.is_current(self.states)
        if isinstance(asked, Told):
            return asked.is_current(self.states, self.births)
        return super().is_current(asked)

    def push(self, event: Any) -> None:
        sub = sub_of(event)
        assert sub is not None
        if isinstance(event, dict) and event["event"] == "ended":
            assert event["reason"] == "forbidden"
            self.ending.remove(sub)
            del self.asked[sub]
            return
        asked = self.asked[sub]
        if isinstance(asked, Counted):
            asked.apply(event, self.states)
        elif isinstance(asked, Told):
            asked.apply(event, self.states, self.births)
        else:
            super().push(event)

    def reason(self, asked: Any, seq: int, id_: Any) -> str:
        """A row that is not there for this one any more does not pass its filter."""
        state, world = self.states[asked.view.version], self.history[asked.view.version]
        if seq in state.rows:
            return super().reason(asked, seq, id_)
        if seq in world.rows:
            return "filtered"
        if seq <= world.last_seq - world.capacity:
            return "evicted"
        if seq < world.first_seq:
            return "expired"
        return "deleted" if world.find(id_) is None else "replaced"


def version_told(asked: Any) -> int:
    """The version of what a subscription told last."""
    found = asked.told["version"] if isinstance(asked, Counted) else None
    found = asked.version if isinstance(asked, Told) else found
    version: int = asked.view.version if found is None else found
    return version


TestGrants = GrantsMachine.TestCase
TestGrants.settings = runs(25, 30, shrinks=False)
