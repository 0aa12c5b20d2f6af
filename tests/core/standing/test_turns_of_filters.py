"""Lists made anew behind masks that are missing: a bounded part of those in each ``advance``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from omendb_core.filters import mask_cache
from omendb_core.filters.mask_cache import MASKS
from omendb_core.filters.masks import evaluate, evaluate_block
from omendb_core.filters.parser import parse
from omendb_core.model.change import AddRequest, RowBatch
from omendb_core.model.types import Definition
from omendb_core.standing import turns_of_filters
from omendb_core.standing.table import StandingQuery
from omendb_core.window import Window

ROWS = 300
BLOCK = 64
BLOCKS = -(-ROWS // BLOCK)
COLUMNS: Any = {"n": "i64"}
#: More than a window keeps masks of.
FILTERS = MASKS + 8


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is evaluated: whole masks, and blocks of some."""
    seen: list[str] = []

    def whole(filter_: Any, columns: Any, slots: Any) -> Any:
        if slots is None:
            seen.append("whole")
        return evaluate(filter_, columns, slots)

    def block(*arguments: Any) -> Any:
        seen.append("block")
        return evaluate_block(*arguments)

    monkeypatch.setattr(mask_cache, "evaluate", whole)
    monkeypatch.setattr(mask_cache, "evaluate_block", block)
    monkeypatch.setattr(mask_cache, "BLOCK_ROWS", BLOCK)
    return seen


def waiting(count: int) -> Window:
    """A window with a live query for each of so many filters, none of which has its list."""
    window = Window(Definition(2, ROWS, "dot", "auto", COLUMNS))
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((ROWS, 2)).astype(np.float32)
    columns = {"n": np.arange(ROWS)}
    window.apply(window.admit_add(AddRequest(RowBatch(vectors, columns=columns)), 0))  # type: ignore[arg-type]
    queries = [
        StandingQuery(3, parse({"n": {"$lt": 20 + number}}, COLUMNS)) for number in range(count)
    ]
    handles = window.standing.add(queries, vectors[:count])
    window.standing.lists.wait(handles)
    window.state.masks._masks.clear()
    return window


def until_there(window: Window, seen: list[str]) -> list[list[str]]:
    """What each ``advance`` evaluates until every list is there."""
    found = []
    while window.standing.behind:
        seen.clear()
        window.standing.advance()
        found.append(seen.copy())
    window.standing.check()
    return found


def test_masks_that_take_long_are_made_by_blocks(
    made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    window = waiting(FILTERS)
    monkeypatch.setattr(mask_cache, "AT_ONCE_NS", 0)
    found = until_there(window, made)
    assert all(one == ["block"] for one in found), "an advance made more than a block"
    assert len(found) == FILTERS * BLOCKS, "a mask was made twice"


def test_short_masks_are_made_up_to_the_work_of_a_block(
    made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    window = waiting(FILTERS)
    (filter_, *_) = window.standing.table.distinct_filters.by_number.values()
    cost = window.state.masks.cost_ns(filter_)
    assert cost >= ROWS
    monkeypatch.setattr(turns_of_filters, "AT_ONCE_NS", 3 * cost)
    found = until_there(window, made)
    assert [len(one) for one in found] == [3] * (FILTERS // 3) + [1] * (FILTERS % 3 > 0)
    assert {what for one in found for what in one} == {"whole"}


def test_a_mask_that_is_more_work_than_that_is_made_all_the_same(
    made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    window = waiting(3)
    monkeypatch.setattr(turns_of_filters, "AT_ONCE_NS", 1)
    assert until_there(window, made) == [["whole"]] * 3


def test_filters_without_a_mask_have_their_turns(
    made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often the first ones come back."""
    window = waiting(6)
    monkeypatch.setattr(turns_of_filters, "AT_ONCE_NS", 1)
    handles = np.arange(6)
    for _ in range(6):
        window.standing.advance()
        window.state.masks._masks.clear()
        again = handles[:3]
        window.standing.lists.wait(again[~np.isin(again, list(window.standing.lists.waiting))])
    assert not set(handles[3:].tolist()) & window.standing.lists.waiting
    until_there(window, made)


def test_lists_whose_masks_are_there_wait_for_no_mask(
    made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    window = waiting(4)
    masks, filters = window.state.masks, window.standing.table.distinct_filters.by_number
    for number in (1, 3):
        masks.words(filters[number])
    monkeypatch.setattr(mask_cache, "AT_ONCE_NS", 0)
    made.clear()
    window.standing.advance()
    assert window.standing.lists.waiting == {0, 2}
    assert made == ["block"]
    until_there(window, made)
