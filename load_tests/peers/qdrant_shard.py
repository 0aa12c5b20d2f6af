"""Qdrant Edge: one shard in a directory of its own, its graph built by ``optimize``.

Its segments are files mapped into memory, and it keeps a write-ahead log: it can do more than what
is measured here.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any

import numpy as np
import qdrant_edge as edge
from omendb_core.model.types import F32

from .peer import BUILD_EFFORT, LINKS, Ints, Peer

#: Kilobytes of vectors from which on a segment gets a graph, and is searched by it.
GRAPH_FROM_KILOBYTES = 1


class QdrantShard:
    """A shard. Rows that came after ``settle`` are scanned until the next."""

    def __init__(self) -> None:
        self.process_id = os.getpid()
        self._shard: Any = None
        self._folder = tempfile.TemporaryDirectory(prefix="qdrant-edge-")
        self._effort = 64

    def open(self, dim: int, capacity: int, threads: int) -> None:
        graph = edge.HnswIndexConfig(
            m=LINKS, ef_construct=BUILD_EFFORT, full_scan_threshold=GRAPH_FROM_KILOBYTES,
            max_indexing_threads=threads,
        )  # fmt: skip
        config = edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(size=dim, distance=edge.Distance.Dot),
            hnsw_config=graph,
            optimizers=edge.EdgeOptimizersConfig(
                default_segment_number=1, indexing_threshold=GRAPH_FROM_KILOBYTES
            ),
            max_search_threads=threads,
        )
        self._shard = edge.EdgeShard.create(self._folder.name, config)

    def add(self, ids: Ints, vectors: F32) -> None:
        rows = zip(ids.tolist(), vectors.tolist(), strict=True)
        points = [edge.Point(number, vector) for number, vector in rows]
        self._shard.update(edge.UpdateOperation.upsert_points(points))

    def settle(self) -> None:
        self._shard.optimize()

    def set_effort(self, effort: int) -> None:
        self._effort = effort

    def search(self, queries: F32, k: int) -> Ints:
        params = edge.SearchParams(hnsw_ef=self._effort)
        asked = [
            edge.QueryRequest(limit=k, query=edge.Query.Nearest(query), params=params)
            for query in queries.tolist()
        ]
        answers = self._shard.query_batch(edge.QueryBatchRequest(asked))
        found = np.full((len(queries), k), -1, np.int64)
        for row, answer in zip(found, answers, strict=True):
            row[: len(answer)] = [point.id for point in answer]
        return found

    def close(self) -> None:
        self._shard.close()
        self._folder.cleanup()


def make() -> Peer:
    return QdrantShard()
