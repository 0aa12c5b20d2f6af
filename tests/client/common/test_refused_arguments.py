"""What a caller passes and is no such thing is refused at once, by a typed error that names the
argument, before anything is sent; by every kind of client."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from omendb_ws import errors
from tests.client.common.places import opened, vectors
from tests.client.common.strange import (
    HALF,
    NO_FILTER,
    NO_IDS,
    NO_INTEGER,
    NO_METADATA,
    NO_NUMBER,
    NO_TEXT,
    NO_VECTOR,
    STRANGE,
    OnADevice,
    made,
)


async def refused(call: Any, error: Any = errors.OmenError, name: str | None = None) -> None:
    with pytest.raises(error, match=name):
        await call


async def test_a_text_that_is_none_is_refused_by_name(db: Any) -> None:
    await made(db)
    for wrong in NO_TEXT:
        for call in (
            db.open, db.describe, db.drop, db.count, db.stats,
            lambda given: db.create(given, dim=1, capacity=1),
            lambda given: db.add(given, [[1, 2]], ids=[1]),
            lambda given: db.add(given, [[1, 2]], ids=[1], producer="p", batch=1),
            lambda given: db.delete(given, [1]),
            lambda given: db.update(given, [1], [{}]),
            lambda given: db.get(given, [1]),
            lambda given: db.search(given, [1, 2]),
            lambda given: db.search(given, like=1),
        ):  # fmt: skip
            await refused(call(wrong), (errors.BadRequest, errors.BadName), "^collection: ")
        for name in ("live", "match", "novel", "feed", "watch_count", "watch_map", "watch_stats"):
            given = {"live": ([1, 2],), "match": ([1, 2], 1), "novel": (1,)}.get(name, ())
            with pytest.raises((errors.BadRequest, errors.BadName), match=r"^collection: "):
                getattr(db, name)(wrong, *given)
        for name in ("metric", "ids", "durability", "if_exists"):
            create = db.create("x", dim=1, capacity=1, **{name: wrong})
            await refused(create, errors.BadRequest, f"^{name}: ")
        await refused(
            db.create("x", dim=1, capacity=1, columns={"a": wrong}), name=r"^columns\.a: "
        )
        named = db.add("items", [[1, 2]], ids=[1], producer=wrong, batch=1)
        await refused(named, errors.BadRequest, "^producer: ")
        await refused(db.auth(wrong), (errors.BadRequest, errors.Unauthenticated), "^token: ")
        with pytest.raises(errors.BadRequest, match=r"^epoch: "):
            db.feed("items", from_seq=1, epoch=wrong)
    for wrong in (5, ["a"], "a", [("a", "f64")], {1: "f64"}, {HALF: "f64"}, {"": "f64"}):
        await refused(db.create("x", dim=1, capacity=1, columns=wrong), name="columns")
    await db.ping()
    assert [one.collection for one in await db.list()] == ["items", "names"]


async def test_an_integer_that_is_none_is_refused_by_name(db: Any) -> None:
    await made(db)
    for wrong in NO_INTEGER:
        await refused(db.search("items", [1, 2], wrong), errors.BadK, "^k: ")
        await refused(db.search("items", like=1, k=wrong), errors.BadK, "^k: ")
        await refused(db.create("x", dim=wrong, capacity=1), errors.BadRequest, "^dim: ")
        await refused(db.create("x", dim=1, capacity=wrong), errors.BadRequest, "^capacity: ")
        with pytest.raises(errors.BadK, match=r"^k: "):
            db.live("items", [1, 2], wrong)
        with pytest.raises(errors.BadRequest, match=r"^every_ms: "):
            db.live("items", [1, 2], every_ms=wrong)
        with pytest.raises(errors.BadRequest, match=r"^every_ms: "):
            db.watch_stats(every_ms=wrong)
        with pytest.raises(errors.BadRequest, match=r"^sample: "):
            db.watch_map("items", sample=wrong)
        if wrong is not None:
            await refused(db.search("items", [1, 2], last=wrong), errors.BadRequest, "^last: ")
            named = db.add("items", [[1, 2]], ids=[1], producer="p", batch=wrong)
            await refused(named, errors.BadRequest, "^batch: ")
            with pytest.raises(errors.BadRequest, match=r"^from_seq: "):
                db.novel("items", 0.5, from_seq=wrong, epoch="e")
    await db.ping()


async def test_a_number_that_is_none_is_refused_by_name(db: Any) -> None:
    await made(db)
    for wrong in NO_NUMBER:
        floor = db.search("items", [1, 2], min_score=wrong)
        await refused(floor, errors.BadRequest, "^min_score: ")
        await refused(db.create("x", dim=1, capacity=1, ttl=wrong), errors.BadRequest, "^ttl: ")
        copies = db.create("x", dim=1, capacity=1, replicas=wrong)
        await refused(copies, errors.BadRequest, "^replicas: ")
        for make in (lambda given: db.live("items", [1, 2], min_score=given),
                     lambda given: db.match("items", [1, 2], given)):  # fmt: skip
            with pytest.raises(errors.BadRequest, match=r"^min_score: "):
                make(wrong)
    await db.ping()


async def test_a_vector_that_is_none_is_refused_everywhere(db: Any) -> None:
    await made(db)
    bad = (errors.BadVector, errors.NonFinite, errors.DimMismatch, errors.BadRequest)
    for wrong in NO_VECTOR:
        await refused(db.search("items", wrong), bad)
        await refused(db.add("items", wrong, ids=[1]), bad)
        await refused(db.add("items", [wrong], ids=[1]), bad)
        await refused(db.add("items", wrong, ids=[1], producer="p", batch=1), bad)
        for make in (lambda given: db.live("items", given),
                     lambda given: db.match("items", given, 1)):  # fmt: skip
            with pytest.raises(bad, match=r"^vector: "):
                make(wrong)
    async with db.live("items", [1, 2]) as live:
        for wrong in NO_VECTOR:
            await refused(live.move(wrong), bad)
    assert await db.count("items") == 0


@pytest.mark.parametrize("collection", ["items", "names"])
async def test_ids_that_are_none_are_refused_everywhere(db: Any, collection: str) -> None:
    await made(db)
    for wrong in NO_IDS:
        await refused(db.get(collection, wrong), errors.BadId, "id")
        await refused(db.delete(collection, wrong), errors.BadId, "id")
        await refused(db.add(collection, [[1, 2]], ids=wrong), errors.BadId, "id")
        await refused(db.update(collection, wrong, [{}]), errors.BadId, "id")
    for wrong in (*STRANGE, True, -1, 2**64, 1.0, [1], HALF, np.float64(1)):
        await refused(db.search(collection, like=wrong), errors.BadId, "^like: ")
    assert await db.count(collection) == 0


async def test_a_filter_that_is_none_is_refused_by_its_path(db: Any) -> None:
    await made(db)
    deep: dict[str, Any] = {}
    for _ in range(5_000):
        deep = {"$not": deep}
    cycle: dict[str, Any] = {}
    cycle["$not"] = cycle
    for wrong in (*NO_FILTER, deep, cycle):
        await refused(db.count("items", wrong), errors.BadFilter, "^filter")
        await refused(db.search("items", [1, 2], filter=wrong), errors.BadFilter, "^filter")
        await refused(db.search("items", like=1, filter=wrong), errors.BadFilter, "^filter")
        for make in (lambda given: db.live("items", [1, 2], filter=given),
                     lambda given: db.match("items", [1, 2], 1, filter=given),
                     lambda given: db.feed("items", filter=given)):  # fmt: skip
            with pytest.raises(errors.BadFilter, match=r"^filter"):
                make(wrong)
    with pytest.raises(errors.BadFilter, match=r"^filter\.n\.\$in\[1\]: "):
        await db.count("items", {"n": {"$in": [1, float("nan")]}})
    await db.ping()


async def test_metadata_that_is_none_is_refused_with_its_row_and_changes_nothing(db: Any) -> None:
    await made(db)
    await db.add("items", [[1, 2]], ids=[1], metadata=[{"n": 1}])
    for wrong in NO_METADATA:
        with pytest.raises(errors.BadMetadata, match=r"^metadata") as caught:
            await db.add("items", [[1, 2], [3, 4]], ids=[2, 3], metadata=[{"n": 1}, wrong])
        assert caught.value.row == 1
        with pytest.raises(errors.BadMetadata, match=r"^metadata") as caught:
            await db.update("items", [1, 2], [{}, wrong])
        assert caught.value.row == 1
    for wrong in (5, b"ab", "ab", {"n": 1}, {1, 2}, [{}, {}], object()):
        await refused(db.add("items", [[1, 2]], ids=[2], metadata=wrong), errors.BadMetadata)
        await refused(db.update("items", [1], wrong), (errors.BadMetadata, errors.BadRequest))
    assert (await db.get("items", [1], include=["metadata"]))[0].metadata == {"n": 1}
    assert await db.count("items") == 1


async def test_metadata_may_be_as_deep_as_the_protocol_says_and_no_deeper(db: Any) -> None:
    await made(db)
    deep: Any = 5
    for _ in range(31):
        deep = [deep]
    await db.add("items", [[1, 2]], ids=[1], metadata=[{"x": deep}])
    assert (await db.get("items", [1], include=["metadata"]))[0].metadata == {"x": deep}
    await db.update("items", [1], [{"x": deep}])
    cycle: list[Any] = []
    cycle.append(cycle)
    for wrong in ([deep], cycle):
        for call in (lambda given: db.add("items", [[1, 2]], ids=[1], metadata=[{"x": given}]),
                     lambda given: db.update("items", [1], [{"x": given}])):  # fmt: skip
            await refused(call(wrong), errors.BadMetadata, "too deep")


async def test_columns_that_are_none_are_refused_with_their_name(db: Any) -> None:
    await made(db)
    two = vectors(2, 2)
    wrong: list[tuple[str, Any]] = [
        ("n", [1, 2.0]), ("n", [1, True]), ("n", np.array([1.0, 2])), ("n", [1, 2**53]),
        ("n", [1, Decimal(2)]), ("n", np.array([1, 2], "M8[s]")), ("n", np.array([1, 2], "m8[s]")),
        ("f", [1.0, float("nan")]), ("f", [1.0, float("inf")]), ("f", np.array([1, np.inf])),
        ("f", np.array(["1e400", 1], np.longdouble)), ("f", ["1", "2"]), ("f", [True, 1.0]),
        ("f", [1j, 2]), ("f", np.array([1j, 2])), ("f", np.array([True, False])),
        ("s", [1, "a"]), ("s", ["a", b"a"]), ("s", np.array([b"a", b"b"])), ("s", ["a", HALF]),
        ("s", "ab"), ("s", b"ab"), ("b", [0, 1]), ("b", np.array([0, 1])), ("b", ["a", "b"]),
        ("n", [1]), ("n", np.ones((2, 1), int)), ("n", 5), ("n", None), ("n", {1: 2, 2: 3}),
        ("n", {1, 2}), ("n", iter([1, 2])), ("n", np.int64(1)), ("f", memoryview(b"ab")),
        ("unknown", [1, 2]), (5, [1, 2]), ("n", OnADevice()), ("s", [datetime.date.today()] * 2),
    ]  # fmt: skip
    for name, values in wrong:
        await refused(db.add("items", two, [1, 2], columns={name: values}),
                      errors.BadMetadata, str(name))  # fmt: skip
    for strange in (5, [("n", [1, 2])], "n", b"n", {"n"}):
        await refused(db.add("items", two, [1, 2], columns=strange), errors.BadRequest, "^columns")
    assert await db.count("items") == 0


async def test_include_that_is_none_is_refused(db: Any) -> None:
    await made(db)
    for wrong in (5, "metadata", b"vector", ["score"], [["vector"]], None, [5], object()):
        await refused(db.get("items", [1], include=wrong), errors.BadRequest, "^include: ")
        await refused(db.search("items", [1, 2], include=wrong), errors.BadRequest, "^include: ")
        with pytest.raises(errors.BadRequest, match=r"^include: "):
            db.feed("items", include=wrong)


@pytest.mark.parametrize(("name", "values"), [
    ("token", [5, b"t", HALF, "ü", "", "a\nb"]),
    ("request_timeout_seconds", [0, -1, "5", float("nan"), float("inf"), True, object()]),
    ("open_timeout_seconds", [0, -1, "5", float("nan"), True, object()]),
    ("reconnect", [1, "no", None]), ("backoff", [1, None, (0.1, 1)]), ("tls", [True, "ca.pem"]),
    ("max_message_bytes", [0, -1, "5", 1.5, True]), ("server_settings", [5, "a", [1]]),
])  # fmt: skip
async def test_what_connect_is_given_is_looked_at_too(
    kind: str, name: str, values: list[Any]
) -> None:
    async with opened(kind) as place:
        for wrong in values:
            with pytest.raises((errors.BadRequest, errors.Unauthenticated), match="token|" + name):
                async with place.connect(**{name: wrong}):
                    pass
