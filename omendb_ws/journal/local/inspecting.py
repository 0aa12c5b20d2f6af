"""What is in a log's files, record by record, whatever their state. Only reads.

For people (``omendb-ws inspect``) and for repairs. ``segment_of`` looks at one file by itself;
``inspect`` puts the files together and says what a recovery would.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from omendb_core.model.errors import Unavailable
from omendb_core.model.types import WindowLimits

from ..interface import Damaged, Manifest, Torn
from .contents import is_logged
from .files import Files
from .records import (
    HEADER_BYTES,
    Header,
    Type,
    end_of_data,
    format_of,
    headers_after,
    payload,
    read_header,
)
from .recovery import Reader, read_segment
from .segments import Segment, segments_in

_ROWS = frozenset({Type.ADD, Type.KEEP})


@dataclass(slots=True)
class Stretch:
    """What some records hold; ``versions`` of changes and ``seqs`` of added rows, (0, 0): none."""

    records: Counter[str] = field(default_factory=Counter)
    changes: int = 0
    rows: int = 0
    versions: tuple[int, int] = (0, 0)
    seqs: tuple[int, int] = (0, 0)

    def count(self, header: Header) -> None:
        """One more record."""
        self.records[header.type.name.lower()] += 1
        if header.type in _ROWS:
            self.rows += header.n
        if header.type is Type.ADD and header.n:
            self.seqs = (self.seqs[0] or header.seq, header.seq + header.n - 1)
        if is_logged(header) and header.type is not Type.KEEP:
            self.changes += 1
            self.versions = (self.versions[0] or header.version, header.version)

    def include(self, other: Stretch) -> None:
        """The records of ``other``, which come later."""
        self.records += other.records
        self.changes += other.changes
        self.rows += other.rows
        self.versions = _joined(self.versions, other.versions)
        self.seqs = _joined(self.seqs, other.seqs)


def _joined(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return (one[0] or other[0], max(one[1], other[1]))


@dataclass(slots=True)
class SegmentReport:
    """One file: ``held`` up to ``end``, where the first record that is not valid would begin.

    ``behind``: what can still be read behind that; ``bytes_behind`` that are not zero there.
    ``flushed_to`` is the most that any of its headers says. ``problem``: why it cannot be read.
    ``format``: the number that its first record names; None if there is none.
    """

    segment: Segment
    size: int = 0
    has_opening: bool = False
    held: Stretch = field(default_factory=Stretch)
    end: int = 0
    flushed_to: int = 0
    behind: Stretch = field(default_factory=Stretch)
    bytes_behind: int = 0
    problem: str | None = None
    format: int | None = None


@dataclass(slots=True)
class LogReport:
    """A log as a recovery would find it: ``damage`` refuses it; ``torn`` would be cut."""

    directory: str
    segments: list[SegmentReport]
    manifest: Manifest | None = None
    version: int = 0
    first_seq: int = 1
    last_seq: int = 0
    is_clean: bool = False
    torn: Torn | None = None
    damage: Damaged | None = None


def inspect(files: Files, directory: str, limits: WindowLimits) -> LogReport:
    """Look at every record of a log."""
    report = LogReport(directory, [])
    try:
        report.segments += [segment_of(files, one) for one in segments_in(files, directory)]
        reader = Reader(files, directory, limits)
        report.manifest = reader.manifest
        for _ in reader.changes():
            pass
    except OSError as error:
        report.damage = Damaged(f"it cannot be read: {error.strerror}", directory, 0)
        return report
    except Damaged as damage:
        report.damage = damage
        return report
    report.version = reader.tracker.version
    report.first_seq, report.last_seq = reader.tracker.first_seq, reader.tracker.last_seq
    report.is_clean, report.torn = reader.is_clean, reader.torn
    return report


def segment_of(files: Files, segment: Segment) -> SegmentReport:
    """Look at one file."""
    report = SegmentReport(segment)
    try:
        data = read_segment(files, segment)
    except Unavailable as error:
        report.problem = str(error)
        return report
    report.size = len(data)
    report.format = format_of(data)
    while True:
        header = read_header(data, segment.seed, report.end)
        if header is None or payload(data, header, segment.seed, report.end) is None:
            break
        if not report.end:
            report.has_opening = header.type is Type.OPEN
        report.held.count(header)
        report.flushed_to = max(report.flushed_to, header.flushed_to)
        report.end += HEADER_BYTES + header.payload_bytes
    report.bytes_behind = end_of_data(data, report.end) - report.end
    for at, header in headers_after(data, segment.seed, report.end):
        report.flushed_to = max(report.flushed_to, header.flushed_to)
        if payload(data, header, segment.seed, at) is not None:
            report.behind.count(header)
    return report
