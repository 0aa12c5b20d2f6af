"""Snapshots of collections as bytes, to be sent and stored: docs/journal.md "Snapshots". Pure.

The stream of one collection: 16 bytes (``MAGIC``, and a random seed), then records as those of a
log, with the same checksums: ``open`` says what it is; ``mark`` says what is known of producers,
where that is anything; ``keep`` has rows, in no order; ``close`` says how many. A file of many is
their streams, one after the other, and 24 bytes that say how many, and which (``end_of_file``). So
whatever is cut off, left out, or altered is found.

``ArchiveWriter`` makes a stream in pieces, ``ArchiveReader`` takes one apart, however it is cut.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

import xxhash
from omendb_core.model.errors import BadRequest
from omendb_core.model.logged import Checkpoint, KeptRows, ProducerState
from omendb_core.model.types import Definition

from .local.contents import body_of, logged_of
from .local.files import Buffer
from .local.layout import Malformed, PayloadReader, lay_out
from .local.openings import definition_json, definition_of
from .local.records import HEADER_BYTES, Body, Header, Type, encode, payload, read_header

MAGIC: Final = b"OMENSNAP"
END_MAGIC: Final = b"OMENDONE"
_PREFACE: Final = struct.Struct("<8sQ")
PREFACE_BYTES: Final = _PREFACE.size
_END: Final = struct.Struct("<8sQQ")
END_BYTES: Final = _END.size
#: No record of ours is longer: a piece is about 1 MiB of rows, and texts of ids and columns.
MAX_RECORD_BYTES: Final = 32 << 20
_DURABILITIES: Final = ("memory", "everysec", "always")


@dataclass(frozen=True, slots=True)
class Head:
    """What a stream begins with: the collection, and what it had come to.

    ``now_us``: what time it was for its rows; ``wall_us``: by the machine's clock.
    """

    collection: str
    definition: Definition
    durability: str
    epoch: str
    checkpoint: Checkpoint
    rows: int
    now_us: int
    wall_us: int


@dataclass(frozen=True, slots=True)
class SomeProducers:
    """Some of what is known of producers, longest silent first."""

    producers: Sequence[ProducerState]


class End(NamedTuple):
    """All rows came; how many there were."""

    rows: int


#: What a stream holds, in its order.
Part: TypeAlias = Head | SomeProducers | KeptRows | End


class ArchiveWriter:
    """Makes the stream of one collection."""

    def __init__(self) -> None:
        self.seed = secrets.randbits(64)
        self._end = 0

    def begin(self, head: Head) -> list[Buffer]:
        """Its beginning."""
        self._end = PREFACE_BYTES
        json = {
            "collection": head.collection,
            **definition_json(head.definition),
            "durability": head.durability,
            "epoch": head.epoch,
            "first_seq": head.checkpoint.first_seq,
            "rows": head.rows,
            "now_us": head.now_us,
            "wall_us": head.wall_us,
        }
        checkpoint = head.checkpoint
        body = lay_out(
            Type.OPEN, checkpoint.version, json, [],
            dim=head.definition.dim, seq=checkpoint.last_seq, time_us=checkpoint.time_us,
        )  # fmt: skip
        return [_PREFACE.pack(MAGIC, self.seed), *self._encode(body)]

    def producers(self, version: int, producers: Sequence[ProducerState]) -> list[Buffer]:
        """What is known of some."""
        json = {"producers": producers}
        return self._encode(lay_out(Type.MARK, version, json, []))

    def rows(self, rows: KeptRows) -> list[Buffer]:
        """Some rows."""
        return self._encode(body_of(rows))

    def end(self, version: int, rows: int) -> list[Buffer]:
        """Its end."""
        return self._encode(Body(Type.CLOSE, version, seq=rows))

    def _encode(self, body: Body) -> list[Buffer]:
        found = encode(body, self.seed, self._end, 0)
        self._end += body.record_bytes
        return found


class ArchiveReader:
    """Takes one stream apart, in whatever pieces it comes. ``offset`` counts from ``at``, for what
    is said of faults.

    ``feed`` raises BadRequest, with the place, for what is not what was written. ``is_over``: its
    end has come, and ``rest`` is what was fed behind it. ``raw`` holds the bytes of the stream that
    the last ``feed`` went over.
    """

    def __init__(self, at: int = 0) -> None:
        self.seed: int | None = None
        self.head: Head | None = None
        self.is_over = False
        self._at = at
        self._offset = 0
        self._buffer = bytearray()
        self._has_rows = False

    @property
    def rest(self) -> bytes:
        """Bytes that were fed and not looked at."""
        return bytes(self._buffer)

    @property
    def offset(self) -> int:
        """How far it was read, in bytes from ``at`` on."""
        return self._offset

    def feed(self, data: bytes | memoryview, *, looks_inside: bool = True) -> Iterator[Part]:
        """What is whole by now; without ``looks_inside`` no rows, only whether they are whole."""
        self._buffer += data
        while not self.is_over:
            if self.seed is None:
                if not self._read_preface():
                    return
                continue
            found = self._next()
            if found is None:
                return
            header, text = found
            if not (looks_inside or header.type in (Type.OPEN, Type.CLOSE)):
                self._skip(header)
                continue
            try:
                part = self._part(header, text)
            except (Malformed, AttributeError, KeyError, TypeError, ValueError) as error:
                raise self._fault(f"a record that cannot be: {error}") from None
            self._skip(header)
            yield part

    def finish(self) -> None:
        """Nothing more comes. BadRequest if the end did not."""
        if not self.is_over:
            raise self._fault("it is cut off")

    def _read_preface(self) -> bool:
        if len(self._buffer) < PREFACE_BYTES:
            return False
        magic, self.seed = _PREFACE.unpack_from(self._buffer)
        if magic != MAGIC:
            raise self._fault("no snapshot begins here")
        del self._buffer[:PREFACE_BYTES]
        self._offset = PREFACE_BYTES
        return True

    def _next(self) -> tuple[Header, memoryview] | None:
        """The next record, if it is whole."""
        if len(self._buffer) < HEADER_BYTES:
            return None
        assert self.seed is not None
        place = self.seed + self._offset & 2**64 - 1
        head = memoryview(bytes(self._buffer[:HEADER_BYTES]))
        header = read_header(head, place, 0)
        if header is None:
            raise self._fault("a record is not what was written")
        if header.payload_bytes > MAX_RECORD_BYTES:
            raise self._fault(f"a record of {header.payload_bytes} bytes")
        size = HEADER_BYTES + header.payload_bytes
        if len(self._buffer) < size:
            return None
        text = payload(memoryview(bytes(self._buffer[:size])), header, place, 0)
        if text is None:
            raise self._fault("a record is not what was written")
        return header, text

    def _skip(self, header: Header) -> None:
        size = HEADER_BYTES + header.payload_bytes
        del self._buffer[:size]
        self._offset += size
        self.is_over = header.type is Type.CLOSE

    def _part(self, header: Header, text: memoryview) -> Part:
        if (header.type is Type.OPEN) != (self.head is None):
            raise Malformed("in another place than its own")
        if header.type is Type.OPEN:
            self.head = _head_of(header, text)
            return self.head
        assert self.head is not None
        if header.version != self.head.checkpoint.version:
            raise Malformed("of another version")
        if header.type is Type.KEEP:
            self._has_rows = True
            rows = logged_of(header, text)
            assert isinstance(rows, KeptRows)
            return rows
        if header.type is Type.MARK and not self._has_rows:
            return SomeProducers(_producers_of(header, text))
        if header.type is Type.CLOSE:
            return End(header.seq)
        raise Malformed("of a kind that no snapshot has")

    def _fault(self, what: str) -> BadRequest:
        return BadRequest(f"snapshot: byte {self._at + self._offset}: {what}")


def end_of_file(seeds: Sequence[int]) -> bytes:
    """What ends a file of streams with these seeds."""
    return _END.pack(END_MAGIC, len(seeds), _digest(seeds))


def is_end_of_file(data: bytes, seeds: Sequence[int]) -> bool:
    """Whether that is the end of a file in which these streams stood."""
    return len(data) == END_BYTES and _END.unpack(data) == (END_MAGIC, len(seeds), _digest(seeds))


def _digest(seeds: Sequence[int]) -> int:
    return xxhash.xxh3_64_intdigest(struct.pack(f"<{len(seeds)}Q", *seeds))


def _head_of(header: Header, text: memoryview) -> Head:
    reader = PayloadReader(header, text)
    json: Any = reader.json
    reader.finish()
    for name in ("collection", "durability", "epoch"):
        if type(json[name]) is not str:
            raise Malformed(f"{name}: must be a text")
    for name in ("first_seq", "rows", "now_us", "wall_us"):
        if type(json[name]) is not int:
            raise Malformed(f"{name}: must be an integer")
    if json["durability"] not in _DURABILITIES:
        raise Malformed("durability: there is no such")
    checkpoint = Checkpoint(header.version, json["first_seq"], header.seq, header.time_us)
    return Head(
        json["collection"], definition_of(json), json["durability"], json["epoch"], checkpoint,
        json["rows"], json["now_us"], json["wall_us"],
    )  # fmt: skip


def _producers_of(header: Header, text: memoryview) -> list[ProducerState]:
    reader = PayloadReader(header, text)
    found: list[ProducerState] = []
    for name, batch, seqs in reader.json["producers"]:
        pairs = tuple((first, last) for first, last in seqs)
        numbers = [batch, *(seq for pair in pairs for seq in pair)]
        if type(name) is not str or not all(
            type(one) is int and 0 <= one < 2**63 for one in numbers
        ):
            raise Malformed("a producer that cannot be")
        if len(pairs) > batch:
            raise Malformed("a producer with more batches than it sent")
        found.append((name, batch, pairs))
    reader.finish()
    return found
