"""What entries of a bucket come to: who is alive by one's own clock, who owns and holds what."""

from __future__ import annotations

from typing import Any

import pytest

from omendb_ws.cluster.members import ABSENT_SECONDS, DEAD_SECONDS, GONE_SECONDS, Members, View
from omendb_ws.journal.jetstream.names import definition_entry

ENTRY = definition_entry("default", "items")


def beat(incarnation: str = "i", **more: Any) -> dict[str, Any]:
    return {
        "incarnation": incarnation,
        "address": "ws://x/v1",
        "version": "1",
        "since": 5.0,
        **more,
    }


class Watch:
    """Members that are told of entries, and a clock."""

    def __init__(self, me: str | None = None) -> None:
        self.members = Members(me)
        self.now = 100.0
        self._revision = 0

    def take(self, entry: str, value: dict[str, Any]) -> None:
        self._revision += 1
        self.members.take(entry, value, self._revision, self.now)

    def watch(self, seconds: float, beating: tuple[str, ...] = ()) -> None:
        """Time passes, in which the bucket is read and some nodes beat."""
        for _ in range(round(seconds / 0.25)):
            self.now += 0.25
            self.members.heard(self.now)
            for name in beating:
                self.take(f"node.{name}", beat(name))

    def view(self) -> View:
        return self.members.view(self.now)

    def alive(self) -> set[str]:
        return {name for name, one in self.view().members.items() if one.is_alive}


def test_a_node_is_alive_while_it_beats_and_gone_a_second_after() -> None:
    watch = Watch()
    watch.take("node.a", beat("a"))
    watch.watch(5, ("a",))
    assert watch.alive() == {"a"}
    watch.watch(GONE_SECONDS - 0.25)
    assert watch.alive() == {"a"}
    watch.watch(0.25)
    assert watch.alive() == set()


def test_nobody_is_gone_because_the_bucket_could_not_be_read() -> None:
    watch = Watch()
    watch.take("node.a", beat("a"))
    watch.now += 3600
    assert not watch.view().is_fresh
    watch.members.heard(watch.now)
    assert watch.alive() == {"a"}
    assert watch.view().is_fresh


def test_nobody_is_gone_while_the_bucket_can_be_read_and_not_written() -> None:
    """As while servers of NATS elect who leads it: no beat comes, this node's own neither."""
    watch = Watch("a")
    watch.watch(2, ("b", "a"))
    watch.watch(3600)
    assert watch.alive() == {"a", "b"}
    watch.watch(0.5, ("a",))
    assert watch.alive() == {"a", "b"}
    watch.watch(GONE_SECONDS, ("a",))
    assert watch.alive() == {"a"}


def test_an_entry_that_is_told_again_is_no_beat() -> None:
    watch = Watch()
    watch.members.take("node.a", beat("a"), 7, watch.now)
    for _ in range(5):
        watch.watch(0.25)
        watch.members.take("node.a", beat("a"), 7, watch.now)
    assert watch.alive() == set()


def test_a_node_that_says_that_it_leaves_is_gone_at_once() -> None:
    watch = Watch()
    watch.take("node.a", beat("a"))
    watch.take("node.a", beat("a", left=True))
    assert watch.alive() == set()
    assert watch.view().places == frozenset()


def test_a_replica_keeps_its_place_while_its_node_is_started_again() -> None:
    watch = Watch()
    watch.take("node.a", beat("a"))
    watch.take("node.b", beat("b"))
    watch.watch(ABSENT_SECONDS - 0.5, ("a",))
    assert watch.view().places == {"a", "b"}
    watch.watch(1, ("a",))
    assert watch.view().places == {"a"}


def test_a_node_that_is_to_leave_holds_nothing_unless_it_is_the_last() -> None:
    watch = Watch()
    watch.take("node.a", beat("a"))
    watch.take("leave.a", {})
    assert watch.view().places == {"a"}
    watch.take("node.b", beat("b"))
    assert watch.view().places == {"b"}
    watch.members.forget("leave.a")
    assert watch.view().places == {"a", "b"}


def test_an_owner_is_a_process_that_is_alive() -> None:
    watch = Watch()
    watch.take("def.t.docs", {"key": "k", "state": "made", "replicas": 2})
    watch.take("own.k", {"node": "a", "incarnation": "1", "term": 1, "version": 0})
    assert watch.view().collections["k"].owner is None
    watch.take("node.a", beat("1"))
    assert watch.view().collections["k"].owner == "a"
    watch.take("node.a", beat("2"))  # started again
    assert watch.view().collections["k"].owner is None


def test_windows_are_those_of_processes_that_are_alive() -> None:
    watch = Watch()
    watch.take("def.t.docs", {"key": "k", "state": "made", "replicas": 2})
    watch.take("node.a", beat("1"))
    watch.take("node.b", beat("2"))
    watch.take("held.a", {"incarnation": "1", "windows": {"k": [7, "ready"]}})
    watch.take("held.b", {"incarnation": "2", "windows": {"k": [3, "coming"]}})
    one = watch.view().collections["k"]
    assert one.ready == {"a"}
    assert {node: window.version for node, window in one.windows.items()} == {"a": 7, "b": 3}
    watch.take("node.b", beat("3"))
    assert watch.view().collections["k"].windows.keys() == {"a"}


def test_a_collection_is_there_while_it_is_made_and_its_name_may_come_again() -> None:
    watch = Watch()
    watch.take("def.t.docs", {"key": "k", "state": "making"})
    assert not watch.view().collections
    watch.take("def.t.docs", {"key": "k", "state": "made"})
    assert watch.view().collections["k"].replicas == 1  # of a version that knew one node
    watch.take("def.t.docs", {"key": "k", "state": "dropping"})
    assert not watch.view().collections
    watch.take("def.t.docs", {"key": "l", "state": "made", "replicas": 3})
    assert watch.view().collections.keys() == {"l"}
    watch.members.forget("def.t.docs")
    assert not watch.view().collections


def test_what_a_node_said_that_is_dead_is_to_go_and_that_of_others_is_not() -> None:
    watch = Watch()
    watch.take("node.a", beat("a"))
    watch.take("node.b", beat("b"))
    watch.take("held.c", {"incarnation": "c", "windows": {}})
    watch.watch(DEAD_SECONDS - 1, ("a",))
    assert watch.view().dead == ()
    watch.watch(1.25, ("a",))
    assert watch.view().dead == ("b", "c")


def test_an_owner_that_cannot_go_on_owns_nothing() -> None:
    watch = Watch()
    watch.take("node.a", beat("a"))
    watch.take("def.default.items", {"key": "k", "state": "made"})
    watch.take("own.k", {"node": "a", "incarnation": "a", "term": 1})
    watch.watch(0.25, ("a",))
    assert watch.view().collections["k"].owner == "a"
    watch.take("held.a", {"incarnation": "a", "windows": {"k": [7, "broken"]}})
    one = watch.view().collections["k"]
    assert (one.owner, one.ready, one.newest_broken) == (None, frozenset(), 7)


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("held.b", {"incarnation": "b-1", "windows": {"k1": 5}}),
        ("held.b", {"incarnation": "b-1", "windows": {"k1": ["five", "ready"]}}),
        ("held.b", {"incarnation": "b-1", "windows": [1]}),
        (ENTRY, {"state": "made"}),
        (ENTRY, {"state": "made", "key": "k1", "replicas": "two"}),
        (ENTRY, {"state": "made", "key": "k1", "owner": ["a"]}),
        ("node.b", {"incarnation": "b-1", "since": "yesterday"}),
    ],
)
def test_an_entry_that_nothing_can_be_made_of_is_passed_over_and_the_others_are_read(
    entry: str, value: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    members = Members()
    members.take("node.b", {"incarnation": "b-1", "address": "ws://b"}, 1, 0.0)
    members.take(ENTRY, {"state": "made", "key": "k1", "replicas": 2}, 2, 0.0)
    members.take("held.b", {"incarnation": "b-1", "windows": {"k1": [5, "ready", 3]}}, 3, 0.0)
    before = members.view(0.1)
    assert before.collections["k1"].windows["b"].version == 5
    members.take(entry, value, 4, 0.1)
    assert members.view(0.1) == before
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert entry in caplog.text


def test_an_entry_that_stays_unreadable_is_said_once_until_it_was_readable_again_or_gone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    members, bad = Members(), {"incarnation": "b-1", "windows": {"k1": 5}}
    for revision in range(1, 20):
        members.take("held.b", bad, revision, 0.1)
    assert len(caplog.records) == 1
    members.take("held.c", bad, 20, 0.1)
    assert len(caplog.records) == 2
    members.take("held.b", {"incarnation": "b-1", "windows": {}}, 21, 0.1)
    members.take("held.b", bad, 22, 0.1)
    assert len(caplog.records) == 3
    members.forget("held.c")
    members.take("held.c", bad, 23, 0.1)
    assert len(caplog.records) == 4
