"""Selections that read deep: what is taken does not depend on how many rows are read at once."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import pytest
from omendb_core import native
from omendb_core.model.change import AddRequest, RowBatch
from omendb_core.model.types import F32, I64, Definition, Metric
from omendb_core.ranking import apart, marginal
from omendb_core.ranking.apart import Apart
from omendb_core.ranking.selection import Selector
from omendb_core.ranking.shape import Group, Mmr, Shape, Spread
from omendb_core.scan import choice as scan
from omendb_core.scoring.score import score_chosen
from omendb_core.window import Window

from tests.core import hard_data
from tests.core.variants import (
    NUMPY,
    VARIANTS,
    computing_with,
    each_variant,  # noqa: F401
)
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
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMENDB_KERNEL", scan.names()[0] if native.is_used else scan.REFERENCE)
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


def of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have few rows count as many that were taken, and be looked at by three."""
    monkeypatch.setattr(apart, "_MANY", 2)
    monkeypatch.setattr(apart, "_TOGETHER", 3)
    monkeypatch.setattr(apart, "_PIECE_ELEMENTS", 9 * 40)


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("group", [None, Group("g", 1), Group("g", 3)], ids=str)
@pytest.mark.parametrize("k", [1, 10, 33, 1000])
@pytest.mark.parametrize("are_many", [False, True], ids=["", "of many"])
def test_blocks_that_grow_take_what_rows_one_by_one_take(
    group: Group | None, k: int, are_many: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if are_many:
        of_many(monkeypatch)
    window = filled()
    for similarity in (80.0, 5.0, 0.5):
        shape = Shape(None, group, Spread(similarity))
        selector = Selector(window.state, shape, k)
        slots = np.arange(ROWS)
        selector.read(slots[:1111], np.zeros(1111, np.float32))
        selector.read(slots[1111:], np.zeros(ROWS - 1111, np.float32))
        assert selector.places().tolist() == naive(window, shape, k)


def test_no_more_rows_are_held_against_each_other_than_are_worth_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where a block has grown long, and all of its rows are far from what was taken."""
    held: list[int] = []
    before = Apart._likeness

    def likeness(self: Apart, slots: I64) -> F32:
        held.append(len(slots))
        return before(self, slots)

    monkeypatch.setattr(Apart, "_likeness", likeness)
    with computing_with(NUMPY):
        window = filled()
        selector = Selector(window.state, Shape(None, None, Spread(80.0)), 1000)
        pieces = selector.read_in_pieces(np.arange(ROWS), np.zeros(ROWS, np.float32))
        count = sum(1 for _ in pieces)
    assert max(held) == apart._ROWS
    assert count < ROWS / apart._ROWS


@pytest.mark.parametrize(("metric", "name"), hard_data.CASES)
@pytest.mark.parametrize("mmr", [Mmr(0.0, 300), Mmr(0.3, 300), Mmr(1.0, 300)], ids=str)
def test_every_engine_takes_the_same_marginal_rows_of_hard_data(
    metric: Metric, name: str, mmr: Mmr, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marginal, "_PIECE_ELEMENTS", 300 * 9 * 7)  # seven steps in a piece
    rng = np.random.default_rng(1)
    raw = (hard_data.DATA | hard_data.TINY_DATA)[name](rng, 300, 9)
    found = []
    for variant in VARIANTS:
        with computing_with(variant):
            window = Window(Definition(9, 300, metric, "auto"))
            window.apply(window.admit_add(AddRequest(RowBatch(raw, None)), 0))  # type: ignore[arg-type]
            vectors = window.state.ring.vectors
            slots = np.arange(299, -1, -1)
            scores = score_chosen(metric, vectors, slots, vectors[:1], np.zeros(300, np.int64))
            selector = Selector(window.state, Shape(mmr=mmr), 60)
            selector.read(slots, scores)
            found.append(ended(selector.taken_in_pieces())[0].tolist())
    assert len(set(found[0])) == 60
    assert all(one == found[0] for one in found)


@pytest.mark.parametrize(("metric", "name"), hard_data.CASES)
def test_every_engine_and_kernel_takes_the_same_rows_of_hard_data_that_are_apart(
    metric: Metric, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    raw = (hard_data.DATA | hard_data.TINY_DATA)[name](rng, 200, 9)
    slots, scores = np.arange(200), np.zeros(200, np.float32)
    with computing_with(NUMPY):
        window = filled_with(metric, raw, scan.REFERENCE)
        vectors = window.state.ring.vectors
        known = score_chosen(metric, vectors, slots, vectors, rng.permutation(200))
        limits = [float(one) for one in np.quantile(known, [0.1, 0.5, 0.9], method="nearest")]
        if metric == "l2":
            limits = [min(one, 0.0) for one in limits]
    found = []
    for kernel in scan.names():
        for variant in VARIANTS:
            if variant == NUMPY and kernel != scan.REFERENCE:
                continue  # who has the one has the other
            for are_many in (False, True):
                with computing_with(variant), monkeypatch.context() as patch:
                    if are_many:
                        of_many(patch)
                    window = filled_with(metric, raw, kernel)
                    places = []
                    for limit in limits:
                        selector = Selector(window.state, Shape(spread=Spread(limit)), 60)
                        selector.read(slots, scores)
                        places.append(selector.places().tolist())
                    found.append(places)
    assert all(one == found[0] for one in found)


def filled_with(metric: Metric, raw: F32, kernel: str) -> Window:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMENDB_KERNEL", kernel)
        window = Window(Definition(raw.shape[1], len(raw), metric, "auto"))
    window.apply(window.admit_add(AddRequest(RowBatch(raw, None)), 0))  # type: ignore[arg-type]
    return window


def ended(steps: Generator[None, None, tuple[I64, F32]]) -> tuple[I64, F32]:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: tuple[I64, F32] = end.value
            return found
