"""A run's answers before the oracle: what is sampled is put beside what must have been.

Knows the scenario and the reports of all processes; makes the vectors and metadata that these sent
once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from omendb_core.types import F32, Bool1
from omendb_core.types import Column as Values

from . import columns, truth, vectors, worker
from .requests import AddLog
from .results import Truth
from .scenario import Scenario
from .views import Answered


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
        return self._judged(queries, settings.k, settings.filter, truth.read(samples))

    def views(self, reports: Sequence[worker.Report]) -> Truth | None:
        """The sampled views of live subscriptions, likewise."""
        settings = self._scenario.live
        if settings is None or not settings.verified:
            return None
        queries = worker.standing_queries(self._scenario, "live", self._scenario.collection.dim)
        found = [one for report in reports for part in report.pushes for one in part.views]
        return self._judged(queries, settings.k, settings.filter, found)

    def _judged(
        self, queries: F32, k: int, document: Mapping[str, Any], answers: Iterable[Answered | None]
    ) -> Truth:
        collection, pool = self._scenario.collection, self._pool
        passing: Bool1 | None = None
        if document:
            passing = columns.passing(self._metadata, document, len(pool))
        oracle = truth.Oracle(
            pool, queries, self._history, collection.capacity, collection.metric, k, passing
        )
        return truth.judge(oracle, answers)
