"""Measures one peer. Runs in that peer's own process: ``python -m load_tests.peers.measure``.

Everything that is known is written after each stage, so that a peer which is stopped for taking too
long still shows what it had reached. A figure that was not reached is missing, never 0.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from omendb_core.model.types import F32, F64

from .peer import Ints, Peer, by_name

#: Tried in this order until the wanted recall is reached.
EFFORTS: Final = (10, 16, 32, 64, 128, 256, 512, 1024)
#: Scores this close are equal: float32 sums in another order.
SCORE_TOLERANCE: Final = 1e-5
FRESH_WITHIN_SECONDS: Final = 5.0
FIGURES = "figures.json"


@dataclasses.dataclass(frozen=True)
class Workload:
    """What every peer is given. Arrays lie beside it, in the same folder."""

    rows: int
    dim: int
    queries: int
    k: int
    threads: int
    rows_an_add: int
    queries_a_batch: int
    recall: float
    search_seconds: float
    fresh_rows: int


def resident_bytes(process_id: int) -> int | None:
    """Memory of a process that is in RAM; None where the system does not say."""
    try:
        pages = int(Path(f"/proc/{process_id}/statm").read_text().split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def recall(vectors: F32, queries: F32, least: F64, answered: Ints, k: int) -> float:
    """The share of the true ``k`` nearest that was answered.

    ``least`` (q,) is the exact score of each query's k-th; an id counts, once, if it scores that.
    """
    found = 0
    for query, bar, ids in zip(queries, least, answered, strict=True):
        known = np.unique(ids[(ids >= 0) & (ids < len(vectors))])
        scores = vectors[known].astype(np.float64) @ query.astype(np.float64)
        found += min(k, int((scores >= bar - SCORE_TOLERANCE).sum()))
    return found / (k * len(queries))


class Measuring:
    """The stages, in order; ``figures`` grows."""

    def __init__(self, peer: Peer, workload: Workload, folder: Path) -> None:
        self._peer, self._workload, self._folder = peer, workload, folder
        self._vectors: F32 = np.load(folder / "vectors.npy")
        self._queries: F32 = np.load(folder / "queries.npy")
        self._fresh: F32 = np.load(folder / "fresh.npy")
        self._least: F64 = np.load(folder / "least.npy")
        self.figures: dict[str, Any] = {}

    def run(self) -> None:
        for stage in (self.add, self.tune, self.latency, self.throughput, self.freshness):
            stage()
            partial = self._folder / f"{FIGURES}.partial"
            partial.write_text(json.dumps(self.figures), "utf-8")
            partial.replace(self._folder / FIGURES)

    def add(self) -> None:
        """Rows a second, whatever ``settle`` needs included; and what memory that took."""
        peer, workload = self._peer, self._workload
        before = resident_bytes(peer.process_id)
        peer.open(workload.dim, workload.rows + workload.fresh_rows, workload.threads)
        ids = np.arange(workload.rows, dtype=np.int64)
        began = time.perf_counter()
        for start in range(0, workload.rows, workload.rows_an_add):
            part = slice(start, start + workload.rows_an_add)
            peer.add(ids[part], self._vectors[part])
        added = time.perf_counter()
        peer.settle()
        settled = time.perf_counter()
        after = resident_bytes(peer.process_id)
        self.figures["rows_added_per_second"] = workload.rows / (settled - began)
        self.figures["settle_seconds"] = settled - added
        if before is not None and after is not None:
            self.figures["memory_bytes"] = after - before
            self.figures["resident_bytes"] = after

    def tune(self) -> None:
        """The least effort with the wanted recall; the most there is if none reaches it."""
        for effort in EFFORTS:
            if effort < self._workload.k:
                continue
            self._peer.set_effort(effort)
            answered = np.concatenate([self._search(part) for part in self._batches()])
            reached = recall(self._vectors, self._queries, self._least, answered, self._workload.k)
            self.figures["recall"], self.figures["effort"] = reached, effort
            if reached >= self._workload.recall:
                break

    def latency(self) -> None:
        """One query at a time."""
        times: list[float] = []
        end = time.perf_counter() + self._workload.search_seconds
        while time.perf_counter() < end or len(times) < 20:
            query = self._queries[len(times) % len(self._queries)][None]
            began = time.perf_counter()
            self._search(query)
            times.append((time.perf_counter() - began) * 1e3)
        self.figures["p50_ms"] = float(np.percentile(times, 50))
        self.figures["p99_ms"] = float(np.percentile(times, 99))
        self.figures["latencies"] = len(times)

    def throughput(self) -> None:
        """Queries a second, a batch of them in one call, one call at a time."""
        batches = self._batches()
        asked, number, began = 0, 0, time.perf_counter()
        while time.perf_counter() - began < self._workload.search_seconds:
            batch = batches[number % len(batches)]
            self._search(batch)
            asked, number = asked + len(batch), number + 1
        self.figures["queries_per_second"] = asked / (time.perf_counter() - began)

    def freshness(self) -> None:
        """From just before a row is added until a search for it answers with it."""
        times: list[float] = []
        missed = 0
        for number, vector in enumerate(self._fresh):
            wanted = self._workload.rows + number
            began = time.perf_counter()
            self._peer.add(np.array([wanted], np.int64), vector[None])
            while (seen := time.perf_counter()) - began < FRESH_WITHIN_SECONDS:
                if wanted in self._search(vector[None]):
                    seen = time.perf_counter()
                    break
            else:
                missed += 1
                continue
            times.append((seen - began) * 1e3)
        self.figures["fresh_missed"] = missed
        if times:
            self.figures["fresh_p50_ms"] = float(np.percentile(times, 50))
            self.figures["fresh_max_ms"] = max(times)

    def _search(self, queries: F32) -> Ints:
        return self._peer.search(queries, self._workload.k)

    def _batches(self) -> list[F32]:
        size = self._workload.queries_a_batch
        return [self._queries[at : at + size] for at in range(0, len(self._queries), size)]


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    workload = Workload(**json.loads((folder / "workload.json").read_text("utf-8")))
    peer = by_name(name).make()
    try:
        Measuring(peer, workload, folder).run()
    finally:
        peer.close()


if __name__ == "__main__":
    main()
