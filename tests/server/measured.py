"""A server that says on its standard output what it holds, whenever a line comes in.

    python -m tests.server.measured serve …

What is counted is memory of the process's own: no page of a file. A line ``trimmed`` has malloc
give what it keeps free back to the system first: how much that is depends on how messages fell on
threads and ticks, by tens of MiB on a busy machine.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from omendb_ws.cli import main
from omendb_ws.runtime.machine import give_back_freed_memory

_ROLLUP = Path("/proc/self/smaps_rollup")


def anonymous_bytes() -> int:
    """Bytes of this process that are no file's."""
    (kibibytes,) = (
        line.split()[1] for line in _ROLLUP.read_text().splitlines() if line.startswith("Anonymous")
    )
    return int(kibibytes) * 1024


def _answer() -> None:
    for line in sys.stdin:
        if line == "trimmed\n":
            give_back_freed_memory()
        print(anonymous_bytes(), flush=True)


if __name__ == "__main__":
    threading.Thread(target=_answer, daemon=True).start()
    main()
