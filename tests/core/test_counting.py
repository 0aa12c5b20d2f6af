"""Counting by a column is what counting each row in turn gives, however small the pieces are."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omendb_core import counting
from omendb_core.counting import check_by, count_by, reading
from omendb_core.filters.parser import optional
from omendb_core.model.change import AddRequest, Repeated, RowBatch
from omendb_core.model.errors import BadRequest
from omendb_core.model.types import ColumnType, CountsBy, Definition, StrColumn, WindowLimits
from omendb_core.window import Window

from tests.core.windows import COLUMNS, LIMITS, History, definition
from tests.count_oracle import listed
from tests.examples import examples
from tests.filter_oracle import filters_for, metadata_for, passes

TYPES: dict[str, ColumnType] = {"f": "f64", "i": "i64", "on": "bool", "text": "str"}
_Made = TypeVar("_Made")


def assert_counted(
    found: CountsBy, rows: list[dict[str, Any]], type_: ColumnType, by: str, limit: int
) -> None:
    wanted, others = listed(rows, by, limit)
    assert list(zip(found.values, found.counts, strict=True)) == wanted
    assert (found.count, found.others) == (len(rows), others)
    kinds = {"f64": float, "i64": int, "bool": bool, "str": str}
    assert all(value is None or type(value) is kinds[type_] for value in found.values)
    assert all(str(value) != "-0.0" for value in found.values)


def live(window: Window) -> list[dict[str, Any]]:
    """What the live rows hold in their columns."""
    state = window.state
    return state.columns.objects(state.ring.live_slots(state.first_seq, state.last_seq))


def filled(rows: list[dict[str, Any]], types: dict[str, ColumnType] = TYPES) -> Window:
    window = Window(
        Definition(1, max(1, len(rows)), "dot", "auto", types),
        WindowLimits(max_rows=1 << 20),
    )
    if rows:
        batch = RowBatch(
            np.ones((len(rows), 1), np.float32),
            None,
            metadata=list(rows),
            payloads=[json.dumps(row).encode() for row in rows],
        )
        made = window.admit_add(AddRequest(batch), 1)
        assert not isinstance(made, Repeated)
        window.apply(made)
    return window


def pieces(steps: Generator[None, None, _Made]) -> tuple[int, _Made]:
    count = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return count, end.value
        count += 1


@pytest.fixture(params=["whole", "in pieces"])
def sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is, and with blocks of 64 rows, ranges of a few entries, three texts at a time."""
    if request.param == "in pieces":
        monkeypatch.setattr(counting, "BLOCK_ROWS", 64)
        monkeypatch.setattr(counting, "_SAMPLED", 4)
        monkeypatch.setattr(counting, "_TEXTS", 3)


@pytest.mark.usefixtures("sizes")
@settings(max_examples=examples(60))
@given(data=st.data())
def test_counts_of_rows_that_pass_are_those_of_each_row_in_turn(data: st.DataObject) -> None:
    # Few rows drawn, and each many times: so blocks and ties are many.
    drawn = data.draw(st.lists(metadata_for(TYPES), max_size=12))
    rows = drawn * data.draw(st.integers(1, 12))
    window = filled(rows)
    document = data.draw(filters_for(TYPES))
    by = data.draw(st.sampled_from(sorted(TYPES)))
    limit = data.draw(st.integers(1, 8))
    found = count_by(window.state, optional(document, TYPES), by, limit)
    passed = [row for row in rows if passes(document, row)]
    assert_counted(found, passed, TYPES[by], by, limit)


@pytest.mark.usefixtures("sizes")
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("capacity", [5, 70])
def test_counts_follow_adds_replacements_deletions_updates_evictions_and_expiry(
    seed: int, capacity: int
) -> None:
    window = Window(definition(capacity=capacity, ttl=9.0), LIMITS)
    history = History(window, seed)
    for _ in range(40):
        window.apply(history.change())
        for by, type_ in COLUMNS.items():
            for limit in (1, 2, 1000):
                found = count_by(window.state, None, by, limit)
                assert found.version == window.version
                assert_counted(found, live(window), type_, by, limit)


@pytest.mark.usefixtures("sizes")
@pytest.mark.parametrize("by", ["f", "i", "text"])
@pytest.mark.parametrize("distinct", [1, 7, 150, 1000])
def test_many_values_and_many_ties(by: str, distinct: int) -> None:
    rng = np.random.default_rng(distinct)
    drawn = rng.integers(0, distinct, 1000)
    values: list[Any] = {
        "f": [k / 8 - 5 for k in drawn.tolist()],
        "i": [k - 500 for k in drawn.tolist()],
        "text": [chr(0xFFFF + k) + str(k % 7) if k % 3 else f"z{k}" for k in drawn.tolist()],
    }[by]
    rows = [{by: value} if k % 11 else {} for k, value in enumerate(values)]
    window = filled(rows)
    for limit in (1, 10, 100, 1000):
        assert_counted(count_by(window.state, None, by, limit), rows, TYPES[by], by, limit)


def test_texts_come_by_code_point_and_not_by_utf_16() -> None:
    rows = [{"text": text} for text in ("\U0001d11e", "\uffee", "b", "a", "B", "", "ab")]
    found = count_by(filled(rows).state, None, "text", 10)
    assert found.values == ["", "B", "a", "ab", "b", "\uffee", "\U0001d11e"]


def test_equal_numbers_are_one_value_and_null_comes_last_of_equally_many() -> None:
    rows: list[dict[str, Any]] = [{"f": -0.0}, {}, {"f": 0}, {"f": None}, {"f": 0.5}, {"f": 0.5}]
    found = count_by(filled(rows).state, None, "f", 10)
    assert (found.values, found.counts) == ([0.0, 0.5, None], [2, 2, 2])
    assert repr(found.values[0]) == "0.0"


def test_null_is_left_out_as_any_value_is_that_is_too_rare() -> None:
    rows: list[dict[str, Any]] = [{"i": 3}, {"i": 3}, {}, {"i": 4}]
    found = count_by(filled(rows).state, None, "i", 1)
    assert (found.values, found.counts, found.others, found.count) == ([3], [2], 2, 4)
    assert count_by(filled(rows).state, None, "i", 2).values == [3, 4]


def test_an_empty_window_has_no_values() -> None:
    for by in TYPES:
        found = count_by(filled([]).state, None, by, 5)
        assert (found.values, found.counts, found.others, found.count) == ([], [], 0, 0)


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(
        BadRequest, match=r"by: nix is not a declared column \(declared: f, i, on, text\)"
    ):
        check_by("nix", Definition(1, 1, columns=TYPES))
    check_by("f", Definition(1, 1, columns=TYPES))


@pytest.mark.usefixtures("sizes")
@pytest.mark.parametrize("by", sorted(TYPES))
def test_the_second_part_needs_no_window(by: str) -> None:
    """What changes once the first part is through is not in the answer."""
    history = History(Window(definition(capacity=300, ttl=None), LIMITS), 3)
    window = history.window
    by = {"f": "price", "i": "stock", "on": "new", "text": "kind"}[by]
    for _ in range(60):
        window.apply(history.change())
    rows, version = live(window), window.version
    _, rest = pieces(reading(window.state, None, by, 10))
    for _ in range(60):
        window.apply(history.change())
    assert live(window) != rows
    _, found = pieces(rest)
    assert found.version == version
    assert_counted(found, rows, COLUMNS[by], by, 10)


@pytest.mark.parametrize("by", ["f", "i", "text"])
def test_a_wide_window_of_distinct_values_takes_many_pieces(by: str) -> None:
    """And none of them has more than about a block of it, nor does a range."""
    count = 6 * counting.BLOCK_ROWS + 5
    order = np.random.default_rng(0).permutation(count)
    columns: dict[str, Any] = {
        "f": order.astype(np.float64),
        "i": order.astype(np.int64),
        "text": StrColumn(order.astype(np.uint32), tuple(f"{k:07}" for k in range(count))),
    }
    window = Window(
        Definition(1, count, "dot", "auto", {by: TYPES[by]}), WindowLimits(max_rows=count)
    )
    batch = RowBatch(np.ones((count, 1), np.float32), None, columns={by: columns[by]})
    made = window.admit_add(AddRequest(batch), 1)
    assert not isinstance(made, Repeated)
    window.apply(made)
    read, rest = pieces(reading(window.state, None, by, 10))
    ranges, found = pieces(rest)
    assert read >= 7
    assert ranges >= 7 or by == "text"
    assert read >= count // counting._TEXTS or by != "text"
    wanted = {"f": [float(k) for k in range(10)], "i": list(range(10))}
    assert found.values == wanted.get(by, [f"{k:07}" for k in range(10)])
    assert (found.counts, found.others) == ([1] * 10, count - 10)
