"""One call of ``add`` as frames: cut to size, encoded once, kept until they are acknowledged.

A frame keeps the bytes it was first sent with: repeating it sends the same rows even if the caller
has long taken the arrays back (a cancelled call). Only id, handle and, where the pipeline gave it
another, producer and batch number are written anew. Knows no socket and no order of sending.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import orjson
from omendb_core.model.errors import OmenError
from omendb_core.model.types import IdKind

from ..errors import ConnectionLost
from ..wire import binary, messages
from ..wire.frames import padded
from ..wire.messages import JsonObject
from ..wire.opcodes import HEADER, HEADER_BYTES, HEADER_FIELDS
from .added import Added, ShardAdded, read_near, read_shards
from .descriptions import Opened
from .rows import CheckedRows

#: Large adds are cut into frames of about this size. Rows/s of 128 dimensions over loopback, server
#: beside it: 64 KiB 350,000, 128 KiB 530,000, 192 KiB 680,000, 256 KiB 690,000 (a message and its
#: change cost the server some 200 us whatever their size). A frame is also what one search may have
#: to wait for, so not larger.
FRAME_BYTES = 256 * 1024
_JSON_BYTES = HEADER_FIELDS.index("json_bytes")


@dataclass(slots=True, eq=False)
class Job:
    """One call of ``add``, and how far it has come. ``done`` is called once, with the end of it."""

    rows: CheckedRows
    max_rows: int
    max_bytes: int
    done: Callable[[Added | OmenError], None]
    unless_near: JsonObject | None = None
    id_kind: IdKind = "u64"
    #: Rows put into frames, and of those the acknowledged ones: both a prefix.
    cut: int = 0
    acknowledged: int = 0
    over: bool = False
    _bytes_per_row: float = 0.0
    _epoch: str = ""
    _first_seq: int | None = None
    _last_seq: int | None = None
    _last_went_in: int | None = None
    _duplicate: bool = False
    _skipped: list[int] = field(default_factory=list)
    _near: list[int | str] = field(default_factory=list)
    _shards: dict[int, ShardAdded] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._bytes_per_row = self.rows.row_bytes()

    @property
    def is_cut(self) -> bool:
        """Whether all its rows are in frames."""
        return self.cut == len(self.rows)

    def encode(self, start: int, request_id: int, handle: int, producer: str, number: int) -> bytes:
        """Return a frame of about FRAME_BYTES with the rows from ``start`` on; advances ``cut``.

        Metadata and texts make rows of unknown size: what comes out more than twice too large is
        cut again, and the rows that follow start from the size seen. Half of ``max_bytes``, what
        the server reads, is never aimed beyond, so only a row too large by itself is refused.
        """
        aim = min(FRAME_BYTES, self.max_bytes // 2)
        rows = min(len(self.rows) - start, self.max_rows)
        count = min(rows, max(1, int(aim / self._bytes_per_row)))
        while True:
            part = self.rows.part(start, start + count)
            body = binary.encode_add(request_id, handle, part, producer, number, self.unless_near)
            if len(body) <= 2 * aim or count == 1:
                self.cut = start + count
                return body
            self._bytes_per_row = len(body) / count
            count = max(1, int(aim / self._bytes_per_row))

    def acknowledge(self, rows: int, added: messages.Added, epoch: str) -> None:
        """Count an acknowledged frame; ends the call with its last row.

        Rows of one call in two epochs: those of the first may be gone, so the call fails.
        """
        if self.over:
            return None
        if self.acknowledged == 0:
            self._epoch, self._first_seq = epoch, added.first_seq
        elif epoch != self._epoch:
            return self.fail(ConnectionLost("the collection began anew; earlier rows may be lost"))
        self._last_seq = added.last_seq
        shards = read_shards(self._shards, added)
        if self.unless_near is not None:
            self._note_skipped(added)
        self.acknowledged += rows
        self._duplicate |= added.duplicate
        if self.acknowledged == len(self.rows):
            is_known = self.unless_near is not None and not self._duplicate
            self._end(
                Added(
                    version=added.version,
                    first_seq=self._first_seq,
                    last_seq=self._last_seq,
                    rows=self.acknowledged,
                    duplicate=self._duplicate,
                    skipped=self._skipped if is_known else None,
                    near=self._near if is_known else None,
                    shards=shards,
                )
            )
        return None

    def _note_skipped(self, added: messages.Added) -> None:
        """What the next frame tells of its rows; first and last seq are those that went in."""
        self._skipped += [self.acknowledged + place for place in added.skipped or ()]
        self._near += read_near(added.near, self.id_kind) or ()
        self._first_seq = self._first_seq or added.first_seq
        self._last_went_in = added.last_seq or self._last_went_in
        self._last_seq = self._last_went_in

    def fail(self, error: OmenError) -> None:
        """End the call with ``error``, which tells in ``rows_added`` how many rows are in."""
        if not self.over:
            error.details["rows_added"] = self.acknowledged
            self._end(error)

    def _end(self, outcome: Added | OmenError) -> None:
        self.over = True
        self.done(outcome)


@dataclass(slots=True, eq=False)
class Frame:
    """Rows of one job from ``start`` on, under (``producer``, ``number``).

    ``is_out``: sent and not answered. ``error``: the answer, where it was a refusal. ``unknown``:
    it may have been applied, in ``unknown_epoch``: a sending of it was never answered, or was with
    an error that leaves that open. ``waits``: refusals that are waited out however many there are;
    ``refusal``: the last of them.
    """

    job: Job
    start: int
    producer: str
    number: int
    rows: int = 0
    is_out: bool = False
    error: OmenError | None = None
    unknown: bool = False
    unknown_epoch: str = ""
    attempts: int = 0
    waits: int = 0
    refusal: OmenError | None = None
    blames: int = 0
    reopened: bool = False
    counted_bytes: int = 0
    _body: bytes = b""
    _encoded_as: tuple[str, int] = field(default=("", 0))

    @property
    def size_bytes(self) -> int:
        """The size of its message; 0 before it was first encoded."""
        return len(self._body)

    def encode(self, request_id: int, opened: Opened | None) -> bytes:
        """Return its message (a ``requests.Encode``). Raises BadRequest the first time."""
        assert opened is not None
        name = (self.producer, self.number)
        if not self._body:
            self._body = self.job.encode(self.start, request_id, opened.handle, *name)
            self.rows = self.job.cut - self.start
            self._encoded_as = name
            return self._body
        if name != self._encoded_as:
            self._body = _renamed(self._body, *name)
            self._encoded_as = name
        return binary.addressed(self._body, request_id, opened.handle)


def _renamed(body: bytes, producer: str, number: int) -> bytes:
    """Return an ADD with another producer and batch; everything else stays byte for byte."""
    header = list(HEADER.unpack_from(body))
    json_bytes = header[_JSON_BYTES]
    json = orjson.loads(body[HEADER_BYTES : HEADER_BYTES + json_bytes])
    json["producer"], json["batch"] = producer, number
    section = orjson.dumps(json)
    header[_JSON_BYTES] = len(section)
    rest = body[HEADER_BYTES + padded(json_bytes) :]
    return HEADER.pack(*header) + section.ljust(padded(len(section)), b"\0") + rest
