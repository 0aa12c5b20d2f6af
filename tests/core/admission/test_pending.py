"""Changes that are admitted before those ahead of them are applied."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from omendb_core.model.change import (
    AddChange,
    AddRequest,
    Change,
    NotCaughtUp,
    RowBatch,
    UpdateRequest,
)
from omendb_core.model.errors import NotFound, Quota
from omendb_core.model.types import Definition, WindowLimits
from omendb_core.window import Window


def rows(first: int, count: int, payload: bytes | None = None) -> AddRequest:
    vectors = np.full((count, 2), first, np.float32)
    payloads = None if payload is None else [payload] * count
    metadata = None if payload is None else [{}] * count
    ids = np.arange(first, first + count, dtype=np.uint64)
    return AddRequest(RowBatch(vectors, ids, metadata=metadata, payloads=payloads))


def window(capacity: int = 8, max_payload_bytes: int = 100, ttl: float | None = None) -> Window:
    limits = WindowLimits(max_payload_bytes=max_payload_bytes)
    return Window(Definition(2, capacity, "dot", ttl_seconds=ttl), limits)


def admitted(found: Window, request: AddRequest, now_us: int = 1) -> AddChange:
    change = found.admit_add(request, now_us)
    assert isinstance(change, AddChange)
    return change


def test_adds_are_admitted_one_behind_the_other() -> None:
    found = window()
    first, second = admitted(found, rows(1, 3)), admitted(found, rows(4, 2))
    assert (second.version, second.first_seq) == (2, 4)
    assert not found.has_caught_up
    found.apply(first)
    found.apply(second)
    assert found.has_caught_up
    found.check()


def test_what_looks_rows_up_waits_for_the_adds_ahead_of_it() -> None:
    found = window()
    change = admitted(found, rows(1, 3))
    ids = np.array([1], np.uint64)
    with pytest.raises(NotCaughtUp):
        found.admit_delete(ids, 1)
    with pytest.raises(NotCaughtUp):
        found.admit_update(UpdateRequest(ids, [{}], [None]), 1)
    assert found.admission.admitted.version == 1
    found.apply(change)
    delete = found.admit_delete(ids, 1)
    assert delete is not None
    found.apply(delete)
    found.check()


def test_deletes_and_updates_are_admitted_behind_each_other() -> None:
    found = window()
    found.apply(admitted(found, rows(1, 4)))
    ids = np.array([1, 2], np.uint64)
    first = found.admit_delete(ids, 1)
    assert first is not None
    assert found.admit_delete(ids, 1) is None
    with pytest.raises(NotFound) as caught:
        found.admit_update(UpdateRequest(np.array([3, 2], np.uint64), [{}, {}], [None, None]), 1)
    assert caught.value.row == 1
    second = found.admit_delete(np.array([2, 3], np.uint64), 1)
    assert second is not None
    assert second.seqs.tolist() == [3]
    change = found.admit_update(UpdateRequest(np.array([4], np.uint64), [{}], [None]), 1)
    for one in (first, second, change):
        found.apply(one)
    assert (found.rows, found.state.deleted) == (1, 3)
    found.check()


def test_what_expires_on_its_way_is_not_there_any_more() -> None:
    found = window(ttl=1.0)
    found.apply(admitted(found, rows(1, 2), 0))
    expire = found.admit_expire(2_000_000)
    assert expire is not None
    assert found.admit_delete(np.array([1, 2], np.uint64), 2_000_000) is None
    found.apply(expire)
    assert (found.state.expired, found.state.deleted) == (2, 0)
    found.check()


def outcome(asked: Callable[[Window], object], found: Window) -> object:
    """The change, or what is wrong. NotCaughtUp."""
    try:
        return asked(found)
    except (NotFound, Quota) as error:
        return type(error), error.row


@pytest.mark.parametrize("seed", range(20))
def test_changes_admitted_ahead_are_those_admitted_in_time(seed: int) -> None:
    """One window applies at once, the other late; both must become the same."""
    chance = np.random.default_rng(seed)
    limit = int(chance.choice([150, 10_000]))
    prompt, late = (window(40, max_payload_bytes=limit, ttl=3.0) for _ in range(2))
    waiting: list[Change] = []

    def land(count: int) -> None:
        for change in waiting[:count]:
            late.apply(change)
        del waiting[:count]

    for step in range(300):
        now_us = step * 20_000
        ids = chance.choice(30, int(chance.integers(1, 6)), replace=False).astype(np.uint64)
        payload = [b"x" * int(chance.integers(0, 9)) or None for _ in ids]
        kind = chance.choice(["add", "add", "delete", "update", "expire"])

        vectors = np.full((len(ids), 2), step, np.float32)
        batch = RowBatch(vectors, ids, metadata=[{}] * len(ids), payloads=payload)
        update = UpdateRequest(ids, [{}] * len(ids), payload)
        asked = {
            "add": partial(Window.admit_add, request=AddRequest(batch), now_us=now_us),
            "delete": partial(Window.admit_delete, ids=ids, now_us=now_us),
            "update": partial(Window.admit_update, request=update, now_us=now_us),
            "expire": partial(Window.admit_expire, now_us=now_us),
        }[str(kind)]
        if kind == "expire":
            land(len(waiting))
        wanted = outcome(asked, prompt)
        try:
            got = outcome(asked, late)
        except NotCaughtUp:
            land(len(waiting))
            got = outcome(asked, late)
        if isinstance(wanted, Change):
            assert isinstance(got, type(wanted))
            assert str(got) == str(wanted)
            prompt.apply(wanted)
            waiting.append(got)
        else:
            assert got == wanted
        if chance.random() < 0.3:
            land(int(chance.integers(0, len(waiting) + 1)))
    land(len(waiting))
    prompt.check()
    late.check()
    assert late.payload_bytes == prompt.payload_bytes
    first, last = prompt.first_seq, prompt.last_seq
    assert (late.first_seq, late.last_seq, late.rows) == (first, last, prompt.rows)


def test_payloads_on_their_way_count_for_the_quota() -> None:
    found = window(max_payload_bytes=100)
    first = admitted(found, rows(1, 2, b"x" * 30))
    with pytest.raises(NotCaughtUp):  # it may fit once rows have left, or not
        found.admit_add(rows(3, 2, b"x" * 30), 1)
    found.apply(first)
    with pytest.raises(Quota):
        found.admit_add(rows(3, 2, b"x" * 30), 1)
    found.apply(admitted(found, rows(3, 1, b"x" * 30)))
    assert found.payload_bytes == 90


def test_what_replaces_rows_on_their_way_fits_once_they_are_there() -> None:
    found = window(capacity=2, max_payload_bytes=100)
    first = admitted(found, rows(1, 2, b"x" * 45))
    with pytest.raises(NotCaughtUp):
        found.admit_add(rows(1, 2, b"y" * 50), 1)
    found.apply(first)
    found.apply(admitted(found, rows(1, 2, b"y" * 50)))
    assert found.payload_bytes == 100
    found.check()


def test_expiry_may_be_admitted_behind_adds_that_evict_what_it_takes_out() -> None:
    found = window(capacity=4, ttl=1.0)
    found.apply(admitted(found, rows(1, 3), 0))
    add = admitted(found, rows(4, 4), 2_000_000)
    expire = found.admit_expire(2_000_000)
    assert expire is not None
    assert (expire.first_seq, expire.version) == (4, 3)
    found.apply(add)
    found.apply(expire)
    assert (found.rows, found.first_seq, found.state.expired) == (4, 4, 0)
    found.check()
