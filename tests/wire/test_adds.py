"""Plain adds are read as ``binary`` reads any add."""

from __future__ import annotations

import random

import numpy as np
import pytest
from omendb_core.model.change import RowBatch

from omendb_ws.wire import adds, binary
from omendb_ws.wire.messages import Add, Refusal, Request
from omendb_ws.wire.opcodes import HEADER_BYTES, Limits

LIMITS = Limits(max_rows=5, max_dim=8)


@pytest.fixture(autouse=True)
def no_short_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """``binary`` reads every add by the table of its sections."""
    monkeypatch.setattr(binary, "read_plain_add", lambda frame, limits: None)


def frame(n: int, dim: int, with_ids: bool = True) -> bytes:
    vectors = np.arange(n * dim, dtype=np.float32).reshape(n, dim)
    ids = np.arange(10, 10 + n, dtype=np.uint64) if with_ids else None
    return binary.encode_add(7, 9, RowBatch(vectors, ids))


def same(plain: Add, read: Request | Refusal) -> None:
    assert isinstance(read, Add)
    assert isinstance(plain.rows, RowBatch)
    assert isinstance(read.rows, RowBatch)
    for name in ("id", "collection", "producer", "batch", "binary"):
        assert getattr(plain, name) == getattr(read, name)
    for name in ("vectors", "ids"):
        mine, theirs = getattr(plain.rows, name), getattr(read.rows, name)
        assert (mine is None) == (theirs is None)
        if mine is not None:
            assert mine.dtype == theirs.dtype
            assert mine.shape == theirs.shape
            assert mine.tobytes() == theirs.tobytes()
    assert (plain.rows.columns, plain.rows.metadata, plain.rows.payloads) == ({}, None, None)
    assert (read.rows.columns, read.rows.metadata, read.rows.payloads) == ({}, None, None)


@pytest.mark.parametrize(("n", "dim"), [(1, 2), (2, 1), (5, 8), (4, 3)])
@pytest.mark.parametrize("with_ids", [True, False])
def test_a_plain_add_is_read_as_any_other(n: int, dim: int, with_ids: bool) -> None:
    data = frame(n, dim, with_ids)
    found = adds.read_plain(data, LIMITS)
    assert found is not None
    same(found, binary.decode_request(data, LIMITS))


def test_the_short_cut_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    read = binary.decode_request(frame(2, 2), LIMITS)
    assert isinstance(read, Add)
    same(read, read)


@pytest.mark.parametrize("with_ids", [True, False])
def test_whatever_is_changed_in_the_header_is_plain_only_if_it_is_right(with_ids: bool) -> None:
    numbers = random.Random(1)
    data, kept = frame(2, 4, with_ids), 0
    for place in range(HEADER_BYTES):
        for value in {0, 1, 2, 3, 7, 255, *numbers.sample(range(256), 20)}:
            other = bytearray(data)
            other[place] = value
            found = adds.read_plain(bytes(other), LIMITS)
            if found is not None:
                kept += 1
                same(found, binary.decode_request(bytes(other), LIMITS))
    assert kept > 100


@pytest.mark.parametrize(
    "data",
    [
        b"",
        frame(1, 2)[:HEADER_BYTES],
        frame(1, 2)[:-1],
        frame(1, 2) + bytes(8),
        frame(1, 1),  # padded
        frame(6, 2),
        frame(1, 9),
        binary.encode_add(7, 9, RowBatch(np.ones((1, 2), np.float32)), "cam", 1),
        binary.encode_add(7, 9, RowBatch(np.ones((1, 2), np.float32), ["a"])),
        binary.encode_search(7, 9, np.ones((1, 2), np.float32)),
    ],
)
def test_anything_else_is_not_plain(data: bytes) -> None:
    assert adds.read_plain(data, LIMITS) is None
