"""faiss, ``IndexHNSWFlat`` by inner product, under ids."""

from __future__ import annotations

import faiss

from .faiss_flat import FaissFlat
from .peer import BUILD_EFFORT, LINKS, Peer


class FaissHnsw(FaissFlat):
    """A graph over flat storage."""

    def open(self, dim: int, capacity: int, threads: int) -> None:
        faiss.omp_set_num_threads(threads)
        self._graph = faiss.IndexHNSWFlat(dim, LINKS, faiss.METRIC_INNER_PRODUCT)
        self._graph.hnsw.efConstruction = BUILD_EFFORT
        self._index = faiss.IndexIDMap(self._graph)

    def set_effort(self, effort: int) -> None:
        self._graph.hnsw.efSearch = effort


def make() -> Peer:
    return FaissHnsw()
