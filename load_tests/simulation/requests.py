"""Requests as frames that are ready to be sent: built before the load by the wire codec.

What changes from one sending to the next, a few integers, is written into a copy. Knows no socket.
A ``Source`` also reads what its answers say beside their id, as far as it is kept.
"""

from __future__ import annotations

import struct
from array import array
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from omendb_core.change import RowBatch
from omendb_core.types import F32

from omendb_ws.wire import binary
from omendb_ws.wire.opcodes import HEADER_BYTES

from .connection import framed

_ID_AND_HANDLE: Final = struct.Struct("<II")
_VERSION_AND_FIRST_SEQ: Final = struct.Struct("<QQ")
#: Where the id stands in a message.
_ID_OFFSET: Final = 4
#: Answers that a process keeps for the oracle.
MAX_SAMPLES: Final = 200
#: Rows that were added before the load began are a row of the log with this time.
NO_TIME: Final = -1.0


class Sample(NamedTuple):
    """An answer to query number ``query``, as it came."""

    query: int
    answer: bytes


class Source(Protocol):
    """Makes requests and looks at their answers. ``tag`` goes from the one to the other."""

    def request(self, request_id: int, handle: int) -> tuple[bytearray, int]:
        """The next request as a frame, and its tag."""

    def answered(self, tag: int, sent: float, message: bytes) -> None:
        """Look at an answer that is no error."""


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
    """Searches by ``queries`` float32 (n, dim) in turn. Every ``every``-th answer is kept."""

    def __init__(self, queries: F32, k: int, filter: dict[str, Any] | None, every: int) -> None:
        self._templates = _Templates(
            [binary.encode_search(0, 0, one[None], k, filter) for one in queries]
        )
        self._count = len(queries)
        self._next = 0
        self._every = every
        self._seen = 0
        self.samples: list[Sample] = []

    def request(self, request_id: int, handle: int) -> tuple[bytearray, int]:
        """See Source; the tag is the query's number."""
        number = self._next
        self._next = (number + 1) % self._count
        return self._templates.copy(number, request_id, handle)[0], number

    def answered(self, tag: int, sent: float, message: bytes) -> None:
        """See Source."""
        self._seen += 1
        if self._every and self._seen % self._every == 0 and len(self.samples) < MAX_SAMPLES:
            self.samples.append(Sample(tag, message))


class AddLog:
    """Acknowledged adds: version, first seq, the place in the pool, rows, and when it was sent."""

    def __init__(self) -> None:
        self.numbers = array("q")
        self.sent = array("d")

    def append(self, version: int, first_seq: int, pool_start: int, rows: int, at: float) -> None:
        """Note one."""
        self.numbers.extend((version, first_seq, pool_start, rows))
        self.sent.append(at)

    def extend(self, other: AddLog) -> None:
        """Note those of another process."""
        self.numbers.extend(other.numbers)
        self.sent.extend(other.sent)


class Adds:
    """Adds of ``rows`` rows each out of ``pool`` in turn. Ids are new ones, from ``first_id`` on.

    ``first_id`` None: the collection gives ids itself.
    """

    def __init__(self, pool: F32, rows: int, first_id: int | None) -> None:
        rows_at = [np.arange(at, at + rows) % len(pool) for at in range(0, len(pool), rows)]
        ids = None if first_id is None else np.zeros(rows, np.uint64)
        batches = [RowBatch(np.ascontiguousarray(pool[at]), ids) for at in rows_at]
        self._templates = _Templates([binary.encode_add(0, 0, one) for one in batches])
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
        if self._next_id is not None:
            ids = np.arange(self._next_id, self._next_id + self._rows, dtype="<u8").tobytes()
            at = start + HEADER_BYTES
            frame[at : at + len(ids)] = ids
            self._next_id += self._rows
        return frame, number

    def answered(self, tag: int, sent: float, message: bytes) -> None:
        """See Source."""
        version, first_seq = _VERSION_AND_FIRST_SEQ.unpack_from(message, HEADER_BYTES)
        self.log.append(version, first_seq, tag * self._rows, self._rows, sent)
