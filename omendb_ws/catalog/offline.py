"""Snapshots of collections out of a data directory, while a server has it or not.

Each log is copied first, beside the file that is written, so that what is read is one version
whatever becomes of the log, and replayed into a window as a server would. One collection at a time:
the copy and the window are gone before the next. What comes out is what a server hands out itself,
and can be restored into one.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

from omendb_core.model.budget import UNLIMITED, Share
from omendb_core.model.types import WindowLimits
from omendb_core.replay import replay, resume
from omendb_core.snapshot import Snapshot
from omendb_core.window import Window

from ..journal.archive import ArchiveWriter, Head, end_of_file
from ..journal.interface import Stored
from ..journal.local.backups import back_up
from ..journal.local.files import Buffer, LocalFiles
from ..journal.local.recovery import Reader


class Written(NamedTuple):
    """A collection that was written, at which version."""

    name: str
    version: int
    rows: int
    epoch: str


def write_directory(
    data_dir: str,
    stored: Sequence[Stored],
    file: BinaryIO,
    limits: WindowLimits,
    beside: str | None,
    told: Callable[[Written], None] = lambda _: None,
) -> None:
    """Write a file of these collections; copies lie in the directory ``beside`` meanwhile.

    Raises Damaged if a log is, StorageFull or StorageFailed for a copy, Unavailable if a log is
    rewritten faster than it can be opened, and what writing ``file`` raises.
    """
    seeds: list[int] = []
    for one in stored:
        with tempfile.TemporaryDirectory(prefix=".omendb-", dir=beside) as scratch:
            copy = os.path.join(scratch, "log")
            back_up(LocalFiles(), os.path.join(data_dir, one.key), copy, limits)
            reader = Reader(LocalFiles(), copy, limits)
            window = Window(reader.manifest.definition, limits)
            resume(window, reader.tracker.checkpoint())
            for logged in reader.changes():
                replay(window, logged)
        archive = ArchiveWriter()
        for buffer in _stream(archive, reader, window):
            file.write(buffer)
        seeds.append(archive.seed)
        told(Written(one.name, window.version, window.rows, reader.manifest.epoch))
    file.write(end_of_file(seeds))


def _stream(archive: ArchiveWriter, reader: Reader, window: Window) -> Iterator[Buffer]:
    manifest, wall_us = reader.manifest, time.time_ns() // 1000
    snapshot = Snapshot(window, Share(UNLIMITED, ""))
    try:
        version = snapshot.checkpoint.version
        head = Head(
            manifest.name, manifest.definition, manifest.durability, manifest.epoch,
            snapshot.checkpoint, snapshot.rows, reader.time_us(wall_us), wall_us,
        )  # fmt: skip
        yield from archive.begin(head)
        while producers := snapshot.producers():
            yield from archive.producers(version, producers)
        while found := snapshot.next_rows():
            for rows in found:
                yield from archive.rows(rows)
        yield from archive.end(version, snapshot.read_rows)
    finally:
        snapshot.close()
