"""Requests as frames that are ready to be sent: built before the load by the wire codec.

What changes from one sending to the next, a few integers, is written into a copy. Knows no socket.
A ``Source`` also reads what its answers say beside their id, as far as it is kept.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from omendb_core.model.change import RowBatch
from omendb_core.model.types import F32, Column

from omendb_ws.wire import binary, messages, text
from omendb_ws.wire.frames import padded
from omendb_ws.wire.opcodes import HEADER_BYTES

from . import columns, shaping
from .connection import framed, framed_text
from .sampling import Sampling

_ID_AND_HANDLE: Final = struct.Struct("<II")
_VERSION_AND_FIRST_SEQ: Final = struct.Struct("<QQ")
#: Where the id stands in a message.
_ID_OFFSET: Final = 4
_JSON_BYTES_OFFSET: Final = 24
#: String ids are of one length, so that a frame stays as long as it is: 16 digits after this.
_STR_ID: Final = "row-"
_STR_IDS_START: Final = b'"ids":["'
_STR_ID_SEPARATOR: Final = b'","'
#: How a text begins.
_TEXT_HEAD: Final = b'{"id":%d,'
#: Rows that were added before the load began are a row of the log with this time.
NO_TIME: Final = -1.0


class Sample(NamedTuple):
    """An answer to a message whose first query has the number ``query``, as it came."""

    query: int
    answer: bytes


class Source(Protocol):
    """Makes requests and looks at their answers. ``tag`` goes from the one to the other."""

    def request(self, request_id: int, handle: int) -> tuple[bytearray, int]:
        """The next request as a frame, and its tag."""

    def answered(self, tag: int, intended: float, message: bytes) -> None:
        """Look at an answer that is no error, to what was meant to be sent at ``intended``."""


class _Templates:
    """Frames, each with the place of its message in it."""

    def __init__(self, messages: list[bytes]) -> None:
        self._frames = [framed(message) for message in messages]
        self._starts = [
            len(frame) - len(message) for frame, message in zip(self._frames, messages, strict=True)
        ]

    def copy(self, number: int, request_id: int, handle: int) -> tuple[bytearray, int]:
        """A frame with its id and handle, and where its message begins."""
        frame, start = bytearray(self._frames[number]), self._starts[number]
        _ID_AND_HANDLE.pack_into(frame, start + _ID_OFFSET, request_id, handle)
        return frame, start


class Searches:
    """Searches by ``queries`` float32 (n, dim) in turn, ``vectors`` of them in a message.

    Each message has the next one of ``shapes``. Every ``every``-th answer is kept, 0: none.
    """

    def __init__(
        self,
        queries: F32,
        vectors: int,
        k: int,
        filter: dict[str, Any] | None,
        every: int,
        shapes: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        starts = range(0, len(queries) - vectors + 1, vectors)
        self._templates = _Templates(
            [
                _search(
                    queries[at : at + vectors], k, filter, shaping.shape_of(shapes, vectors, at)
                )
                for at in starts
            ]
        )
        self._count = len(starts)
        self._vectors = vectors
        self._next = 0
        self._sampling: Sampling[Sample] | None = Sampling(every) if every else None

    @property
    def samples(self) -> list[Sample]:
        """What the oracle is to look at."""
        return self._sampling.kept if self._sampling is not None else []

    def request(self, request_id: int, handle: int) -> tuple[bytearray, int]:
        """See Source; the tag is the number of the first query."""
        number = self._next
        self._next = (number + 1) % self._count
        return self._templates.copy(number, request_id, handle)[0], number * self._vectors

    def answered(self, tag: int, intended: float, message: bytes) -> None:
        """See Source."""
        sampling = self._sampling
        if sampling is not None and sampling.is_due():
            sampling.keep(Sample(tag, message))


class TextSearches:
    """Searches by ``queries`` float32 (n, dim) in turn, one in a text; no answer is kept."""

    samples: Final[Sequence[Sample]] = ()

    def __init__(
        self, collection: str, queries: F32, k: int, filter: dict[str, Any] | None
    ) -> None:
        head = len(_TEXT_HEAD % 0)
        asked = [
            messages.Search(0, collection, query[None], single=True, k=k, filter=filter)
            for query in queries
        ]
        self._rests = [text.encode_request(one)[head:] for one in asked]
        self._next = 0

    def request(self, request_id: int, handle: int) -> tuple[bytearray, int]:
        """See Source; the tag is the number of the query."""
        number = self._next
        self._next = (number + 1) % len(self._rests)
        return bytearray(framed_text(_TEXT_HEAD % request_id + self._rests[number])), number

    def answered(self, tag: int, intended: float, message: bytes) -> None:
        """See Source."""


def _search(queries: F32, k: int, filter: dict[str, Any] | None, shape: shaping.Shape) -> bytes:
    asked = shaping.asked_with(shape, queries)
    return binary.encode_search(0, 0, asked, k, filter, shaping=shape)


class AddLog:
    """Acknowledged adds: version, first seq, place in the pool, rows, and when they were meant to
    be sent."""

    def __init__(self) -> None:
        self.numbers = array("q")
        self.intended = array("d")

    def append(self, version: int, first_seq: int, pool_start: int, rows: int, at: float) -> None:
        """Note one."""
        self.numbers.extend((version, first_seq, pool_start, rows))
        self.intended.append(at)

    def extend(self, other: AddLog) -> None:
        """Note those of another process."""
        self.numbers.extend(other.numbers)
        self.intended.extend(other.intended)


class Adds:
    """Adds of ``rows`` rows each out of ``pool`` in turn, with their ``metadata``.

    ``ids`` as a collection's; they are new ones, from ``first_id`` on.
    """

    def __init__(
        self, pool: F32, metadata: Mapping[str, Column], rows: int, ids: str, first_id: int
    ) -> None:
        rows_at = [np.arange(at, at + rows) % len(pool) for at in range(0, len(pool), rows)]
        zeros = {"auto": None, "u64": np.zeros(rows, np.uint64), "str": [_str_id(0)] * rows}[ids]
        batches = [
            RowBatch(np.ascontiguousarray(pool[at]), zeros, columns.taken(metadata, at))
            for at in rows_at
        ]
        self._templates = _Templates([binary.encode_add(0, 0, one) for one in batches])
        self._ids = ids
        self._count = len(batches)
        self._next = 0
        self._rows = rows
        self._next_id = first_id
        self.log = AddLog()

    def request(self, request_id: int, handle: int) -> tuple[bytearray, int]:
        """See Source; the tag is the number of the batch."""
        number = self._next
        self._next = (number + 1) % self._count
        frame, start = self._templates.copy(number, request_id, handle)
        if self._ids != "auto":
            ids, at = self._new_ids(frame, start)
            frame[at : at + len(ids)] = ids
        return frame, number

    def _new_ids(self, frame: bytearray, start: int) -> tuple[bytes, int]:
        """Ids of the next rows as they stand in a message that begins at ``start``; and where."""
        first, end = self._next_id, self._next_id + self._rows
        self._next_id = end
        if self._ids == "str":
            texts = [_str_id(number).encode() for number in range(first, end)]
            at = frame.index(_STR_IDS_START, start + HEADER_BYTES) + len(_STR_IDS_START)
            return _STR_ID_SEPARATOR.join(texts), at
        json_at = start + _JSON_BYTES_OFFSET
        json_bytes = int.from_bytes(frame[json_at : json_at + 4], "little")
        at = start + HEADER_BYTES + padded(json_bytes)
        return np.arange(first, end, dtype="<u8").tobytes(), at

    def answered(self, tag: int, intended: float, message: bytes) -> None:
        """See Source."""
        version, first_seq = _VERSION_AND_FIRST_SEQ.unpack_from(message, HEADER_BYTES)
        self.log.append(version, first_seq, tag * self._rows, self._rows, intended)


def _str_id(number: int) -> str:
    return f"{_STR_ID}{number:016d}"
