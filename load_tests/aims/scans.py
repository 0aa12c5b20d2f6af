"""The scan of a full window, everything included, beside numpy, faiss Flat and hnswlib.

From the vectors as they came to ids, seqs and scores in order; one thread on one core. hnswlib at
the least effort that has a recall of 0.99. The peers of ``load_tests.peers`` are asked by turns
with the engine; what is not installed is skipped by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from omendb_core.model.types import F32, F64

from omendb_ws.runtime.machine import usable_cores

from ..peers.measure import EFFORTS, recall
from ..peers.peer import Peer, by_name
from . import engine
from .child import on_one_core
from .row import Effort, Row
from .turns import medians_us, times_as_fast

BATCHES = (1, 8, 24, 32, 64, 256)
_RECALL = 0.99
_QUERIES = 512
#: numpy writes every score and, to find the best, an index beside each: not for gigabytes.
_MOST_SCORES = 32_000_000


@dataclass(frozen=True)
class Size:
    """A window, and who is measured on it; ``is_aimed``: the aims of a scan are for this one.

    ``aims``: µs a query that are wanted of batches besides.
    """

    rows: int
    dim: int
    peers: tuple[str, ...]
    is_aimed: bool = False
    aims: Mapping[int, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.rows:,} x {self.dim}"


SIZES = {
    "scan-128": Size(100_000, 128, ("numpy", "faiss-flat", "hnswlib"), is_aimed=True),
    "scan-million": Size(1_000_000, 128, ("numpy", "faiss-flat"), aims={32: 430.0}),
    "scan-768": Size(100_000, 768, ("numpy", "faiss-flat")),
}


#: A window for one query on all cores, and what is wanted of that in microseconds.
SHARED = Size(1_000_000, 128, ())
SHARED_AIM_US = 1600.0


def shared(effort: Effort) -> list[Row]:
    """One query over a wide window, on one core and on all, by turns."""
    vectors, queries = engine.clustered(SHARED.rows, _QUERIES, SHARED.dim)
    window = engine.filled(vectors)
    cores = usable_cores()
    calls = {
        threads: _in_turn(engine.by_threads(window, effort.k, threads), queries, 1)
        for threads in {1, cores}
    }
    times = medians_us({str(one): call for one, call in calls.items()}, effort.runs, effort.seconds)
    name = f"one query, {SHARED}, on {cores} cores"
    made = [Row(name, "µs", times[str(cores)], "at most", SHARED_AIM_US)]
    if cores > 1:
        made.append(Row("  on one", "µs", times["1"]))
    return made


def bench(name: str, effort: Effort) -> list[Row]:
    """The rows of one size."""
    found, notes = on_one_core(measure, SIZES[name], effort)
    return rows(SIZES[name], found, notes)


def measure(size: Size, effort: Effort) -> tuple[dict[int, dict[str, list[float]]], list[str]]:
    """Microseconds a query, by batch and contender; and what is to be said about these."""
    vectors, queries = engine.clustered(size.rows, _QUERIES, size.dim)
    window = engine.filled(vectors)
    calls = engine.kernels(window, effort.k)
    notes = [f"kernel {window.state.scan.name}"]
    for peer_name in size.peers:
        entry = by_name(peer_name)
        if not entry.is_installed():
            notes.append(f"{peer_name} is not installed: skipped")
            continue
        peer = entry.make()
        peer.open(size.dim, size.rows, 1)
        peer.add(np.arange(size.rows, dtype=np.int64), vectors)
        if not entry.is_exact:
            notes.append(f"{peer_name}: {_tuned(peer, vectors, queries, effort.k)}")
        calls[peer_name] = _searches(peer, effort.k)
    found = {}
    for batch in BATCHES:
        wanted = [one for one in calls if one != "numpy" or batch * size.rows <= _MOST_SCORES]
        asked = {one: _in_turn(calls[one], queries, batch) for one in wanted}
        times = medians_us(asked, effort.runs, effort.seconds / len(BATCHES) * len(wanted) / 2)
        found[batch] = {one: [spent / batch for spent in times[one]] for one in wanted}
    return found, notes


def _searches(peer: Peer, k: int) -> Callable[[F32], object]:
    return lambda queries: peer.search(queries, k)


def _in_turn(call: Callable[[F32], object], queries: F32, batch: int) -> Callable[[], object]:
    """Other queries at every call: what was just looked at would be in the cache."""
    parts = [queries[at : at + batch] for at in range(0, len(queries) - batch + 1, batch)]
    number = 0

    def ask() -> object:
        nonlocal number
        number += 1
        return call(parts[number % len(parts)])

    return ask


def _tuned(peer: Peer, vectors: F32, queries: F32, k: int) -> str:
    """Set the least effort with the wanted recall."""
    some = queries[:128]
    exact = some.astype(np.float64) @ vectors.T.astype(np.float64)
    least: F64 = np.partition(exact, -k, axis=1)[:, -k]
    for effort in EFFORTS:
        if effort < k:
            continue
        peer.set_effort(effort)
        reached = recall(vectors, some, least, peer.search(some, k), k)
        if reached >= _RECALL:
            break
    return f"ef {effort}, recall {reached:.4f}"


def rows(size: Size, found: dict[int, dict[str, list[float]]], notes: list[str]) -> list[Row]:
    """A row for each batch; with the aims where these are for this size."""
    made = []
    for batch, times in found.items():
        aim = size.aims.get(batch)
        if size.is_aimed:
            aim = 120.0 if batch == 1 else 50.0 if batch >= 24 else None
        many = times_as_fast(times, "engine")
        made.append(
            Row(
                f"scan {size}, batch {batch}", "µs/query", times["engine"],
                "at most" if aim else "", aim, many, notes=notes if batch == BATCHES[0] else (),
            )
        )  # fmt: skip
        if size.is_aimed and batch == 1 and "hnswlib" in many:
            slower = [1 / many["hnswlib"]]
            made.append(Row("  of hnswlib's time, batch 1", "x", slower, "at most", 1.2))
        if not size.is_aimed or batch < 24:
            continue
        faster = [many["reference"]]
        made.append(Row(f"  as fast as the reference, batch {batch}", "x", faster, "at least", 5.0))
        if "hnswlib" in many:
            slower = [1 / many["hnswlib"]]
            made.append(Row(f"  of hnswlib's time, batch {batch}", "x", slower, "at most", 1.6))
    return made
