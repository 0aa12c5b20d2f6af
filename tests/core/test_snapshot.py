"""A snapshot read in pieces while its window moves on gives the window of its version again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from omendb_core.model.budget import Budget, Share
from omendb_core.model.change import Change
from omendb_core.model.errors import BadRequest, Quota
from omendb_core.model.logged import KeptRows, ProducerState
from omendb_core.model.types import IdKind
from omendb_core.replay import checkpoint_of, kept_rows, replay, resume
from omendb_core.restored import Restored
from omendb_core.snapshot import Snapshot
from omendb_core.window import Window

from tests.core.windows import LIMITS, History, assert_same, definition


def copy_of(window: Window) -> Window:
    """The window again, as a log gives it back."""
    made = Window(window.definition, LIMITS)
    resume(made, checkpoint_of(window))
    if window.last_seq:
        replay(made, kept_rows(window, 1, window.last_seq))
    return made


class Reading:
    """A snapshot, and what came of it so far."""

    def __init__(self, window: Window) -> None:
        self.budget = Budget("b", 1 << 30)
        self.expected = copy_of(window)
        self.snapshot = Snapshot(window, Share(self.budget, "snapshot"))
        self.producers: list[ProducerState] = []
        self.has_producers = False
        self.parts: list[KeptRows] = []

    def read(self) -> bool:
        """A piece; whether there was one."""
        if not self.has_producers:
            found = self.snapshot.producers()
            self.producers += found
            self.has_producers = not found
            return True
        rows = self.snapshot.next_rows()
        self.parts += rows
        return bool(rows)

    def restored(self) -> Window:
        """The window that comes of it."""
        made = Window(self.snapshot.definition, LIMITS)
        restored = Restored(made, self.snapshot.checkpoint, self.producers, self.snapshot.rows)
        for rows in self.parts:
            restored.take(rows)
        restored.finish()
        return made


def moved(window: Window, reading: Reading, source: History) -> Change:
    change = source.change()
    reading.snapshot.before(change)
    window.apply(change)
    return change


@pytest.mark.parametrize("ids", ["auto", "u64", "str"])
@pytest.mark.parametrize("capacity", [1, 2, 9, 67])
def test_what_is_read_while_the_window_moves_on_is_the_window_of_that_version(
    ids: IdKind, capacity: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omendb_core.snapshot.PIECE_ROWS", 3)
    monkeypatch.setattr("omendb_core.snapshot.PIECE_SEQS", 5)
    monkeypatch.setattr("omendb_core.snapshot.PIECE_PARTS", 2)
    monkeypatch.setattr("omendb_core.snapshot.PIECE_PRODUCERS", 1)
    monkeypatch.setattr("omendb_core.snapshot._AHEAD_BYTES", 100)
    for seed in range(8):
        random = np.random.default_rng(seed)
        window = Window(definition(ids, capacity), LIMITS)
        source = History(window, seed, leaves_out=seed % 2 == 0)
        for _ in range(int(random.integers(80))):
            window.apply(source.change())
        reading = Reading(window)
        is_more = True
        while is_more:
            for _ in range(int(random.integers(4))):
                moved(window, reading, source)
            is_more = reading.read()
            window.check()
        again = reading.restored()
        assert_same(again, reading.expected)
        reading.snapshot.close()
        assert reading.budget.taken_bytes == 0
        assert window.admission.admitted.producers.watchers == []


def test_a_reader_that_does_not_read_holds_the_window_once_at_most() -> None:
    window = Window(definition(capacity=60, ttl=None), LIMITS)
    source = History(window, 5)
    for _ in range(200):
        window.apply(source.change())
    reading = Reading(window)
    for _ in range(400):
        moved(window, reading, source)
    kept = reading.snapshot.kept_bytes
    for _ in range(400):
        moved(window, reading, source)
    assert reading.snapshot.kept_bytes == kept  # all of it has left by then
    while reading.read():
        pass
    assert_same(reading.restored(), reading.expected)
    reading.snapshot.close()


def test_a_reader_that_keeps_up_keeps_next_to_nothing() -> None:
    window = Window(definition(capacity=60, ttl=None), LIMITS)
    source = History(window, 5)
    for _ in range(200):
        window.apply(source.change())
    reading = Reading(window)
    while reading.read():
        pass
    kept = reading.snapshot.kept_bytes
    for _ in range(200):
        moved(window, reading, source)
    assert reading.snapshot.kept_bytes == kept < 1000


def test_rows_that_find_no_room_end_the_snapshot_and_nothing_else() -> None:
    window = Window(definition(capacity=60, ttl=None), LIMITS)
    source = History(window, 5)
    for _ in range(200):
        window.apply(source.change())
    budget = Budget("max_memory_bytes", 2500)
    snapshot = Snapshot(window, Share(budget, ""))
    refused: list[str] = []
    for _ in range(200):
        change = source.change()
        try:
            snapshot.before(change)
        except Quota as error:
            refused.append(error.message)
            snapshot.close()
        window.apply(change)
    assert len(refused) == 1
    assert "rows kept for a snapshot take" in refused[0]
    snapshot.close()
    window.check()
    assert budget.taken_bytes == 0


def test_expiry_of_much_is_kept_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omendb_core.snapshot.PIECE_ROWS", 3)
    window = Window(definition("auto", capacity=60), LIMITS)
    source = History(window, 5)
    for _ in range(20):
        change = source.add()
        assert change is not None
        window.apply(change)
    reading = Reading(window)
    pieces = 1
    while not reading.snapshot.keep_some_below(window.last_seq + 1):
        pieces += 1
    assert pieces >= window.rows // 3 > 5
    expiry = window.admit_expire(source.now_us + 60_000_000)
    assert expiry is not None
    reading.snapshot.before(expiry)
    window.apply(expiry)
    assert window.rows == 0
    while reading.read():
        pass
    assert_same(reading.restored(), reading.expected)


def test_an_empty_window_is_one_too() -> None:
    window = Window(definition(), LIMITS)
    reading = Reading(window)
    while reading.read():
        pass
    assert_same(reading.restored(), window)


def _wrong(rows: KeptRows) -> dict[str, KeptRows]:
    vectors = rows.vectors.copy()
    vectors[1, 0] = np.nan
    twice = rows.seqs.copy()
    twice[0] = twice[1]
    return {
        "another version": replace(rows, version=rows.version + 1),
        "not finite": replace(rows, vectors=vectors),
        "another dimension": replace(rows, vectors=rows.vectors[:, :2]),
        "a seq twice": replace(rows, seqs=twice),
        "a seq beyond": replace(rows, seqs=rows.seqs + np.uint64(10**6)),
        "times of other seqs": replace(rows, last_seq=rows.last_seq + 1),
        "beyond the window": replace(
            rows, first_seq=rows.first_seq + 10**6, last_seq=rows.last_seq + 10**6
        ),
        "stands twice": replace(rows, ids=np.full(len(rows.seqs), 7, np.uint64)),
        "another kind": replace(rows, ids=["x"] * len(rows.seqs)),
        "not a declared column": replace(rows, columns={"none": rows.columns["price"]}),
    }


def test_rows_that_no_window_could_hold_are_refused() -> None:
    window = Window(definition(capacity=60, ttl=None), LIMITS)
    source = History(window, 5)
    for _ in range(100):
        window.apply(source.change())
    rows = kept_rows(window, 1, window.last_seq)
    for message, wrong in _wrong(rows).items():
        made = Window(window.definition, LIMITS)
        restored = Restored(made, checkpoint_of(window), (), window.rows)
        with pytest.raises(BadRequest, match=message):
            restored.take(wrong)
        assert made.rows == 0, message


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows: [], "0 rows came"),
        (lambda rows: [rows, rows], "a seq that came before"),
        (lambda rows: [replace(rows, times_us=rows.times_us[::-1].copy())], "another order"),
        (
            lambda rows: [replace(rows, first_seq=1, last_seq=0, times_us=rows.times_us[:0])],
            "some of the window did not come",
        ),
    ],
)
def test_what_is_missing_or_comes_twice_is_refused(
    spoil: Callable[[KeptRows], list[KeptRows]], message: str
) -> None:
    window = Window(definition(capacity=60, ttl=None), LIMITS)
    source = History(window, 5)
    for _ in range(100):
        source.now_us += 1
        window.apply(source.change())
    restored: Any = Restored(
        Window(window.definition, LIMITS), checkpoint_of(window), (), window.rows
    )
    spoiled = spoil(kept_rows(window, 1, window.last_seq))

    def take_all() -> None:
        for rows in spoiled:
            restored.take(rows)
        restored.finish()

    with pytest.raises(BadRequest, match=message):
        take_all()
