"""Reading a log back: which segments there are, what they hold, and where the log ends.

The newest segment with a valid opening is the *last*; each opening names the segment before it and
where that one ends, which chains them back to the first that is still there. What no opening names
was being made when the process stopped, and holds nothing.

**Damaged or torn.** A record that is not valid, at offset o, is damage if something says that it
was flushed: its segment is not the last (the next one's opening was written after its flush), or a
valid header behind it says ``flushed_to`` > o, the log's note does, or the file is shorter than it
was made. Then the log is refused, and nothing is touched. Otherwise it is the torn end of what was
being written: it is cut off there.

Only reads. Opening the log for writing again is ``reopening``'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from omendb_core.model.change import AddChange
from omendb_core.model.logged import KeptRows
from omendb_core.model.types import WindowLimits

from ..interface import Damaged, Logged, Progress, Torn
from .contents import is_logged, logged_of
from .coverage import Coverage
from .failures import unreadable
from .files import Files, read_all
from .layout import Malformed
from .notes import Note, read_note
from .openings import Opening, opening_of
from .records import (
    FORMAT,
    HEADER_BYTES,
    MAX_FILE_BYTES,
    Header,
    Type,
    end_of_data,
    format_of,
    headers_after,
    payload,
    read_header,
)
from .segments import Segment, segments_in
from .tracker import Tracker

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Opened:
    """A segment whose opening is valid; ``size`` of the file, ``start`` of its first change."""

    segment: Segment
    opening: Opening
    size: int
    start: int


@dataclass(frozen=True, slots=True)
class Chain:
    """The segments of a log, oldest first; ``strays`` are files that no opening names."""

    opened: tuple[Opened, ...]
    strays: tuple[Segment, ...]

    @property
    def last(self) -> Opened:
        """The newest one."""
        return self.opened[-1]


def read_chain(files: Files, directory: str) -> Chain:
    """Find the segments of a log by their openings. Raises Damaged, or Unavailable."""
    segments = _attempt(lambda: segments_in(files, directory), directory)
    if not segments:
        raise Damaged("there is no segment", directory, 0)
    for segment in reversed(segments):
        found = opened_segment(files, segment)
        if found is not None:
            others = [one for one in segments if one.number == segment.number and one != segment]
            _the_one([segment, *(one for one in others if opened_segment(files, one))])
            return _chain_back(files, segments, found)
        _refuse_claims(files, segment, is_first=segment is segments[0])
    raise Damaged("there is no segment", directory, 0)


def _chain_back(files: Files, segments: list[Segment], last: Opened) -> Chain:
    opened = [last]
    while (previous := opened[-1].opening.previous) is not None:
        number, end, seed = previous
        here = opened[-1].segment
        if number >= here.number:  # numbers only fall on the way back, so it has an end
            message = f"its opening names segment {number} as the one before it"
            raise Damaged(message, here.path, 0)
        named = [one for one in segments if one.number == number and seed in (None, one.seed)]
        segment = _the_one(named)
        if segment is None:
            break
        found = opened_segment(files, segment)
        if found is None:
            raise Damaged("its opening is not what was written", segment.path, 0)
        if found.size < end:
            raise Damaged(f"it ends here, and once had {end} bytes", segment.path, found.size)
        opened.append(found)
    chained = {one.segment for one in opened}
    strays = tuple(one for one in segments if one not in chained)
    return Chain(tuple(reversed(opened)), strays)


def _the_one(candidates: list[Segment]) -> Segment | None:
    if len(candidates) > 1:
        number, path = candidates[0].number, candidates[0].path
        raise Damaged(f"segment {number} is there {len(candidates)} times", path, 0)
    return candidates[0] if candidates else None


def opened_segment(files: Files, segment: Segment) -> Opened | None:
    """The segment with its opening; None if that is not valid."""
    fd = _attempt(lambda: files.open(segment.path), segment.path)
    try:
        size = _attempt(lambda: files.size(fd), segment.path)
        head = _attempt(lambda: read_all(files, fd, HEADER_BYTES), segment.path)
        _refuse_other_format(head, segment)
        header = read_header(head, segment.seed, 0)
        if header is None or header.type is not Type.OPEN:
            return None
        start = HEADER_BYTES + header.payload_bytes
        data = _attempt(lambda: read_all(files, fd, start), segment.path)
    finally:
        files.close(fd)
    text = payload(data, header, segment.seed, 0)
    if text is None:
        return None
    try:
        opening = opening_of(header, text)
    except Malformed as error:
        raise Damaged(str(error), segment.path, 0) from error
    if opening.number != segment.number:
        raise Damaged(f"it is segment {opening.number} under another name", segment.path, 0)
    return Opened(segment, opening, size, start)


def _refuse_other_format(head: memoryview, segment: Segment) -> None:
    format_ = format_of(head)
    if format_ is not None and format_ > FORMAT:
        message = f"it is of format {format_}, or damaged; this version reads {FORMAT}"
        raise Damaged(message, segment.path, 0)


def _refuse_claims(files: Files, segment: Segment, *, is_first: bool) -> None:
    """Refuse a segment without a valid opening, if anything says that it had one."""
    if is_first:
        raise Damaged("no segment has a valid opening", segment.path, 0)
    data = read_segment(files, segment)
    if any(header.flushed_to for _, header in headers_after(data, segment.seed, 0)):
        raise Damaged("its opening is not what was written", segment.path, 0)


def read_segment(files: Files, segment: Segment) -> memoryview:
    """All bytes of a segment. Raises Damaged if it cannot be read."""
    fd = _attempt(lambda: files.open(segment.path), segment.path)
    try:
        size = _attempt(lambda: files.size(fd), segment.path)
        if size > MAX_FILE_BYTES:
            raise Damaged(f"{size} bytes are more than a segment can have", segment.path, 0)
        return _attempt(lambda: read_all(files, fd, size), segment.path)
    finally:
        files.close(fd)


def _attempt(action: Callable[[], T], path: str) -> T:
    try:
        return action()
    except OSError as error:
        raise unreadable(error, path) from error


def read_note_of(files: Files, directory: str) -> Note | None:
    """The note of a log; to be read before the log, where that goes on meanwhile. Unavailable."""
    try:
        return read_note(files, directory)
    except OSError as error:
        raise unreadable(error, directory) from error


def refuse_less_than_noted(note: Note | None, last: Segment, end: int) -> None:
    """Damaged if the log, which ends at ``end`` of ``last``, was flushed further once."""
    if note is None:
        return
    if last.number < note.number:
        message = f"the log went on in segment {note.number}, which is not there"
        raise Damaged(message, last.directory, 0)
    if (last.number, last.seed) == (note.number, note.seed) and end < note.end:
        raise Damaged(f"it ends here, and was flushed up to byte {note.end}", last.path, end)


class Reader:
    """Reads a log's changes in order. ``end`` and the rest below it are known once that is done.

    ``progress`` counts as it goes. ``tracker`` stands behind the last change. For repairs: a
    ``part`` of the log is a chain of its own, which ends at ``part_end`` if that is given, and rows
    may be missing.
    """

    def __init__(
        self,
        files: Files,
        directory: str,
        limits: WindowLimits,
        *,
        part: Chain | None = None,
        part_end: int | None = None,
    ) -> None:
        self._files = files
        self._part_end = part_end
        self._is_part = part is not None
        self.note = None if part else read_note_of(files, directory)
        self.chain = part or read_chain(files, directory)
        first, last = self.chain.opened[0].opening, self.chain.last.opening
        self.manifest = last.manifest
        self.missing_to = last.missing_to
        self.tracker = Tracker(last.manifest.definition, limits, first.checkpoint)
        self.progress = Progress(bytes_total=sum(one.size for one in self.chain.opened))
        #: Where the last segment's records end.
        self.end = 0
        #: How far the last segment says that it is flushed.
        self.flushed_to = 0
        #: Whether the last segment holds any change.
        self.has_changes = False
        #: Whether its last record says that the stop was clean.
        self.is_clean = False
        self.torn: Torn | None = None
        self._coverage = Coverage(first.checkpoint.last_seq)

    def changes(self) -> Iterator[Logged]:
        """Every change and all kept rows. Raises Damaged."""
        opened = self.chain.opened
        for one, after in pairwise(opened):
            assert after.opening.previous is not None
            yield from self._segment(one, after.opening.previous[1])
        yield from self._segment(self.chain.last, self._part_end)
        if self._is_part:
            return
        refuse_less_than_noted(self.note, self.chain.last.segment, self.end)
        gap = self._coverage.first_gap(self.tracker.first_seq, self.missing_to)
        if gap is not None:
            first = self.chain.opened[0].segment
            raise Damaged(f"rows from seq {gap} on stood in a segment before it", first.path, 0)

    @property
    def is_proven(self) -> bool:
        """False if the note is gone, or altered, that would tell of a missing end."""
        last, note = self.chain.last, self.note
        if not last.opening.has_note:
            return True
        if note is None or note.number > last.segment.number:
            return False
        if note.number == last.segment.number and note.seed != last.segment.seed:
            return False
        return not note.may_be_older

    @property
    def proven_to(self) -> int:
        """How far the last segment was flushed for certain."""
        last, note = self.chain.last.segment, self.note
        is_noted = note is not None and (note.number, note.seed) == (last.number, last.seed)
        return max(self.flushed_to, note.end if note is not None and is_noted else 0)

    def time_us(self, wall_us: int) -> int:
        """The time of the log when the machine's clock says ``wall_us``.

        It goes on from where it was, by as much as the machine's clock has moved on since then. A
        log without a note took its times from that clock.
        """
        last_us, note = self.tracker.time_us, self.note
        known_us, known_wall_us = last_us, last_us
        if note is not None and note.wall_us:
            known_us, known_wall_us = note.time_us, note.wall_us
        return max(last_us, known_us + max(0, wall_us - known_wall_us))

    def covered_from(self) -> int:
        """The first seq from which on the log holds every row of its window."""
        return max(self.tracker.first_seq, self._coverage.covered_from())

    def _segment(self, one: Opened, end: int | None) -> Iterator[Logged]:
        """The changes of a segment; ``end`` is where it must end, None for the last one."""
        segment = one.segment
        data = read_segment(self._files, segment)
        self.end, self.flushed_to = one.start, 0
        self.has_changes = self.is_clean = False
        done = self.progress.bytes_done
        while end is None or self.end < end:
            header = read_header(data, segment.seed, self.end)
            found = None if header is None else payload(data, header, segment.seed, self.end)
            if header is None or found is None:
                if end is not None:
                    raise Damaged("a record is not what was written", segment.path, self.end)
                self._find_torn_end(segment, data)
                break
            if is_logged(header):
                yield self._logged(segment, header, found)
            self.flushed_to = max(self.flushed_to, header.flushed_to)
            self.is_clean = header.type is Type.CLOSE
            self.end += HEADER_BYTES + header.payload_bytes
            self.progress.bytes_done = done + self.end
        if end is not None and self.end != end:
            raise Damaged("a record is not what was written", segment.path, end)
        self.progress.bytes_done = done + one.size

    def _logged(self, segment: Segment, header: Header, found: memoryview) -> Logged:
        try:
            logged = logged_of(header, found)
        except Malformed as error:
            raise Damaged(str(error), segment.path, self.end) from error
        objection = self.tracker.objection(logged)
        if objection is not None:
            raise Damaged(objection, segment.path, self.end)
        self.tracker.follow(logged)
        if isinstance(logged, KeptRows):
            self._coverage.add(logged.first_seq, logged.last_seq)
        if isinstance(logged, KeptRows | AddChange):
            self.progress.rows += header.n
        self.progress.changes += 1
        self.has_changes = True
        return logged

    def _find_torn_end(self, segment: Segment, data: memoryview) -> None:
        """The last segment's records end at ``end``: refuse that, or tell what is cut."""
        for _, header in headers_after(data, segment.seed, self.end):
            if header.flushed_to > self.end:
                message = "a record that was flushed is not what was written"
                raise Damaged(message, segment.path, self.end)
        bytes_cut = end_of_data(data, self.end) - self.end
        made_bytes = self.chain.last.opening.made_bytes
        if bytes_cut and len(data) < made_bytes:
            message = f"a record is cut off: the file had {made_bytes} bytes"
            raise Damaged(message, segment.path, self.end)
        if bytes_cut:
            self.torn = Torn(segment.path, self.end, bytes_cut)
