"""What an appender is begun with, and what it keeps account of. Plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..interface import Manifest
from .openings import Previous
from .segments import Segment


@dataclass(frozen=True, slots=True)
class Written:
    """How far the log is: the end of the last record, and what that allows to be dropped.

    ``first_seq`` of the window; ``base``: the segment from which on live rows were all written
    again. ``changes`` counts records that are no marks.
    """

    number: int
    end: int
    first_seq: int
    base: int
    changes: int


@dataclass(slots=True)
class Kept:
    """A segment that is still needed; ``last_seq`` is that of its opening checkpoint."""

    segment: Segment
    last_seq: int
    size: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What an appender needs to know; ``previous`` as in Opening; ``number`` the next free one.

    ``moment``: a time of the log, and the machine's clock then; both 0 if there was none yet.
    """

    manifest: Manifest
    boot_id: str
    segment_bytes: int
    number: int = 1
    previous: Previous | None = None
    missing_to: int = 0
    moment: tuple[int, int] = (0, 0)
    #: Segments that are there, with the last_seq of their openings and their sizes.
    older: Sequence[tuple[Segment, int, int]] = field(default=())
