"""What a stream has come to, as far as it was read: the same for whoever recovers and who appends.

Knows messages and the law, nothing of the network. Everything in a stream passes ``take``, in
order.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import xxhash
from omendb_core.model.logged import KeptRows
from omendb_core.model.types import WindowLimits

from ..interface import Logged, Manifest, Stated
from ..local.contents import logged_of
from ..local.coverage import Coverage
from ..local.layout import Malformed
from ..local.records import Type
from ..local.tracker import Tracker
from .chain import Judge
from .checkpoints import read_checkpoint, read_stated
from .records import Assembler, Broken, Record


@dataclass(frozen=True, slots=True)
class Kept:
    """A checkpoint in the stream: where its message begins, and what its window had come to."""

    sequence: int
    last_seq: int
    version: int


class Followed:
    """A stream from its first message on, or from where this stood."""

    def __init__(self, limits: WindowLimits) -> None:
        self._limits = limits
        self._assembler = Assembler()
        self._began = 0
        self._is_again = False
        self._coverage: Coverage | None = None
        self.judge = Judge()
        #: Known once the first record is read.
        self.manifest: Manifest
        self.tracker: Tracker
        self.checkpoints: deque[Kept] = deque()
        #: The last message of which nothing is to come, and what it was.
        self.applied = 0
        self._digest = 0
        #: When the last change was stored, and the last message, by the clock of NATS.
        self.changed_ns = self.stored_ns = 0

    @property
    def is_between(self) -> bool:
        """Whether no record has begun that is not whole yet."""
        return self._assembler.is_between

    def again(self) -> None:
        """What comes next is the last message that was taken, once more."""
        self._assembler = Assembler()
        self._is_again = True

    def take(self, sequence: int, message: bytes, time_ns: int) -> list[Record]:
        """The records of the next message that count. Raises Broken."""
        digest = xxhash.xxh3_64_intdigest(message)
        if self._is_again and self.applied:
            self._is_again = False
            if (sequence, digest) != (self.applied, self._digest):
                raise Broken(f"sequence {self.applied} is another message than it was")
            if not self.stored_ns:  # the stream was begun here, before NATS could say when
                self.changed_ns = self.stored_ns = time_ns
            return []
        if self._assembler.is_between:
            self._began = sequence
        records = self._assembler.records(message)
        found = [record for record in records if self.judge.counts(record)]
        self.stored_ns = time_ns
        if self._assembler.is_between:
            self.applied, self._digest = sequence, digest
        for record in found:
            self._note(record, time_ns)
        return found

    def _note(self, record: Record, time_ns: int) -> None:
        if record.header is None:
            return
        if record.header.type is not Type.KEEP and not (
            self.checkpoints and _is_checkpoint(record)
        ):
            self.changed_ns = time_ns
        if not _is_checkpoint(record):
            return
        assert record.payload is not None
        try:
            manifest, checkpoint = read_checkpoint(record.header, record.payload)
        except Malformed as error:
            raise Broken(str(error)) from error
        if self._coverage is None:
            self.manifest = manifest
            self.tracker = Tracker(manifest.definition, self._limits, checkpoint)
            self._coverage = Coverage(checkpoint.last_seq)
        self.checkpoints.append(Kept(self._began, checkpoint.last_seq, checkpoint.version))

    def logged(self, record: Record) -> Logged | None:
        """What a record that counts does to the window, if anything; followed by the tracker."""
        if record.header is None or _is_checkpoint(record):
            return None
        assert record.payload is not None
        try:
            logged = logged_of(record.header, record.payload)
        except Malformed as error:
            raise Broken(str(error)) from error
        objection = self.tracker.objection(logged)
        if objection is not None:
            raise Broken(objection)
        self.tracker.follow(logged)
        if isinstance(logged, KeptRows):
            assert self._coverage is not None
            self._coverage.add(logged.first_seq, logged.last_seq)
        return logged

    def stated(self, record: Record) -> Stated | None:
        """What a record that counts states of the window, if anything."""
        if not _is_checkpoint(record):
            return None
        assert record.header is not None
        assert record.payload is not None
        try:
            return read_stated(record.header, record.payload)
        except Malformed as error:
            raise Broken(str(error)) from error

    def refuse_gap(self) -> None:
        """Broken if rows of the window are not in the stream, which was read to its end."""
        assert self._coverage is not None
        gap = self._coverage.first_gap(self.tracker.first_seq, 0)
        if gap is not None:
            raise Broken(f"rows from seq {gap} on stood before its first message")

    def time_us(self) -> int:
        """What time it is for the log, by the clock of NATS, whatever this machine's says.

        It goes on from the last change; where there was none, it is that clock itself.
        """
        if not self.tracker.time_us:
            return self.stored_ns // 1000
        return self.tracker.time_us + max(0, self.stored_ns - self.changed_ns) // 1000

    def purged_before(self, sequence: int) -> None:
        """The stream begins there: checkpoints before that are gone, by an owner before as well."""
        while len(self.checkpoints) > 1 and self.checkpoints[1].sequence <= sequence:
            self.checkpoints.popleft()

    def needless_before(self, base: int) -> int | None:
        """Up to which message, a checkpoint, the stream is not needed; None if all of it is.

        ``base``: live rows before that message were written again behind it.
        """
        found = None
        while len(self.checkpoints) > 1:
            after = self.checkpoints[1]
            if after.last_seq >= self.tracker.first_seq and after.sequence > base:
                break
            found = after.sequence
            self.checkpoints.popleft()
        return found


def _is_checkpoint(record: Record) -> bool:
    return record.header is not None and record.header.type is Type.OPEN
