"""How much memory this process may use. Reads the operating system; knows nothing of the rest."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

#: The share of the machine's memory that windows may reserve by default (PROTOCOL section 9).
DEFAULT_MEMORY_PERCENT: Final = 70
#: Taken where the system does not tell.
UNKNOWN_MEMORY_BYTES: Final = 4 << 30


def default_max_memory_bytes() -> int:
    """The default of ``max_memory_bytes``."""
    return memory_bytes() * DEFAULT_MEMORY_PERCENT // 100


def memory_bytes(root: Path = Path("/")) -> int:
    """Bytes of memory of the machine, or of the lowest control group limit around this process."""
    return min([_physical_bytes(), *_group_limits(root)])


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
