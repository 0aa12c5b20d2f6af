"""Every kind of change goes into a record and comes out as it was, to the bit."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import orjson
import pytest
from omendb_core.model.change import AddChange
from omendb_core.model.logged import Checkpoint, KeptRows
from omendb_core.model.types import IdKind, StrColumn
from omendb_core.replay import kept_rows
from omendb_core.window import Window

from omendb_ws.journal.interface import Logged, Manifest
from omendb_ws.journal.local import records
from omendb_ws.journal.local.contents import body_of, logged_of
from omendb_ws.journal.local.layout import Malformed
from omendb_ws.journal.local.openings import Opening, Previous, opening_body, opening_of
from omendb_ws.journal.local.records import Body
from tests.core.windows import LIMITS, definition, history

SEED = 2**64 - 5  # near the end, so that seed + offset wraps


def as_bytes(body: Body, offset: int, flushed_to: int = 0) -> bytearray:
    return bytearray(offset) + b"".join(records.encode(body, SEED, offset, flushed_to))


def read(data: bytearray, offset: int) -> Logged:
    view = memoryview(data)
    header = records.read_header(view, SEED, offset)
    assert header is not None
    payload = records.payload(view, header, SEED, offset)
    assert payload is not None
    return logged_of(header, payload)


def plain(value: Any) -> Any:
    """Something that two equal records give alike, and unequal ones do not; bits, not values."""
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, StrColumn):
        return (plain(value.codes), value.dictionary)
    if dataclasses.is_dataclass(value):
        fields = [plain(getattr(value, field.name)) for field in dataclasses.fields(value)]
        return (type(value), fields)
    if isinstance(value, dict):
        return [(name, plain(one)) for name, one in value.items()]
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("ids", ["auto", "u64", "str"])
def test_every_change_and_kept_rows_come_back_to_the_bit(ids: IdKind) -> None:
    window = Window(definition(ids, capacity=40), LIMITS)
    kinds, empty = set(), 0
    for place, change in enumerate(history(window, 5, 300, leaves_out=True)):
        offset = place * 8
        empty += isinstance(change, AddChange) and change.is_empty
        for logged in (change, kept_rows(window, 1, window.last_seq)):
            kinds.add(type(logged))
            body = body_of(logged)
            data = as_bytes(body, offset)
            assert len(data) == offset + body.record_bytes
            assert len(data) % records.ALIGNMENT == 0
            assert plain(read(data, offset)) == plain(logged)
    assert len(kinds) == 5
    assert empty > 5


def test_an_add_of_no_rows_and_no_batch_is_malformed() -> None:
    body = body_of(AddChange(3, 1, 5, np.empty((0, 3), np.float32), None, {}, None, None, None))
    with pytest.raises(Malformed, match="an add of nothing"):
        read(as_bytes(body, 8), 8)


def test_vectors_are_written_from_where_they_lie() -> None:
    window = Window(definition("u64", capacity=4096, dim=128), LIMITS)
    rows = dataclasses.replace(
        kept_rows(window, 1, 0),
        last_seq=512,
        times_us=np.arange(512),
        seqs=np.arange(512, dtype=np.uint64),
        vectors=np.random.default_rng(0).random((512, 128), np.float32),
        ids=np.arange(512, dtype=np.uint64),
        columns={},
    )
    buffers = body_of(rows).buffers
    assert any(isinstance(buffer, memoryview) and buffer.obj is rows.vectors for buffer in buffers)
    assert plain(read(as_bytes(body_of(rows), 8), 8)) == plain(rows)


def test_an_opening_comes_back_as_it_was() -> None:
    checkpoint = Checkpoint(7, 3, 9, -5, (("a", 2, ((1, 2), (3, 9))), ("ü", 1, ())))
    manifest = Manifest("tenant/ü", "items", definition("str"), "always", "e1")
    opening = Opening(
        manifest, checkpoint, 4, Previous(3, 4096, 9), "boot", 2, 1 << 20, has_note=True
    )
    data = memoryview(as_bytes(opening_body(opening), 0))
    header = records.read_header(data, SEED, 0)
    assert header is not None
    payload = records.payload(data, header, SEED, 0)
    assert payload is not None
    assert opening_of(header, payload) == opening


def test_a_record_with_any_bit_flipped_is_not_read() -> None:
    window = Window(definition("str"), LIMITS)
    for change in history(window, 2, 12):
        offset = 64
        data = as_bytes(body_of(change), offset)
        for bit in range(offset * 8, len(data) * 8):
            data[bit // 8] ^= 1 << bit % 8
            view = memoryview(data)
            header = records.read_header(view, SEED, offset)
            assert header is None or records.payload(view, header, SEED, offset) is None
            data[bit // 8] ^= 1 << bit % 8
        read(data, offset)


def test_a_record_in_another_place_or_of_another_segment_is_not_read() -> None:
    data = as_bytes(body_of(kept_rows(Window(definition(), LIMITS), 1, 0)), 64)
    assert records.read_header(memoryview(data), SEED, 64) is not None
    assert records.read_header(memoryview(data), SEED + 8, 64) is None
    assert records.read_header(memoryview(data[8:]), SEED, 56) is None


def test_a_payload_that_its_header_does_not_account_for_is_malformed() -> None:
    window = Window(definition("u64"), LIMITS)
    for change in history(window, 8, 30):
        body = body_of(change)
        whole = b"".join(body.buffers)
        for payload in (whole + bytes(8), whole[:-8], whole[:-1] + b"\1"):
            with pytest.raises(Malformed):
                _read_payload(body, payload)


def _read_payload(body: Body, payload: bytes) -> None:
    offset = 0
    fields = {name: getattr(body, name) for name in ("n", "dim", "seq", "json_bytes", "time_us")}
    other = Body(body.type, body.version, [payload], len(payload), **fields)
    found = read(as_bytes(other, offset), offset)
    # A payload's last byte may belong to an array: then it is another change, and nothing is odd.
    if plain(found) != plain(read(as_bytes(body, offset), offset)):
        raise Malformed("it is another change")


def test_headers_are_found_wherever_they_stand() -> None:
    rows: KeptRows = kept_rows(Window(definition(), LIMITS), 1, 0)
    first = as_bytes(body_of(rows), 0, flushed_to=0)
    data = first + b"\xff" * 24
    data += as_bytes(body_of(rows), len(data), flushed_to=len(first))[len(data) :]
    found = records.headers_after(memoryview(data), SEED, 8)
    assert [(at, header.flushed_to) for at, header in found] == [(len(first) + 24, len(first))]


def test_the_end_of_data_is_where_only_zeros_follow() -> None:
    for size in (0, 1, 8, 2**20 + 3):
        data = bytearray(size) + bytearray(2**20 + 9)
        assert records.end_of_data(memoryview(data), size) == size
        data[size] = 1
        assert records.end_of_data(memoryview(data), size) == size + 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"dim": 0},
        {"dim": "3"},
        {"capacity": -1},
        {"metric": "hamming"},
        {"ids": None},
        {"columns": {"a": "f16"}},
        {"columns": ["a"]},
        {"ttl": -1},
        {"ttl": "x"},
        {"durability": "never"},
        {"epoch": 3},
        {"tenant": None},
        {"previous": ["1", 2]},
        {"previous": 7},
        {"segment": "1"},
    ],
)
def test_an_opening_that_describes_no_collection_is_malformed(wrong: dict[str, Any]) -> None:
    opening = Opening(
        Manifest("t", "items", definition("str"), "always", "e"), Checkpoint(), 1, None, ""
    )
    text = orjson.loads(b"".join(opening_body(opening).buffers).rstrip(b"\0"))
    whole = orjson.dumps(text | wrong)
    padded = whole + records.padding(len(whole))
    body = Body(records.Type.OPEN, 1, [padded], len(padded), len(whole))
    data = memoryview(as_bytes(body, 0))
    header = records.read_header(data, SEED, 0)
    assert header is not None
    with pytest.raises(Malformed):
        opening_of(header, data[records.HEADER_BYTES :])
