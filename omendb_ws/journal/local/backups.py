"""Copies of a log, taken while it is written, and collections made of them.

A backup is a directory of segment files and a note as docs/journal.md describes them: the log up to
some change that was written when it was taken, so a window of one version. Nothing needs to stop: a
log is only added to, and segments that are dropped meanwhile are opened before. The copy is read
back, to the last checksum, before it counts. Restored, it is a new collection, of a new epoch.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from omendb_core.model.errors import Exists, Unavailable
from omendb_core.model.types import WindowLimits

from ..interface import Damaged, Manifest
from .appender import Appender
from .failures import storage_error, unreadable
from .files import Files, read_all, sync_all, write_all
from .inspecting import segment_of
from .notes import Note, NoteFile
from .plans import Plan
from .recovery import Reader, read_chain, read_note_of, refuse_less_than_noted
from .reopening import end_of, new_epoch
from .segments import Segment

#: How often a backup begins again because segments were dropped before it could open them.
ATTEMPTS: Final = 10
_STEP_BYTES: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds."""

    manifest: Manifest
    version: int
    first_seq: int
    last_seq: int
    bytes: int


def back_up(files: Files, directory: str, target: str, limits: WindowLimits) -> Backup:
    """Copy a log, in use or not, to the new directory ``target``.

    Raises Damaged if the log is, Exists if ``target`` is there, StorageFull or StorageFailed for
    ``target``, and Unavailable if the log is rewritten faster than it can be opened.
    """
    pieces, note = _open_log(files, directory)
    try:
        _new_directory(files, target)
        for piece in pieces:
            _copy(files, piece, target)
        _note(files, target, pieces[-1], note)
        files.sync_directory(target)
        return verify(files, target, limits)
    except OSError as error:
        raise storage_error("back up", error) from error
    except Damaged:
        remove_log(files, target)
        raise
    finally:
        for piece in pieces:
            files.close(piece.fd)


def _new_directory(files: Files, target: str) -> None:
    try:
        files.make_directory(target)
    except FileExistsError:
        raise Exists(f"{target}: is there already; a backup is a directory of its own") from None


def remove_log(files: Files, directory: str) -> None:
    """Take a directory of segments away; what cannot be removed stays."""
    try:
        for name in files.list(directory):
            files.remove(os.path.join(directory, name))
        files.remove_directory(directory)
    except OSError:
        return


def verify(files: Files, directory: str, limits: WindowLimits) -> Backup:
    """Read a backup to its end. Raises Damaged."""
    reader = Reader(files, directory, limits)
    for _ in reader.changes():
        pass
    tracker = reader.tracker
    return Backup(
        reader.manifest,
        tracker.version,
        tracker.first_seq,
        tracker.last_seq,
        reader.progress.bytes_total,
    )


def restore(
    files: Files,
    backup: str,
    target: str,
    manifest: Manifest,
    limits: WindowLimits,
    boot_id: str,
    segment_bytes: int,
    seconds: Callable[[], float],
) -> Manifest:
    """A log in the new directory ``target`` out of a backup, for ``manifest`` with a new epoch.

    Returns those. Raises as ``back_up`` does.
    """
    back_up(files, backup, target, limits)
    reader = Reader(files, target, limits)
    for _ in reader.changes():
        pass
    last = reader.chain.last
    manifest = replace(manifest, epoch=new_epoch())
    plan = Plan(
        manifest,
        boot_id,
        segment_bytes,
        number=last.segment.number + 1,
        previous=end_of(reader),
        missing_to=reader.missing_to,
        moment=(0, 0) if reader.note is None else (reader.note.time_us, reader.note.wall_us),
    )
    Appender(files, target, plan, reader.tracker, seconds).close()
    return manifest


@dataclass(frozen=True, slots=True)
class _Piece:
    """A segment, open for reading; its records end at ``end``."""

    segment: Segment
    fd: int
    end: int


def _open_log(files: Files, directory: str) -> tuple[list[_Piece], Note | None]:
    """The segments of a log, in use or not, up to the last record that is whole; and its note.

    What looks like damage may be a write, or a drop, seen half-way: it is damage if it stays.
    """
    seen = ""
    for _ in range(ATTEMPTS):
        try:
            note = read_note_of(files, directory)
            return _open_pieces(files, directory, note), note
        except Damaged as damage:
            if str(damage) == seen:
                raise
            seen = str(damage)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise unreadable(error, directory) from error
    raise Unavailable("the log changes faster than it can be opened; try again")


def _open_pieces(files: Files, directory: str, note: Note | None) -> list[_Piece]:
    chain = read_chain(files, directory)
    ends = [after.opening.previous[1] for after in chain.opened[1:] if after.opening.previous]
    last = segment_of(files, chain.last.segment)
    if last.problem is not None or last.flushed_to > last.end:
        raise Damaged(
            "a record that was flushed is not what was written", last.segment.path, last.end
        )
    refuse_less_than_noted(note, last.segment, last.end)
    pieces: list[_Piece] = []
    try:
        for one, end in zip(chain.opened, [*ends, last.end], strict=True):
            pieces.append(_Piece(one.segment, files.open(one.segment.path), end))
    except OSError:
        for piece in pieces:
            files.close(piece.fd)
        raise
    return pieces


def _note(files: Files, directory: str, last: _Piece, note: Note | None) -> None:
    """Have the copy say where it ends, so that one that was cut short is not taken for whole."""
    moment = (0, 0) if note is None else (note.time_us, note.wall_us)
    ends = Note(last.segment.number, last.segment.seed, last.end, False, *moment)
    NoteFile(files, directory, ends).close()


def _copy(files: Files, piece: _Piece, directory: str) -> None:
    copy = files.create(replace(piece.segment, directory=directory).path)
    try:
        for offset in range(0, piece.end, _STEP_BYTES):
            size = min(_STEP_BYTES, piece.end - offset)
            write_all(files, copy, [read_all(files, piece.fd, size, offset)], offset)
        sync_all(files, copy)
    finally:
        files.close(copy)
