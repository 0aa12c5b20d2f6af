"""The note beside a log: how far it was flushed, and when that was. docs/journal.md.

A log cannot tell by itself that its end was taken away, a file cut short or a newest segment gone:
what would say so stood in that end. So after each flush a few bytes are written into a file of
their own, ``NOTE``: the newest segment, and where its flushed records end. They are flushed with a
clean stop only; until then the note may say too little after a power loss, and never too much,
since it is written behind what it speaks of. Two slots take turns, each in a sector of its own, so
that one is whole whatever happens; both are filled, and flushed, as the file is made. So where one
of them holds no note, there was one, which may have been newer.

A note also says what time it was when the last change was written, by the log's clock and by the
machine's: by that a log's time goes on after a restart (``recovery.time_now_us``).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

import xxhash

from .failures import PASSING
from .files import Files, read_all, sync_all, write_all

NAME: Final = "NOTE"
MAGIC: Final = 0x4E4F  # "ON"
FORMAT: Final = 1
#: One slot: no disk writes less than a sector at once.
SLOT_BYTES: Final = 512

#: A slot as docs/journal.md shows it: name, struct code.
FIELDS: Final = (
    ("magic", "H"),
    ("format", "B"),
    ("is_closed", "B"),
    ("zero", "I"),
    ("turn", "Q"),
    ("segment", "Q"),
    ("seed", "Q"),
    ("end", "Q"),
    ("time_us", "q"),
    ("wall_us", "q"),
)
_FIELDS: Final = struct.Struct("<" + "".join(code for _, code in FIELDS))
_CHECKSUM: Final = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class Note:
    """Records of segment ``number``, with ``seed`` in its name, were flushed up to ``end``.

    ``is_closed``: with a clean stop. ``time_us`` is the time of the log's last change, ``wall_us``
    the machine's clock when it was written; both 0 where there is none. ``may_be_older``: there was
    another one, and nobody knows what it said.
    """

    number: int
    seed: int
    end: int
    is_closed: bool = False
    time_us: int = 0
    wall_us: int = 0
    may_be_older: bool = field(default=False, compare=False)


def read_note(files: Files, directory: str) -> Note | None:
    """The newest note of a log; None if there is no valid one.

    Raises OSError only if the system is short of something.
    """
    try:
        fd = files.open(os.path.join(directory, NAME))
    except OSError as error:
        if error.errno in PASSING:
            raise
        return None
    try:
        found = _newest(files, fd)
    except OSError:
        found = None
    finally:
        files.close(fd)
    return None if found is None else found[1]


class NoteFile:
    """A log's note, open for writing. Made, and durable, if there is none yet.

    One that may not be the newest counts as it is from now on: whoever opens it has said so.
    """

    def __init__(self, files: Files, directory: str, first: Note) -> None:
        self._files = files
        self._turn = 0
        path = os.path.join(directory, NAME)
        try:
            self._fd = files.open(path, write=True)
        except OSError as error:
            if error.errno in PASSING:
                raise
            with suppress(FileNotFoundError):
                files.remove(path)  # whatever it is: a link or a FIFO is no note
            self._fd = files.create(path)
        try:
            found = _newest(files, self._fd)
            if found is not None:
                self._turn, first = found[0], replace(found[1], is_closed=False)
            if found is None or first.may_be_older:
                self.write(first)
                self.write(first)
                self.sync()
                files.sync_directory(directory)
        except BaseException:
            self.close()
            raise

    def write(self, note: Note) -> None:
        """Put a note in the place of the older one. OSError."""
        turn = self._turn + 1
        fields = _FIELDS.pack(
            MAGIC,
            FORMAT,
            note.is_closed,
            0,
            turn,
            note.number,
            note.seed,
            note.end,
            note.time_us,
            note.wall_us,
        )
        slot = fields + _CHECKSUM.pack(xxhash.xxh3_64_intdigest(fields))
        write_all(self._files, self._fd, [slot.ljust(SLOT_BYTES, b"\0")], turn % 2 * SLOT_BYTES)
        self._turn = turn

    def sync(self) -> None:
        """Bring it to the disk. OSError."""
        sync_all(self._files, self._fd)

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            self._files.close(self._fd)
            self._fd = -1


class NoteTaker:
    """Keeps a log's note as the log goes on. ``moment``: a time of the log, and the machine's clock
    then, both 0 if there is none yet; ``seconds`` is a clock that never goes back.

    Whoever flushes takes notes, whoever appends says what time it is.
    """

    def __init__(
        self,
        files: Files,
        directory: str,
        moment: tuple[int, int],
        seconds: Callable[[], float],
    ) -> None:
        self._files = files
        self._directory = directory
        self._seconds = seconds
        self._moment, self._moment_seconds = moment, seconds()
        self._file: NoteFile | None = None

    def open(self, first: Note) -> None:
        """Open the note, or make it. OSError."""
        self._file = NoteFile(self._files, self._directory, first)

    def is_now(self, time_us: int, wall_us: int) -> None:
        """A time of the log, and the machine's clock now."""
        self._moment, self._moment_seconds = (time_us, wall_us), self._seconds()

    def is_still(self, wall_us: int) -> None:
        """The machine's clock now, whatever it was set to meanwhile: the log's time went on."""
        time_us, known_us = self._moment
        if known_us:
            passed_seconds = self._seconds() - self._moment_seconds
            self.is_now(time_us + round(passed_seconds * 1e6), wall_us)

    def take(self, number: int, seed: int, end: int, *, is_closed: bool) -> None:
        """Note how far the log is flushed. Where that fails the note stays behind, harmlessly."""
        if self._file is None:
            return
        with suppress(OSError):
            self._file.write(Note(number, seed, end, is_closed, *self._moment))
            if is_closed:
                self._file.sync()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _newest(files: Files, fd: int) -> tuple[int, Note] | None:
    """The valid slot with the higher turn, and that."""
    data = read_all(files, fd, 2 * SLOT_BYTES)
    slots = [_slot(data, index) for index in (0, 1)]
    valid = sorted((slot for slot in slots if slot is not None), key=lambda one: one[0])
    if not valid:
        return None
    turn, note = valid[-1]
    is_first = turn == 1 and not any(data[:SLOT_BYTES])  # as older versions made it
    return turn, replace(note, may_be_older=len(valid) == 1 and not is_first)


def _slot(data: memoryview, index: int) -> tuple[int, Note] | None:
    """The turn of a slot, and what it says; None if it was not written there so."""
    data = data[index * SLOT_BYTES : (index + 1) * SLOT_BYTES]
    if len(data) < SLOT_BYTES:
        return None
    fields = data[: _FIELDS.size]
    (checksum,) = _CHECKSUM.unpack_from(data, _FIELDS.size)
    if checksum != xxhash.xxh3_64_intdigest(fields):
        return None
    magic, format_, is_closed, _, turn, number, seed, end, time_us, wall_us = _FIELDS.unpack(fields)
    if (magic, format_, turn % 2) != (MAGIC, FORMAT, index):
        return None
    return turn, Note(number, seed, end, bool(is_closed), time_us, wall_us)
