"""Bytes of one record of a stream, and of the messages that carry them. docs/streams.md. Pure.

A record is the journal's (a header, JSON, arrays; ``..local.contents`` says what is inside) with
the owner's ``term`` and the checksum of the record before it: ``previous``. Its own ``checksum`` is
that of the header, in which the payload's stands, so a chain of them tells every altered, lost or
moved record. A record that begins a *term* has no payload, and no ``previous``: who writes it has
not read yet what came before.

A message is a group of records; one that is too large for a message is cut into *parts*, which are
stored as one atomic batch.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import xxhash

from ..local.files import Buffer
from ..local.records import Body, Header, Type

MAGIC: Final = 0x534F  # "OS"
FORMAT: Final = 1
#: Beside the types of the journal: a term begins.
TERM: Final = 16
_KNOWN: Final = frozenset({Type.OPEN, Type.ADD, Type.DELETE, Type.UPDATE, Type.EXPIRE, Type.KEEP})

#: The header as docs/streams.md shows it: name, struct code.
HEADER_FIELDS: Final = (
    ("magic", "H"),
    ("format", "B"),
    ("type", "B"),
    ("n", "I"),
    ("dim", "I"),
    ("json_bytes", "I"),
    ("payload_bytes", "I"),
    ("zero", "I"),
    ("version", "Q"),
    ("seq", "Q"),
    ("time_us", "q"),
    ("term", "Q"),
    ("previous", "Q"),
    ("payload_checksum", "Q"),
    ("checksum", "Q"),
)
_HEADER: Final = struct.Struct("<" + "".join(code for _, code in HEADER_FIELDS))
HEADER_BYTES: Final = _HEADER.size
_CHECKED_BYTES: Final = HEADER_BYTES - 8
_CHECKSUM: Final = struct.Struct("<Q")

#: What a message begins with: magic, format, kind, which part, of how many.
_MESSAGE: Final = struct.Struct("<HBBHH")
MESSAGE_BYTES: Final = _MESSAGE.size
_GROUP: Final = 0
_PART: Final = 1
#: What of a message is headers of NATS.
ENVELOPE_BYTES: Final = 2048
#: JetStream stores no more messages as one.
MAX_PARTS: Final = 1000


class Broken(ValueError):
    """Something in a stream that is not what was written."""


class Unknown(Broken):
    """What another version of this software wrote, and this one does not know."""


class Gap(Broken):
    """What comes next is not in the stream: lost, or purged."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record; ``header`` and ``payload`` are None where a term begins."""

    term: int
    previous: int
    checksum: int
    header: Header | None
    payload: memoryview | None

    @property
    def begins_term(self) -> bool:
        """Whether it is there for its term."""
        return self.header is None


def encode(body: Body, term: int, previous: int) -> tuple[list[Buffer], int]:
    """The record's buffers, and its checksum, which is the next one's ``previous``."""
    digest = xxhash.xxh3_64()
    for buffer in body.buffers:
        digest.update(buffer)
    head = _HEADER.pack(
        MAGIC, FORMAT, body.type, body.n, body.dim, body.json_bytes, body.payload_bytes, 0,
        body.version, body.seq, body.time_us, term, previous, digest.intdigest(), 0,
    )[:_CHECKED_BYTES]  # fmt: skip
    checksum = xxhash.xxh3_64_intdigest(head)
    return [head + _CHECKSUM.pack(checksum), *body.buffers], checksum


def term_messages(term: int, count: int) -> list[bytes]:
    """A fence: as many messages, each with a record that begins ``term``."""
    messages = []
    for number in range(count):
        head = _HEADER.pack(
            MAGIC, FORMAT, TERM, number, 0, 0, 0, 0, 0, 0, 0, term, 0,
            xxhash.xxh3_64_intdigest(b""), 0,
        )[:_CHECKED_BYTES]  # fmt: skip
        checksum = _CHECKSUM.pack(xxhash.xxh3_64_intdigest(head))
        messages.append(group_message([head, checksum]))
    return messages


def group_message(buffers: Sequence[Buffer]) -> bytes:
    """The message of some records."""
    return b"".join([_MESSAGE.pack(MAGIC, FORMAT, _GROUP, 0, 0), *buffers])


def part_messages(buffers: Sequence[Buffer], part_bytes: int) -> list[bytes]:
    """The messages of one record that is larger than ``part_bytes``, each at most as long.

    ValueError if these are too many.
    """
    record = memoryview(b"".join(buffers))
    part_bytes -= MESSAGE_BYTES
    count = -(-len(record) // part_bytes)
    if count > MAX_PARTS:
        raise ValueError(f"a change of {len(record)} bytes is more than {MAX_PARTS} messages hold")
    return [
        _MESSAGE.pack(MAGIC, FORMAT, _PART, number, count)
        + record[number * part_bytes : (number + 1) * part_bytes]
        for number in range(count)
    ]


def messages_of(buffers: Sequence[Buffer], payload_bytes: int) -> list[bytes]:
    """The messages of one record: one, or some that are stored as one, where one may be so long.

    ValueError if these are too many.
    """
    most_bytes = payload_bytes - ENVELOPE_BYTES
    if sum(map(_size, buffers)) + MESSAGE_BYTES <= most_bytes:
        return [group_message(buffers)]
    return part_messages(buffers, most_bytes)


def _size(buffer: Buffer) -> int:
    return memoryview(buffer).nbytes


class Assembler:
    """Takes messages in the order of a stream, gives the records in them."""

    def __init__(self) -> None:
        self._parts: list[memoryview] = []
        self._count = 0

    @property
    def is_between(self) -> bool:
        """Whether no record has begun that is not whole yet."""
        return not self._parts

    def expect(self, number: int, count: int) -> None:
        """The next message is that part of so many."""
        self._parts, self._count = [memoryview(b"")] * number, count

    def records(self, message: bytes) -> list[Record]:
        """The records that ``message`` brings to their end. Raises Broken."""
        if len(message) < MESSAGE_BYTES:
            raise Broken("a message shorter than its head")
        magic, format_, kind, number, count = _MESSAGE.unpack_from(message)
        if magic != MAGIC or kind not in (_GROUP, _PART):
            raise Broken("a message that no node wrote")
        if format_ != FORMAT:
            raise Unknown(f"a message of format {format_}, and this version reads {FORMAT}")
        data = memoryview(message)[MESSAGE_BYTES:]
        if (kind == _GROUP and (number or count)) or (kind == _PART and count < 2):
            raise Broken("the head of a message is not what was written")
        if kind == _GROUP:
            if self._parts:
                raise Broken("the parts of a record end before the last")
            return list(_records_in(data))
        if number != len(self._parts) or (number and count != self._count):
            raise Broken(f"part {number} of a record where {len(self._parts)} was expected")
        self._parts.append(data)
        self._count = count
        if number + 1 < count:
            return []
        whole = memoryview(b"".join(self._parts))
        self._parts = []
        return list(_records_in(whole))


def check_message(message: bytes) -> None:
    """Broken if a message is not what was written, as far as it can be told from it alone."""
    one = Assembler()
    kind, number, count = _MESSAGE.unpack_from(message.ljust(MESSAGE_BYTES, b"\0"))[2:]
    if kind == _PART and number:
        one.expect(number, count)
    if kind != _PART or number + 1 < count:
        one.records(message)


def _records_in(data: memoryview) -> Iterator[Record]:
    """The records of a group. Raises Broken."""
    at = 0
    if not data:
        raise Broken("a message without a record")
    while at < len(data):
        if at + HEADER_BYTES > len(data):
            raise Broken("a record is cut off")
        fields = _HEADER.unpack_from(data, at)
        size = fields[6]
        payload = data[at + HEADER_BYTES : at + HEADER_BYTES + size]
        checksum = xxhash.xxh3_64_intdigest(data[at : at + _CHECKED_BYTES])
        if fields[0] == MAGIC and fields[1] != FORMAT and checksum == fields[-1]:
            raise Unknown(f"a record of format {fields[1]}, and this version reads {FORMAT}")
        if fields[:2] != (MAGIC, FORMAT) or checksum != fields[-1] or len(payload) != size:
            raise Broken("a record is not what was written")
        if xxhash.xxh3_64_intdigest(payload) != fields[-2]:
            raise Broken("the payload of a record is not what was written")
        yield _record(fields, payload)
        at += HEADER_BYTES + size


def _record(fields: tuple[int, ...], payload: memoryview) -> Record:
    type_, n, dim, json_bytes, payload_bytes = fields[2:7]
    version, seq, time_us, term, previous, payload_checksum, checksum = fields[8:15]
    if type_ == TERM:
        return Record(term, previous, checksum, None, None)
    if type_ not in _KNOWN:
        raise Unknown(f"a record of type {type_}, which this version does not know")
    header = Header(
        Type(type_), n, dim, json_bytes, payload_bytes, 0, version, seq, time_us, payload_checksum
    )
    return Record(term, previous, checksum, header, payload)
