"""Kept masks are what the filters say of the rows as they are, whatever was written since."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest
from omendb_core import native
from omendb_core.filters import mask_cache
from omendb_core.filters.mask_cache import MASKS, MaskCache
from omendb_core.filters.masks import evaluate
from omendb_core.filters.parser import parse
from omendb_core.model.types import I64, NULL_INTEGER, StrColumn
from omendb_core.rows.columns import Columns
from omendb_core.rows.ring import pack, unpack
from omendb_core.rows.write_log import WriteLog

TYPES = {"n": "i64", "f": "f64", "on": "bool", "text": "str"}
FILTERS = [
    {"n": {"$lt": 3}},
    {"n": 2, "text": "b"},
    {"$or": [{"f": {"$gte": 0.5}}, {"on": True}]},
    {"text": {"$in": ["a", "late"]}},
    {"n": {"$exists": False}},
]


def write(columns: Columns, rng: np.random.Generator, slots: I64, late: bool = False) -> None:
    count = len(slots)
    numbers = rng.integers(0, 6, count)
    numbers[rng.random(count) < 0.2] = NULL_INTEGER
    texts = ("a", "b", "late") if late else ("a", "b", "c")
    batch: dict[str, Any] = {
        "n": numbers,
        "f": rng.random(count),
        "on": rng.integers(0, 2, count).astype(np.uint8),
        "text": StrColumn(rng.integers(0, 3, count).astype(np.uint32), texts),
    }
    columns.write(slots, batch)


@pytest.mark.parametrize("capacity", [1, 63, 64, 65, 400, 3000])
def test_masks_follow_what_is_written(capacity: int) -> None:
    rng = np.random.default_rng(capacity)
    columns = Columns(TYPES, capacity)  # type: ignore[arg-type]
    cache = MaskCache(columns)
    filters = [parse(document, TYPES) for document in FILTERS]  # type: ignore[arg-type]
    written = np.zeros(capacity, np.bool_)
    for step in range(60):
        slots = rng.permutation(capacity)[: rng.integers(1, max(2, capacity // 10))]
        columns.clear(slots[written[slots]])
        write(columns, rng, slots, late=step > 30)
        written[slots] = True
        gone = np.flatnonzero(written & (rng.random(capacity) < 0.01))
        columns.clear(gone)
        live = written.copy()
        live[gone] = False
        written = live
        for filter_ in filters[: 1 + step % len(filters)]:
            found = cache.words(filter_) & pack(live)
            assert np.array_equal(found, pack(evaluate(filter_, columns, None)) & pack(live))
        cache.check(pack(live))


@pytest.mark.parametrize("is_used", [True, False])
def test_bits_become_what_was_told_of_them(monkeypatch: pytest.MonkeyPatch, is_used: bool) -> None:
    if is_used and not native.is_there:
        pytest.skip("there is no C extension here")
    monkeypatch.setattr(native, "is_used", is_used)
    rng = np.random.default_rng(3)
    words, expected = pack(rng.random(1000) < 0.5), None
    for count in (0, 1, 2, 64, 700):
        expected = unpack(words, 1000)
        slots = rng.integers(0, 1000, count)
        told = rng.random(1000) < 0.5
        expected[slots] = told[slots]  # a slot may come twice
        mask_cache._set_bits(words, slots, told[slots])
        assert np.array_equal(unpack(words, 1000), expected)


def test_only_rows_that_were_written_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    columns = Columns(TYPES, 5000)  # type: ignore[arg-type]
    cache = MaskCache(columns)
    filter_ = parse(FILTERS[0], TYPES)  # type: ignore[arg-type]
    write(columns, rng, np.arange(5000))
    looked_at: list[int | None] = []

    def noting(filter_: Any, columns: Columns, slots: I64 | None) -> Any:
        looked_at.append(None if slots is None else len(slots))
        return evaluate(filter_, columns, slots)

    monkeypatch.setattr(mask_cache, "evaluate", noting)
    for count in (0, 10, 300, 0, 1000):
        slots = np.arange(count)
        columns.clear(slots)
        write(columns, rng, slots)
        cache.words(filter_)
    assert looked_at == [None, 10, 300, None]


def test_no_more_masks_are_kept_than_there_is_memory_for() -> None:
    columns = Columns(TYPES, 640)  # type: ignore[arg-type]
    cache = MaskCache(columns)
    for number in range(3 * MASKS):
        cache.words(parse({"n": number}, TYPES))  # type: ignore[arg-type]
        cache.words(parse({"n": 0}, TYPES))  # type: ignore[arg-type]
    held = [kept.words for kept in cache._masks.values()]
    assert sum(words.nbytes for words in held) <= MaskCache.bytes_for(640)
    assert parse({"n": 0}, TYPES).canonical in cache._masks  # type: ignore[arg-type]


def test_a_log_knows_the_last_writes_and_says_when_it_does_not() -> None:
    log = WriteLog(10)
    for first in range(0, 30, 3):
        log.note(np.arange(first, first + 3))
    assert log.total == 30
    assert log.since(30).tolist() == []  # type: ignore[union-attr]
    assert sorted(log.since(27).tolist()) == [27, 28, 29]  # type: ignore[union-attr]
    assert set(range(22, 30)) <= set(log.since(22).tolist())  # type: ignore[union-attr]
    assert log.since(15) is None
    log.note(np.arange(11))
    assert log.since(30) is None
    assert log.since(41).tolist() == []  # type: ignore[union-attr]


def test_makers_do_not_give_up_each_others_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mask_cache, "BLOCK_ROWS", 64)
    columns = Columns(TYPES, 500)  # type: ignore[arg-type]
    cache = MaskCache(columns)
    write(columns, np.random.default_rng(1), np.arange(500))
    one, other = (parse(document, TYPES) for document in FILTERS[:2])  # type: ignore[arg-type]
    made = [(cache.make_piece(one, "reads"), cache.make_piece(other, "lists")) for _ in range(8)]
    assert made == [(False, False)] * 7 + [(True, True)]
    assert (cache.cost_ns(one), cache.cost_ns(other)) == (0, 0)
    cache.check(pack(np.ones(500, np.bool_)))


@pytest.mark.parametrize("length", [1, 100_000])
def test_a_filter_and_its_text_are_not_kept(length: int) -> None:
    columns = Columns(TYPES, 500)  # type: ignore[arg-type]
    cache = MaskCache(columns)
    write(columns, np.random.default_rng(1), np.arange(500))
    document: Any = {"text": {"$in": ["a", "b" * length]}}
    filter_ = parse(document, TYPES)  # type: ignore[arg-type]
    words = cache.words(filter_)
    gone = weakref.ref(filter_)
    del filter_
    assert gone() is None
    assert all(len(key) <= 512 for key in cache._masks)
    again = parse(document, TYPES)  # type: ignore[arg-type]
    assert cache.cost_ns(again) == 0
    assert cache.words(again) is words
    other = parse({"text": {"$in": ["a", "b" * (length + 1)]}}, TYPES)  # type: ignore[arg-type]
    assert cache.cost_ns(other) > 0, "another filter's mask was taken for its own"
