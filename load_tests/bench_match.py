"""How late match queries hear of a row, and what a hit takes of the server, over sockets.

    python -m load_tests.bench_match [--queries 100000] [--rows-per-second 5000] [--rounds 2]

A server in a process of its own; another that adds 64 rows at a time and holds all match queries,
a thousand a connection. Rows and queries are uniform on the sphere, so ``min_score`` says what part
of all pairs hits: 0.335 one in 19,000 of 128 dimensions. A round is such a run and one beside it
whose queries nothing reaches: it tells what adding, comparing and silence take, and what the server
took beyond that is the hits' (a query that is hit is not told of silence, so it may be little).
*Lag* runs from when an add was meant to be sent until the push is read, so what the server or the
generator could not do in time is in it.

Some subscriptions are held to the oracle: every row that reaches them, once, with its score; ends
with 1 if one differs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from .figures import Figure, show, where
from .simulation import coordinator, scenario
from .simulation.resources import cpu_seconds
from .simulation.results import Push, Result
from .simulation.server import Target, serving

A_CONNECTION: Final = 1000
ROWS: Final = 64
CAPACITY: Final = 100_000
#: Subscriptions that the oracle looks at, of all.
VERIFIED: Final = 50
#: A score that no row reaches.
UNREACHED: Final = 2.0


class Cpu(NamedTuple):
    """Seconds of the server so far: of its loop, and of its other threads (the engine)."""

    loop: float
    others: float


class Watched:
    """What the server has taken by the first look at a run, and by the last."""

    def __init__(self, process_id: int) -> None:
        self._process_id = process_id
        self._looks: list[tuple[float, Cpu]] = []
        self._began_at = time.perf_counter()

    def look(self, _: float, __: object) -> None:
        """Look."""
        whole = cpu_seconds(self._process_id) or 0.0
        loop = cpu_seconds(f"{self._process_id}/task/{self._process_id}") or 0.0
        self._looks.append((time.perf_counter(), Cpu(loop, whole - loop)))

    @property
    def set_up_seconds(self) -> float:
        """Until it was looked at: the window is full, all queries listen, the load has begun."""
        return self._looks[0][0] - self._began_at

    @property
    def shares(self) -> Cpu:
        """Percent of a core between the first look and the last."""
        (first_at, first), (last_at, last) = self._looks[0], self._looks[-1]
        seconds = max(last_at - first_at, 1e-9)
        loop, others = (
            100 * (later - earlier) / seconds for earlier, later in zip(first, last, strict=True)
        )
        return Cpu(loop, others)


class Turn(NamedTuple):
    """One run; ``resident_bytes``: of the server right after it, of a window and its queries."""

    result: Result
    shares: Cpu
    set_up_seconds: float
    resident_bytes: int

    @property
    def push(self) -> Push:
        """What the match queries were sent."""
        (found,) = self.result.pushes
        return found

    @property
    def hits_per_second(self) -> float:
        """Rows in pushes."""
        return self.push.rows / self.result.measured_seconds


def asked(options: argparse.Namespace, min_score: float) -> scenario.Scenario:
    """A run."""
    document = {
        "load": {"seconds": options.seconds, "warm_up_seconds": 1.0},
        "collection": {"dim": options.dim, "capacity": options.capacity, "ids": "auto"},
        "add": {
            "arrivals": "constant", "rate": options.rows_per_second / ROWS, "rows": ROWS,
        },
        "match": {
            "connections": -(-options.queries // A_CONNECTION),
            "per_connection": min(options.queries, A_CONNECTION),
            "min_score": min_score, "verified": min(1.0, VERIFIED / options.queries),
        },
    }  # fmt: skip
    return scenario.parse("match", document, {})


def turn(options: argparse.Namespace, target: Target, min_score: float) -> Turn:
    """A run, and what the server took."""
    assert target.process_id is not None
    watched = Watched(target.process_id)
    result = coordinator.run(asked(options, min_score), target, watched.look)
    held_bytes = result.resources.server_resident_bytes_after or 0
    return Turn(result, watched.shares, watched.set_up_seconds, held_bytes)


def faults(one: Turn) -> list[str]:
    """Why the figures of a run do not count."""
    push = one.push
    lost = {**push.errors, "gaps": push.gaps}
    found = [f"{count} {what}" for what, count in lost.items() if count]
    if push.truth is not None and push.truth.mismatches:
        found.append(f"{push.truth.mismatches} WRONG")
    return found


def hit_us(hits: Turn, none: Turn, of: str) -> float:
    """CPU of the server for a hit."""
    more = getattr(hits.shares, of) - getattr(none.shares, of)
    return float(more) * 1e4 / max(hits.hits_per_second, 1.0)


def shown(rounds: Sequence[tuple[Turn, Turn]]) -> list[Figure]:
    """The table."""
    hits, none = [one[0] for one in rounds], [one[1] for one in rounds]

    def whole(turns: Sequence[Turn]) -> list[float]:
        return [sum(one.shares) for one in turns]

    figures = [
        ("lag p50", "ms", [one.push.lag.p50_ms or 0.0 for one in hits]),
        ("lag p99", "ms", [one.push.lag.p99_ms or 0.0 for one in hits]),
        ("hits", "/s", [one.hits_per_second for one in hits]),
        ("pushes", "/s", [one.push.pushes_per_second for one in hits]),
        ("server", "% core", whole(hits)),
        ("  its loop", "% core", [one.shares.loop for one in hits]),
        ("  without hits", "% core", whole(none)),
        ("load generator", "% core", [one.result.resources.generator_cpu_percent for one in hits]),
        ("server's CPU, a hit", "µs", [
            hit_us(*one, "loop") + hit_us(*one, "others") for one in rounds]),
        ("  its loop", "µs", [hit_us(*one, "loop") for one in rounds]),
        ("  its engine", "µs", [hit_us(*one, "others") for one in rounds]),
        ("its CPU, a push", "µs", [
            sum(one.shares) * 1e4 / max(one.push.pushes_per_second, 1.0) for one in hits]),
    ]  # fmt: skip
    return [Figure(*one) for one in figures]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--queries", type=int, default=100_000)
    parser.add_argument("--rows-per-second", type=float, default=5000)
    parser.add_argument("--min-score", type=float, default=0.335)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=6.0, help="counted, of each turn")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--capacity", type=int, default=CAPACITY)
    options = parser.parse_args(arguments)
    print(
        f"{where()}\n{options.queries:,} match queries of {options.min_score:g}; "
        f"{options.rows_per_second:,.0f} rows/s into {options.capacity:,} x {options.dim}",
        flush=True,
    )
    found: list[str] = []
    rounds = []
    for _ in range(options.rounds):
        with serving() as target:
            hits = turn(options, target, options.min_score)
            rounds.append((hits, turn(options, target, UNREACHED)))
        found += faults(hits)
        print(
            f"set up in {hits.set_up_seconds:.0f} s, {hits.resident_bytes / 2**20:,.0f} MiB"
            f" resident; {', '.join(hits.result.notes)}",
            flush=True,
        )
    show(shown(rounds))
    if found:
        sys.exit(", ".join(found))


if __name__ == "__main__":
    main()
