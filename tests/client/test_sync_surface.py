"""The synchronous client is the asyncio one: names, parameters, defaults, types, words."""

from __future__ import annotations

import inspect
import typing
from typing import Any

import pytest

import omendb_ws
import omendb_ws.sync
from omendb_ws.client import aio, counts, live, map, stats, subscriptions

#: What the asyncio client's documentation says in other words.
WORDS = (
    ("async with", "with"),
    ("async for", "for"),
    ("an async iterator", "an iterator"),
    ("await ", ""),
    ("start thousands with ``asyncio.gather``", "start thousands with the asyncio client"),
)
TWINS = (
    (aio.Client, omendb_ws.sync.Client),
    (subscriptions.Feed, omendb_ws.sync.Feed),
    (subscriptions.MatchFeed, omendb_ws.sync.MatchFeed),
    (counts.CountWatch, omendb_ws.sync.CountWatch),
    (stats.StatsWatch, omendb_ws.sync.StatsWatch),
    (stats.ClusterWatch, omendb_ws.sync.ClusterWatch),
    (map.MapWatch, omendb_ws.sync.MapWatch),
    (live.LiveQuery, omendb_ws.sync.LiveQuery),
)
#: For the link and the client, not for callers.
INNER = {"take", "lose", "begin", "hold"}
#: What blocking calls need instead of ``asyncio.timeout``.
ONLY_SYNC = {"next", "until_quiet"}


def surface(kind: type) -> dict[str, Any]:
    """Public members by name."""
    return {name: member for name, member in inspect.getmembers(kind) if not name.startswith("_")}


METHODS = [
    pytest.param(twin, other, name, id=f"{other.__name__}.{name}")
    for twin, other in TWINS
    for name in surface(twin)
    if name not in INNER
]


def words(of: Any) -> str:
    """What documentation says, in the synchronous client's words and one line."""
    text = inspect.getdoc(of) or ""
    for ours, theirs in WORDS:
        text = text.replace(ours, theirs)
    return " ".join(text.split())


@pytest.mark.parametrize(("twin", "other"), TWINS)
def test_every_public_name_has_its_twin(twin: type, other: type) -> None:
    assert surface(twin).keys() - INNER == surface(other).keys() - ONLY_SYNC


@pytest.mark.parametrize(("twin", "other", "name"), METHODS)
def test_twins_take_and_give_the_same(twin: type, other: type, name: str) -> None:
    ours, theirs = getattr(twin, name), getattr(other, name)
    if isinstance(ours, property):
        ours, theirs = ours.fget, theirs.fget
    assert inspect.signature(ours) == inspect.signature(theirs)
    overloads = [inspect.signature(one) for one in typing.get_overloads(ours)]
    assert overloads == [inspect.signature(one) for one in typing.get_overloads(theirs)]
    assert not inspect.iscoroutinefunction(theirs)


@pytest.mark.parametrize(("twin", "other", "name"), METHODS)
def test_twins_are_documented_in_the_same_words(twin: type, other: type, name: str) -> None:
    assert words(getattr(twin, name)) == words(getattr(other, name)) != ""


@pytest.mark.parametrize(("twin", "other"), TWINS[1:])
def test_subscriptions_are_documented_in_the_same_words(twin: type, other: type) -> None:
    assert words(twin) == words(other)


def test_both_connect_with_the_same_arguments() -> None:
    ours = inspect.signature(omendb_ws.connect).parameters
    assert inspect.signature(omendb_ws.sync.connect).parameters == ours
