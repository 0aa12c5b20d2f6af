"""Every parameter of every public method, and what it does not take: each client refuses it at once
by a typed error that begins with the parameter's name, and sends nothing."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import omendb_ws
from omendb_ws import errors
from omendb_ws.client import arguments
from omendb_ws.client.aio import Client
from omendb_ws.client.link import Link
from omendb_ws.client.live import LiveQuery
from tests.client.common.strange import (
    HALF,
    NO_FILTER,
    NO_IDS,
    NO_INTEGER,
    NO_METADATA,
    NO_NUMBER,
    NO_TEXT,
    NO_VECTOR,
)

INTEGERS = [one for one in NO_INTEGER if one is not None]
NUMBERS = NO_NUMBER
TEXTS = NO_TEXT
NAMES = [*TEXTS, "", "-x", ".x", "a b", "größe", "a/b", "x" * 65, "a\n", None]
VECTORS = [
    *NO_VECTOR, [], [[1.0, 2.0]], np.zeros((0, 2)), np.zeros(0), [1, float("nan")],
    np.array([1, np.nan], np.float16),
]  # fmt: skip
QUERIES = [*NO_VECTOR, [], [[]], np.zeros((0, 2)), np.zeros((2, 0)), [[1, float("inf")]]]
ROWS = [*NO_VECTOR, [], np.zeros((0, 2)), [1.0, 2.0], [[1.0], [1.0, 2.0]], None]
IDS = [*NO_IDS, [""], ["x" * 257], ["a\0b"], None]
INCLUDES = [5, "metadata", b"vector", ["score"], [["vector"]], None, [5], True]
COLUMN_TYPES = [
    5, "a", ["a"], {1: "f64"}, {"": "f64"}, {"a b": "f64"}, {"a": "f32"}, {"a": 5}, {"a": None},
    {HALF: "f64"}, {f"c{number}": "f64" for number in range(65)},
]  # fmt: skip
#: What a time may not be, of those that are numbers.
NO_TIME = [0, -1, float("nan"), float("inf"), -0.5, np.float64(-1)]
FROM_SEQ = [*INTEGERS, 0, -1, 2**53]
#: Of collections with several shards it is a list.
FROM_SEQS = [one for one in FROM_SEQ if not isinstance(one, list)] + [
    [],
    [0],
    [1, "2"],
    [None],
    [[1]],
    (1.5,),
]
FLOORS = NUMBERS
LIMITS = [*INTEGERS, 0, -1, 1001]
K = [*NO_INTEGER, 0, -1, 2**32]

EXAMPLES = [
    5, "ids", b"ids", {"id": 1}, {1, 2}, [None], [{}], [-1], [1.5], [HALF], [[]], [[1, "2"]],
    [[1, float("nan")]], [1] * 65, [True],
]  # fmt: skip
OBJECTS = [5, "a", ["a"], {1: 2}, {"a": float("nan")}, {"a": {1}}, {HALF: 1}]
EXPRESSIONS = [float("nan"), {1, 2}, {1: 2}, {"$add": [1, float("inf")]}, HALF, object()]
#: What shapes the answers of searches and live queries.
SHAPING: dict[str, list[Any]] = {
    "positive": [*EXAMPLES, []],
    "negative": EXAMPLES,
    "exclude": [one for one in IDS if one is not None],
    "decay": OBJECTS,
    "rank": EXPRESSIONS,
    "group": OBJECTS,
    "spread": OBJECTS,
}

#: method -> parameter -> what it does not take.
WRONG: dict[str, dict[str, list[Any]]] = {
    "ping": {},
    "limits": {},
    "list": {},
    "list_unavailable": {},
    "usage": {},
    "cluster": {},
    "move_owner": {"collection": NAMES, "to": [one for one in TEXTS if one is not None]},
    "heal": {"collection": NAMES},
    "evacuate": {"node": TEXTS, "state": [*TEXTS, "", "never"]},
    "snapshot": {"collection": NAMES},
    "snapshot_next": {"number": [*NO_INTEGER, -1, 2**32]},
    "snapshot_end": {"number": [*NO_INTEGER, -1, 2**32]},
    "restore": {
        "collection": NAMES,
        "durability": [one for one in [*TEXTS, "", "never"] if one is not None],
        "replicas": [*INTEGERS, 0, -1, 9, 2**53],
    },
    "restore_next": {"number": [*NO_INTEGER, -1, 2**32], "data": [5, "a", b"", None, [1]]},
    "restore_end": {"number": [*NO_INTEGER, -1, 2**32]},
    "identity": {},
    "close": {},
    "auth": {"token": [*TEXTS, "", " ", "ü", "a\nb", "a\0b", None]},
    "stats": {"collection": [one for one in NAMES if one is not None]},
    "create": {
        "collection": NAMES,
        "dim": [*NO_INTEGER, 0, -1, 2**53],
        "capacity": [*NO_INTEGER, 0, -1, np.int8(-1), 2**53],
        "metric": [*TEXTS, "", "euclid", "COSINE", None],
        "ids": [*TEXTS, "", "uuid", None],
        "columns": COLUMN_TYPES,
        "ttl": [*NUMBERS, *NO_TIME, 2**53],
        "durability": [*TEXTS, "", "never"],
        "replicas": [*INTEGERS, 0, -1, 9, 2**53],
        "shards": [*INTEGERS, 0, -1, 65, 2**53],
        "if_exists": [*TEXTS, "", "replace", None],
    },
    "open": {"collection": NAMES},
    "describe": {"collection": NAMES},
    "drop": {"collection": NAMES},
    "add": {
        "collection": NAMES,
        "vectors": ROWS,
        "ids": [one for one in IDS if one is not None],
        "metadata": [5, b"ab", "ab", {"n": 1}, {1, 2}, [{}, {}], *[[one] for one in NO_METADATA]],
        "columns": [5, [("n", [1])], "n", b"n", {"n"}],
        "producer": [*TEXTS, "", "x" * 65, "ü" * 33],
        "batch": [*INTEGERS, 0, -1, 2**53],
        "unless_near": [
            5,
            "score",
            b"score",
            [1],
            {},
            {"scores": 1},
            {"score": 1, "last": 5},
            {HALF: 1},
            *[{"score": one} for one in [*NUMBERS, None]],
            *[{"score": 1, "filter": one} for one in NO_FILTER if one is not None],
        ],
    },
    "delete": {"collection": NAMES, "ids": IDS},
    "update": {
        "collection": NAMES,
        "ids": IDS,
        "metadata": [5, b"ab", {"n": 1}, [], [{}, {}], [None], *[[one] for one in NO_METADATA]],
    },
    "get": {"collection": NAMES, "ids": IDS, "include": INCLUDES},
    "count": {"collection": NAMES, "filter": NO_FILTER, "by": TEXTS, "limit": LIMITS},
    "search": {
        "collection": NAMES,
        "vector": QUERIES,
        "k": K,
        "filter": NO_FILTER,
        "min_score": FLOORS,
        "last": [*INTEGERS, 0, -1, 2**53],
        "include": INCLUDES,
        "like": [True, -1, 2**64, 1.0, [1], HALF, "", "x" * 257, "a\0b", np.float64(1)],
        **SHAPING,
        "mmr": OBJECTS,
        "at": FLOORS,
    },
    "live": {
        "collection": NAMES,
        "vector": VECTORS,
        "k": K,
        "filter": NO_FILTER,
        "min_score": FLOORS,
        "include": INCLUDES,
        "every_ms": [*NO_INTEGER, -1, 60_001],
        **SHAPING,
    },
    "match": {
        "collection": NAMES,
        "vector": VECTORS,
        "min_score": [*FLOORS, None],
        "filter": NO_FILTER,
        "include": INCLUDES,
        "from_seq": FROM_SEQS,
        "epoch": TEXTS,
    },
    "novel": {
        "collection": NAMES,
        "below": [*FLOORS, None],
        "filter": NO_FILTER,
        "last": [*INTEGERS, 0, -1, 2**53],
        "include": INCLUDES,
        "from_seq": FROM_SEQ,
        "epoch": TEXTS,
    },
    "feed": {
        "collection": NAMES,
        "filter": NO_FILTER,
        "include": INCLUDES,
        "from_seq": FROM_SEQS,
        "epoch": TEXTS,
    },
    "watch_count": {
        "collection": NAMES,
        "filter": NO_FILTER,
        "by": TEXTS,
        "limit": LIMITS,
        "every_ms": [*NO_INTEGER, 0, 99, 60_001],
    },
    "watch_stats": {
        "collection": [one for one in NAMES if one is not None],
        "every_ms": [*NO_INTEGER, 0, 99, 60_001, np.uint16(99)],
    },
    "watch_cluster": {"every_ms": [*NO_INTEGER, 0, 99, 60_001]},
    "watch_map": {
        "collection": NAMES,
        "sample": [*NO_INTEGER, 0, 99, 20_001],
        "every_ms": [*NO_INTEGER, 0, 99, 60_001],
    },
}
#: Arguments with which each call would be one; beside a parameter that goes with another, both.
RIGHT: dict[str, dict[str, Any]] = {
    "auth": {"token": "t"},
    "create": {"collection": "x", "dim": 2, "capacity": 5},
    "add": {"collection": "items", "vectors": [[1, 2]], "ids": [1]},
    "delete": {"collection": "items", "ids": [1]},
    "update": {"collection": "items", "ids": [1], "metadata": [{}]},
    "get": {"collection": "items", "ids": [1]},
    "search": {"collection": "items", "vector": [1, 2]},
    "live": {"collection": "items", "vector": [1, 2]},
    "match": {"collection": "items", "vector": [1, 2], "min_score": 0.5},
    "novel": {"collection": "items", "below": 0.5},
    "snapshot_next": {"number": 1},
    "snapshot_end": {"number": 1},
    "restore_next": {"number": 1, "data": b"1"},
    "restore_end": {"number": 1},
    "evacuate": {"node": "one"},
    "watch_cluster": {},
}
#: What a parameter needs beside it, or instead of others.
BESIDE: dict[str, dict[str, Any]] = {
    "producer": {"batch": 1},
    "batch": {"producer": "p"},
    "from_seq": {"epoch": "e"},
    "epoch": {"from_seq": 1},
    "like": {"vector": None},
    "positive": {"vector": None},
    "negative": {"vector": None, "positive": [1]},
    "at": {"decay": {"half_life": 1}},
}


def parameters(method: Any) -> list[str]:
    return [name for name in inspect.signature(method).parameters if name != "self"]


def test_the_table_has_every_parameter_of_every_public_method() -> None:
    methods = {
        name: parameters(method)
        for name, method in inspect.getmembers(Client, callable)
        if not name.startswith("_")
    }
    assert {name: sorted(wrong) for name, wrong in WRONG.items()} == {
        name: sorted(names) for name, names in methods.items()
    }
    moved = ["vector", "positive", "negative", "exclude", "filter", "min_score"]
    assert parameters(LiveQuery.move) == moved


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every request that any client posts from now on."""
    posted: list[Any] = []
    genuine = Link.post

    def post(self: Link, encode: Any, *rest: Any) -> Any:
        posted.append(encode)
        return genuine(self, encode, *rest)

    monkeypatch.setattr(Link, "post", post)
    return posted


async def call(db: Any, method: str, given: dict[str, Any]) -> None:
    """Make the call; subscriptions are refused when they are made."""
    made = getattr(db, method)(**given)
    if inspect.isawaitable(made):
        await made


CASES = [(method, name) for method, wrong in WRONG.items() for name in wrong]


@pytest.mark.parametrize(("method", "name"), CASES, ids=[f"{one}-{two}" for one, two in CASES])
async def test_what_a_parameter_does_not_take_is_refused_by_its_name_and_nothing_is_sent(
    db: Any, sent: list[Any], method: str, name: str
) -> None:
    right = RIGHT.get(method, {"collection": "items"})
    for wrong in WRONG[method][name]:
        given = {**right, **BESIDE.get(name, {}), name: wrong}
        with pytest.raises(errors.OmenError, match=rf"^{name}\b") as caught:
            await call(db, method, given)
        assert not isinstance(caught.value, errors.Retryable), wrong
        assert sent == [], wrong


async def test_a_move_is_refused_by_its_name_and_nothing_is_sent(db: Any, sent: list[Any]) -> None:
    await db.create("items", dim=2, capacity=5)
    async with db.live("items", [1, 2]) as live:
        sent.clear()
        for wrong in [*VECTORS, [1.0], None]:
            with pytest.raises(errors.OmenError, match=r"^vector\b"):
                await live.move(wrong)
            assert sent == []
        wrongs = {
            **{name: SHAPING[name] for name in ("positive", "negative", "exclude")},
            "filter": NO_FILTER,
            "min_score": FLOORS,
        }
        for name, values in wrongs.items():
            beside = {"positive": [1]} if name == "negative" else {}
            for wrong in values:
                with pytest.raises(errors.OmenError, match=rf"^{name}\b"):
                    await live.move(**beside, **{name: wrong})
                assert sent == []
        for both in ({"vector": [1, 2], "positive": [1]}, {}):
            with pytest.raises(errors.OmenError, match=r"^vector\b"):
                await live.move(**both)
        assert sent == []


@pytest.mark.parametrize("name", ["next", "until_quiet"])
async def test_how_long_to_wait_is_looked_at_when_it_is_said(db: Any, name: str) -> None:
    await db.create("items", dim=2, capacity=5)
    feed = db.feed("items")
    if not hasattr(getattr(feed, "_subscription", feed), name):
        return  # asyncio has its own way to wait so long
    no_times = [one for one in NUMBERS if arguments.real(one) is None] + [
        float("nan"),
        np.float32("nan"),
    ]
    for wrong in [*no_times, *([None] if name == "until_quiet" else [])]:
        with pytest.raises(errors.BadRequest, match=r"^timeout_seconds: "):
            await getattr(feed, name)(wrong)


@pytest.mark.parametrize("name", ["base_seconds", "cap_seconds"])
def test_a_back_off_takes_times_and_nothing_else(name: str) -> None:
    for wrong in [*NUMBERS, -1, -0.5, None]:
        with pytest.raises(errors.BadRequest, match=rf"^{name}: "):
            omendb_ws.Backoff(**{name: wrong})
    with pytest.raises(errors.BadRequest, match=r"^base_seconds: must be at most cap_seconds"):
        omendb_ws.Backoff(base_seconds=2, cap_seconds=1)
    made = omendb_ws.Backoff(base_seconds=np.float32(0.5), cap_seconds=np.int64(2))  # type: ignore[arg-type]
    assert made == omendb_ws.Backoff(0.5, 2.0)


async def test_scalars_of_numpy_are_numbers_everywhere(db: Any) -> None:
    made = await db.create(
        np.str_("items"),
        dim=np.int64(2),
        capacity=np.uint8(10),
        ttl=np.float32(50),
        columns={"a": "f64"},
    )
    assert (made.dim, made.capacity, made.ttl) == (2, 10, 50.0)
    await db.add("items", np.eye(2), ids=[np.int8(1), np.uint64(2)], producer=np.str_("p"),
                 batch=np.int32(1))  # fmt: skip
    found = await db.search(
        "items", [np.float16(1), np.int8(0)], np.uint16(1), min_score=np.float32(0.5),
        last=np.int64(2),
    )  # fmt: skip
    assert found.ids.tolist() == [1]
    assert [one.id for one in await db.search("items", like=np.uint32(1))] == [2]
    assert await db.delete("items", [np.uint8(1)]) == 1
    async with db.live("items", [1, 0], np.int8(3), every_ms=np.int64(0)) as live:
        assert len(await anext(live)) == 1
    async with db.watch_map("items", sample=np.int16(100), every_ms=np.uint16(100)):
        pass
    async with db.watch_count("items", by="a", limit=np.int8(5), every_ms=np.int32(100)):
        pass
    async with db.watch_stats(every_ms=np.int32(100)):
        pass
