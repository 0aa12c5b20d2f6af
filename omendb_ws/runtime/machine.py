"""How much memory and how many cores this process may use, and that freed memory stays at hand.

Asks the operating system and the C library; knows nothing of the rest.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path
from typing import Final

#: The share of the machine's memory that windows may reserve by default (PROTOCOL section 9).
DEFAULT_MEMORY_PERCENT: Final = 70
#: Taken where the system does not tell.
UNKNOWN_MEMORY_BYTES: Final = 4 << 30
#: Of glibc's malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
#: Blocks from this size on are mapped by themselves, and given back at once when they are freed.
OWN_MAPPING_BYTES: Final = 4 << 20
#: What may lie free at the end of the heap before it is given back.
KEPT_FREE_BYTES: Final = 8 << 20


def default_max_memory_bytes() -> int:
    """The default of ``max_memory_bytes``."""
    return memory_bytes() * DEFAULT_MEMORY_PERCENT // 100


def memory_bytes(root: Path = Path("/")) -> int:
    """Bytes of memory of the machine, or of the lowest control group limit around this process."""
    return min([_physical_bytes(), *_group_limits(root)])


def usable_cores() -> int:
    """How many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def keep_freed_memory() -> bool:
    """Let freed blocks of messages' sizes be used again; False if the C library does not take it.

    By itself glibc maps blocks over 128 KiB one by one, or gives the heap's end back, as soon as a
    frame of adds is freed; for the next one the system hands out pages again, one by one and
    zeroed. That was half the time of the loop's thread: adds in frames of 128 KiB went from 1.1 to
    2.1 million rows a second. Whoever set glibc's own variables keeps what they say.
    """
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return False
    with contextlib.suppress(OSError, AttributeError, TypeError):
        set_option = ctypes.CDLL(None).mallopt
        taken = set_option(_M_MMAP_THRESHOLD, OWN_MAPPING_BYTES)
        return bool(taken and set_option(_M_TRIM_THRESHOLD, KEPT_FREE_BYTES))
    return False


def give_back_freed_memory() -> None:
    """Have the system take what lies free in the heap. 450 MiB take 35 ms, in which no other
    thread gets memory."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _physical_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return UNKNOWN_MEMORY_BYTES


def _group_limits(root: Path) -> list[int]:
    """Limits of this process's control groups (version 2, and 1) and all their parents."""
    limits = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        if controllers == "":
            base, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            base, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        # In a container the path may be the host's; then only the base has a file.
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts) + 1):
            text = _read(base.joinpath(*parts[:depth]) / name).strip()
            if text.isdigit() and int(text) > 0:
                limits.append(int(text))
    return limits


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
