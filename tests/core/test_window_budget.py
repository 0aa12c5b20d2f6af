"""What a window holds is charged before it is held, and what does not fit changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from omendb_core.model.budget import Budget, Share
from omendb_core.model.change import AddChange, AddRequest, NotCaughtUp, RowBatch, UpdateRequest
from omendb_core.model.errors import Quota
from omendb_core.model.logged import Checkpoint
from omendb_core.model.types import Definition, WindowLimits
from omendb_core.replay import kept_rows, replay, resume
from omendb_core.state import reserved_bytes
from omendb_core.window import Window

BUDGET_BYTES = 4 << 20
CAPACITY = 500


def window(budget: Budget, capacity: int = CAPACITY, **fields: Any) -> Window:
    made = Window(Definition(2, capacity, **fields), share=Share(budget, "this window takes"))
    made.share.resize(reserved_bytes(made.definition, made.state.scan))
    return made


def add(held: Window, ids: Any, size: int = 0, **fields: Any) -> None:
    held.apply(admit(held, ids, size, **fields))


def admit(held: Window, ids: Any, size: int = 0, **fields: Any) -> AddChange:
    ids = list(ids)
    payloads = [b"x" * size] * len(ids) if size else None
    given = ids if isinstance(ids[0], str) else np.array(ids, np.uint64)
    rows = RowBatch(np.ones((len(ids), 2), np.float32), given, {}, None, payloads)
    change = held.admit_add(AddRequest(rows, **fields), 1)
    assert isinstance(change, AddChange)
    return change


def state(held: Window) -> tuple[Any, ...]:
    admission = held.admission.admitted
    return (
        held.version, held.last_seq, held.rows, held.payload_bytes, admission.version,
        admission.last_seq, admission.producers.state(), held.share.taken_bytes,
    )  # fmt: skip


def test_rows_that_do_not_fit_are_refused_and_change_nothing() -> None:
    budget = Budget("max_memory_bytes", BUDGET_BYTES)
    held = window(budget)
    empty = budget.taken_bytes
    add(held, range(100), 4000)
    assert budget.taken_bytes - empty >= 400_000
    budget.take(BUDGET_BYTES - budget.taken_bytes - 100_000, "others take")
    before = state(held)
    with pytest.raises(Quota, match="max_memory_bytes: metadata, ids and texts"):
        admit(held, range(100, 150), 4000)
    with pytest.raises(Quota, match="max_memory_bytes"):
        admit(held, range(100, 150), 4000, producer="p", batch=1)
    ids = np.arange(100, dtype=np.uint64)
    held.admission.limits = WindowLimits(max_metadata_bytes=8192)
    with pytest.raises(Quota, match="max_memory_bytes"):
        held.admit_update(UpdateRequest(ids, [{}] * 100, [b"y" * 8000] * 100), 1)
    assert state(held) == before
    held.check()
    add(held, range(100, 110), 40)  # what fits goes in
    add(held, range(100, 150))  # and what needs nothing


def test_a_stream_goes_on_where_the_budget_is_full() -> None:
    """Its rows take the place of others of their size, and dead ones of it are let go of."""
    budget = Budget("max_memory_bytes", BUDGET_BYTES)
    held = window(budget)
    for start in range(0, CAPACITY, 50):
        add(held, range(start, start + 50), 2000)
    budget.take(BUDGET_BYTES - budget.taken_bytes, "others take")
    for start in range(CAPACITY, 10 * CAPACITY, 50):
        add(held, range(start, start + 50), 2000)
        # A block is begun before the oldest one is empty.
        assert budget.taken_bytes <= BUDGET_BYTES + (512 << 10)
    held.check()


def test_what_leaves_is_given_back() -> None:
    budget = Budget("max_memory_bytes", BUDGET_BYTES)
    held = window(budget, ids="str")
    empty = budget.taken_bytes
    add(held, [f"id-{n}" for n in range(300)], 1000, producer="p", batch=1)
    full = budget.taken_bytes
    assert full - empty >= 300_000
    change = held.admit_delete([f"id-{n}" for n in range(300)], 1)
    assert change is not None
    held.apply(change)
    left = budget.taken_bytes - empty
    assert left <= 2 * 12 * CAPACITY + 4096  # places of payloads and ids, and a producer
    del held, change
    assert budget.taken_bytes == 0


def test_changes_on_their_way_are_charged_and_behind_them_one_waits() -> None:
    budget = Budget("max_memory_bytes", BUDGET_BYTES)
    held = window(budget)
    one = admit(held, range(50), 4000)
    charged = budget.taken_bytes
    budget.take(BUDGET_BYTES - charged - 50_000, "others take")
    with pytest.raises(NotCaughtUp):  # it may fit once rows have left, or not
        admit(held, range(50, 100), 4000)
    held.apply(one)
    assert budget.taken_bytes <= BUDGET_BYTES - 50_000
    with pytest.raises(Quota):
        admit(held, range(50, 100), 4000)
    two = admit(held, range(50, 55), 4000)
    held.rewind(Checkpoint(held.version, 1, held.last_seq, 1))
    taken = held.share.taken_bytes
    assert taken == held.taken_bytes
    del two


def test_a_replay_is_held_to_the_budget_as_admission_is() -> None:
    wide = Budget("max_memory_bytes", BUDGET_BYTES)
    held = window(wide)
    changes = []
    for start in range(0, 4 * CAPACITY, 50):
        changes.append(admit(held, range(start, start + 50), 2000))
        held.apply(changes[-1])
    kept = kept_rows(held, 1, held.last_seq)
    taken = wide.taken_bytes

    exact = Budget("max_memory_bytes", taken + (64 << 10))
    again = window(exact)
    resume(again, Checkpoint())
    for change in changes:  # what was admitted fits again
        replay(again, change)
        again.refuse_beyond_budget()
    replay(again, kept)
    again.refuse_beyond_budget()
    assert again.share.taken_bytes == again.taken_bytes

    narrow = Budget("max_memory_bytes", taken // 2)
    less = window(narrow)
    resume(less, Checkpoint())

    def all_again() -> None:
        for change in changes:
            replay(less, change)
            less.refuse_beyond_budget()

    with pytest.raises(Quota, match="max_memory_bytes: metadata, ids and texts"):
        all_again()
