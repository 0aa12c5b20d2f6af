"""Which rows an owner states next: all of the window again and again, however many come."""

from __future__ import annotations

import pytest
from omendb_core.model.logged import Checkpoint
from omendb_core.model.types import Definition

from omendb_ws.journal.interface import Stated
from omendb_ws.journal.jetstream import statements
from omendb_ws.journal.jetstream.statements import STATED_BYTES, StreamStatements
from omendb_ws.journal.local.compaction import row_bytes

DEFINITION = Definition(dim=4, capacity=1000)
ROWS = 10


def of_ten_rows(monkeypatch: pytest.MonkeyPatch) -> StreamStatements:
    monkeypatch.setattr(statements, "PIECE_BYTES", ROWS * row_bytes(DEFINITION))
    return StreamStatements(DEFINITION, Checkpoint(), lambda _: None)


def stated(told: StreamStatements, first_seq: int, last_seq: int) -> tuple[int, int]:
    """The next stretch of a window that stands so, once that is due."""
    assert told.wanted(first_seq, last_seq) is None
    told.appended(STATED_BYTES)
    stretch = told.wanted(first_seq, last_seq)
    assert stretch is not None
    told.state(Stated(1, *stretch, 0))
    return stretch


def test_stretch_follows_stretch_and_behind_the_newest_row_comes_the_oldest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = of_ten_rows(monkeypatch)
    assert [stated(told, 1, 25) for _ in range(5)] == [
        (1, 10), (11, 20), (21, 25), (1, 10), (11, 20),
    ]  # fmt: skip


def test_rows_that_come_in_between_do_not_keep_the_old_ones_from_being_stated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = of_ten_rows(monkeypatch)
    found = [stated(told, 1, last_seq) for last_seq in range(5, 45, 3)]
    assert sum(first == 1 for first, _ in found) >= 4
    seen = {seq for first, last in found[-8:] for seq in range(first, last + 1)}
    assert seen >= set(range(1, 30))


def test_a_stretch_that_has_left_the_window_gives_way_to_the_oldest_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = of_ten_rows(monkeypatch)
    assert stated(told, 1, 100) == (1, 10)
    assert stated(told, 50, 150) == (50, 59)
