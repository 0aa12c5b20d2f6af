"""What a hit takes on its way from the comparison to the bytes for a socket, stage by stage.

    python -m load_tests.bench_match_stages [--queries 100000] [--min-score 0.335]

One process and one thread, without sockets, by processor time: the engine's side of match queries,
the outbox of each connection, and frames as a socket is given them. Adds of 64 rows into a full
window, one a tick. *Hits* is what the ticks take that tell of rows, *silence* what those take that
move queries on which heard of nothing for long (PROTOCOL section 6); without either an add takes
what *compare* says.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, Final, cast

import numpy as np
from omendb_core.model.budget import Budget, Share
from omendb_core.model.change import AddRequest, RowBatch
from omendb_core.model.types import F32, Definition, Include
from omendb_core.search.query import prepare_queries
from omendb_core.standing.table import StandingQuery
from omendb_core.window import Window

from omendb_ws.engine.model.shard import Shard
from omendb_ws.engine.model.shares import Shares
from omendb_ws.engine.model.ticket import Lane
from omendb_ws.engine.streams.deliveries import Deliveries
from omendb_ws.engine.streams.matches import Matches, MatchQuery
from omendb_ws.net.writing import _framed as framed
from omendb_ws.sessions.outbox import Outbox
from omendb_ws.sessions.subscriptions.subscription import StreamSubscription
from omendb_ws.telemetry.metrics import Metrics
from omendb_ws.wire.limits import Limits

from .figures import where

DIM: Final = 128
ROWS: Final = 64
A_CONNECTION: Final = 1000
#: Beyond what a reader may hear nothing for.
SILENCE_US: Final = 5_000_000


class Pipeline:
    """Match queries of a window, and everything that their pushes go through."""

    def __init__(self, window: Window, queries: F32, min_score: float) -> None:
        metrics, shares = Metrics(0.0), Shares()
        self.spent: Counter[str] = Counter()
        self.pushes = self.hits = self.bytes = 0
        self.shard = Shard("default", "bench", "memory", window, 0.0)
        self.deliveries = Deliveries(metrics, Limits(), shares)
        self.matches = Matches(metrics, Limits(), self.deliveries)
        self.budget = Budget("max_memory_bytes", 1 << 40)
        self._sent: list[Any] = []
        engine = SimpleNamespace(sent=self._sent.append, submit=lambda _: None)
        context = SimpleNamespace(metrics=metrics, engine=engine, clock_us=lambda: self.now_us)
        account: Any = SimpleNamespace(subscriptions=0, memory=self.budget)
        listed = SimpleNamespace(subscriptions=set())
        collection = SimpleNamespace(listed=listed, shard=self.shard, all_of_it=self.shard)
        self.now_us = 1
        self.outboxes: list[Outbox] = []
        asked = StandingQuery(None, None, min_score)
        for first in range(0, len(queries), A_CONNECTION):
            session = SimpleNamespace(
                context=context, account=account, lane=Lane(), outbox=Outbox(), subscriptions={}
            )
            self.outboxes.append(session.outbox)
            for sub, vector in enumerate(queries[first : first + A_CONNECTION], 1):
                reader = StreamSubscription(cast(Any, session), "match", sub, cast(Any, collection))
                session.subscriptions[sub] = reader
                share = Share(self.budget, "hits that wait take")
                query = MatchQuery(self.matches, reader, self.shard, True, Include(), asked, share)
                reader.attach(query)
                self.matches.start(
                    [query], prepare_queries(window.definition, vector[None]), None, 1
                )
                reader.replied(True)
        self.push()
        self.spent.clear()
        self.pushes = 0

    def timed(self, stage: str, work: Callable[[], Any]) -> Any:
        """Do it, and note how long it took."""
        began = time.thread_time()
        found = work()
        self.spent[stage] += time.thread_time() - began
        return found

    def tick(self, rows: F32) -> None:
        """One add, and all that follows."""
        window = self.shard.window
        self.now_us += 1
        window.apply(window.admit_add(AddRequest(RowBatch(rows)), self.now_us))  # type: ignore[arg-type]
        found = self.timed("compare", window.standing.advance)
        if len(found.matched):
            self.hits += len(found.matched)
            self.timed("keep", lambda: self.matches.matched(
                self.shard, found.matched, found.seqs, found.scores, self.now_us))  # fmt: skip
        self.push()

    def push(self) -> None:
        """Make, frame and take pushes until nothing is left to be said."""
        while True:
            effects: list[Any] = []
            self.timed("make", lambda: self.deliveries.push(effects, self.now_us))  # noqa: B023
            if not effects and not self.deliveries.is_busy:
                return
            self.timed("deliver", lambda: self._deliver(effects))  # noqa: B023
            self.timed("write", self._write)
            self.timed("sent", self._hear)

    @staticmethod
    def _deliver(effects: Sequence[Any]) -> None:
        for effect in effects:
            effect.deliver()

    def _write(self) -> None:
        """As ``net/writing.py`` does it."""
        for outbox in self.outboxes:
            while len(outbox):
                batch = outbox.take()
                self.bytes += len(framed(batch.messages))
                self.pushes += len(batch.messages) + batch.in_runs
                outbox.sent(batch)

    def _hear(self) -> None:
        for push in self._sent:
            self.deliveries.sent(push)
        self._sent.clear()


def show(name: str, pipeline: Pipeline, ticks: int) -> None:
    """What the ticks took."""
    each = max(pipeline.pushes, 1)
    stages = ", ".join(
        f"{stage} {seconds * 1e6 / each:.2f}"
        for stage, seconds in pipeline.spent.items()
        if stage != "compare"
    )
    whole = sum(seconds for stage, seconds in pipeline.spent.items() if stage != "compare")
    compare_ms = pipeline.spent["compare"] * 1e3 / ticks
    print(
        f"{name}: {pipeline.hits / ticks:,.0f} hits, {pipeline.pushes / ticks:,.0f} pushes of"
        f" {pipeline.bytes / each:.0f} bytes a tick; {whole * 1e6 / each:.2f} µs a push: {stages};"
        f" compare {compare_ms:.2f} ms a tick",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--queries", type=int, default=100_000)
    parser.add_argument("--min-score", type=float, default=0.335)
    parser.add_argument("--capacity", type=int, default=10_000)
    parser.add_argument("--ticks", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args(arguments)
    print(where(), flush=True)
    random = np.random.default_rng(0)

    def drawn(count: int) -> F32:
        return random.standard_normal((count, DIM), dtype=np.float32)

    window = Window(Definition(DIM, options.capacity, "cosine", "auto"))
    for _ in range(0, options.capacity, ROWS):
        window.apply(window.admit_add(AddRequest(RowBatch(drawn(ROWS))), 1))  # type: ignore[arg-type]
    began, cpu = time.perf_counter(), time.process_time()
    pipeline = Pipeline(window, drawn(options.queries), options.min_score)
    print(
        f"{options.queries:,} subscriptions in {time.perf_counter() - began:.1f} s, of CPU"
        f" {(time.process_time() - cpu) * 1e6 / options.queries:.1f} µs each",
        flush=True,
    )
    for _ in range(options.rounds):
        for name, ticks, passing_us in (("hits", options.ticks, 0), ("silence", 2, SILENCE_US)):
            pipeline.spent.clear()
            pipeline.pushes = pipeline.hits = pipeline.bytes = 0
            for _ in range(ticks):
                pipeline.now_us += passing_us
                pipeline.tick(drawn(ROWS))
            show(name, pipeline, ticks)


if __name__ == "__main__":
    main()
