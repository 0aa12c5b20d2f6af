"""numpy: one matrix product, then the best k of every row of it."""

from __future__ import annotations

import os

import numpy as np
from omendb_core.model.types import F32

from .peer import Ints, Peer


class BruteForce:
    """Rows in an array; the oldest are overwritten when it is full."""

    def __init__(self) -> None:
        self.process_id = os.getpid()

    def open(self, dim: int, capacity: int, threads: int) -> None:
        self._vectors: F32 = np.empty((capacity, dim), np.float32)
        self._ids: Ints = np.empty(capacity, np.int64)
        self._added = 0

    def add(self, ids: Ints, vectors: F32) -> None:
        at = (self._added + np.arange(len(ids))) % len(self._ids)
        self._vectors[at], self._ids[at] = vectors, ids
        self._added += len(ids)

    def settle(self) -> None:
        pass

    def set_effort(self, effort: int) -> None:
        pass

    def search(self, queries: F32, k: int) -> Ints:
        rows = min(self._added, len(self._ids))
        scores = queries @ self._vectors[:rows].T
        keep = min(k, rows)
        best = np.argpartition(scores, rows - keep, axis=1)[:, rows - keep :]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
        found = np.full((len(queries), k), -1, np.int64)
        found[:, :keep] = self._ids[np.take_along_axis(best, order, axis=1)]
        return found

    def close(self) -> None:
        pass


def make() -> Peer:
    return BruteForce()
