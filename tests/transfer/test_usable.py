"""What is said of a row before it is sent is what the server says of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from omendb_core.model.errors import OmenError
from omendb_core.model.types import MAX_METADATA_LEVELS
from omendb_core.scoring.score import prepare

from omendb_ws.transfer.usable import (
    Wanted,
    as_rows,
    unusable,
    unusable_ids,
    unusable_metadata,
)

COLUMNS: dict[str, Any] = {"price": "f64", "stock": "i64", "sold": "bool", "kind": "str"}
WANTED = Wanted("dot", COLUMNS, 100)

#: First elements of vectors whose norm is around every limit, and what is no number.
EDGES = [0.0, 1e-45, 2.0**-63, 2.0**-62, 1e-18, 1e-15, 1.0, 1e15, 1e18, 2.0**62, 2.0**62 * 1.001,
         2.0**63, 3e38, np.inf, -np.inf, np.nan]  # fmt: skip


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("dim", [1, 7, 64])
def test_a_vector_is_unusable_exactly_if_a_window_refuses_it(metric: Any, dim: int) -> None:
    vectors = np.zeros((3 * len(EDGES), dim), np.float32)
    vectors[:, 0] = EDGES * 3
    vectors[len(EDGES) : 2 * len(EDGES)] = vectors[: len(EDGES), :1]
    vectors[2 * len(EDGES) :, -1] = -1e-30
    found = unusable(vectors, metric)
    for at in range(len(vectors)):
        try:
            prepare(vectors[at : at + 1], metric)
        except OmenError:
            assert at in found, vectors[at]
        else:
            assert at not in found, vectors[at]


@pytest.mark.parametrize(
    ("dtype", "value", "fits"),
    [(np.float64, 1e39, False), (np.float64, -1e308, False), (np.float64, 7e4, True),
     (np.float16, np.inf, False), (np.int64, 2**62, True), (np.int8, -128, True)],
)  # fmt: skip
def test_what_is_too_large_for_float32_is_infinite_and_said_so(
    dtype: Any, value: float, fits: bool
) -> None:
    rows = as_rows(np.array([[1, 2], [value, 1]], dtype))
    assert rows.dtype == np.float32
    assert unusable(rows, "l2").keys() == (set() if fits else {1})


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({}, None),
        ({"price": 1, "stock": 2, "sold": True, "kind": "x", "more": [1]}, None),
        ({"price": None, "kind": None}, None),
        ({"price": "1"}, "metadata.price: must be"),
        ({"price": True}, "metadata.price: must be"),
        ({"stock": 1.5}, "metadata.stock: must be"),
        ({"stock": 2**53}, "metadata.stock: must be"),
        ({"sold": 1}, "metadata.sold: must be"),
        ({"kind": 1}, "metadata.kind: must be"),
        ({"more": "x" * 100}, "metadata: 111 bytes; at most 100"),
        ({"more": b"x"}, "metadata: no JSON"),
    ],
)
def test_metadata_is_held_to_the_columns_and_the_limit(entry: Any, reason: str | None) -> None:
    found = unusable_metadata([{}, entry, {"kind": "fine"}], WANTED)
    if reason is None:
        assert found == {}
    else:
        assert found.keys() == {1}
        assert found[1].startswith(reason)


def test_no_metadata_is_fine() -> None:
    assert unusable_metadata(None, WANTED) == {}


def levels(count: int) -> dict[str, Any]:
    """Metadata so many levels deep, itself the first."""
    value: Any = 1
    for _ in range(count - 1):
        value = [value]
    return {"a": value}


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (levels(MAX_METADATA_LEVELS), None),
        (levels(MAX_METADATA_LEVELS + 1), "metadata.a: nested deeper than 32 levels"),
        (levels(300), "metadata: no JSON"),
        ({"a": "[" * 100}, None),
        ({"a": [[]] * 100}, None),
        ({"a": None, "b": "null"}, None),
        ({"a": float("inf")}, "metadata.a: inf is no number of JSON"),
        ({"a": {"b": [1, {"c": float("-inf")}]}}, "metadata.a: -inf is no number"),
        ({"a": 2**64}, "metadata: no JSON"),
        ({"a": 2**64 - 1, "b": -(2**63)}, None),
    ],
)
def test_metadata_that_json_has_nothing_for_is_named(entry: Any, reason: str | None) -> None:
    found = unusable_metadata([{}, entry], Wanted("l2", {}, 4096))
    if reason is None:
        assert found == {}
    else:
        assert found[1].startswith(reason)


def test_ids_are_held_to_the_protocol() -> None:
    good = ["a", "é" * 128, "x" * 256, "\n"]
    bad = ["", "a\0b", "x" * 257, "é" * 129, "\ud800"]
    assert unusable_ids(good) == {}
    assert list(unusable_ids([*good, *bad])) == list(range(len(good), len(good) + len(bad)))
    assert unusable_ids(np.array([1, 2], np.uint64)) == unusable_ids(None) == {}
