"""What the demo does to its server: streams digits in, and asks. Knows only the public client.

Each function is one task that runs until it is cancelled. What they learn goes into the ``Tally``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from itertools import cycle
from typing import Final

import numpy as np
from omendb_core.model.types import F32

from ..client import Answer, Client
from .digits import Digits
from .figures import Neighbour, Question, Tally, WindowFigures

COLLECTION: Final = "digits"
#: Smaller than the stream's 1,600 images, so that the window slides.
CAPACITY: Final = 1_000
NEIGHBOURS: Final = 10
LABELS: Final = 10
#: Searches asked one after another, whose latency is shown; at this rate a laptop stays cool.
SEARCHES_PER_SECOND: Final = 250
#: An add carries what has come in this time, as a camera or a log shipper would send it.
_ADDS_PER_SECOND: Final = 50
#: How long one digit is shown while the window slides under it, and how often it is asked for.
_SHOWN_SECONDS: Final = 3.0
_SHOWN_REFRESHES: Final = 12
_STATS_EVERY_MS: Final = 250


class Pace:
    """Turns at a steady rate. A turn that comes late is not made up for."""

    def __init__(self, per_second: float) -> None:
        self._interval = 1.0 / per_second
        self._next = 0.0

    async def turn(self) -> None:
        """Wait until it is time for the next."""
        now = asyncio.get_running_loop().time()
        self._next = max(self._next + self._interval, now)
        await asyncio.sleep(self._next - now)


async def create(db: Client) -> None:
    """Make the window: 64 dimensions, cosine, the label as a column that filters can use."""
    await db.create(
        COLLECTION, dim=64, capacity=CAPACITY, metric="cosine", columns={"digit": "i64"}
    )


async def fill(db: Client, digits: Digits) -> None:
    """Add the first window full at once."""
    await _add(db, digits, 0, CAPACITY)


async def stream(db: Client, digits: Digits, rows_per_second: float) -> None:
    """Go on from there in a cycle, at the rate given."""
    rows_an_add = max(1, round(rows_per_second / _ADDS_PER_SECOND))
    pace = Pace(rows_per_second / rows_an_add)
    start = CAPACITY
    while True:
        await pace.turn()
        await _add(db, digits, start, rows_an_add)
        start += rows_an_add


async def _add(db: Client, digits: Digits, start: int, rows: int) -> None:
    ids = np.arange(start, start + rows, dtype=np.uint64)
    which = (ids % len(digits.labels)).astype(np.int64)
    await db.add(
        COLLECTION, digits.vectors[which], ids=ids, columns={"digit": digits.labels[which]}
    )


async def search(db: Client, digits: Digits, tally: Tally) -> None:
    """Search with every held-out digit in turn; count latency and right neighbours."""
    pace = Pace(SEARCHES_PER_SECOND)
    for vector, label in _in_turn(digits):
        started = time.perf_counter()
        answer = await db.search(COLLECTION, vector, k=NEIGHBOURS, include=["metadata"])
        latency_ms = (time.perf_counter() - started) * 1000
        labels = _labels(answer)
        if labels:
            tally.searched(latency_ms, labels.count(label) / len(labels))
        await pace.turn()


async def show(db: Client, digits: Digits, tally: Tally) -> None:
    """Keep one held-out digit in view, ask for its neighbours again and again, take the next."""
    pace = Pace(_SHOWN_REFRESHES / _SHOWN_SECONDS)
    for vector, label in _in_turn(digits):
        for _ in range(_SHOWN_REFRESHES):
            answer = await db.search(
                COLLECTION, vector, k=NEIGHBOURS, include=["metadata", "vector"]
            )
            tally.question = Question(vector, label, _neighbours(answer))
            await pace.turn()


async def watch(db: Client, tally: Tally) -> None:
    """Follow the server's own statistics of the window."""
    async for stats in db.watch_stats(COLLECTION, every_ms=_STATS_EVERY_MS):
        window = WindowFigures(
            rows=stats["rows"],
            capacity=stats["capacity"],
            first_seq=stats["first_seq"],
            last_seq=stats["last_seq"],
            oldest_age_seconds=stats["oldest_age_s"],
        )
        tally.reported(window, time.monotonic())


async def count(db: Client, tally: Tally) -> None:
    """Count each digit in the window, once a second, with a filter on the column."""
    pace = Pace(1.0)
    while True:
        counts = [await db.count(COLLECTION, {"digit": label}) for label in range(LABELS)]
        tally.label_counts = tuple(counts)
        await pace.turn()


def _in_turn(digits: Digits) -> Iterator[tuple[F32, int]]:
    return cycle(zip(digits.vectors, digits.labels.tolist(), strict=True))


def _labels(answer: Answer) -> list[int]:
    return [int(metadata["digit"]) for metadata in answer.metadata or ()]


def _neighbours(answer: Answer) -> tuple[Neighbour, ...]:
    if answer.vectors is None or answer.scores is None:
        return ()
    # Copies: the arrays are views that would keep the whole message.
    rows = zip(answer.vectors.copy(), _labels(answer), answer.scores.tolist(), strict=True)
    return tuple(Neighbour(vector, label, score) for vector, label, score in rows)
