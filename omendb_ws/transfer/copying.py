"""Whole collections of a tenant into one file, and out of one: docs/journal.md "Snapshots".

Each collection is of one version, of the moment at which it is read. A file is checked as it is
read, record by record; a collection is there once all of it came.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, Final, NamedTuple

from omendb_core.model.errors import BadRequest

from ..client import Client, Description
from ..journal.archive import (
    END_BYTES,
    END_MAGIC,
    PREFACE_BYTES,
    ArchiveReader,
    Head,
    end_of_file,
    is_end_of_file,
)
from ..wire.messages import Durability

_STEP_BYTES: Final = 1 << 20


class Read(NamedTuple):
    """Some bytes of a file: of which collection, and whether they are its last."""

    head: Head
    data: bytes
    is_last: bool


async def write_all(
    db: Client,
    names: Sequence[str],
    file: BinaryIO,
    told: Callable[[Description], None] = lambda _: None,
) -> list[Description]:
    """Write snapshots of these collections; what they were at their versions."""
    seeds: list[int] = []
    done: list[Description] = []
    for name in names:
        begun = await db.snapshot(name)
        told(begun.description)
        reader = ArchiveReader()
        while data := await db.snapshot_next(begun.number):
            for _ in reader.feed(data, looks_inside=False):
                pass  # nothing that came over the network altered is kept
            await asyncio.to_thread(file.write, data)  # it may be far away, and slow
        reader.finish()
        assert reader.seed is not None, "a stream that has ended has one"
        seeds.append(reader.seed)
        done.append(begun.description)
    file.write(end_of_file(seeds))
    return done


def verify(file: BinaryIO, *, is_one: bool = False) -> list[str]:
    """Go over a file that can be read again, and stand at its beginning; the names in it.
    BadRequest."""
    names = [read.head.collection for read in reading(file, is_one=is_one) if read.is_last]
    file.seek(0)
    return names


def reading(file: BinaryIO, *, is_one: bool = False) -> Iterator[Read]:
    """Yield a file's bytes by collections. BadRequest for what is none, altered, or cut off.

    ``is_one``: one collection is asked for, so that a snapshot by itself, as the protocol hands it
    out, is as good as a file of one: its own end says that it is whole.
    """
    seeds: list[int] = []
    at, rest = 0, b""
    while True:
        while len(rest) < PREFACE_BYTES and (more := file.read(_STEP_BYTES)):
            rest += more
        if rest.startswith(END_MAGIC):
            rest += file.read(END_BYTES)
            if not is_end_of_file(rest, seeds):
                raise BadRequest(f"byte {at}: the end is not that of these snapshots")
            return
        if not rest:
            if is_one and len(seeds) == 1:
                return
            raise BadRequest(f"byte {at}: it is cut off")
        reader = ArchiveReader(at)
        waiting = b""
        while not reader.is_over:
            data = rest or file.read(_STEP_BYTES)
            rest = b""
            if not data:
                reader.finish()
            for _ in reader.feed(data, looks_inside=False):
                pass
            if reader.is_over:
                rest = reader.rest
                data = data[: len(data) - len(rest)]
            waiting += data
            if reader.head is not None:
                yield Read(reader.head, waiting, reader.is_over)
                waiting = b""
        assert reader.seed is not None, "a stream that has ended has one"
        seeds.append(reader.seed)
        at += reader.offset


async def restore_all(
    db: Client,
    file: BinaryIO,
    name_of: Callable[[str], str | None],
    durability: Durability | None = None,
    *,
    replicas: int | None = None,
    is_one: bool = False,
) -> list[Description]:
    """Restore each collection for which there is a name, with its own durability where none is
    given. ``is_one``: as for ``reading``. BadRequest, and the client's errors."""
    done: list[Description] = []
    number: int | None = None
    is_wanted, is_new = False, True
    pieces = reading(file, is_one=is_one)
    while (read := await asyncio.to_thread(next, pieces, None)) is not None:
        if is_new:
            name = name_of(read.head.collection)
            is_wanted, is_new = name is not None, False
            number = None
            if name is not None:
                number = await db.restore(name, durability=durability, replicas=replicas)
        if is_wanted and number is not None:
            made = await db.restore_next(number, read.data)
            if made is not None:
                done.append(made)
        is_new = read.is_last
    return done
