"""What a node tells operators of its cluster, by what it knows of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from omendb_ws.cluster.directory import Node
from omendb_ws.cluster.members import Collection, Member, View, Window
from omendb_ws.cluster.status import MOST_PLACES, Status

READY = Window(7, True, 3)
#: Kept by a node, and shown to nobody.
KEPT = Window(7, False, 0, True)
LESS = Window(6, True, 3)
NOTHING = Window(0, False, 0, True)


def status_of(collections: Mapping[str, Collection], *, heals: bool = False) -> Status:
    member = Member("one", "i", "ws://one/v1", "1", 5.0, True)
    view = View({"one": member}, collections, frozenset({"one"}), True)
    names = {(one.tenant, one.name): one for one in collections.values()}
    seen: Any = SimpleNamespace(
        view=view,
        here=Node("one", "ws://one/v1"),
        owner=lambda tenant, name: names[tenant, name].owner,
        windows=lambda tenant, name: names[tenant, name].windows,
    )
    return Status(seen, lambda: [("nats:4222", True)], heals=heals)


def collection(name: str, owner: str | None = "one", **fields: Any) -> Collection:
    windows = fields.pop("windows", {"one": READY})
    return Collection(name, "default", name, 2, None, owner, windows, **fields)


@pytest.mark.parametrize(
    ("windows", "is_asked", "heals", "healing"),
    [
        ({"one": READY}, False, True, None),
        ({"one": READY, "two": KEPT}, False, False, None),
        ({"one": LESS, "two": KEPT}, False, False, "waiting"),
        ({"two": KEPT}, False, False, "waiting"),
        ({"two": KEPT}, False, True, "due"),
        ({"two": KEPT}, True, False, "due"),
        ({"one": NOTHING}, False, True, "lost"),
        ({}, False, True, None),
    ],
)
async def test_a_collection_that_nobody_shows_is_healed_waits_or_is_lost(
    windows: dict[str, Window], is_asked: bool, heals: bool, healing: str | None
) -> None:
    one = collection("items", windows=windows, is_to_be_healed=is_asked)
    told = status_of({"items": one}, heals=heals).of(None)
    assert told["places"][0]["healing"] == healing
    assert told["waiting"] == (healing == "waiting")
    broken = [one["node"] for one in told["places"][0]["replicas"] if one["state"] == "broken"]
    assert broken == [node for node, window in windows.items() if window.is_broken]


async def test_places_are_those_in_trouble_and_then_by_name_and_no_more_than_that() -> None:
    there = {f"c{number:04}": collection(f"c{number:04}") for number in range(MOST_PLACES + 5)}
    there["x"] = collection("x", None)
    there["z"] = collection("z", None, windows={"two": KEPT})
    told = status_of(there).of(None)
    names = [one["collection"] for one in told["places"]]
    assert names[:4] == ["z", "x", "c0000", "c0001"]
    assert len(names) == MOST_PLACES
    assert (told["collections"], told["ownerless"]) == (MOST_PLACES + 7, 2)


async def test_it_is_looked_up_and_written_once_in_a_turn_of_the_loop() -> None:
    status = status_of({"items": collection("items")})
    first = status.told(None)
    assert orjson.loads(b"{%b}" % first.members) == status.of(None)
    assert status.told(None) is first
    assert status.told("default").digest != first.digest
    await asyncio.sleep(0)
    assert status.told(None) is not first
    assert status.told(None) == first
