"""usearch: a graph, by inner product, float32."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from omendb_core.model.types import F32
from usearch.index import Index

from .peer import BUILD_EFFORT, LINKS, Ints, Peer


class Usearch:
    """An index that grows."""

    def __init__(self) -> None:
        self.process_id = os.getpid()
        self._index: Any = None
        self._threads = 1

    def open(self, dim: int, capacity: int, threads: int) -> None:
        self._threads = threads
        self._index = Index(
            ndim=dim, metric="ip", dtype="f32", connectivity=LINKS, expansion_add=BUILD_EFFORT
        )

    def add(self, ids: Ints, vectors: F32) -> None:
        self._index.add(ids.astype(np.uint64), vectors, threads=self._threads)

    def settle(self) -> None:
        pass

    def set_effort(self, effort: int) -> None:
        self._index.expansion_search = effort

    def search(self, queries: F32, k: int) -> Ints:
        matches = self._index.search(queries, k, threads=self._threads)
        return np.asarray(matches.keys).astype(np.int64).reshape(len(queries), -1)

    def close(self) -> None:
        pass


def make() -> Peer:
    return Usearch()
