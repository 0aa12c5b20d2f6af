"""This engine in process: ``omendb_core.Window``, without a server."""

from __future__ import annotations

import os

import numpy as np
from omendb_core.model.change import AddChange, AddRequest, RowBatch
from omendb_core.model.errors import OmenError
from omendb_core.model.types import F32, Definition
from omendb_core.scoring.blas import use_threads
from omendb_core.search.query import Query
from omendb_core.window import Window

from .peer import Ints, Peer


class OmendbEngine:
    """A window; the oldest rows leave when it is full."""

    def __init__(self) -> None:
        self.process_id = os.getpid()

    def open(self, dim: int, capacity: int, threads: int) -> None:
        use_threads(threads)
        self._window = Window(Definition(dim, capacity, metric="dot"))

    def add(self, ids: Ints, vectors: F32) -> None:
        request = AddRequest(RowBatch(vectors, ids.astype(np.uint64)))
        change = self._window.admit_add(request, now_us=0)
        assert isinstance(change, AddChange)
        self._window.apply(change)

    def settle(self) -> None:
        pass

    def set_effort(self, effort: int) -> None:
        pass

    def search(self, queries: F32, k: int) -> Ints:
        (answer,) = self._window.search([Query(queries, k=k)])
        if isinstance(answer, OmenError):
            raise answer
        found = np.full((len(queries), k), -1, np.int64)
        found[np.arange(k) < answer.counts[:, None]] = answer.hits.ids
        return found

    def close(self) -> None:
        pass


def make() -> Peer:
    return OmendbEngine()
