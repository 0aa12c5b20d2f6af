"""Selections that read deep: what is taken does not depend on how many rows are read at once."""

from __future__ import annotations

import numpy as np
import pytest
from omendb_core.model.change import AddRequest, RowBatch
from omendb_core.model.types import Definition
from omendb_core.ranking import selection
from omendb_core.ranking.selection import Selector
from omendb_core.ranking.shape import Group, Shape, Spread
from omendb_core.window import Window

from tests.oracle.numbers import score

ROWS = 3000


def filled() -> Window:
    """Long stretches of rows that are like the first one, then of rows that are like none."""
    rng = np.random.default_rng(3)
    like = np.array([[9.0, 0, 0, 0, 0, 0, 0, 0]], np.float32)
    apart = rng.standard_normal((ROWS, 8)).astype(np.float32)
    lengths = [700, 120, 900, 1, 40, 30, 600, 609]
    which = np.repeat(np.arange(len(lengths)) % 2 == 0, lengths)[:ROWS, None]
    vectors = np.where(which, like, apart).astype(np.float32)
    window = Window(Definition(8, ROWS, "dot", "auto", {"g": "i64"}))
    groups = rng.integers(0, 40, ROWS)
    batch = RowBatch(vectors, None, columns={"g": groups})
    window.apply(window.admit_add(AddRequest(batch), 0))  # type: ignore[arg-type]
    return window


def naive(window: Window, shape: Shape, k: int) -> list[int]:
    vectors = window.state.ring.vectors.tolist()
    groups = window.state.columns.values("g", np.arange(ROWS)).tolist()
    taken: list[int] = []
    for slot in range(ROWS):
        assert shape.spread is not None
        if any(score("dot", vectors[slot], vectors[other]) >= shape.spread.max_similarity
               for other in taken):  # fmt: skip
            continue
        mine = [other for other in taken if groups[other] == groups[slot]]
        if shape.group is None or len(mine) < shape.group.size:
            taken.append(slot)
        if len(taken) == k:
            break
    return taken


@pytest.mark.parametrize("group", [None, Group("g", 1), Group("g", 3)], ids=str)
@pytest.mark.parametrize("k", [1, 10, 33, 1000])
def test_blocks_that_grow_take_what_rows_one_by_one_take(group: Group | None, k: int) -> None:
    window = filled()
    for similarity in (80.0, 5.0, 0.5):
        shape = Shape(None, group, Spread(similarity))
        selector = Selector(window.state, shape, k)
        slots = np.arange(ROWS)
        selector.read(slots[:1111], np.zeros(1111, np.float32))
        selector.read(slots[1111:], np.zeros(ROWS - 1111, np.float32))
        assert selector.taken().tolist() == naive(window, shape, k)


def test_no_more_rows_are_held_against_each_other_than_are_worth_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where a block has grown long, and all of its rows are far from what was taken."""
    held: list[int] = []
    before = selection._likeness

    def likeness(state, slots):  # type: ignore[no-untyped-def]
        held.append(len(slots))
        return before(state, slots)

    monkeypatch.setattr(selection, "_likeness", likeness)
    window = filled()
    selector = Selector(window.state, Shape(None, None, Spread(80.0)), 1000)
    pieces = selector.read_in_pieces(np.arange(ROWS), np.zeros(ROWS, np.float32))
    count = sum(1 for _ in pieces)
    assert max(held) == selection._SPREAD_ROWS
    assert count < ROWS / selection._SPREAD_ROWS
