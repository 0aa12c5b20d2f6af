"""Replays a runbook of the streaming track against a server, with the recall of every search.

    python -m load_tests.runbook                       # sliding window, 10,000 points, own server
    python -m load_tests.runbook FILE.yaml --vectors base.fvecs --queries-file queries.fvecs
    python -m load_tests.runbook --clusters 64 --points 100000     # the shape of the track's last
    python -m load_tests.runbook --points 1000000 --parts 200 --dim 100 --url ws://…

Insert becomes ``add`` with the points' numbers as ids, delete ``delete``, replace an ``add`` of ids
that are there, search ``search`` of all queries: through the public client. Every answer is
compared with exact scores of the live points, computed here by numpy in float64. The server is
exact, so a recall below 1.0 is a fault: the exit code is then 1.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from omendb_core.model.types import F32, F64, Metric

import omendb_ws

from .runbook_file import Runbook, Step, clustered, read, sliding_window, write
from .simulation.environment import environment, versions
from .simulation.server import ServerFailed, serving

Ints: TypeAlias = NDArray[np.int64]
COLLECTION = "runbook"
#: Ids of one ``delete``: PROTOCOL section 9, max_ids.
IDS_A_DELETE = 10_000


class Measured(NamedTuple):
    """One step: ``amount`` of rows or queries, how long, and the recall of a search."""

    number: int
    operation: str
    amount: int
    rows: int
    milliseconds: float
    recall: float | None


class Live:
    """The points that are alive, and what an exact search of them finds."""

    def __init__(self, vectors: F32, metric: Metric) -> None:
        self._vectors = _normalised(vectors) if metric == "cosine" else vectors
        self._metric = metric
        self._point_of: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._point_of)

    def apply(self, step: Step) -> None:
        if step.operation == "delete":
            for tag in step.tags:
                del self._point_of[tag]
        else:
            self._point_of.update(zip(step.tags, step.points, strict=True))

    def recall(self, queries: F32, k: int, answered: list[Ints]) -> float:
        """The share of the true ``k`` nearest that were answered; equals in score count alike.

        Scores are compared as float32, which is what a server ranks by.
        """
        tags = np.fromiter(self._point_of.keys(), np.int64, len(self))
        points = np.fromiter(self._point_of.values(), np.int64, len(self))
        scores = self._scores(_normalised(queries) if self._metric == "cosine" else queries, points)
        wanted = min(k, len(tags))
        if not wanted:
            return float(not any(len(ids) for ids in answered))
        order = np.argsort(tags)
        found = 0
        for row, ids in zip(scores, answered, strict=True):
            least = np.partition(row, len(row) - wanted)[len(row) - wanted]
            at = order[np.searchsorted(tags, ids, sorter=order).clip(max=len(tags) - 1)]
            right = (tags[at] == ids) & (row[at] >= least)
            found += min(wanted, len(np.unique(ids[right])))
        return found / (wanted * len(queries))

    def _scores(self, queries: F32, points: Ints) -> F32:
        asked, rows = queries.astype(np.float64), self._vectors[points].astype(np.float64)
        products: F64 = asked @ rows.T
        if self._metric == "l2":
            products *= 2
            products -= np.square(rows).sum(1)
            products -= np.square(asked).sum(1)[:, None]
        return products.astype(np.float32)


def _normalised(vectors: F32) -> F32:
    norms = np.sqrt(np.square(vectors, dtype=np.float64).sum(1))
    return np.asarray(vectors / norms[:, None], np.float32)


async def replay(
    db: omendb_ws.Client, runbook: Runbook, vectors: F32, queries: F32, metric: Metric, k: int
) -> list[Measured]:
    """Create a collection, run every step in order, drop the collection; what was measured."""
    if len(vectors) < runbook.points:
        raise ValueError(f"the runbook needs {runbook.points} vectors, there are {len(vectors)}")
    live = Live(vectors, metric)
    dim = vectors.shape[1]
    await db.create(COLLECTION, dim=dim, capacity=runbook.capacity, metric=metric)
    measured = []
    try:
        for step in runbook.steps:
            began = time.perf_counter()
            answered = await _perform(db, step, vectors, queries, k)
            milliseconds = (time.perf_counter() - began) * 1e3
            recall = None
            if step.operation == "search":
                recall = live.recall(queries, k, answered)
            else:
                live.apply(step)
            amount = len(queries) if step.operation == "search" else len(step.tags)
            measured.append(
                Measured(step.number, step.operation, amount, len(live), milliseconds, recall)
            )
        await _check_rows(db, len(live))
    finally:
        await db.drop(COLLECTION)
    return measured


async def _perform(
    db: omendb_ws.Client, step: Step, vectors: F32, queries: F32, k: int
) -> list[Ints]:
    if step.operation == "search":
        answers = await db.search(COLLECTION, queries, k=k)
        return [np.asarray(answer.ids).astype(np.int64) for answer in answers]
    ids = np.arange(step.tags.start, step.tags.stop, dtype=np.uint64)
    if step.operation == "delete":
        for start in range(0, len(ids), IDS_A_DELETE):
            await db.delete(COLLECTION, ids[start : start + IDS_A_DELETE].tolist())
    else:
        await db.add(COLLECTION, vectors[step.points.start : step.points.stop], ids=ids)
    return []


async def _check_rows(db: omendb_ws.Client, expected: int) -> None:
    rows = await db.count(COLLECTION)
    if rows != expected:
        raise RuntimeError(f"the window holds {rows} rows, the runbook leaves {expected}")


# -- what is printed and written ------------------------------------------------------------------


def summary(runbook: Runbook, measured: list[Measured]) -> dict[str, Any]:
    """Totals by operation, and the recalls."""
    recalls = [step.recall for step in measured if step.recall is not None]
    totals = {}
    for operation in dict.fromkeys(step.operation for step in measured):
        of = [step for step in measured if step.operation == operation]
        seconds = sum(step.milliseconds for step in of) / 1e3
        amount = sum(step.amount for step in of)
        totals[operation] = {
            "steps": len(of), "amount": amount, "seconds": seconds, "per_second": amount / seconds,
        }  # fmt: skip
    return {
        "dataset": runbook.dataset,
        "steps": len(runbook.steps),
        "points": runbook.points,
        "max_points": runbook.max_points,
        "recall_lowest": min(recalls, default=None),
        "recall_mean": sum(recalls) / len(recalls) if recalls else None,
        "operations": totals,
    }


def show(runbook: Runbook, measured: list[Measured]) -> None:
    print(f"{'step':>6} {'operation':10} {'amount':>8} {'rows':>10} {'ms':>9}  recall")
    for step in measured:
        recall = "" if step.recall is None else f"{step.recall:.4f}"
        print(f"{step.number:6} {step.operation:10} {step.amount:8,} {step.rows:10,} "
              f"{step.milliseconds:9.2f}  {recall}")  # fmt: skip
    totals = summary(runbook, measured)
    for name, total in totals["operations"].items():
        unit = "queries" if name == "search" else "rows"
        print(f"{name}: {total['amount']:,} {unit}, {total['per_second']:,.0f} a second")
    if totals["recall_lowest"] is not None:
        print(f"recall: {totals['recall_mean']:.4f}, lowest {totals['recall_lowest']:.4f}")


def read_vectors(path: Path) -> F32:
    """float32 (n, dim) out of ``.npy`` or ``.fvecs`` (each row an int32 dim, then its floats)."""
    if path.suffix == ".npy":
        vectors = np.load(path)
        if vectors.ndim != 2:
            raise ValueError(f"{path} holds an array of {vectors.ndim} dimensions; 2 are needed")
        return np.ascontiguousarray(vectors, np.float32)
    if path.suffix != ".fvecs":
        raise ValueError(f"{path} is neither .npy nor .fvecs")
    words = np.fromfile(path, "<i4")
    dim = int(words[0]) if len(words) else 0
    if dim < 1 or len(words) % (dim + 1) or (words[:: dim + 1] != dim).any():
        raise ValueError(f"{path} is no .fvecs file")
    return np.ascontiguousarray(words.reshape(-1, dim + 1)[:, 1:]).view(np.float32)


def drifting(count: int, dim: int, seed: int) -> F32:
    """Gaussian around 32 centres, one after the other: a stream whose distribution moves."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((32, dim), dtype=np.float32)
    near = centres[np.arange(count) * 32 // count]
    noise = generator.standard_normal((count, dim), dtype=np.float32)
    return np.asarray(near + 0.5 * noise, np.float32)


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m load_tests.runbook",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", nargs="?", type=Path, help="a runbook; else the sliding window")
    parser.add_argument("--dataset", help="which of the file's data sets")
    parser.add_argument("--points", type=int, default=10_000, help="of what is generated")
    parser.add_argument("--clusters", type=int, help="clusters that come by turns, instead of it")
    parser.add_argument("--parts", type=int, default=200, help="of the sliding window")
    parser.add_argument("--vectors", type=Path, help=".npy or .fvecs; else generated, drifting")
    parser.add_argument("--queries-file", type=Path, help=".npy or .fvecs; else generated")
    parser.add_argument("--dim", type=int, default=100, help="of generated vectors")
    parser.add_argument("--queries", type=int, default=100, help="how many a search step asks")
    parser.add_argument("--metric", choices=get_args(Metric), default="l2")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--url", help="a running server; else one is started and ended")
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--write", type=Path, help="only write the runbook there")
    return parser.parse_args(arguments)


def _load(options: argparse.Namespace) -> tuple[Runbook, F32, F32]:
    if options.file:
        runbook = read(options.file, options.dataset)
    elif options.clusters:
        runbook = clustered(options.dataset or "generated", options.points, options.clusters)
    else:
        runbook = sliding_window(options.dataset or "generated", options.points, options.parts)
    vectors = (
        read_vectors(options.vectors)
        if options.vectors
        else drifting(runbook.points, options.dim, seed=1)
    )
    queries = (
        read_vectors(options.queries_file)
        if options.queries_file
        else drifting(options.queries, vectors.shape[1], seed=2)
    )
    return runbook, vectors, queries[: options.queries]


@contextlib.contextmanager
def _address(url: str | None) -> Iterator[str]:
    if url:
        yield url
    else:
        with serving() as server:
            yield server.url


async def _run(url: str, options: argparse.Namespace) -> bool:
    runbook, vectors, queries = _load(options)
    described = environment(f"omendb-ws/{versions()['omendb-ws']}", "memory")
    print(f"{described.machine}, {described.cores} cores, {described.git_revision}\n"
          f"{runbook.dataset}: {len(runbook.steps)} steps, {runbook.points:,} points "
          f"of {vectors.shape[1]} dimensions, at most {runbook.max_points:,} at once; "
          f"{len(queries)} queries, k={options.k}, {options.metric}, in memory")  # fmt: skip
    async with omendb_ws.connect(url) as db:
        measured = await replay(db, runbook, vectors, queries, options.metric, options.k)
    show(runbook, measured)
    totals = summary(runbook, measured)
    if options.json:
        settings = {"dim": vectors.shape[1], "queries": len(queries), "k": options.k,
                    "metric": options.metric}  # fmt: skip
        document = {"environment": dataclasses.asdict(described), "settings": settings, **totals,
                    "measured": [step._asdict() for step in measured]}  # fmt: skip
        options.json.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    return totals["recall_lowest"] in (None, 1.0)


def main(arguments: list[str] | None = None) -> None:
    options = _arguments(arguments)
    if options.write:
        runbook, _, _ = _load(options)
        write(runbook, options.write)
        return
    try:
        with _address(options.url) as url:
            is_exact = asyncio.run(_run(url, options))
    except (ValueError, OSError, ServerFailed) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    if not is_exact:
        sys.exit("recall is below 1.0")


if __name__ == "__main__":
    main()
