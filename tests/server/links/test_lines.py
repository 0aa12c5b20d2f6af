"""What one link and its line do by themselves, whatever the session asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import orjson
import pytest

from omendb_ws.access.principal import Principal
from omendb_ws.cluster.directory import Node
from omendb_ws.net.lines import NodeLine
from omendb_ws.sessions.routing import parts
from omendb_ws.sessions.routing.link import MOST_LOOKS, Link, LinkUser
from omendb_ws.sessions.routing.naming import HandleNames, Named
from omendb_ws.sessions.routing.parts import ClusterParts, LineUser
from omendb_ws.sessions.routing.places import Places
from tests.patience import PATIENCE_SECONDS, eventually
from tests.server.links.pair import SECRET, FakeDirectory, Map, Pair, pair
from tests.server.raw import Raw, batch, client

B = Node("b", "ws://127.0.0.1:1/v1")
HELLO = {"event": "hello", "node": "b", "cluster": "main", "challenge": "0" * 32}


class Heard:
    """A ``LineUser`` that keeps why its line is gone."""

    def __init__(self) -> None:
        self.why: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def opened(self) -> None:
        raise AssertionError("nobody is there")

    def heard(self, data: bytes, is_text: bool) -> None:
        raise AssertionError("nobody is there")

    def lost(self, why: str) -> None:
        self.why.set_result(why)


class FakeLine:
    """A line on which nothing comes but what a test says."""

    def __init__(self) -> None:
        self.heard_count = 0
        self.is_held = False

    def hold(self) -> None:
        self.is_held = True

    def go_on(self) -> None:
        self.is_held = False

    def send(self, message: bytes | str) -> None: ...
    def look(self) -> None: ...
    def close(self) -> None: ...


class FakeUser:
    """The router of a client that a node owes an answer."""

    def __init__(self) -> None:
        self.why: str | None = None
        self.peer = ("", 0)
        self.context = type("Context", (), {"wall_seconds": staticmethod(lambda: 0.0)})

    def owes(self, link: Link) -> bool:
        return True

    def lost(self, link: Link, why: str) -> None:
        self.why = why


def link_over(line: FakeLine, user: FakeUser, look_seconds: float) -> Link:
    there = Map(nodes={"b": B})
    opener = cast("Callable[[Node, LineUser], Any]", lambda node, user: line)
    of_cluster = ClusterParts(FakeDirectory(there, "a"), "main", SECRET, opener, look_seconds)
    principal = Principal("someone", "default", (), None, "file", False)
    return Link(of_cluster, B, 1, principal, 0, cast("LinkUser", user))


async def test_a_node_that_has_not_said_its_address_is_given_up_at_once() -> None:
    user = Heard()
    line = NodeLine(Node("b", ""), user, 1 << 20, None)
    try:
        assert "valid URI" in await asyncio.wait_for(user.why, PATIENCE_SECONDS)
    finally:
        line.close()


async def test_a_link_that_is_held_before_it_is_open_is_held_once_it_is() -> None:
    line = FakeLine()
    link = link_over(line, FakeUser(), 60.0)
    link.hold(True)
    assert not line.is_held  # its hello is heard
    link.heard(orjson.dumps(HELLO), True)
    assert link.is_open
    assert line.is_held
    link.hold(False)
    assert not line.is_held
    link.close()


async def test_a_node_that_never_greets_is_given_up_though_the_client_takes_too_little() -> None:
    user = FakeUser()
    link = link_over(FakeLine(), user, 0.001)
    link.hold(True)
    await eventually(lambda: user.why)
    assert user.why == "it does not answer"
    assert link._looks == MOST_LOOKS + 1


async def _made_anew(three: Pair, raw: Raw) -> None:
    """``items`` is dropped and made again; its owner has it, and ``b``, which is behind."""
    async with client(three["b"]) as other:
        await other.ok("drop", collection="items")
        del three.map.holders["items"]
        await other.create("items", ids="u64")
    async with client(three["c"]) as other:
        await other.create("items", ids="u64")
    three.map.keys["items"] = "second"
    three.place("items", "c")
    for number in (1, 2, 3):
        await raw.add(number)


async def test_what_a_node_stated_of_the_collection_before_says_nothing_of_the_next() -> None:
    async with pair(names=("a", "b", "c")) as three:
        async with client(three["b"]) as other:
            await other.create("items", ids="u64")
        three.map.keys["items"] = "first"
        three.place("items", "b")
        async with client(three["a"]) as raw:
            for number in (1, 2, 3):
                await raw.add(number)
            assert (await raw.ok("get", collection="items", ids=[1]))["version"] == 3
            await _made_anew(three, raw)
            three.place("items", None, "b")
            gets = three["b"].context.metrics.requests["get"]
            asked = await raw.send("get", collection="items", ids=[1])
            await eventually(lambda: three["b"].context.metrics.requests["get"] > gets)
            async with client(three["b"]) as other:
                three.place("items", "b")
                for number in (1, 2, 3):
                    await other.add(number)
            assert (await raw.reply(asked))["ok"]["version"] == 3


async def test_what_a_node_was_told_first_is_forgotten_at_both_ends_of_a_link(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parts, "MOST_TOLD", 2)
    async with pair() as nodes:
        names = [f"items-{number}" for number in range(4)]
        async with client(nodes["b"]) as other:
            for name in names:
                await other.create(name, ids="u64")
        for name in names:
            nodes.place(name, "b")
        async with client(nodes["a"]) as raw:
            handles = [(await raw.ok("open", collection=name))["handle"] for name in names]
            for round in range(1, 4):
                for name, handle in zip(names, handles, strict=True):
                    added = await raw.add_binary(handle, batch(round))
                    assert added.version == round
                    found = await raw.ok("get", collection=name, ids=[round])
                    assert found["version"] == round
                    assert (await raw.search_binary(handle, [[1, 0]], k=5)).hits.ids.size == round


def test_handles_of_collections_that_are_gone_are_forgotten_and_the_others_stay() -> None:
    named: dict[int, Named] = {}
    there = {"stays", "again"}
    handles = HandleNames(named, there.__contains__)
    kept = handles.of(Named("stays", "first"))
    for number in range(5_000):
        newest = handles.of(Named("again", str(number)))
        handles.of(Named(f"gone-{number}", "first"))
    assert len(named) <= 1_024
    assert named[kept] == Named("stays", "first")
    assert handles.of(Named("stays", "first")) == kept
    assert handles.of(Named("again", "4999")) == newest == 10_000
    assert named[newest] == Named("again", "4999")


def test_a_version_of_the_collection_before_says_nothing_of_the_one_that_has_its_name_now() -> None:
    map = Map(nodes={"b": B}, keys={"items": "second"}, holders={"items": ("b",)})
    session = cast(Any, type("Session", (), {"tenant": "default"}))
    places = Places(session, FakeDirectory(map, "a"))
    places.note("items", "first", 1_000, B)
    assert places.floor("items") == 0
    places.note("items", "second", 3, B)
    assert places.floor("items") == 3


async def test_a_list_right_after_a_node_could_not_be_reached_is_of_the_others() -> None:
    async with pair(names=("a", "b", "c")) as three:
        for name in "bc":
            async with client(three[name]) as other:
                await other.create(f"of-{name}")
            three.place(f"of-{name}", name)
        three.map.nodes["c"] = Node("c", B.address)
        async with client(three["a"]) as raw:
            error = await raw.error("get", collection="of-c", ids=[1])
            assert error["code"] == "unavailable"
            listed = (await raw.ok("list"))["collections"]
            assert [one["collection"] for one in listed] == ["of-b"]


async def test_a_list_without_what_this_node_holds_is_refused() -> None:
    async with pair() as nodes:
        async with client(nodes["b"]) as other:
            await other.create("of-b")
        async with client(nodes["a"]) as raw:
            await raw.create("of-a")
            nodes.place("of-b", "b")
            nodes.place("of-a", "a")
            nodes.map.nodes["a"] = Node("a", B.address)
            await raw.ask("list")  # finds out that it does not reach itself
            error = await raw.error("list")
            assert (error["code"], error["retry"]) == ("unavailable", True)
