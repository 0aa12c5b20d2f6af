"""The machine's clock, and which run of it this is, which tells a kill from a power loss."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """A name of this run of the machine; "" where it has none, which counts as another run."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def wall_us() -> int:
    """The time of day as the machine has it now, microseconds since 1970; it may jump."""
    return time.time_ns() // 1000
