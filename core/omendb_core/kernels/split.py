"""A scan for many queries split over cores: the kernel lets go of the interpreter while it works.

The queries of a call are cut into pieces, which the caller and the helpers take one after the
other: a helper that comes late, because its core was busy, finds fewer of them, and nobody waits
for more than one piece. Each query is answered by one thread, so the answer is the same to the bit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

import numpy as np

from ..ring import Ring
from ..types import F32, I64, U64, Metric
from .scan import Scan, TopK

#: A piece has at least so many queries: with fewer each costs more, because the rows are read from
#: memory once a piece.
PIECE_QUERIES: Final = 8
#: Pieces for each thread, so that all end at about the same time.
_PIECES_A_THREAD: Final = 2
#: A call over fewer rows is not worth waking a helper for (50 µs).
_LEAST_ROWS: Final = 10_000


class SplitScan:
    """``scan`` on up to ``threads`` threads, the caller's among them. One caller at a time."""

    def __init__(self, scan: Scan, threads: int) -> None:
        self.name = scan.name
        self.keeps_shadow = scan.keeps_shadow
        self._scan = scan
        self._helpers = [_Helper(number) for number in range(1, threads)]

    def top_k(
        self,
        ring: Ring,
        metric: Metric,
        queries: F32,
        k: I64,
        min_scores: F32,
        masks: U64,
        mask_of: I64,
    ) -> TopK:
        """See ``scan.Scan.top_k``."""
        count = len(queries)
        threads = min(len(self._helpers) + 1, count // PIECE_QUERIES)
        if threads < 2 or ring.rows < _LEAST_ROWS:
            return self._scan.top_k(ring, metric, queries, k, min_scores, masks, mask_of)
        pieces = min(count // PIECE_QUERIES, threads * _PIECES_A_THREAD)
        bounds = [count * place // pieces for place in range(pieces + 1)]

        def scan(place: int) -> TopK:
            here = slice(bounds[place], bounds[place + 1])
            return self._scan.top_k(
                ring, metric, queries[here], k[here], min_scores[here], masks, mask_of[here]
            )

        job = _Job(scan, pieces)
        helpers = self._helpers[: threads - 1]
        for helper in helpers:
            helper.help(job)
        job.work()
        return _joined(job.wait())


class _Job:
    """The pieces of one call, and what came of each."""

    def __init__(self, scan: Callable[[int], TopK], pieces: int) -> None:
        self._scan = scan
        self._left = list(range(pieces))
        self._found: list[TopK | BaseException | None] = [None] * pieces
        self._undone = pieces
        self._lock = threading.Lock()
        self._done = threading.Event()

    def work(self) -> None:
        """Take pieces until there are none."""
        while True:
            try:
                place = self._left.pop()
            except IndexError:
                return
            try:
                self._found[place] = self._scan(place)
            except BaseException as error:
                self._found[place] = error
            with self._lock:
                self._undone -= 1
                if not self._undone:
                    self._done.set()

    def wait(self) -> list[TopK]:
        """What was found, in order, once all is done. Raises what a piece raised."""
        self._done.wait()
        found = []
        for one in self._found:
            if isinstance(one, BaseException):
                raise one
            assert one is not None
            found.append(one)
        return found


class _Helper:
    """A thread that lends a hand; it ends with the process."""

    def __init__(self, number: int) -> None:
        self._job: _Job | None = None
        self._called = threading.Event()
        name = f"omendb-scan-{number}"
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def help(self, job: _Job) -> None:
        """Work on ``job``, as far as there is anything left of it."""
        self._job = job
        self._called.set()

    def _run(self) -> None:
        while True:
            self._called.wait()
            self._called.clear()
            job, self._job = self._job, None
            if job is not None:
                job.work()


def _joined(found: list[TopK]) -> TopK:
    return TopK(
        np.concatenate([one.counts for one in found]),
        np.concatenate([one.slots for one in found]),
        np.concatenate([one.scores for one in found]),
    )
