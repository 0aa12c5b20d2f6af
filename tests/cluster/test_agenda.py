"""What several nodes decide, each by what it has seen so far, while some die, pause and come back.

Nodes here are agendas over members, a bucket between them that tells each of its entries a moment
later, and a clock that the test moves. Windows catch up in a second; a takeover takes a moment.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from omendb_ws.cluster.agenda import TURN_SECONDS, Act, Agenda, Held
from omendb_ws.cluster.members import GONE_SECONDS, Members
from omendb_ws.cluster.placement import placed
from tests.examples import examples

NAMES = ["a", "b", "c", "d"]
KEYS = ["k1", "k2", "k3"]
TICK_SECONDS = 0.25
CATCH_UP_TICKS = 4


class Bucket:
    """Entries, and what is still to be told of them to each node."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[dict[str, Any], int]] = {}
        self.revision = 0
        self.changed: dict[Simulated, set[str]] = {}

    def put(self, entry: str, value: dict[str, Any]) -> None:
        self.revision += 1
        self.entries[entry] = (value, self.revision)
        for changed in self.changed.values():
            changed.add(entry)

    def owner(self, key: str) -> tuple[str, str] | None:
        entry = self.entries.get(f"own.{key}")
        return None if entry is None else (entry[0]["node"], entry[0]["incarnation"])


class Simulated:
    """A process that is a node."""

    def __init__(self, bucket: Bucket, name: str, incarnation: str) -> None:
        self.bucket, self.name, self.incarnation = bucket, name, incarnation
        self.members, self.agenda = Members(), Agenda(name)
        self.mine: dict[str, Held] = {}
        self.done_in: dict[str, int] = {}
        self.is_paused = False
        bucket.changed[self] = set(bucket.entries)

    def tick(self, now: float) -> list[Act]:
        """Beat, read what is new, go on with what is under way, and decide."""
        if self.is_paused:
            return []
        self.bucket.put(f"node.{self.name}", {"incarnation": self.incarnation})
        changed, self.bucket.changed[self] = self.bucket.changed[self], set()
        for entry in sorted(changed):
            value, revision = self.bucket.entries[entry]
            self.members.take(entry, value, revision, now)
        for key, held in list(self.mine.items()):
            if held is Held.OWNING and self.bucket.owner(key) != (self.name, self.incarnation):
                self.mine[key] = Held.FOLLOWING  # deposed
            self._go_on(key)
        steps = self.agenda.steps(self.members.view(now), dict(self.mine), now)
        for step in steps:
            self._do(step.act, step.key)
        windows = {
            key: [0, "coming" if held is Held.COMING else "ready"]
            for key, held in self.mine.items()
        }
        told = self.bucket.entries.get(f"held.{self.name}")
        value = {"incarnation": self.incarnation, "windows": windows}
        if told is None or told[0] != value:
            self.bucket.put(f"held.{self.name}", value)
        return [step.act for step in steps]

    def _do(self, act: Act, key: str) -> None:
        if act is Act.FOLLOW:
            self.mine[key], self.done_in[key] = Held.COMING, CATCH_UP_TICKS
        elif act is Act.LET_GO:
            del self.mine[key]
        else:
            assert self.mine[key] is Held.FOLLOWING
            self.mine[key], self.done_in[key] = Held.BUSY, 0
            value = {"node": self.name, "incarnation": self.incarnation}
            self.bucket.put(f"own.{key}", value)
            self._go_on(key)

    def _go_on(self, key: str) -> None:
        held = self.mine[key]
        if held not in (Held.COMING, Held.BUSY):
            return
        self.done_in[key] -= 1
        if self.done_in[key] < 0:
            is_owner = self.bucket.owner(key) == (self.name, self.incarnation)
            self.mine[key] = Held.OWNING if is_owner else Held.FOLLOWING


class Decisions(RuleBasedStateMachine):
    """Up to four nodes and three collections."""

    @initialize(replicas=st.integers(1, 3), nodes=st.integers(1, 4))
    def begin(self, replicas: int, nodes: int) -> None:
        self.bucket, self.now, self.started = Bucket(), 1000.0, 0
        self.replicas = replicas
        self.running: dict[str, Simulated] = {}
        #: How long more than one running node has believed that it owns a collection, in ticks.
        self.doubled = dict.fromkeys(KEYS, 0)
        for name in NAMES[:nodes]:
            self._start(name)
        for key in KEYS:
            value = {"key": key, "state": "made", "replicas": replicas}
            self.bucket.put(f"def.t.{key}", value)
        self._tick(40)
        self.quiet_check()

    def _start(self, name: str) -> None:
        self.started += 1
        self.running[name] = Simulated(self.bucket, name, f"i{self.started}")

    def _tick(self, times: int) -> list[Act]:
        acts: list[Act] = []
        for _ in range(times):
            self.now += TICK_SECONDS
            for node in self.running.values():
                acts += node.tick(self.now)
            for key in KEYS:
                owning = [
                    node
                    for node in self.running.values()
                    if not node.is_paused and node.mine.get(key) is Held.OWNING
                ]
                self.doubled[key] = self.doubled[key] + 1 if len(owning) > 1 else 0
        return acts

    def _awake(self) -> list[Simulated]:
        return [node for node in self.running.values() if not node.is_paused]

    @rule(ticks=st.integers(1, 12))
    def time_passes(self, ticks: int) -> None:
        self._tick(ticks)

    @rule(name=st.sampled_from(NAMES))
    def a_node_starts(self, name: str) -> None:
        if name not in self.running:
            self._start(name)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def a_node_is_killed(self, data: st.DataObject) -> None:
        gone = self.running.pop(data.draw(st.sampled_from(sorted(self.running))))
        del self.bucket.changed[gone]

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def a_node_stands_still_or_goes_on(self, data: st.DataObject) -> None:
        node = self.running[data.draw(st.sampled_from(sorted(self.running)))]
        node.is_paused = not node.is_paused

    @rule(first=st.sampled_from(NAMES), key=st.sampled_from(KEYS))
    def a_node_is_asked_to_own_one(self, first: str, key: str) -> None:
        value = {"key": key, "state": "made", "replicas": self.replicas, "owner": first}
        self.bucket.put(f"def.t.{key}", value)

    @precondition(lambda self: self._awake())
    @rule()
    def quiet_check(self) -> None:
        """Left alone, each collection has one owner and its replicas, and nothing moves."""
        self._tick(120)
        assert self._tick(60) == []
        awake = {node.name: node for node in self._awake()}
        for key in KEYS:
            definition, _ = self.bucket.entries[f"def.t.{key}"]
            wanted = placed(key, self.replicas, awake, definition.get("owner"))
            owners = [name for name, node in awake.items() if node.mine.get(key) is Held.OWNING]
            assert owners == wanted[:1]
            assert {name for name, node in awake.items() if key in node.mine} == set(wanted)

    @precondition(lambda self: len(self._awake()) > 1)
    @rule(key=st.sampled_from(KEYS))
    def an_owner_is_killed_and_replaced_in_time(self, key: str) -> None:
        self.quiet_check()
        [gone] = [node for node in self._awake() if node.mine.get(key) is Held.OWNING]
        ready = [node for node in self._awake() if key in node.mine and node is not gone]
        del self.running[gone.name]
        del self.bucket.changed[gone]
        in_time = GONE_SECONDS + (0 if ready else CATCH_UP_TICKS * TICK_SECONDS) + TURN_SECONDS
        self._tick(round(in_time / TICK_SECONDS) + 1)
        assert [node for node in self._awake() if node.mine.get(key) is Held.OWNING]

    @invariant()
    def never_two_owners_for_long(self) -> None:
        assert all(ticks <= 2 for ticks in self.doubled.values())


Decisions.TestCase.settings = settings(
    max_examples=examples(30), stateful_step_count=15, deadline=None
)
TestDecisions = Decisions.TestCase
