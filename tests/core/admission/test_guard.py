"""What a writer may not touch is not there for it, and stays as it is."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from omendb_core.admission.guard import Guard
from omendb_core.filters.parser import parse
from omendb_core.model.change import AddChange, AddRequest, NotCaughtUp, RowBatch, UpdateRequest
from omendb_core.model.errors import Forbidden, NotFound
from omendb_core.model.types import Definition, Include
from omendb_core.search.query import Examples, Query
from omendb_core.window import Window

COLUMNS: Any = {"owner": "str", "price": "f64"}
MINE = parse({"owner": "me"}, COLUMNS)
GUARD = Guard(MINE, MINE)


def batch(ids: list[int], *metadata: dict[str, Any]) -> RowBatch:
    vectors = np.arange(2.0 * len(ids), dtype=np.float32).reshape(-1, 2)
    payloads = [json.dumps(one).encode() for one in metadata]
    return RowBatch(vectors, np.array(ids, np.uint64), {}, metadata, payloads)


def window() -> Window:
    """Row 1 is mine, 2 is another's, 3 is nobody's."""
    made = Window(Definition(2, 10, "dot", "u64", COLUMNS))
    rows = batch([1, 2, 3], {"owner": "me"}, {"owner": "you"}, {})
    change = made.admit_add(AddRequest(rows), 0)
    assert isinstance(change, AddChange)
    made.apply(change)
    return made


def keys(*ids: int) -> Any:
    return np.array(ids, np.uint64)


def test_rows_that_do_not_pass_are_not_deleted() -> None:
    some = window()
    change = some.admit_delete(keys(1, 2, 3), 0, GUARD)
    assert change is not None
    assert change.seqs.tolist() == [1]
    assert window().admit_delete(keys(2, 3), 0, GUARD) is None


def test_rows_that_do_not_pass_cannot_be_updated() -> None:
    request = UpdateRequest(keys(1, 2), [{"owner": "me"}] * 2, [b'{"owner":"me"}'] * 2)
    with pytest.raises(NotFound) as caught:
        window().admit_update(request, 0, GUARD)
    assert caught.value.row == 1


def test_an_update_may_not_give_a_row_away() -> None:
    request = UpdateRequest(keys(1), [{"owner": "you"}], [b'{"owner":"you"}'])
    with pytest.raises(Forbidden) as caught:
        window().admit_update(request, 0, GUARD)
    assert caught.value.row == 0


def test_rows_that_would_not_pass_are_not_added() -> None:
    some = window()
    rows = batch([7, 8, 9], {"owner": "me"}, {"owner": "you"}, {})
    with pytest.raises(Forbidden) as caught:
        some.admit_add(AddRequest(rows), 0, guard=GUARD)
    assert caught.value.row == 1
    assert some.admission.admitted.version == some.version


def test_columns_of_a_frame_are_held_to_the_filter_too() -> None:
    rows = RowBatch(np.ones((2, 2), np.float32), keys(7, 8), {"price": np.array([1.0, np.nan])})
    cheap = Guard(None, parse({"price": {"$lt": 5}}, COLUMNS))
    with pytest.raises(Forbidden) as caught:
        window().admit_add(AddRequest(rows), 0, guard=cheap)
    assert caught.value.row == 1


def test_a_row_that_does_not_pass_is_not_replaced() -> None:
    rows = batch([1, 4, 2], *[{"owner": "me"}] * 3)
    with pytest.raises(Forbidden) as caught:
        window().admit_add(AddRequest(rows), 0, guard=GUARD)
    assert caught.value.row == 2


def test_what_is_not_applied_yet_may_decide_so_it_is_waited_for() -> None:
    some = window()
    update = UpdateRequest(keys(2), [{"owner": "me"}], [b'{"owner":"me"}'])
    change = some.admit_update(update, 0)
    with pytest.raises(NotCaughtUp):
        some.admit_delete(keys(2), 0, GUARD)
    with pytest.raises(NotCaughtUp):
        some.admit_add(AddRequest(batch([2], {"owner": "me"})), 0, guard=GUARD)
    some.apply(change)
    assert some.admit_delete(keys(2), 0, GUARD) is not None


def test_get_like_and_examples_do_not_find_them() -> None:
    some = window()
    found, hits = some.get(keys(1, 2, 3, 4), Include(), MINE)
    assert found.tolist() == [True, False, False, False]
    assert hits.seqs.tolist() == [1]
    for query in (
        Query(None, like=keys(2), visible=MINE),
        Query(None, examples=Examples((1, 2), (), MINE)),
        Query(None, examples=Examples((1,), (3,), MINE)),
    ):
        (outcome,) = some.search([query])
        assert isinstance(outcome, NotFound)
    (outcome,) = some.search([Query(None, like=keys(1), visible=MINE)])
    assert not isinstance(outcome, NotFound)
