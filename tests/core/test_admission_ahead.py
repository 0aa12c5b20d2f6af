"""Changes that are admitted before those ahead of them are applied."""

from __future__ import annotations

import numpy as np
import pytest
from omendb_core.change import AddChange, AddRequest, Behind, RowBatch, UpdateRequest
from omendb_core.errors import Quota
from omendb_core.types import Definition, WindowLimits
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


def test_what_looks_rows_up_waits_for_the_changes_ahead_of_it() -> None:
    found = window()
    change = admitted(found, rows(1, 3))
    ids = np.array([1], np.uint64)
    with pytest.raises(Behind):
        found.admit_delete(ids, 1)
    with pytest.raises(Behind):
        found.admit_update(UpdateRequest(ids, [{}], [None]), 1)
    assert found.admission.version == 1
    found.apply(change)
    delete = found.admit_delete(ids, 1)
    assert delete is not None
    found.apply(delete)
    found.check()


def test_payloads_on_their_way_count_for_the_quota() -> None:
    found = window(max_payload_bytes=100)
    first = admitted(found, rows(1, 2, b"x" * 30))
    with pytest.raises(Behind):  # it may fit once rows have left, or not
        found.admit_add(rows(3, 2, b"x" * 30), 1)
    found.apply(first)
    with pytest.raises(Quota):
        found.admit_add(rows(3, 2, b"x" * 30), 1)
    found.apply(admitted(found, rows(3, 1, b"x" * 30)))
    assert found.payload_bytes == 90


def test_what_replaces_rows_on_their_way_fits_once_they_are_there() -> None:
    found = window(capacity=2, max_payload_bytes=100)
    first = admitted(found, rows(1, 2, b"x" * 45))
    with pytest.raises(Behind):
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
    assert (found.rows, found.first_seq, found.expired) == (4, 4, 0)
    found.check()
