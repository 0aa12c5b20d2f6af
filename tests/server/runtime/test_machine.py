"""What the server asks of the machine's C library."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

#: Says how many pages the system handed out for frames that come and go, sixteen at a time.
COUNT_PAGES = """
import resource, sys
from omendb_ws.runtime.machine import keep_freed_memory
kept = keep_freed_memory()
def frames():
    for _ in range(20):
        taken = [bytearray(140_000) for _ in range(16)]
        del taken
frames()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
frames()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

is_glibc = hasattr(ctypes.CDLL(None), "gnu_get_libc_version") if os.name == "posix" else False
pytestmark = pytest.mark.skipif(not is_glibc, reason="not glibc")


def pages(**environment: str) -> tuple[str, int]:
    own = {name: text for name, text in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", COUNT_PAGES],
        env=own | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    kept, count = done.stdout.split()
    return kept, int(count)


def test_memory_of_frames_that_are_gone_is_used_again() -> None:
    kept, count = pages()
    assert kept == "True"
    assert count < 1000


def test_glibcs_own_variables_go_first() -> None:
    kept, count = pages(MALLOC_TRIM_THRESHOLD_="0", MALLOC_MMAP_THRESHOLD_="100000")
    assert kept == "False"
    assert count > 5000
