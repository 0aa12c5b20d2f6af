"""A disk that can fail and lose power, behind the journal's ``Files``.

What was flushed is there after a power loss. Of what was not, each sector of each write is there or
not, on its own, in any order, or holds rubbish where nothing was before; the lengths of a file
come in their order, up to some point; each change of a name that its directory was not flushed
after is there or not. A killed process loses nothing that it wrote.
"""

from __future__ import annotations

import copy
import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from omendb_ws.journal.local.files import Buffer
from omendb_ws.journal.local.notes import NAME

SECTOR = 512


class Crash(BaseException):
    """The process ends here, in the middle of what it did."""


@dataclass
class _Inode:
    """A file: its bytes now, those on the disk, and what was done to it since the last flush."""

    data: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes] | int] = field(default_factory=list)

    def cut(self, size: int) -> None:
        _resize(self.data, size)
        self.pending.append(size)

    def put(self, offset: int, data: bytes) -> None:
        if len(self.data) < offset + len(data):
            self.cut(offset + len(data))
        self.data[offset : offset + len(data)] = data
        self.pending.append((offset, data))

    def flush(self) -> None:
        self.durable = bytearray(self.data)
        self.pending.clear()

    def lose_power(self, random: np.random.Generator) -> None:
        sizes = [one for one in self.pending if isinstance(one, int)]
        kept_sizes = int(random.integers(len(sizes) + 1))
        chance = random.choice([0.0, 0.1, 0.5, 0.9, 1.0])
        for one in self.pending:
            if isinstance(one, int):
                if kept_sizes:
                    _resize(self.durable, one)
                    kept_sizes -= 1
                continue
            offset, data = one
            for start in range(offset - offset % SECTOR, offset + len(data), SECTOR):
                first, last = max(start, offset), min(start + SECTOR, offset + len(data))
                last = min(last, len(self.durable))
                if last <= first:
                    continue
                if random.random() < chance:
                    self.durable[first:last] = data[first - offset : last - offset]
                elif not any(self.durable[first:last]) and random.random() < 0.1:
                    self.durable[first:last] = random.bytes(last - first)
        self.pending.clear()
        self.data = bytearray(self.durable)


@dataclass
class _Directory:
    names: dict[str, _Inode | _Directory] = field(default_factory=dict)
    durable: dict[str, _Inode | _Directory] = field(default_factory=dict)
    pending: list[dict[str, _Inode | _Directory | None]] = field(default_factory=list)

    def change(self, names: dict[str, _Inode | _Directory | None]) -> None:
        _apply(self.names, names)
        self.pending.append(names)

    def flush(self) -> None:
        self.durable = dict(self.names)
        self.pending.clear()

    def lose_power(self, random: np.random.Generator) -> None:
        chance = random.choice([0.0, 0.5, 1.0])
        for change in self.pending:
            if random.random() < chance:
                _apply(self.durable, change)
        self.pending.clear()
        self.names = dict(self.durable)
        for entry in self.names.values():
            entry.lose_power(random)


def _apply(
    names: dict[str, _Inode | _Directory], change: dict[str, _Inode | _Directory | None]
) -> None:
    for name, entry in change.items():
        if entry is None:
            names.pop(name, None)
        else:
            names[name] = entry


def _resize(data: bytearray, size: int) -> None:
    del data[size:]
    data.extend(bytes(size - len(data)))


#: ``fault(operation, path)`` before each operation, and as "synced" after a flush, as "truncated"
#: before the flush of a cut: may raise OSError or Crash, or return how many bytes a write may take.
Fault = Callable[[str, str], "int | None"]


class Disk:
    """``Files`` in memory; see the module. ``root`` is there already."""

    def __init__(self, root: str = "/log") -> None:
        self.root = root
        self.top = _Directory()
        self.top.flush()
        self.fault: Fault = lambda operation, path: None
        self._open: dict[int, tuple[_Inode, str]] = {}
        self._next_fd = 1_000_000
        self.operations = 0

    # -- Files ----------------------------------------------------------------------------------

    def create(self, path: str) -> int:
        self._before("create", path)
        directory, name = self._place(path)
        if name in directory.names:
            raise FileExistsError(errno.EEXIST, "it exists")
        inode = _Inode()
        directory.change({name: inode})
        return self._opened(inode, path)

    def open(self, path: str, *, write: bool = False) -> int:
        self._before("open", path)
        return self._opened(self.file(path), path)

    def close(self, fd: int) -> None:
        del self._open[fd]

    def size(self, fd: int) -> int:
        return len(self._open[fd][0].data)

    def read(self, fd: int, buffer: memoryview, offset: int) -> int:
        inode, path = self._open[fd]
        most = self._before("read", path)
        part = inode.data[offset : offset + len(buffer)][:most]
        buffer[: len(part)] = part
        return len(part)

    def write(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        inode, path = self._open[fd]
        data = b"".join(buffers)
        try:
            most = self._before("write", path)
        except Crash:
            inode.put(offset, data[: len(data) // 2])
            raise
        except OSError as error:
            if error.errno == errno.ENOSPC:  # what the disk had room for is there
                inode.put(offset, data[:-8])
            raise
        if most is not None:
            data = data[:most]
        inode.put(offset, data)
        return len(data)

    def sync(self, fd: int) -> None:
        inode, path = self._open[fd]
        self._before("sync", path)
        inode.flush()
        self._before("synced", path)

    def allocate(self, fd: int, size: int) -> None:
        inode, path = self._open[fd]
        self._before("allocate", path)
        inode.cut(max(size, len(inode.data)))

    def truncate(self, fd: int, size: int) -> None:
        inode, path = self._open[fd]
        self._before("truncate", path)
        inode.cut(size)
        self._before("truncated", path)
        inode.flush()

    def sync_directory(self, path: str) -> None:
        self._before("sync_directory", path)
        self._directory(path).flush()

    def list(self, path: str) -> list[str]:
        self._before("list", path)
        return sorted(self._directory(path).names)

    def make_directory(self, path: str) -> None:
        self._before("make_directory", path)
        directory, name = self._place(path)
        if name in directory.names:
            raise FileExistsError(errno.EEXIST, "it exists")
        directory.change({name: _Directory()})

    def rename(self, old: str, new: str) -> None:
        self._before("rename", old)
        directory, name = self._place(old)
        directory.change({name: None, os.path.basename(new): directory.names[name]})

    def remove(self, path: str) -> None:
        self._before("remove", path)
        directory, name = self._place(path)
        if name not in directory.names:
            raise FileNotFoundError(errno.ENOENT, "there is no such file")
        directory.change({name: None})

    def remove_directory(self, path: str) -> None:
        self.remove(path)

    # -- what happens to a disk -----------------------------------------------------------------

    def kill(self) -> None:
        """The process is gone; all that it wrote is there."""
        self._open.clear()

    def lose_power(self, random: np.random.Generator) -> None:
        """The machine is gone; see the module."""
        self._open.clear()
        self.top.lose_power(random)

    def copy(self) -> Disk:
        """The disk as it is now, without faults, and with nothing open."""
        other = Disk(self.root)
        other.top = copy.deepcopy(self.top)
        return other

    def file(self, path: str) -> _Inode:
        directory, name = self._place(path)
        entry = directory.names.get(name)
        if not isinstance(entry, _Inode):
            raise FileNotFoundError(errno.ENOENT, "there is no such file")
        return entry

    def paths(self, path: str | None = None) -> list[str]:
        """Every file below the root."""
        path = path or self.root
        found = []
        for name, entry in self._directory(path).names.items():
            full = os.path.join(path, name)
            found += self.paths(full) if isinstance(entry, _Directory) else [full]
        return sorted(found)

    def segments(self, path: str | None = None) -> list[str]:
        """Every file below the root but notes."""
        return [one for one in self.paths(path) if os.path.basename(one) != NAME]

    @property
    def used_bytes(self) -> int:
        return sum(len(self.file(path).data) for path in self.paths())

    def _before(self, operation: str, path: str) -> int | None:
        self.operations += 1
        return self.fault(operation, path)

    def _opened(self, inode: _Inode, path: str) -> int:
        self._next_fd += 1
        self._open[self._next_fd] = (inode, path)
        return self._next_fd

    def _directory(self, path: str) -> _Directory:
        found = self.top
        for name in filter(None, path.removeprefix(self.root).split("/")):
            entry = found.names.get(name)
            if not isinstance(entry, _Directory):
                raise FileNotFoundError(errno.ENOENT, "there is no such directory")
            found = entry
        return found

    def _place(self, path: str) -> tuple[_Directory, str]:
        head, name = os.path.split(path)
        return self._directory(head), name
