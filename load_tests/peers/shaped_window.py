"""This engine's shaped search in process: exact over the whole window."""

from __future__ import annotations

from collections.abc import Callable

from omendb_core.model.errors import OmenError
from omendb_core.model.types import F32
from omendb_core.ranking.shape_parser import shape_of
from omendb_core.search.query import Query

from ..aims import engine
from .shaping_cases import AT, CASES, COLUMNS, Stock

_MAX_K = 1000


class ShapedWindow:
    """A full window."""

    def __init__(self, stock: Stock) -> None:
        self._window = engine.filled(stock.vectors, "dot", COLUMNS, stock.values())

    def ways(self, case: str, k: int) -> dict[str, Callable[[F32], list[int]]]:
        """Searches of one vector, which answer with ids, by what they are called."""
        shape = shape_of(CASES[case], self._window.definition, k, _MAX_K, live=False)
        is_aged = "decay" in CASES[case] or "rank" in CASES[case]

        def search(vector: F32) -> list[int]:
            query = Query(vector[None], k=k, shape=shape, at=AT if is_aged else None)
            (answer,) = self._window.search([query])
            if isinstance(answer, OmenError):
                raise answer
            return [int(one) for one in answer.hits.ids]

        return {"omendb": search}

    def close(self) -> None:
        """Nothing was started."""
