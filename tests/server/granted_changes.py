"""The grants' state machine: the window, who acts on it, and what each one's changes come to.

What is asked and told is in ``test_grants_state_machine.py``.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import tempfile
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule
from omendb_core.model.change import RowBatch
from omendb_core.model.types import NULL_CODE, StrColumn

from omendb_ws.access.keyring import token_sha256
from omendb_ws.net.server import Server
from omendb_ws.wire import binary
from omendb_ws.wire.messages import Added
from tests.core.test_window_state_machine import COLUMNS
from tests.oracle import Oracle
from tests.oracle.asking import RARELY, any_metadata, any_vector
from tests.oracle.grants import Faults, deletable, stamped
from tests.oracle.shaping import Refused
from tests.patience import eventually
from tests.server.streams.test_live_law import LawMachine
from tests.server.streams.test_shaped_live_law import ShapedLiveLaw

from .granted_people import ALL, GRANTS, KEYED, NAME, NAMES, Person, SeenStates, as_toml
from .live_view import SlowSockets
from .raw import client, engine_held
from .tokens import token, with_secret

NOT_HERE = None
names = st.sampled_from(NAMES)
some_grants = st.sampled_from(range(len(GRANTS)))


class ChangesMachine(ShapedLiveLaw):
    """``world`` is the window, ``oracle`` what the one who acts may see of it; see ``act``."""

    add = update = delete = subscribe_to_matches = NOT_HERE

    @initialize(
        metric=st.sampled_from(["cosine", "dot", "l2"]),
        ids=st.sampled_from(["auto", "u64", "str"]),
        capacity=st.sampled_from([9, 30, 64]),
        ttl=RARELY,
        which=st.lists(some_grants, min_size=len(NAMES), max_size=len(NAMES)),
        data=st.data(),
    )
    def start(
        self,
        metric: str,
        ids: str,
        capacity: int,
        ttl: bool,
        which: list[int],
        data: st.DataObject,
    ) -> None:
        self.first_grants = dict(zip(NAMES, (GRANTS[one] for one in which), strict=True))
        self.history: dict[int, Oracle] = {}
        self.births: dict[int, int] = {}
        self.seen_by: dict[str, SeenStates] = {}
        self.people: dict[str, Person] = {}
        self.directory = tempfile.TemporaryDirectory()
        self.begin_server(metric, ids, capacity, ttl)
        self.keys = [f"id-{n}" for n in range(40)] if ids == "str" else [*range(38), 2**64 - 1, 38]
        self.change("root", sum(which), 40, "add", False)
        for name in NAMES:
            self.ask_for_everything(name, data)

    async def open(self, fields: dict[str, Any]) -> None:
        path = Path(self.directory.name)
        self.world = self.oracle
        grants = self.first_grants
        self.write_keys(grants[KEYED])
        self.server = await self.stack.enter_async_context(
            Server(
                with_secret(path, api_key_file=str(path / "keys.toml"), max_pending_rows=6),
                clock_us=self.clock,
            )
        )
        root = token(*ALL, sub="root")
        self.writer = await self.stack.enter_async_context(client(self.server, token=root))
        made = await self.writer.ok("create", collection=NAME, dim=3, **fields)
        self.epoch = made["epoch"]
        self.slow = SlowSockets(self.server)
        self.people["root"] = Person("root", ALL, self.writer, made["handle"])
        for name in NAMES:
            await self.connect_as(name, grants[name])

    async def connect_as(self, name: str, grants: list[dict[str, Any]]) -> None:
        person = Person(name, grants, self.writer)
        given = f"token-{name}" if name == KEYED else token(*grants, sub=name)
        person.raw = await person.stack.enter_async_context(client(self.server, token=given))
        self.people[name] = person
        if person.may_read or person.may_write:
            person.handle = (await person.raw.ok("open", collection=NAME))["handle"]
        person.raw.order.clear()

    def write_keys(self, grants: list[dict[str, Any]] | None) -> None:
        """The key of ``KEYED`` has these grants from now on; None: there is no such key."""
        path = Path(self.directory.name) / "keys.toml"
        kept = {"spare": ALL} | ({} if grants is None else {KEYED: grants})
        path.write_text(
            "".join(
                f'[[keys]]\nname = "{name}"\ntenant = "acme"\n'
                f'token_sha256 = "{token_sha256(f"token-{name}")}"\ngrants = {as_toml(held)}\n'
                for name, held in kept.items()
            )
        )
        path.chmod(0o600)

    def teardown(self) -> None:
        if not hasattr(self, "runner"):
            return
        try:
            self.runner.run(self.settle_all())
            for name in NAMES:
                self.look(name)
        finally:
            for person in self.people.values():
                self.runner.run(person.stack.aclose())
            super_close = self.stack.aclose()
            self.runner.run(super_close)
            self.runner.close()
            self.directory.cleanup()

    # -- who acts, and what is there for it ------------------------------------------------------

    def act(self, name: str) -> Person:
        """What follows is done by ``name``, judged by what it may see."""
        self.who = person = self.people[name]
        self.reader, self.handle, self.asked = person.raw, person.handle, person.asked
        filters_ = person.sees() if person.may_read else []
        key = json.dumps(filters_)
        if key not in self.seen_by:
            self.seen_by[key] = SeenStates(self.history, filters_)
        self.states = self.seen_by[key]
        self.oracle = self.states[max(self.history)]
        return person

    def hide_behind(self, seed: int) -> None:
        """What is asked names a row that is there, but not for the one who acts, if it can."""
        there = {row.id for row in self.oracle.rows.values()}
        hidden = sorted({row.id for row in self.world.rows.values()} - there, key=str)
        if hidden:
            self.keys = [*self.keys, Random(seed).choice(hidden)]

    def note(self) -> None:
        rows = {seq: copy.copy(row) for seq, row in self.oracle.rows.items()}
        self.history[self.oracle.version] = dataclasses.replace(self.oracle, rows=rows)

    def do(self, op: str, fields: Any) -> str | int:
        """One change of the world."""
        self.oracle = self.world
        before = self.world.last_seq
        version = LawMachine.do(self, op, fields)
        assert isinstance(version, int)
        self.births |= dict.fromkeys(range(before + 1, self.world.last_seq + 1), version)
        return version

    async def pass_time(self, seconds: float) -> None:
        (shard,) = self.server.context.catalog.shards()
        standing = shard.window.standing
        novelty = shard.window.novelty
        await eventually(lambda: not (shard.is_held or standing.behind or novelty.is_behind))
        self.oracle = self.world
        self.clock.move(seconds)
        if self.world.expire(self.clock.now_us):
            self.note()
        found = await self.writer.ok("count", collection=NAME)
        assert found == {"version": self.world.version, "count": len(self.world.rows)}

    # -- changes ---------------------------------------------------------------------------------

    @rule(
        name=st.sampled_from([*NAMES, "root"]),
        seed=st.integers(0, 2**32),
        count=st.integers(1, 12),
        op=st.sampled_from(["add", "add", "update", "delete"]),
        as_binary=st.booleans(),
    )
    def change(self, name: str, seed: int, count: int, op: str, as_binary: bool) -> None:
        fields = self.draw_change(Random(seed), name, op, count)
        self.runner.run(self.change_at_once(name, op, fields, as_binary))
        self.runner.run(self.pass_time(Random(seed).choice([0, 1e-6, 0.25, 1])))

    async def change_at_once(self, name: str, op: str, fields: Any, as_binary: bool) -> None:
        id_, fields = await self.send_change(name, op, fields, as_binary)
        self.judge(name, op, fields, await self.people[name].raw.reply(id_))

    async def send_change(
        self, name: str, op: str, fields: Any, as_binary: bool
    ) -> tuple[int, Any]:
        """Its id, and the fields as they are understood."""
        person = self.people[name]
        if op == "add" and as_binary and person.handle:
            return await self.send_frame(person, fields)
        return await person.raw.send(op, collection=NAME, **self.request(op, fields)), fields

    def draw_change(self, random: Random, name: str, op: str, count: int) -> Any:
        grants = self.people[name].grants
        there = [row.id for row in self.world.rows.values()]
        with suppress(Refused):
            mine = deletable(self.world, grants, NAME, there)
            there = mine if mine and random.random() < 0.8 else there
        if op == "add":
            fields = self.random_rows(random, count)
        else:
            keys = random.sample(there, min(count, 3, len(there)))
            if op == "delete":
                return [*keys, self.keys[0]]
            fields = self.random_updates(random, keys) or self.random_updates(random, [1])
            if self.ids == "str":
                fields = [{**row, "key": str(row["key"])} for row in fields]
        stamps = [one.get("stamp", {}) for one in grants]
        for row in fields:  # most rows state nothing that is stamped
            for column in stamps[-1] if random.random() < 0.85 else ():
                row["metadata"].pop(column, None)
        return self.allowed(name, op, fields) if random.random() < 0.7 else fields

    def allowed(self, name: str, op: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those of the rows with which nothing is wrong; all if that is none."""
        grants = self.people[name].grants
        with suppress(Refused):
            found = [row for row in rows if not stamped(self.world, grants, NAME, op, [row])[1]]
            return found or rows
        return rows

    def random_rows(self, random: Random, count: int) -> list[dict[str, Any]]:
        keys = sorted(set(self.keys), key=str) if self.ids != "auto" else list(range(1, 41))
        return [
            {"key": key, "vector": any_vector(random), "metadata": any_metadata(random, COLUMNS)}
            for key in random.sample(keys, min(count, self.capacity))
        ]

    async def send_frame(self, person: Person, rows: list[dict[str, Any]]) -> tuple[int, Any]:
        """Rows as a binary add: two of the columns as such, null being absent there."""
        named = ("price", "kind")
        rows = [{**row, "metadata": dict(row["metadata"])} for row in rows]
        for row in rows:
            for column in named:
                if row["metadata"].get(column, 0) is None:
                    del row["metadata"][column]
        kinds = [row["metadata"].get("kind") for row in rows]
        texts = sorted({one for one in kinds if one is not None})
        codes = [NULL_CODE if one is None else texts.index(one) for one in kinds]
        prices = [row["metadata"].get("price") for row in rows]
        columns: dict[str, Any] = {
            "kind": StrColumn(np.array(codes, np.uint32), tuple(texts)),
            "price": np.array([np.nan if one is None else one for one in prices], np.float64),
        }
        others = [{k: v for k, v in row["metadata"].items() if k not in named} for row in rows]
        keys: Any = [row["key"] for row in rows]
        ids = (
            None if self.ids == "auto" else np.array(keys, np.uint64) if self.ids == "u64" else keys
        )
        batch = RowBatch(
            np.array([row["vector"] for row in rows], np.float32), ids, columns, others
        )
        id_ = person.raw.next_id()
        await person.raw.send_binary(binary.encode_add(id_, person.handle, batch))
        return id_, rows

    @rule(
        name=st.sampled_from([*NAMES, "root"]), seed=st.integers(0, 2**32), count=st.integers(2, 5)
    )
    def change_in_one_tick(self, name: str, seed: int, count: int) -> None:
        random = Random(seed)
        drawn = []
        for _ in range(count):
            op = random.choice(["add", "add", "update", "delete"])
            drawn.append((op, self.draw_change(random, name, op, random.randint(1, 3))))
            if op == "add" and self.ids != "auto":  # rows that change hands before they are told
                keys = [row["key"] for row in drawn[-1][1]]
                drawn.append(("update", self.random_updates(random, keys)))
        self.runner.run(self.in_one_tick(name, drawn))

    async def in_one_tick(self, name: str, drawn: list[tuple[str, Any]]) -> None:
        raw = self.people[name].raw
        async with engine_held(self.server):
            sent = [
                (op, *await self.send_change(name, op, fields, place % 2 == 0))
                for place, (op, fields) in enumerate(drawn)
            ]
            await raw.ask("ping")  # all that is handed on is with the engine by now
        for op, id_, fields in sent:
            self.judge(name, op, fields, await raw.reply(id_))

    def judge(self, name: str, op: str, fields: Any, reply: Any) -> None:
        """The reply to a change, which is done to the world if it may be."""
        try:
            made, faults = self.comes_to(self.people[name], op, fields)
        except Refused as refused:
            made, faults = [], {(refused.code, None)}
        if faults:
            error = reply["error"]
            assert (error["code"], error.get("row")) in faults, (error, faults)
            return
        version = self.do(op, made)
        assert not isinstance(reply, dict) or "ok" in reply, (reply, made)
        said = reply.version if isinstance(reply, Added) else reply["ok"]["version"]
        assert said == version
        if op == "delete":
            assert reply["ok"]["deleted"] == len(set(made))

    def comes_to(self, person: Person, op: str, fields: Any) -> tuple[list[Any], Faults]:
        """What is done to the world, and what is wrong with it. Refused."""
        if op == "delete":
            return deletable(self.world, person.grants, NAME, fields), set()
        return stamped(self.world, person.grants, NAME, op, fields)
