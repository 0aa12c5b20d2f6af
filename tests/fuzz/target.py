"""What a target is: a function of bytes that asserts, and how it is to be fed.

A target never expects more than what stands in its own docstring; whatever else it raises is
found. How much it may do is asked in calls and in bytes, never in seconds: a machine may be busy.
"""

from __future__ import annotations

import sys
import tracemalloc
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from .mutating import Mutate, mutated

SEEDS: Final = Path(__file__).parent / "seeds"
#: One execution of so many is measured: that takes ten times as long.
_MEASURED_ONE_IN: Final = 16


@dataclass(frozen=True)
class Bounds:
    """What one execution may do: so much, and so much for each byte of input."""

    calls: int = 5_000
    calls_per_byte: int = 100
    peak_bytes: int = 1 << 20
    peak_bytes_per_byte: int = 400


@dataclass(frozen=True)
class Target:
    """``fuzz`` raises where something is wrong; ``words`` belong to what it reads.

    ``made``: seeds that code writes, beside those in ``seeds/NAME/``. ``runs``: how many changed
    inputs ``make test`` gives it.
    """

    name: str
    fuzz: Callable[[bytes], None]
    mutate: Mutate = mutated
    words: Sequence[bytes] = ()
    made: Callable[[], Mapping[str, bytes]] = dict
    most_bytes: int = 4096
    runs: int = 300
    bounds: Bounds = field(default_factory=Bounds)

    def seeds(self) -> dict[str, bytes]:
        """All of them by name: those that are kept, and those that code writes."""
        kept = sorted((SEEDS / self.name).glob("*")) if (SEEDS / self.name).is_dir() else []
        return {path.name: path.read_bytes() for path in kept} | dict(self.made())

    def run(self, data: bytes) -> None:
        """Feed it once, and now and then look at what that takes."""
        if zlib.crc32(data) % _MEASURED_ONE_IN:
            self.fuzz(data)
            return
        self.fuzz(data)  # what is made once, by whoever comes first, is nobody's
        calls, peak_bytes = measured(lambda: self.fuzz(data))
        bounds, size = self.bounds, len(data)
        assert calls <= bounds.calls + bounds.calls_per_byte * size, f"{calls} calls"
        most_bytes = bounds.peak_bytes + bounds.peak_bytes_per_byte * size
        assert peak_bytes <= most_bytes, f"{peak_bytes} bytes at once"


def measured(call: Callable[[], Any]) -> tuple[int, int]:
    """How many functions ``call`` called on this thread, and the most memory that it held."""
    calls = 0

    def count(_: Any, event: str, __: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    was, is_tracing = sys.getprofile(), tracemalloc.is_tracing()
    if not is_tracing:
        tracemalloc.start()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    sys.setprofile(count)
    try:
        call()
    finally:
        sys.setprofile(was)
        peak = tracemalloc.get_traced_memory()[1] - before
        if not is_tracing:
            tracemalloc.stop()
    return calls, peak
