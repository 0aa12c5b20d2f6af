"""Columns against plain dicts; dictionaries that forget; what batches may hold."""

from __future__ import annotations

import gc
import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omendb_core.model.errors import BadMetadata
from omendb_core.model.types import (
    NULL_BOOLEAN,
    NULL_CODE,
    NULL_INTEGER,
    Column,
    ColumnType,
    StrColumn,
)
from omendb_core.rows.columns import TEXT_OVERHEAD_BYTES, Columns
from omendb_core.rows.metadata import check_columns, from_metadata, merge

from tests.examples import examples
from tests.filter_oracle import VALUES, metadata_for

COLUMNS: dict[str, ColumnType] = {"price": "f64", "stock": "i64", "new": "bool", "kind": "str"}
Row = dict[str, Any]


def text_column(codes: list[int], *dictionary: str) -> StrColumn:
    return StrColumn(np.array(codes, np.uint32), dictionary)


def present(row: Row) -> Row:
    """What a row gives back: declared, without nulls, in the order of the definition."""
    return {name: row[name] for name in COLUMNS if row.get(name) is not None}


# -- columns ----------------------------------------------------------------------------------

CAPACITY = 7
steps = st.lists(
    st.dictionaries(st.integers(0, CAPACITY - 1), metadata_for(COLUMNS), min_size=1), max_size=12
)


@settings(max_examples=examples(300), deadline=None, derandomize=True)
@given(steps, st.data())
def test_columns_hold_what_a_list_of_dicts_holds(batches: list[dict[int, Row]], data: Any) -> None:
    columns = Columns(COLUMNS, CAPACITY)
    held: dict[int, Row] = {}
    for batch in batches:
        slots = np.array(list(batch), np.int64)
        gone = [slot for slot in held if slot in batch or data.draw(st.booleans())]
        columns.clear(np.array(gone, np.int64))
        columns.write(slots, from_metadata(list(batch.values()), COLUMNS))
        held = {slot: row for slot, row in held.items() if slot not in gone} | batch
        columns.check()
        kept = sorted(held)
        objects = columns.objects(np.array(kept, np.int64))
        assert objects == [present(held[slot]) for slot in kept]
        assert [list(row) for row in objects] == [list(present(held[slot])) for slot in kept]
        texts = {row["kind"] for row in held.values() if row.get("kind") is not None}
        assert columns.payload_bytes == sum(
            len(text.encode()) + TEXT_OVERHEAD_BYTES for text in texts
        )
        for text in VALUES["str"]:
            assert (columns.code_of("kind", text) is not None) == (text in texts)


def test_each_type_comes_back_as_itself() -> None:
    columns = Columns(COLUMNS, 3)
    row = {"price": 2, "stock": 2**53 - 1, "new": True, "kind": "ü"}
    columns.write(np.array([1]), from_metadata([row], COLUMNS))
    (back,) = columns.objects(np.array([1]))
    assert back == {"price": 2.0, "stock": 2**53 - 1, "new": True, "kind": "ü"}
    assert [type(value) for value in back.values()] == [float, int, bool, str]


def test_absent_and_cleared_values_are_null_in_the_arrays() -> None:
    columns = Columns(COLUMNS, 4)
    row = {"price": 0.0, "stock": 0, "new": False, "kind": ""}
    columns.write(np.array([2, 0]), from_metadata([row, row], COLUMNS))
    columns.write(np.array([1]), {})
    columns.clear(np.array([2]))
    assert columns.used == 3
    for name in COLUMNS:
        assert columns.is_null(name, slice(0, 3)).tolist() == [False, True, True]
        assert columns.is_null(name, np.array([2, 0])).tolist() == [True, False]
        assert len(columns.is_null(name)) == len(columns.values(name)) == 4
    assert math.isnan(columns.values("price")[1])
    assert columns.values("stock")[1] == NULL_INTEGER
    assert columns.values("new")[1] == NULL_BOOLEAN
    assert columns.values("kind")[1] == NULL_CODE


def test_arrays_are_views_for_ranges_and_copies_for_slots() -> None:
    columns = Columns(COLUMNS, 4)
    whole = columns.values("stock")
    assert np.shares_memory(whole, columns.values("stock", slice(1, 3)))
    assert not np.shares_memory(whole, columns.values("stock", np.array([1, 2])))


def test_codes_are_used_again_and_the_dictionary_follows_the_live_rows() -> None:
    columns = Columns({"kind": "str"}, 8)
    slots = np.arange(8)
    columns.write(slots, {"kind": text_column(list(range(8)), *"abcdefgh")})
    for lap in range(200):
        columns.clear(slots)
        assert columns.payload_bytes == 0
        texts = [f"{lap}-{i}" for i in range(8)]
        columns.write(slots, {"kind": text_column(list(range(8)), *texts)})
        assert [row["kind"] for row in columns.objects(slots)] == texts
        assert columns.code_limit("kind") == 8
    columns.check()


def test_a_text_is_forgotten_with_its_last_row_only() -> None:
    columns = Columns({"kind": "str"}, 4)
    columns.write(np.arange(4), {"kind": text_column([0, 0, 1, NULL_CODE], "a", "b")})
    columns.clear(np.array([0, 2, 3]))
    assert columns.code_of("kind", "a") is not None
    assert columns.code_of("kind", "b") is None
    columns.clear(np.array([1]))
    assert columns.code_of("kind", "a") is None
    columns.clear(np.array([1]))
    columns.check()


def test_one_text_under_two_codes_of_a_batch_is_one_text() -> None:
    columns = Columns({"kind": "str"}, 4)
    columns.write(np.arange(4), {"kind": text_column([0, 1, 2, 1], "a", "a", "b")})
    codes = columns.values("kind")
    assert codes[0] == codes[1] == codes[3] == columns.code_of("kind", "a")
    columns.check()
    columns.clear(np.arange(4))
    columns.check()
    assert columns.payload_bytes == 0


def test_texts_of_a_dictionary_that_no_row_uses_are_not_kept() -> None:
    columns = Columns({"kind": "str"}, 2)
    many = [f"unused {i}" for i in range(10_000)]
    columns.write(np.array([0]), {"kind": text_column([10_000], *many, "used")})
    assert columns.payload_bytes == len("used") + TEXT_OVERHEAD_BYTES
    columns.check()


def test_the_code_of_a_text_that_is_no_unicode_is_none() -> None:
    assert Columns({"kind": "str"}, 2).code_of("kind", "\ud800") is None


def test_bytes_reserved_are_those_of_the_arrays() -> None:
    columns = Columns(COLUMNS, 1000)
    held = sum(columns.values(name).nbytes for name in COLUMNS)
    counts = columns._dictionaries["kind"]._counts.nbytes
    assert columns.nbytes == Columns.bytes_for(COLUMNS, 1000) == held + counts + 8 * 64  # the log
    assert Columns.bytes_for({}, 1000) == 0


@pytest.mark.parametrize("character", ["a", "é", "漢", "𝄞"])
def test_memory_of_texts_stays_within_what_is_counted(character: str) -> None:
    count, length = 20_000, 20
    gc.collect()
    tracemalloc.start()
    try:
        columns = Columns({"kind": "str"}, count)
        slots = np.arange(count)
        before = tracemalloc.get_traced_memory()[0]
        for lap in range(3):
            columns.clear(slots[: columns.used])
            for start in range(0, count, 1000):
                texts = [f"{lap}.{start + i}{character * length}" for i in range(1000)]
                batch = {"kind": text_column(list(range(1000)), *texts)}
                columns.write(slots[start : start + 1000], batch)
        del texts, batch
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown <= columns.payload_bytes
    assert 0.9 * grown <= columns.taken_bytes <= 1.1 * grown


# -- batches ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("price", True),
        ("price", "1"),
        ("price", float("nan")),
        ("price", float("inf")),
        ("price", 10**400),
        ("price", [1]),
        ("price", {}),
        ("stock", 1.0),
        ("stock", False),
        ("stock", 2**53),
        ("stock", -(2**53)),
        ("stock", 10**30),
        ("stock", "1"),
        ("new", 0),
        ("new", "true"),
        ("new", 1.0),
        ("kind", 1),
        ("kind", ["a"]),
        ("kind", "a\ud800"),
        ("kind", b"a"),
    ],
)
def test_metadata_of_another_type_is_refused_with_its_row_and_key(name: str, value: Any) -> None:
    good = {"price": 1.5, "stock": 1, "new": True, "kind": "a"}
    for rows in ([good, {}, {name: value}], [None, good, {**good, name: value}, {name: value}]):
        with pytest.raises(BadMetadata, match=rf"metadata\.{name}") as caught:
            from_metadata(rows, COLUMNS)
        assert caught.value.row == 2


@pytest.mark.parametrize("entry", [[], "x", 1, True])
def test_metadata_that_is_no_object_is_refused_with_its_row(entry: Any) -> None:
    with pytest.raises(BadMetadata) as caught:
        from_metadata([{}, entry], {})
    assert caught.value.row == 1


def test_metadata_makes_typed_columns_of_declared_keys_alone() -> None:
    rows: list[Row | None] = [
        {"price": 2, "stock": -3, "new": False, "kind": "b", "note": object()},
        None,
        {"price": None, "kind": "b", "new": True},
        {"kind": "a", "price": 10**20},
    ]
    made = from_metadata(rows, COLUMNS | {"absent": "f64"})
    assert list(made) == ["price", "stock", "new", "kind"]
    price, stock, new, kind = made.values()
    assert isinstance(kind, StrColumn)
    assert isinstance(price, np.ndarray)
    np.testing.assert_array_equal(price, [2.0, np.nan, np.nan, 1e20])
    assert [array.dtype for array in (price, stock, new, kind.codes)] == [  # type: ignore[union-attr]
        np.float64,
        np.int64,
        np.uint8,
        np.uint32,
    ]
    assert stock.tolist() == [-3, NULL_INTEGER, NULL_INTEGER, NULL_INTEGER]  # type: ignore[union-attr]
    assert new.tolist() == [0, NULL_BOOLEAN, 1, NULL_BOOLEAN]  # type: ignore[union-attr]
    assert kind.codes.tolist() == [0, NULL_CODE, 0, 1]
    assert kind.dictionary == ("b", "a")
    assert from_metadata([], COLUMNS) == from_metadata([None, {}], COLUMNS) == {}


@given(
    st.sampled_from(list(COLUMNS)),
    st.lists(
        st.none()
        | st.booleans()
        | st.floats()
        | st.sampled_from([2**53, 2**53 - 1, -(2**53), -(2**63), 2**63, 10**400, 1.0, 0, -0.0])
        | st.text(st.sampled_from("ab\ud800"), max_size=2),
        max_size=6,
    ),
)
@settings(max_examples=examples(500), deadline=None)
def test_values_of_a_batch_are_what_they_are_one_by_one(name: str, values: list[Any]) -> None:
    """Batches whose values are all of the right types are made without looking at each alone."""
    alone: list[Column | None] = []
    for value in values:
        try:
            alone.append(from_metadata([{name: value}], COLUMNS).get(name))
        except BadMetadata:
            with pytest.raises(BadMetadata) as caught:
                from_metadata([{name: value} for value in values], COLUMNS)
            assert caught.value.row == len(alone)
            return
    made = from_metadata([{name: value} for value in values], COLUMNS)
    assert (name in made) == any(value is not None for value in values)
    for row, one in enumerate(alone):
        if name not in made:
            continue
        together = made[name]
        if isinstance(together, StrColumn):
            code = int(together.codes[row])
            text = None if code == NULL_CODE else together.dictionary[code]
            assert text == values[row]
        else:
            expected = _NULL_OF[name] if one is None else one[0]  # type: ignore[index]
            np.testing.assert_array_equal(together[row], expected)


_NULL_OF = {"price": np.nan, "stock": NULL_INTEGER, "new": NULL_BOOLEAN}


def test_slots_that_are_left_out_are_null_and_those_behind_are_untouched() -> None:
    columns = Columns(COLUMNS, 10)
    assert not columns.values("kind").any()  # zeroes, which the system makes when they are read
    columns.write(np.array([5]), from_metadata([{"kind": "a"}], COLUMNS))
    columns.write(np.array([3]), from_metadata([{"kind": "a"}], COLUMNS))
    assert columns.is_null("kind", slice(0, 6)).tolist() == [True] * 3 + [False, True, False]
    columns.check()


def good_frame() -> dict[str, Column]:
    return {
        "price": np.array([1.5, np.nan, -0.0]),
        "stock": np.array([2**53 - 1, -(2**53) + 1, 0]),
        "new": np.array([0, 1, 1], np.uint8),
        "kind": text_column([0, NULL_CODE, 1], "a", "b"),
    }


def test_columns_of_a_frame_pass_as_the_protocol_has_them() -> None:
    check_columns(good_frame(), COLUMNS, 3)
    check_columns({}, COLUMNS, 3)
    check_columns({"kind": text_column([NULL_CODE])}, COLUMNS, 1)


@pytest.mark.parametrize(
    ("name", "column", "row"),
    [
        ("nope", np.zeros(3), None),
        ("price", np.zeros(3, np.float32), None),
        ("price", np.zeros(3, np.int64), None),
        ("price", text_column([0, 0, 0], "a"), None),
        ("price", np.zeros(2), None),
        ("price", np.zeros((3, 1)), None),
        ("price", np.array([0.0, np.nan, np.inf]), 2),
        ("price", np.array([-np.inf, 0.0, np.inf]), 0),
        ("stock", np.array([0, 2**53, 0]), 1),
        ("stock", np.array([0, 0, -(2**53)]), 2),
        ("stock", np.array([NULL_INTEGER, 0, 0]), 0),
        ("stock", np.zeros(3, np.uint64), None),
        ("new", np.array([0, 1, 2], np.uint8), 2),
        ("new", np.array([0, NULL_BOOLEAN, 1], np.uint8), 1),
        ("new", np.zeros(3, np.bool_), None),
        ("kind", text_column([0, 1, 2], "a", "b"), 2),
        ("kind", text_column([0, NULL_CODE - 1, 0], "a"), 1),
        ("kind", text_column([NULL_CODE, 0, 0]), 1),
        ("kind", text_column([0, 0], "a"), None),
        ("kind", np.zeros(3, np.uint32), None),
        ("kind", text_column([0, 0, 0], "\udcff"), None),
        ("kind", text_column([0, 0, 0], 7), None),  # type: ignore[arg-type]
    ],
)
def test_columns_of_a_frame_are_refused_otherwise(name: str, column: Any, row: int | None) -> None:
    with pytest.raises(BadMetadata, match=rf"columns\.{name}: ") as caught:
        check_columns({**good_frame(), name: column}, COLUMNS, 3)
    assert caught.value.row == row


def test_a_column_out_of_metadata_and_one_of_the_frame_do_not_mix() -> None:
    frame = good_frame()
    typed = {"price": frame.pop("price")}
    assert merge(typed, frame).keys() == good_frame().keys()
    with pytest.raises(BadMetadata, match="price"):
        merge(typed, good_frame())
