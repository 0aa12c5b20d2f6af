"""What may happen to the files of a log, as a program in bytes: which log, and what is done to it.

A step is an operation on a file at a place: anywhere, at a record, at where the log was flushed to.
Any bytes are a program, so a fuzzer may change them as it likes.
"""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from tests.journal.disk import Disk

from .logs import KnownLog
from .mutating import mutated

#: Which log, the machine's run, and after how many operations of the disk opening it ends (0: not).
_HEAD: Final = struct.Struct("<BBH")
#: operation, file, another file, how the place is meant, the place, how much.
_STEP: Final = struct.Struct("<BBBBII")
MOST_STEPS: Final = 6
SLOT: Final = 512


class Program(NamedTuple):
    """What ``data`` says."""

    log: int
    same_boot: bool
    crash_after: int
    steps: list[tuple[int, int, int, int, int, int]]


def program_of(data: bytes) -> Program:
    """Of any bytes."""
    log, boot, crash = _HEAD.unpack(data[: _HEAD.size].ljust(_HEAD.size, b"\0"))
    body = data[_HEAD.size : _HEAD.size + MOST_STEPS * _STEP.size]
    whole = len(body) // _STEP.size * _STEP.size
    return Program(log, boot % 4 != 1, crash % 64, list(_STEP.iter_unpack(body[:whole])))


def mutated_program(
    data: bytes, others: Sequence[bytes], words: Sequence[bytes], chance: random.Random
) -> bytes:
    """Another program: mostly a new one."""
    if chance.random() < 0.3:
        return mutated(data, others, words, chance)
    head = _HEAD.pack(
        chance.randrange(256), chance.randrange(8), chance.choice((0, 0, 0, 0, *range(64)))
    )
    return head + b"".join(
        _STEP.pack(
            chance.randrange(len(OPERATIONS)), chance.randrange(256), chance.randrange(256),
            chance.randrange(4), chance.randrange(2**20),
            chance.choice((0, 1, 7, 8, 64, chance.randrange(2**20))),
        )
        for _ in range(chance.choice((1, 1, 1, 2, 2, 3)))
    )  # fmt: skip


class Step:
    """One operation on ``disk``: ``path``, ``other``, the bytes of ``path``, a place in them."""

    def __init__(self, log: KnownLog, disk: Disk, step: Sequence[int]) -> None:
        _, file, other, how, at, much = step
        paths = disk.paths()
        self.disk, self.much = disk, much
        self.path, self.other = paths[file % len(paths)], paths[other % len(paths)]
        self.data = disk.file(self.path).data
        starts = log.starts.get(self.path, [0])
        if how == 0:
            self.place = at % (len(self.data) + 1)
        elif how == 1:
            self.place = min(starts[at % len(starts)], len(self.data))
        elif how == 2:
            near = starts[at % len(starts)] + (at >> 8) % 33 - 16
            self.place = max(0, min(near, len(self.data)))
        else:
            self.place = max(0, min(starts[-1] - (at % 3) * 8, len(self.data)))
        self.starts = starts

    @property
    def length(self) -> int:
        return self.much % 200


def cut(step: Step) -> None:
    del step.data[step.place :]


def zero(step: Step) -> None:
    end = min(len(step.data), step.place + step.length)
    step.data[step.place : end] = bytes(end - step.place)


def zero_tail(step: Step) -> None:
    step.data[step.place :] = bytes(len(step.data) - step.place)


def garbage(step: Step) -> None:
    rubbish = random.Random(step.much).randbytes(step.length)
    step.data[step.place : step.place + len(rubbish)] = rubbish


def insert(step: Step) -> None:
    size = step.length if step.much & 1 else step.length // 8 * 8
    step.data[step.place : step.place] = random.Random(step.much).randbytes(size)


def delete(step: Step) -> None:
    size = step.length if step.much & 1 else step.length // 8 * 8
    del step.data[step.place : step.place + size]


def flip(step: Step) -> None:
    if step.place < len(step.data):
        step.data[step.place] ^= 1 << step.much % 8


def double_records(step: Step) -> None:
    """Some records once more: put in between, or over what is there."""
    first = step.starts[step.much % len(step.starts)]
    last = step.starts[(step.much >> 8) % len(step.starts)]
    part = bytes(step.data[first:last])
    end = step.place if step.much & 1 else step.place + len(part)
    step.data[step.place : end] = part


def swap_records(step: Step) -> None:
    one, two = (step.starts[(step.much >> shift) % len(step.starts)] for shift in (0, 8))
    first, last = sorted((one, two))
    end = step.starts[-1]
    step.data[first:end] = step.data[last:end] + step.data[first:last]


def remove(step: Step) -> None:
    step.disk.remove(step.path)


def rename(step: Step) -> None:
    """Under another number, another seed, or as no segment at all."""
    name = os.path.basename(step.path)
    other = (
        f"{step.much % 24:010}{name[10:]}", f"{name[:11]}{step.much:016x}.log", f"{name}.damaged",
        f"{name[:10]}.log", f"{int(name[:10]) + 1 if name[:10].isdigit() else 1:010}{name[10:]}",
    )[step.place % 5]  # fmt: skip
    if os.path.join(step.disk.root, other) not in step.disk.paths():
        step.disk.rename(step.path, os.path.join(step.disk.root, other))


def copy_file(step: Step) -> None:
    """The same bytes under another name too."""
    name = os.path.basename(step.path)
    other = (
        f"{step.much % 24:010}{name[10:]}"
        if step.much & 256
        else f"{name[:11]}{step.much:016x}.log"
    )
    path = os.path.join(step.disk.root, other)
    if path not in step.disk.paths():
        step.disk.close(step.disk.create(path))
    step.disk.file(path).data[:] = bytes(step.data)


def overwrite_file(step: Step) -> None:
    step.data[:] = bytes(step.disk.file(step.other).data)


def swap_files(step: Step) -> None:
    other = step.disk.file(step.other).data
    mine, its = bytes(step.data), bytes(other)
    other[:] = mine
    step.data[:] = its


def copy_slot(step: Step) -> None:
    """Of the note: one slot over the other."""
    note = step.disk.file(step.path).data
    first = step.much % 2 * SLOT
    note[SLOT - first : 2 * SLOT - first] = bytes(note[first : first + SLOT])


def zero_slot(step: Step) -> None:
    first = step.much % 2 * SLOT
    size = len(step.data[first : first + SLOT])
    step.data[first : first + SLOT] = bytes(size)


OPERATIONS: Final[tuple[Callable[[Step], None], ...]] = (
    cut, zero, zero_tail, garbage, insert, delete, flip, double_records, swap_records, remove,
    rename, copy_file, overwrite_file, swap_files, copy_slot, zero_slot,
)  # fmt: skip
#: Of these only a note has what they need.
_OF_NOTES: Final = (copy_slot, zero_slot)


def carry_out(log: KnownLog, disk: Disk, steps: Sequence[Sequence[int]]) -> None:
    """Do all of that to a copy of its disk."""
    for one in steps:
        paths = disk.paths()
        if not paths:
            return
        operation = OPERATIONS[one[0] % len(OPERATIONS)]
        step = Step(log, disk, one)
        if operation in _OF_NOTES:
            step.path = f"{disk.root}/NOTE"
            if step.path not in paths:
                continue
            step.data = disk.file(step.path).data
        operation(step)
