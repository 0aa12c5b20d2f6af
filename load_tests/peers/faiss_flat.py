"""faiss, ``IndexFlatIP`` under ids: exact."""

from __future__ import annotations

import os
from typing import Any

import faiss
import numpy as np
from omendb_core.model.types import F32

from .peer import Ints, Peer


class FaissFlat:
    """A flat index."""

    def __init__(self) -> None:
        self.process_id = os.getpid()
        self._index: Any = None

    def open(self, dim: int, capacity: int, threads: int) -> None:
        faiss.omp_set_num_threads(threads)
        self._index = faiss.IndexIDMap(faiss.IndexFlatIP(dim))

    def add(self, ids: Ints, vectors: F32) -> None:
        self._index.add_with_ids(vectors, ids)

    def settle(self) -> None:
        pass

    def set_effort(self, effort: int) -> None:
        pass

    def search(self, queries: F32, k: int) -> Ints:
        return np.asarray(self._index.search(queries, k)[1], np.int64)

    def close(self) -> None:
        pass


def make() -> Peer:
    return FaissFlat()
