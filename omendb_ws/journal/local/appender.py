"""Writing a log: groups of records into segments, flushing them, dropping old ones. No threads.

Two callers, each from one thread: the *writer* (``write``, ``turn``, ``mark``, ``close``), and
whoever flushes (``flush``, ``prepare``), who may be the same. They meet in two places: ``_disk`` is
held while files are made, flushed, switched or dropped, so that a descriptor is not closed under a
flush; ``_lock`` for moments, around the numbers that both read.

Promises: a segment is flushed before the next gets a record. A record is written whole, or cut off
again, durably, before ``write`` raises StorageFull. After any other failure ``failed`` is set, and
nothing is written any more; what was written before can still be flushed, unless a flush failed:
that is never tried again. Segments are dropped once what makes them needless is flushed. Each flush
is noted beside the log (``notes.py``); what keeps that from being written does no harm but to leave
the note behind.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from omendb_core.model.errors import OmenError, StorageFailed, StorageFull

from ..interface import Logged
from .failures import storage_error
from .files import Buffer, Files, sync_all, write_all
from .notes import Note, NoteTaker
from .openings import Opening, Previous, opening_body
from .plans import Kept, Plan, Written
from .records import MAX_PAYLOAD_BYTES, Body, Type, encode
from .segments import Segment, discard
from .spare import Spare
from .tracker import Tracker


class Appender:
    """Writes one log. Opening it makes a segment, durable when the constructor returns.

    Raises StorageFull or StorageFailed, and leaves nothing behind that a recovery does not pass
    over. ``seconds`` is a clock that never goes back.
    """

    def __init__(
        self,
        files: Files,
        directory: str,
        plan: Plan,
        tracker: Tracker,
        seconds: Callable[[], float],
    ) -> None:
        self.plan = plan
        self.tracker = tracker
        #: Why nothing can be written any more.
        self.failed: StorageFailed | None = None
        self.base = 0
        self.flushes = 0
        self.written_bytes = 0
        self.notes = NoteTaker(files, directory, plan.moment, seconds)
        #: Whether a flush failed: nobody knows what the disk holds of this segment.
        self.is_lost = False
        self._files = files
        self._seconds = seconds
        self._disk = threading.Lock()
        self._lock = threading.Lock()
        self._kept = [Kept(segment, last_seq, size) for segment, last_seq, size in plan.older]
        self._spare = Spare(files, directory, plan.number, plan.segment_bytes, seconds)
        self._previous = plan.previous
        self._fd = -1
        self._written = self._flushed = Written(0, 0, 1, 0, 0)
        self._unflushed_since: float | None = None
        self._flushing_since: float | None = None
        self._is_marked = False
        self._open()

    def _open(self) -> None:
        """Make the first segment; if it cannot be made, leave nothing open.

        The note is mended last: where it was not whole, the segment says so by its epoch.
        """
        try:
            with self._disk:
                self._begin_segment()
                self._flush()
                self._open_notes()
            self.mark()
            self.flush()
        except Exception as error:
            self.abandon()
            if isinstance(error, StorageFull) and len(self._kept) > len(self.plan.older):
                discard(self._files, self._segment)  # it is tried again, with another
            raise

    # -- numbers, from any thread -------------------------------------------------------------

    @property
    def unflushed_seconds(self) -> float:
        """How long the oldest byte that may not be on the disk was written ago; 0 if none is."""
        with self._lock:
            moments = (self._flushing_since, self._unflushed_since)
            since = next((moment for moment in moments if moment is not None), None)
        return 0.0 if since is None else self._seconds() - since

    @property
    def is_flushed(self) -> bool:
        """Whether everything that was written is on the disk."""
        with self._lock:
            return self._flushing_since is None and self._unflushed_since is None

    @property
    def unflushed_bytes(self) -> int:
        """How many bytes were written since the last flush began to take them."""
        written, flushed = self._written, self._flushed
        return written.end - (flushed.end if flushed.number == written.number else 0)

    @property
    def bytes(self) -> int:
        """What the log takes, the rest of a preallocated segment not counted."""
        with self._lock:
            return sum(kept.size for kept in self._kept) + self._written.end

    @property
    def number(self) -> int:
        """The number of the segment that is written to."""
        return self._segment.number

    @property
    def segments(self) -> int:
        """How many segments there are."""
        return len(self._kept)

    @property
    def wants_mark(self) -> bool:
        """Whether everything is flushed, and the log does not say so yet."""
        return not self._is_marked and self._flushed == self._written

    # -- the writer ---------------------------------------------------------------------------

    def write(self, group: Sequence[tuple[Body, Logged]]) -> int:
        """Write as many of ``group`` as the segment takes, at least one; how many.

        Raises StorageFull, and none of them is in the log; StorageFailed, and nobody knows.
        """
        self._raise_if_failed()
        if self._written.changes and not self._fits(group[0][0], self._written.end):
            self.turn()
        end = self._written.end
        buffers: list[Buffer] = []
        taken = 0
        for body, _ in group:
            if body.payload_bytes > MAX_PAYLOAD_BYTES:
                raise self._fail(StorageFailed(f"a record of {body.payload_bytes} bytes"))
            if taken and not self._fits(body, end):
                break
            buffers += encode(body, self._segment.seed, end, self._flushed_to)
            end += body.record_bytes
            taken += 1
        self._put(buffers, end)
        for _, logged in group[:taken]:
            self.tracker.follow(logged)
        self._advance(end, taken)
        return taken

    def turn(self) -> None:
        """Flush the segment and begin the next one. StorageFull: the old one is still in use."""
        self._raise_if_failed()
        with self._disk:
            self._flush()
            self._drop_old()  # not behind the next line: that segment is not flushed yet
            self._begin_segment()

    def mark(self) -> None:
        """Write down how far the log is flushed, for a recovery to hold it to.

        StorageFull: it is not there, and nothing is lost by that.
        """
        self._write_bare(Type.MARK)

    def close(self) -> None:
        """Flush everything, write down that the stop is clean, and flush that.

        Raises StorageFull or StorageFailed; the files are closed in any case.
        """
        try:
            self.flush()
            self._write_bare(Type.CLOSE)
            self.flush(is_closed=True)
        finally:
            self.abandon()

    def moved(self, directory: str) -> None:
        """The log's directory has another name now. Before the first change."""
        self._spare.directory = directory
        for kept in self._kept:
            kept.segment = replace(kept.segment, directory=directory)

    def abandon(self) -> None:
        """Close the files as they are."""
        with self._disk:
            self._spare.discard()
            if self._fd >= 0:
                self._files.close(self._fd)
                self._fd = -1
            self.notes.close()

    # -- flushing -----------------------------------------------------------------------------

    def flush(self, *, is_closed: bool = False) -> None:
        """Bring to the disk what is written now, and drop the segments that this makes needless.

        ``is_closed``: the last record says that the stop is clean. Raises StorageFailed.
        """
        with self._disk:
            self._flush()
            flushed, segment = self._flushed, self._segment
            if flushed.number == segment.number:
                self.notes.take(segment.number, segment.seed, flushed.end, is_closed=is_closed)
            self._drop_old()

    def prepare(self) -> None:
        """Make the next segment ahead of time, once this one is half full.

        Whatever prevents that harms nothing that is written: it is tried again, and judged when
        the segment is needed.
        """
        with self._disk:
            half = self.plan.segment_bytes // 2
            if self.failed is None and self._written.end >= half:
                self._spare.prepare()

    # -- its own ------------------------------------------------------------------------------

    @property
    def _segment(self) -> Segment:
        return self._kept[-1].segment

    @property
    def _flushed_to(self) -> int:
        flushed = self._flushed
        return flushed.end if flushed.number == self._segment.number else 0

    def _fits(self, body: Body, end: int) -> bool:
        return end + body.record_bytes <= self.plan.segment_bytes

    def _write_bare(self, type_: Type) -> None:
        """A record that is nothing but a header."""
        self._raise_if_failed()
        body = Body(type_, self.tracker.version)
        end = self._written.end
        buffers = encode(body, self._segment.seed, end, self._flushed_to)
        self._put(buffers, end + body.record_bytes)
        self._advance(end + body.record_bytes, 0)

    def _put(self, buffers: Sequence[Buffer], end: int) -> None:
        """Write ``buffers`` behind the last record, up to ``end``; if the disk is full, cut."""
        start = self._written.end
        with self._lock:
            if self._unflushed_since is None:
                self._unflushed_since = self._seconds()
        try:
            write_all(self._files, self._fd, buffers, start)
        except OSError as error:
            judged = self._judged("write", error)
            if isinstance(judged, StorageFull):
                with self._disk:
                    self._cut(start)
            raise judged from error
        self.written_bytes += end - start

    def _cut(self, end: int) -> None:
        """Have zeros again behind ``end``, durably, and the file as long as it was made."""
        self._flush()
        self._attempt(lambda: self._files.truncate(self._fd, end))
        if end < self.plan.segment_bytes:
            self._attempt(lambda: self._files.truncate(self._fd, self.plan.segment_bytes))

    def _open_notes(self) -> None:
        previous = self._previous or Previous(0, 0)
        try:
            self.notes.open(Note(previous.number, previous.seed or 0, previous.end))
        except OSError as error:
            raise self._judged("make the note of", error) from error

    def _advance(self, end: int, changes: int) -> None:
        now = self._written
        with self._lock:
            self._is_marked = not changes
            self._written = Written(
                now.number, end, self.tracker.first_seq, self.base, now.changes + changes
            )

    def _flush(self) -> None:
        """The one place that flushes; ``_disk`` is held."""
        if self.is_lost:
            self._raise_if_failed()
        with self._lock:
            written = self._written
            self._flushing_since, self._unflushed_since = self._unflushed_since, None
        self._attempt(lambda: sync_all(self._files, self._fd))
        with self._lock:
            self._flushed = written
            self._flushing_since = None
            self.flushes += 1

    def _begin_segment(self) -> None:
        """Open the next segment with a checkpoint; the one in use is flushed."""
        try:
            segment, fd = self._spare.take()
        except OSError as error:
            raise self._judged("make a segment of", error) from error
        body = opening_body(self._opening_of(segment))
        try:
            write_all(self._files, fd, encode(body, segment.seed, 0, 0), 0)
        except OSError as error:
            self._files.close(fd)
            discard(self._files, segment)
            raise self._judged("write", error) from error
        if self._fd >= 0:
            self._spare.put_back(segment, fd)  # until the one before is done with
            self._finish_segment()
            self._spare.take()
        end = body.record_bytes
        with self._lock:
            self._fd = fd
            self._kept.append(Kept(segment, self.tracker.last_seq))
            self._is_marked = False
            self._written = Written(segment.number, end, self.tracker.first_seq, self.base, 0)
            if self._unflushed_since is None:
                self._unflushed_since = self._seconds()

    def _opening_of(self, segment: Segment) -> Opening:
        plan = self.plan
        return Opening(
            plan.manifest,
            self.tracker.checkpoint(),
            segment.number,
            self._previous if self._fd < 0 else self._end_of_this(),
            plan.boot_id,
            plan.missing_to,
            plan.segment_bytes,
            has_note=True,
        )

    def _finish_segment(self) -> None:
        """Cut the segment in use, which is flushed, at its end, and close it.

        Not before the next one is there: a file that is still written to is as long as it was made.
        """
        end = self._kept[-1].size = self._written.end
        self._attempt(lambda: self._files.truncate(self._fd, end))
        self._files.close(self._fd)

    def _end_of_this(self) -> Previous:
        return Previous(self._written.number, self._written.end, self._segment.seed)

    def _drop_old(self) -> None:
        """Drop segments while the next one's checkpoint covers all that they hold."""
        flushed = self._flushed
        while len(self._kept) > 1:
            after = self._kept[1]
            if after.last_seq >= flushed.first_seq and after.segment.number > flushed.base:
                return
            try:
                self._files.remove(self._kept[0].segment.path)
            except OSError:
                return  # it takes room and harms nobody
            with self._lock:
                self._kept.pop(0)

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except OSError as error:
            self.is_lost = True
            failed = StorageFailed(f"cannot flush the log: {error.strerror}")
            raise self._fail(failed) from error

    def _judged(self, doing: str, error: OSError) -> OmenError:
        judged = storage_error(doing, error)
        return self._fail(judged) if isinstance(judged, StorageFailed) else judged

    def _fail(self, error: StorageFailed) -> StorageFailed:
        self.failed = self.failed or error
        return self.failed

    def _raise_if_failed(self) -> None:
        if self.failed is not None:
            raise StorageFailed(self.failed.message)
