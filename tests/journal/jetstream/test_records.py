"""Records and messages of a stream: there and back to the bit, and nothing altered passes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import cast

import pytest
from omendb_core.model.change import Change
from omendb_core.model.logged import Checkpoint

from omendb_ws.journal.interface import Logged
from omendb_ws.journal.jetstream import records
from omendb_ws.journal.jetstream.checkpoints import checkpoint_body, read_checkpoint
from omendb_ws.journal.jetstream.followed import Followed
from omendb_ws.journal.jetstream.names import defined_by, definition_entry
from omendb_ws.journal.jetstream.records import (
    Assembler,
    Broken,
    encode,
    part_messages,
    term_messages,
)
from omendb_ws.journal.local.contents import body_of
from omendb_ws.journal.local.records import Header
from tests.journal.jetstream.messages import (
    LIMITS,
    MANIFEST,
    add,
    delete,
    equal,
    expire,
    first_message,
    message,
)
from tests.project.pages import ROOT

CHANGES: list[Logged] = [add(1, 1, 5, 6), delete(2, 1), expire(3, 2), add(4, 3)]


def read(*messages: bytes) -> list[Logged]:
    """What a stream of these does to a window."""
    followed = Followed(LIMITS)
    found = []
    for sequence, one in enumerate(messages, 1):
        for record in followed.take(sequence, one, 0):
            logged = followed.logged(record)
            if logged is not None:
                found.append(logged)
    return found


def test_changes_come_back_to_the_bit() -> None:
    first, chain = first_message()
    group, _ = message(1, chain, *CHANGES[:3])
    found = read(first, group)
    assert len(found) == 3
    for one, other in zip(found, CHANGES, strict=False):
        assert equal(cast(Change, one), cast(Change, other))


def test_a_checkpoint_says_all_of_its_collection() -> None:
    checkpoint = Checkpoint(7, 3, 9, 123, (("p", 4, ((1, 2), (5, 9))),))
    buffers, _ = encode(checkpoint_body(MANIFEST, checkpoint), 3, 0)
    [record] = Assembler().records(records.group_message(buffers))
    assert record.header is not None
    assert record.payload is not None
    assert read_checkpoint(record.header, record.payload) == (MANIFEST, checkpoint)


@pytest.mark.parametrize("part_bytes", [100, 999, 1300])
def test_a_record_in_parts_is_the_record(part_bytes: int) -> None:
    first, chain = first_message()
    large = add(1, 1, *range(1, 90))
    parts = part_messages(encode(body_of(large), 1, chain)[0], part_bytes)
    assert all(len(one) <= part_bytes for one in parts)
    [found] = read(first, *parts)
    assert equal(cast(Change, found), large)


def test_more_parts_than_a_batch_holds_are_refused() -> None:
    buffers, _ = encode(body_of(add(1, 1, *range(1, 90))), 1, 0)
    with pytest.raises(ValueError, match="more than 1000 messages"):
        part_messages(buffers, records.MESSAGE_BYTES + 1)


def test_every_truncation_is_refused_or_ends_between_two_records() -> None:
    group, _ = message(1, 7, *CHANGES)
    whole = Assembler().records(group)
    ends = {records.MESSAGE_BYTES + 0}
    at = records.MESSAGE_BYTES
    for record in whole:
        at += records.HEADER_BYTES + cast(Header, record.header).payload_bytes
        ends.add(at)
    for size in range(len(group)):
        if size in ends and size > records.MESSAGE_BYTES:
            assert Assembler().records(group[:size]) == whole[: sorted(ends).index(size)]
            continue
        with pytest.raises(Broken):
            Assembler().records(group[:size])


def test_every_flipped_bit_is_refused() -> None:
    """But for those that make a part of a group: the next message does not fit behind it then."""
    first, chain = first_message()
    group, after = message(1, chain, CHANGES[0], CHANGES[1])
    behind, _ = message(1, after, CHANGES[2])
    for bit in range(len(group) * 8):
        altered = bytearray(group)
        altered[bit // 8] ^= 1 << bit % 8
        if bit // 8 in range(4, records.MESSAGE_BYTES):
            continue  # part numbers of a group say nothing
        with pytest.raises(Broken):
            read(first, bytes(altered), behind)


def test_parts_out_of_order_missing_or_mixed_are_refused() -> None:
    first, chain = first_message()
    one, two, three, *_ = part_messages(encode(body_of(add(1, 1, 2, 3)), 1, chain)[0], 68)
    group, _ = message(1, chain, CHANGES[0])
    for wrong in ([two], [one, three], [one, one], [one, group]):
        with pytest.raises(Broken):
            read(first, *wrong)


def test_what_no_node_wrote_is_refused() -> None:
    for foreign in (b"", b"hello", b"{}" * 100, bytes(200)):
        with pytest.raises(Broken):
            Assembler().records(foreign)


def test_a_format_that_is_newer_is_named() -> None:
    group = bytearray(message(1, 0, CHANGES[0])[0])
    group[2] = 2
    with pytest.raises(Broken, match="format 2"):
        Assembler().records(bytes(group))


def test_a_fence_is_as_many_messages_of_one_term() -> None:
    fence = term_messages(9, 17)
    assert len(set(fence)) == 17
    for one in fence:
        [record] = Assembler().records(one)
        assert (record.begins_term, record.term) == (True, 9)


def test_names_of_entries_are_told_apart_and_read_back() -> None:
    pairs = [("default", "items"), ("a.b", "c"), ("a", "b.c"), ("", "x"), ("=", "é ~")]
    pairs.append(("=3D", "*"))
    entries = [definition_entry(*pair) for pair in pairs]
    assert len(set(entries)) == len(pairs)
    assert all(re.fullmatch(r"[-_=.a-zA-Z0-9]+", entry) for entry in entries)
    assert [defined_by(entry) for entry in entries] == pairs
    assert defined_by("own.abc") is None


def test_the_page_shows_the_header() -> None:
    page = (Path(ROOT) / "docs" / "streams.md").read_text("utf-8")
    types = {"H": "u16", "B": "u8", "I": "u32", "Q": "u64", "q": "i64"}
    told = re.findall(r"^\| `(\w+)` \| ([ui]\d+) \|", page, re.M)
    assert told == [(name, types[code]) for name, code in records.HEADER_FIELDS]
    assert f"header of {records.HEADER_BYTES} bytes" in page
    assert f"begins with {records.MESSAGE_BYTES} bytes" in page
