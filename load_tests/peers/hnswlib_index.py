"""hnswlib: a graph, by inner product."""

from __future__ import annotations

import os
from typing import Any

import hnswlib
import numpy as np
from omendb_core.model.types import F32

from .peer import BUILD_EFFORT, LINKS, Ints, Peer


class Hnswlib:
    """An index with a fixed number of places."""

    def __init__(self) -> None:
        self.process_id = os.getpid()
        self._index: Any = None

    def open(self, dim: int, capacity: int, threads: int) -> None:
        self._index = hnswlib.Index(space="ip", dim=dim)
        self._index.init_index(max_elements=capacity, M=LINKS, ef_construction=BUILD_EFFORT)
        self._index.set_num_threads(threads)

    def add(self, ids: Ints, vectors: F32) -> None:
        self._index.add_items(vectors, ids)

    def settle(self) -> None:
        pass

    def set_effort(self, effort: int) -> None:
        self._index.set_ef(effort)

    def search(self, queries: F32, k: int) -> Ints:
        return np.asarray(self._index.knn_query(queries, k)[0]).astype(np.int64)

    def close(self) -> None:
        pass


def make() -> Peer:
    return Hnswlib()
