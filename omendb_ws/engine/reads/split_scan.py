"""A scan for many queries split over idle cores: the kernel lets go of the interpreter at work.

The queries of a call are cut into pieces, which the caller and its helpers take one after the
other, so a helper that comes late finds fewer of them. Each query is answered by one thread, so the
answer is the same to the bit. Measured, 64 queries over 100,000 x 128 on two cores: 27 µs each
instead of 46; the server's searches, one a message: 22,400 a second instead of 18,400.

Where cores are not idle, a helper may be put aside by the system in the middle of a piece, and the
caller waits for it for milliseconds (250 µs a query instead of 60 on two cores that others kept
busy). So whoever took longer than alone does without helpers for some calls, twice as many each
time, until it goes well again.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, Final, TypeAlias

import numpy as np
from omendb_core.model.types import F32, F64, I64, U64, Metric
from omendb_core.rows.ring import Ring
from omendb_core.scan.interface import RankedTopK, Scan, Times, TopK
from omendb_core.scan.shadowed import ShadowedScan

#: A piece has at least so many queries; with fewer each would cost more, because the rows are read
#: from memory once a piece (8: 45 µs each, 4: 60).
PIECE_QUERIES: Final = 8
#: Pieces for each thread, so that all end at about the same time.
_PIECES_A_THREAD: Final = 2
#: A scan of fewer rows takes no longer than waking a helper, 50 µs.
LEAST_ROWS: Final = 10_000
#: By so many pieces a call may take longer than it would have alone.
_PATIENCE_PIECES: Final = 0.5
#: Calls without helpers after the first wait, and at most. Trying again after 64 calls of 3 ms
#: costs two in a hundred where it goes wrong; 1,024 made seconds out of a moment's trouble.
FIRST_REST_CALLS: Final = 4
MOST_REST_CALLS: Final = 64


def may_be_split(vectors: int, rows: int) -> bool:
    """Whether a scan for so many vectors over so many rows may wait for other threads."""
    return vectors >= 2 * PIECE_QUERIES and rows >= LEAST_ROWS


class SplitScan:
    """``scan`` on up to ``threads`` threads, the caller's among them."""

    def __init__(self, scan: Scan, threads: int) -> None:
        self.name = scan.name
        self.keeps_shadow = scan.keeps_shadow
        self.pairs_above = scan.pairs_above
        self.score_bounds = scan.score_bounds
        self.rows_reaching = scan.rows_reaching
        self._scan = scan
        #: For one query; helpers of the extension's own wait for it.
        self._alone = ShadowedScan(scan.name, threads) if scan.keeps_shadow else scan
        self._threads = threads
        self._rest = _Rest()

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
        """See ``Scan.top_k``."""
        given = ring, metric, queries, k, min_scores, masks, mask_of
        if (pieces := self._pieces(ring, len(queries))) < 2:
            return self._alone.top_k(*given)
        found = self._together(partial(_piece, self._scan, given, pieces), pieces)
        return TopK(*map(np.concatenate, zip(*found, strict=True)))

    def top_k_decayed(
        self,
        ring: Ring,
        metric: Metric,
        queries: F32,
        k: I64,
        min_scores: F32,
        masks: U64,
        mask_of: I64,
        times: Times,
        half_lives: F64,
    ) -> RankedTopK:
        """See ``Scan.top_k_decayed``."""
        given = ring, metric, queries, k, min_scores, masks, mask_of
        if (pieces := self._pieces(ring, len(queries))) < 2:
            return self._scan.top_k_decayed(*given, times, half_lives)
        decay = times, half_lives
        found = self._together(partial(_decayed_piece, self._scan, given, decay, pieces), pieces)
        return RankedTopK(*map(np.concatenate, zip(*found, strict=True)))

    def _pieces(self, ring: Ring, queries: int) -> int:
        """Into how many pieces a call is cut; 1: it is not."""
        threads = min(self._threads, queries // PIECE_QUERIES)
        if threads < 2 or not may_be_split(queries, ring.rows) or self._rest.is_on():
            return 1
        return min(queries // PIECE_QUERIES, threads * _PIECES_A_THREAD)

    def _together(self, do: Callable[[int], Any], pieces: int) -> list[Any]:
        """What ``do`` returns for each piece."""
        job = Job(do, pieces)
        _helpers.help(job, min(self._threads, pieces) - 1)
        own_pieces, own_seconds = job.work()
        found, waited_seconds = job.wait()
        piece_seconds = own_seconds / max(own_pieces, 1)
        alone_seconds = (pieces + _PATIENCE_PIECES) * piece_seconds
        self._rest.note(own_pieces > 0 and own_seconds + waited_seconds > alone_seconds)
        return found


_Given: TypeAlias = tuple[Ring, Metric, F32, I64, F32, U64, I64]


def _here(given: _Given, pieces: int, place: int) -> tuple[slice, _Given]:
    ring, metric, queries, k, min_scores, masks, mask_of = given
    here = slice(len(k) * place // pieces, len(k) * (place + 1) // pieces)
    return here, (ring, metric, queries[here], k[here], min_scores[here], masks, mask_of[here])


def _piece(scan: Scan, given: _Given, pieces: int, place: int) -> TopK:
    """The piece at ``place``. (No closure: a kept traceback would keep what it is closed over.)"""
    _, part = _here(given, pieces, place)
    return scan.top_k(*part)


def _decayed_piece(
    scan: Scan, given: _Given, decay: tuple[Times, F64], pieces: int, place: int
) -> RankedTopK:
    here, part = _here(given, pieces, place)
    times, half_lives = decay
    return scan.top_k_decayed(*part, times, half_lives[here])


class Job:
    """The pieces of one call, 0 … ``pieces - 1``, and what ``do`` returned for each."""

    def __init__(self, do: Callable[[int], Any], pieces: int) -> None:
        self._do = do
        self._left = list(range(pieces))
        self._found: list[Any] = [None] * pieces
        self._error: BaseException | None = None
        self._undone = pieces
        self._lock = threading.Lock()
        self._done = threading.Event()

    def work(self) -> tuple[int, float]:
        """Take pieces until there are none: how many, and the seconds that took."""
        started, taken = time.perf_counter(), 0
        while True:
            try:
                place = self._left.pop()
            except IndexError:
                return taken, time.perf_counter() - started
            try:
                self._found[place] = self._do(place)
            except BaseException as error:
                self._error = error
            taken += 1
            with self._lock:
                self._undone -= 1
                if not self._undone:
                    self._done.set()

    def wait(self) -> tuple[list[Any], float]:
        """What was returned, once all is done, and the seconds until then. Raises what one did."""
        started = time.perf_counter()
        self._done.wait()
        if self._error is not None:
            error, self._error = self._error, None
            try:
                raise error
            finally:
                del error  # its frames have this job, and a window
        return self._found, time.perf_counter() - started


class _Helpers:
    """Threads of this process that lend a hand, to whichever server; they end with it."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._count = 0
        self._lock = threading.Lock()

    def start(self, count: int) -> int:
        """Have ``count`` helpers; how many of these there are, as a system may have no thread."""
        with self._lock, suppress(RuntimeError):
            while self._count < count:
                name = f"omendb-scan-{self._count + 1}"
                threading.Thread(target=self._run, name=name, daemon=True).start()
                self._count += 1
        return min(self._count, count)

    def help(self, job: Job, count: int) -> None:
        """Let ``count`` helpers work on ``job``, as far as there is anything left of it."""
        for _ in range(self.start(count)):
            self._jobs.put(job)

    def _run(self) -> None:
        jobs = self._jobs
        while True:
            job = jobs.get()
            job.work()
            del job  # it holds a window


_helpers = _Helpers()


def _forked() -> None:
    global _helpers
    _helpers = _Helpers()  # threads do not come along


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class _Rest:
    """For how many calls nobody helps."""

    def __init__(self) -> None:
        self._calls = 0
        self._next_calls = FIRST_REST_CALLS

    def is_on(self) -> bool:
        """Whether this call is without helpers."""
        if not self._calls:
            return False
        self._calls -= 1
        return True

    def note(self, was_late: bool) -> None:
        """Whether the caller had to wait for a helper in this call."""
        if was_late:
            self._calls = self._next_calls
            self._next_calls = min(2 * self._next_calls, MOST_REST_CALLS)
        else:
            self._next_calls = max(self._next_calls // 2, FIRST_REST_CALLS)
