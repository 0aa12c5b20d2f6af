"""A log that starts late, with live rows written again, gives the window that was logged."""

from __future__ import annotations

import numpy as np
import pytest
from omendb_core.model.change import AddChange, AddRequest, Change, RowBatch
from omendb_core.model.logged import KeptRows
from omendb_core.model.types import IdKind
from omendb_core.replay import checkpoint_of, kept_rows, replay, resume
from omendb_core.window import Window

from tests.core.windows import LIMITS, assert_same, definition, history


@pytest.mark.parametrize("ids", ["auto", "u64", "str"])
@pytest.mark.parametrize("capacity", [1, 2, 9, 67])
def test_a_log_that_starts_with_rows_written_again_gives_the_same_window(
    ids: IdKind, capacity: int
) -> None:
    for seed in range(25):
        random = np.random.default_rng(seed)
        window = Window(definition(ids, capacity), LIMITS)
        changes = history(window, seed, 130, leaves_out=seed % 2 == 0)
        for _ in range(int(random.integers(60))):
            next(changes)
        begun = checkpoint_of(window)
        next_seq = begun.first_seq
        logged: list[Change | KeptRows] = []
        for change in changes:
            logged.append(change)
            while next_seq <= begun.last_seq and random.random() < 0.5:
                last_seq = min(begun.last_seq, next_seq + int(random.integers(4)))
                logged.append(kept_rows(window, next_seq, last_seq))
                next_seq = last_seq + 1
        again = Window(definition(ids, capacity), LIMITS)
        resume(again, begun)
        for one in logged:
            replay(again, one)
        assert_same(again, window)
        for change in history(window, seed + 1000, 20):
            replay(again, change)
        assert_same(again, window)


def test_rows_written_again_change_nothing_in_a_window_that_holds_them() -> None:
    window, again = (Window(definition(), LIMITS) for _ in range(2))
    for change in history(window, 1, 60):
        replay(again, change)
        replay(again, kept_rows(window, 1, window.last_seq))
        assert_same(again, window)


def test_rows_to_be_written_again_are_looked_for_inside_the_window_only() -> None:
    window = Window(definition(capacity=2), LIMITS)
    for _ in history(window, 3, 30):
        pass
    assert window.first_seq > 1
    rows = kept_rows(window, 1, 10**6)
    assert (rows.first_seq, rows.last_seq) == (window.first_seq, window.last_seq)
    none = kept_rows(window, 1, window.first_seq - 1)
    assert not len(none.seqs)
    assert not len(none.times_us)


def test_a_producer_that_only_repeats_itself_is_as_silent_after_a_replay() -> None:
    window, again = (Window(definition("auto"), LIMITS) for _ in range(2))

    def add(producer: str, batch: int) -> None:
        rows = RowBatch(np.ones((1, 3), np.float32))
        change = window.admit_add(AddRequest(rows, producer, batch), 1)
        if isinstance(change, AddChange):
            window.apply(change)
            replay(again, change)

    for producer in ("a", "b", "c"):
        add(producer, 1)
    add("a", 1)  # a repeated batch is no change, and is in no log
    add("d", 1)  # of three, one is forgotten
    assert_same(again, window)
