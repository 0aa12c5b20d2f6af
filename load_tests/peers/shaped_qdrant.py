"""Qdrant Edge's shaped search: a formula over what a prefetch found, and its MMR.

A formula orders the rows of a prefetch, so it is asked with several sizes of that, the nearest by
the graph; and with all rows, exactly. MMR has its candidates by the graph.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, Final

import qdrant_edge as edge
from omendb_core.model.types import F32

from .peer import BUILD_EFFORT, LINKS
from .qdrant_shard import GRAPH_FROM_KILOBYTES
from .shaping_cases import AT, CASES, HALF_LIFE, Stock

PREFETCHES: Final = (100, 1000)
_ROWS_AN_ADD: Final = 1000
#: Of the graph, while what is prefetched is less.
_LEAST_EFFORT: Final = 128

_E: Final = edge.Expression
_SCORE: Final = _E.Variable("$score")
_FORMULAS: Final[dict[str, Any]] = {
    "decay": _E.Mult([
        _SCORE,
        _E.Decay(edge.DecayKind.Exp, _E.Variable("published"), _E.Constant(AT), 0.5, HALF_LIFE),
    ]),
    "formula": _E.Sum([
        _E.Mult([_E.Constant(0.7), _SCORE]),
        _E.Mult([
            _E.Constant(0.3),
            _E.Exp(_E.Neg(_E.Div(_E.Variable("price"), _E.Constant(20.0), None))),
        ]),
        _E.Variable("liked"),
    ]),
    "boost": _E.Mult([
        _SCORE,
        _E.Sum([
            _E.Constant(1.0),
            _E.Mult([
                _E.Constant(0.2),
                _E.Condition(edge.FieldCondition("shop", match=edge.MatchValue("north"))),
            ]),
        ]),
    ]),
}  # fmt: skip


class ShapedShard:
    """A shard with a graph over all rows, and indexes of its payload."""

    def __init__(self, stock: Stock) -> None:
        self.process_id = os.getpid()
        self._folder = tempfile.TemporaryDirectory(prefix="qdrant-edge-")
        self._rows, dim = stock.vectors.shape
        graph = edge.HnswIndexConfig(
            m=LINKS, ef_construct=BUILD_EFFORT, full_scan_threshold=GRAPH_FROM_KILOBYTES,
            max_indexing_threads=1,
        )  # fmt: skip
        config = edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(size=dim, distance=edge.Distance.Dot),
            hnsw_config=graph,
            optimizers=edge.EdgeOptimizersConfig(
                default_segment_number=1, indexing_threshold=GRAPH_FROM_KILOBYTES
            ),
            max_search_threads=1,
        )
        self._shard: Any = edge.EdgeShard.create(self._folder.name, config)
        for points in _points(stock):
            self._shard.update(edge.UpdateOperation.upsert_points(points))
        self._shard.optimize()

    def ways(self, case: str, k: int) -> dict[str, Callable[[F32], list[int]]]:
        """Searches of one vector, which answer with ids, by what they are called."""
        if case not in _FORMULAS:
            return {"qdrant-edge": lambda vector: self._mmr(CASES[case]["mmr"], vector, k)}
        sizes = {f"qdrant-edge, of {one:,}": one for one in (*PREFETCHES, self._rows)}
        return {
            name: lambda vector, size=size: self._formula(case, size, vector, k)  # type: ignore[misc]
            for name, size in sizes.items()
        }

    def _formula(self, case: str, size: int, vector: F32, k: int) -> list[int]:
        prefetch = edge.Prefetch(
            limit=size,
            query=edge.Query.Nearest(vector.tolist()),
            params=edge.SearchParams(exact=size >= self._rows, hnsw_ef=max(_LEAST_EFFORT, size)),
        )
        formula = edge.Formula(_FORMULAS[case])
        return self._ids(edge.QueryRequest(limit=k, query=formula, prefetches=[prefetch]))

    def _mmr(self, mmr: Any, vector: F32, k: int) -> list[int]:
        query = edge.Mmr(vector.tolist(), mmr["lambda"], mmr["candidates"])
        params = edge.SearchParams(hnsw_ef=_LEAST_EFFORT)
        return self._ids(edge.QueryRequest(limit=k, query=query, params=params))

    def _ids(self, request: Any) -> list[int]:
        return [int(point.id) for point in self._shard.query(request)]

    def close(self) -> None:
        """End what was started."""
        self._shard.close()
        self._folder.cleanup()


def _points(stock: Stock) -> Iterator[list[Any]]:
    for start in range(0, len(stock.vectors), _ROWS_AN_ADD):
        vectors = stock.vectors[start : start + _ROWS_AN_ADD].tolist()
        yield [
            edge.Point(row, vector, stock.payload(row)) for row, vector in enumerate(vectors, start)
        ]
