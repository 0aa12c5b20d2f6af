"""Segment files: their names, the list of them in a directory, and making the next one.

A log is a directory of segments, ``NUMBER-SEED.log``. The seed of the checksums stands in the name
and not in the file, so that a damaged beginning does not make the rest unreadable. Numbers grow;
one whose making failed is not used again, so a segment's opening names the one before it. Knows
names and files; nothing of changes.
"""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass
from typing import Final

from .files import Files, sync_all

#: What is put behind the name of a file that was given up in a repair.
DAMAGED_SUFFIX: Final = ".damaged"
_NAME: Final = re.compile(r"(\d{10})-([0-9a-f]{16})\.log")


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment file of ``directory``."""

    directory: str
    number: int
    seed: int

    @property
    def name(self) -> str:
        """Its file's name."""
        return f"{self.number:010}-{self.seed:016x}.log"

    @property
    def path(self) -> str:
        """Its file's full name."""
        return os.path.join(self.directory, self.name)


def segments_in(files: Files, directory: str) -> list[Segment]:
    """The segments in a directory, by number. Other names are left alone."""
    found = []
    for name in files.list(directory):
        match = _NAME.fullmatch(name)
        if match is not None:
            found.append(Segment(directory, int(match[1]), int(match[2], 16)))
    return sorted(found, key=lambda segment: segment.number)


def make_segment(files: Files, directory: str, number: int, size: int) -> tuple[Segment, int]:
    """A new segment of ``size`` zero bytes, durable by name, and its descriptor; or OSError, and
    nothing of it is left behind."""
    segment = Segment(directory, number, secrets.randbits(64))
    fd = files.create(segment.path)
    try:
        files.allocate(fd, size)
        sync_all(files, fd)
        files.sync_directory(directory)
    except OSError:
        files.close(fd)
        discard(files, segment)
        raise
    return segment, fd


def discard(files: Files, segment: Segment) -> None:
    """Take away a segment in which nothing was ever safe; a recovery passes it over otherwise."""
    try:
        files.remove(segment.path)
    except OSError:
        return


def set_aside(files: Files, segment: Segment) -> None:
    """Keep a segment's file, but not as a part of the log."""
    files.rename(segment.path, segment.path + DAMAGED_SUFFIX)


def segment_bytes_for(window_bytes: int) -> int:
    """How large the segments of a window's log are.

    A quarter of the window, so that a log is at most a quarter longer than what it must hold; at
    least 1 MiB; at most 64 MiB, which at 200 MB/s is three new files a second.
    """
    return min(max(window_bytes // 4, LEAST_SEGMENT_BYTES), MOST_SEGMENT_BYTES)


LEAST_SEGMENT_BYTES: Final = 1 << 20
MOST_SEGMENT_BYTES: Final = 64 << 20
