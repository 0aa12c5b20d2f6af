"""Starts a process for each peer, one after the other, and sets what they measured side by side."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from omendb_core.model.types import F32, F64

from ..simulation.environment import environment, versions
from .measure import FIGURES, Workload
from .peer import PEERS, Entry, by_name

ROOT: Final = Path(__file__).resolve().parents[2]
CENTRES: Final = 200
#: What the libraries under the peers take their number of threads from.
THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
)  # fmt: skip


def unit_vectors(generator: np.random.Generator, centres: F32, count: int) -> F32:
    """Vectors of length 1 around ``centres``: data with neighbourhoods, as embeddings have."""
    near = centres[generator.integers(0, len(centres), count)]
    vectors = near + 0.7 * generator.standard_normal(near.shape, dtype=np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def kth_scores(vectors: F32, queries: F32, k: int) -> F64:
    """The exact score of each query's k-th nearest."""
    exact = vectors.astype(np.float64).T
    scores = [part @ exact for part in np.array_split(queries.astype(np.float64), len(queries))]
    rows = len(vectors)
    return np.concatenate([np.partition(row, rows - k)[:, rows - k] for row in scores])


def prepare(workload: Workload, folder: Path) -> None:
    """Write what every peer reads."""
    generator = np.random.default_rng(7)
    centres = generator.standard_normal((CENTRES, workload.dim), dtype=np.float32)
    vectors = unit_vectors(generator, centres, workload.rows)
    queries = unit_vectors(generator, centres, workload.queries)
    np.save(folder / "vectors.npy", vectors)
    np.save(folder / "queries.npy", queries)
    np.save(folder / "fresh.npy", unit_vectors(generator, centres, workload.fresh_rows))
    np.save(folder / "least.npy", kth_scores(vectors, queries, workload.k))
    document = json.dumps(dataclasses.asdict(workload))
    (folder / "workload.json").write_text(document, "utf-8")


def measure(entry: Entry, workload: Workload, folder: Path, seconds: float) -> dict[str, Any]:
    """One line of the comparison; ``state``: measured, skipped, stopped or failed."""
    line: dict[str, Any] = {
        "peer": entry.name, "is_in_process": entry.is_in_process, "is_exact": entry.is_exact,
    }  # fmt: skip
    if not entry.is_installed():
        return line | {"state": "skipped", "why": f"{entry.distribution} is not installed"}
    line["version"] = importlib.metadata.version(entry.distribution)
    (folder / FIGURES).unlink(missing_ok=True)
    code, errors = _run(entry.name, workload, folder, seconds)
    with contextlib.suppress(FileNotFoundError):
        line |= json.loads((folder / FIGURES).read_text("utf-8"))
    if code is None:
        return line | {"state": "stopped", "why": f"not done after {seconds:g} s"}
    if code != 0:
        last = errors.strip().splitlines()[-1:] or [f"exit code {code}"]
        return line | {"state": "failed", "why": last[0]}
    return line | {"state": "measured"}


def _run(name: str, workload: Workload, folder: Path, seconds: float) -> tuple[int | None, str]:
    """The exit code (None: it took too long, and was ended) and what it wrote to stderr."""
    threads = dict.fromkeys(THREAD_VARIABLES, str(workload.threads))
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "load_tests.peers.measure", name, str(folder)]
    child = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **threads, "PYTHONPATH": paths}, start_new_session=True,
    )  # fmt: skip
    try:
        _, errors = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return None, ""
    else:
        return child.returncode, errors
    finally:
        # The session is this child's own: its server, if it started one, goes with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()


def compare(entries: Sequence[Entry], workload: Workload, seconds: float) -> list[dict[str, Any]]:
    """Measure each of ``entries``, at most ``seconds`` each; prints each line when it is known."""
    lines = []
    with tempfile.TemporaryDirectory(prefix="peers-") as made:
        folder = Path(made)
        prepare(workload, folder)
        print(HEADING, flush=True)
        for entry in entries:
            line = measure(entry, workload, folder, seconds)
            print(as_text(line), flush=True)
            lines.append(line)
    return lines


# -- the table ------------------------------------------------------------------------------------

_COLUMNS: Final = (
    # heading, figure, factor, digits
    ("rows/s", "rows_added_per_second", 1, 0),
    ("QPS", "queries_per_second", 1, 0),
    ("p50 ms", "p50_ms", 1, 3),
    ("p99 ms", "p99_ms", 1, 3),
    ("recall", "recall", 1, 4),
    ("ef", "effort", 1, 0),
    ("MiB", "memory_bytes", 1 / (1 << 20), 1),
    ("fresh p50", "fresh_p50_ms", 1, 3),
    ("fresh max", "fresh_max_ms", 1, 3),
)
HEADING: Final = f"{'peer':25}" + "".join(f"{column[0]:>11}" for column in _COLUMNS)


def as_text(line: dict[str, Any]) -> str:
    """One line of the table."""
    if line["state"] == "skipped":
        return f"{line['peer']:14} skipped: {line['why']}"
    place = "in process" if line["is_in_process"] else "server"
    cells = []
    for _, figure, factor, digits in _COLUMNS:
        is_idle = figure == "effort" and line["is_exact"]
        value = None if is_idle else line.get(figure)
        cells.append("–" if value is None else f"{value * factor:,.{digits}f}")
    text = f"{line['peer']:14} {place:10}" + "".join(f"{cell:>11}" for cell in cells)
    return text if line["state"] == "measured" else f"{text}  {line['state']}: {line['why']}"


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m load_tests.peers", description="This engine beside others."
    )
    parser.add_argument("--quick", action="store_true", help="20,000 x 64, shorter")
    parser.add_argument("--rows", type=int, help="default 100,000")
    parser.add_argument("--dim", type=int, help="default 128")
    parser.add_argument("--queries", type=int, default=512, help="distinct ones")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1, help="of each peer, where it listens")
    parser.add_argument("--recall", type=float, default=0.99, help="that must be reached")
    parser.add_argument("--search-seconds", type=float, help="of each of two measurements")
    parser.add_argument("--peer-seconds", type=float, help="the most that a peer may take")
    parser.add_argument("--only", help="names of peers, with commas between them")
    parser.add_argument("--json", type=Path, help="write all figures there")
    return parser.parse_args(arguments)


def _workload(options: argparse.Namespace) -> Workload:
    quick = options.quick
    return Workload(
        rows=options.rows or (20_000 if quick else 100_000),
        dim=options.dim or (64 if quick else 128),
        queries=options.queries, k=options.k, threads=options.threads, rows_an_add=1000,
        queries_a_batch=64, recall=options.recall,
        search_seconds=options.search_seconds or (1.0 if quick else 4.0),
        fresh_rows=20 if quick else 100,
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    options = _arguments(arguments)
    workload = _workload(options)
    seconds = options.peer_seconds or (90.0 if options.quick else 600.0)
    try:
        entries = [by_name(one) for one in options.only.split(",")] if options.only else PEERS
    except ValueError as error:
        sys.exit(str(error))
    described = environment(f"omendb-ws/{versions()['omendb-ws']}", "memory")
    print(
        f"{described.machine}, {described.cores} cores, {described.git_revision}\n"
        f"{workload.rows:,} vectors x {workload.dim}, length 1, around {CENTRES} "
        f"centres; k={workload.k}, recall wanted {workload.recall:g}, {workload.threads} thread(s) "
        f"each\nrows/s: {workload.rows_an_add} an add, building the index included. QPS: "
        f"{workload.queries_a_batch} queries a call. p50, p99: one query at a time.\n"
        f"MiB: growth of the process that holds the rows. fresh: ms from adding one row until a "
        f"search finds it.\nomendb-server: durability memory.\n"
    )
    lines = compare(entries, workload, seconds)
    if options.json:
        document = {
            "environment": dataclasses.asdict(described),
            "workload": dataclasses.asdict(workload), "centres": CENTRES, "peers": lines,
        }  # fmt: skip
        options.json.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    if any(line["state"] in ("failed", "stopped") for line in lines):
        sys.exit(1)
