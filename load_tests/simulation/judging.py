"""A run's answers before the oracle: what is sampled is put beside what must have been.

Knows the scenario and the reports of all processes; makes the vectors and metadata that these sent
once more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omendb_core.model.types import F32, Bool1
from omendb_core.model.types import Column as Values

from . import columns, shaping, truth, vectors, worker
from .requests import AddLog
from .results import Truth
from .scenario import Scenario


class Judge:
    """The oracle of a run."""

    def __init__(
        self, scenario: Scenario, pool: F32, metadata: Mapping[str, Values], log: AddLog
    ) -> None:
        self._scenario = scenario
        self._pool = pool
        self._metadata = metadata
        self._history = truth.history(log, len(pool))

    def searches(self, reports: Sequence[worker.Report]) -> Truth | None:
        """The sampled answers; None where none were to be sampled."""
        scenario = self._scenario
        settings = scenario.search
        if settings is None or not settings.verified:
            return None
        dim, seed = scenario.collection.dim, scenario.load.seed
        queries = vectors.queries(scenario.vectors, dim, seed, settings.queries)
        samples = [one for report in reports for one in report.samples]
        shapes = [
            shaping.shape_of(settings.shapes, settings.vectors, query)
            for query in range(len(queries))
        ]
        oracle = self._oracle(queries, settings.k, settings.filter, shapes)
        return truth.judge(oracle, truth.read(samples))

    def pushes(self, reports: Sequence[worker.Report]) -> dict[str, Truth]:
        """Of the standing queries that are looked at, by kind: sampled views, sampled matches."""
        found = {}
        parts = [part for report in reports for part in report.pushes]
        for kind, settings in self._scenario.standing.items():
            if not settings.verified:
                continue
            queries = worker.standing_queries(self._scenario, kind, self._scenario.collection.dim)
            shapes = [settings.shape(query) for query in range(len(queries))]
            oracle = self._oracle(queries, settings.k, settings.filter, shapes)
            of_it = [part for part in parts if part.kind == kind]
            if not self._scenario.is_judged(kind):
                ends = [end for part in of_it for end in part.ends]
                found[kind] = truth.agreement(ends)
            elif kind == "live":
                found[kind] = truth.judge(oracle, [one for part in of_it for one in part.views])
            else:
                matched = [one for part in of_it for one in part.matched]
                found[kind] = truth.judge_matches(oracle, matched, settings.min_score)
        return found

    def _oracle(
        self,
        queries: F32,
        k: int,
        document: Mapping[str, Any],
        shapes: Sequence[Mapping[str, Any]] = (),
    ) -> truth.Oracle:
        collection, pool = self._scenario.collection, self._pool
        passing: Bool1 | None = None
        if document:
            passing = columns.passing(self._metadata, document, len(pool))
        shaped = None
        if any(shapes):
            id_of_first = 1 if collection.ids == "auto" else 0
            shaped = truth.Shaped(shapes, columns.plain(self._metadata), id_of_first)
        return truth.Oracle(
            pool, queries, self._history, collection.capacity, collection.metric, k, passing, shaped
        )
