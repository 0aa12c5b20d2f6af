"""Stamps: what rows hold afterwards, and what may not be stated."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from omendb_core.model.change import AddChange, AddRequest, RowBatch, UpdateRequest
from omendb_core.model.errors import Forbidden
from omendb_core.model.types import NULL_CODE, Definition, Include, StrColumn
from omendb_core.window import Window

from omendb_ws.access.stamps import misfit, stamp_rows, stamp_updates

COLUMNS: Any = {"owner": "str", "level": "i64", "price": "f64", "seen": "bool"}
STAMP = {"owner": "me", "level": 3, "price": 2, "seen": True}


def batch(*metadata: Any, columns: dict[str, Any] | None = None) -> RowBatch:
    payloads = [json.dumps(one).encode() if one else None for one in metadata]
    ids = np.arange(len(metadata), dtype=np.uint64)
    vectors = np.ones((len(metadata), 2), np.float32)
    is_bare = all(one is None for one in metadata)
    return RowBatch(
        vectors, ids, columns or {}, None if is_bare else metadata, None if is_bare else payloads
    )


def stored(rows: RowBatch) -> list[Any]:
    """The metadata that a window gives back for the rows."""
    window = Window(Definition(2, 10, "dot", "u64", COLUMNS))
    change = window.admit_add(AddRequest(rows), 0)
    assert isinstance(change, AddChange)
    window.apply(change)
    _, hits = window.get(rows.ids, Include(metadata=True))  # type: ignore[arg-type]
    assert hits.metadata is not None
    return [one if isinstance(one, dict) else json.loads(one) for one in hits.metadata]


def test_every_row_has_the_values_afterwards() -> None:
    rows = batch({"a": 1}, {}, None, {"owner": "me"}, {"seen": True, "b": [1]})
    assert stored(stamp_rows(rows, STAMP, COLUMNS)) == [
        {"a": 1, **STAMP},
        STAMP,
        STAMP,
        STAMP,
        {"b": [1], **STAMP},
    ]


def test_rows_of_a_frame_have_them_too() -> None:
    columns = {
        "owner": StrColumn(np.array([0, NULL_CODE], np.uint32), ("me",)),
        "price": np.array([np.nan, 2.0]),
    }
    rows = batch(None, None, columns=columns)
    assert (
        stored(stamp_rows(rows, {"owner": "me", "price": 2}, COLUMNS))
        == [{"owner": "me", "price": 2.0}] * 2
    )


@pytest.mark.parametrize(
    "stated", [{"owner": "you"}, {"owner": None}, {"level": 4}, {"level": True}, {"seen": 1}]
)
def test_a_row_that_states_another_value_is_refused(stated: dict[str, Any]) -> None:
    with pytest.raises(Forbidden) as caught:
        stamp_rows(batch({}, stated), STAMP, COLUMNS)
    assert caught.value.row == 1
    assert caught.value.message.startswith(f"{next(iter(stated))}: ")
    request = UpdateRequest(np.arange(2, dtype=np.uint64), [{}, stated], [None, b"{}"])
    with pytest.raises(Forbidden) as caught:
        stamp_updates(request, STAMP)
    assert caught.value.row == 1


@pytest.mark.parametrize(
    "columns",
    [
        {"owner": StrColumn(np.array([NULL_CODE, 0], np.uint32), ("you", "me"))},
        {"level": np.array([3, 4])},
        {"price": np.array([np.nan, 2.5])},
        {"seen": np.array([1, 0], np.uint8)},
    ],
)
def test_a_frame_that_states_another_value_is_refused(columns: dict[str, Any]) -> None:
    with pytest.raises(Forbidden) as caught:
        stamp_rows(batch(None, None, columns=columns), STAMP, COLUMNS)
    assert caught.value.row == 1


def test_an_update_has_the_values_afterwards() -> None:
    metadata: list[dict[str, Any]] = [{"a": 1}, {}, {"level": 3}]
    payloads = [b'{"a":1}', None, b'{"level":3}']
    request = UpdateRequest(np.arange(3, dtype=np.uint64), metadata, payloads)
    found = stamp_updates(request, {"level": 3})
    wanted = [{"a": 1, "level": 3}, {"level": 3}, {"level": 3}]
    assert [json.loads(one or b"null") for one in found.payloads] == wanted
    assert [dict(one) for one in found.metadata] == wanted


def test_a_stamp_must_fit_the_columns() -> None:
    assert misfit(STAMP, COLUMNS) is None
    assert misfit({"other": 1}, COLUMNS) == "other"
    for wrong in ({"owner": 1}, {"level": 1.5}, {"level": True}, {"price": "2"}, {"seen": 1}):
        assert misfit(wrong, COLUMNS) == next(iter(wrong))
    assert misfit({"level": 2**53}, COLUMNS) == "level"


def test_without_a_stamp_nothing_is_touched() -> None:
    rows = batch({"a": 1})
    assert stamp_rows(rows, {}, COLUMNS) is rows
