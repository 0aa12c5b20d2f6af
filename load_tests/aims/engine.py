"""Windows of the engine, filled, as the in-process benches need them; and vectors for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from omendb_core.model.change import AddChange, AddRequest, RowBatch
from omendb_core.model.types import F32, Column, ColumnType, Definition, Metric
from omendb_core.scan import choice as scan
from omendb_core.scan import interface
from omendb_core.window import Window

from omendb_ws.engine.reads.split_scan import SplitScan

from ..peers.compare import CENTRES, unit_vectors
from ..simulation.columns import taken

_ROWS_AN_ADD = 16_384
REFERENCE = "reference"


def clustered(rows: int, queries: int, dim: int) -> tuple[F32, F32]:
    """Rows and queries of length 1 around some centres, as embeddings lie."""
    generator = np.random.default_rng(7)
    centres = generator.standard_normal((CENTRES, dim), dtype=np.float32)
    return unit_vectors(generator, centres, rows), unit_vectors(generator, centres, queries)


def add(window: Window, batch: RowBatch) -> None:
    """One change."""
    change = window.admit_add(AddRequest(batch), now_us=0)
    assert isinstance(change, AddChange)
    window.apply(change)


def filled(
    vectors: F32,
    metric: Metric = "dot",
    columns: Mapping[str, ColumnType] | None = None,
    values: Mapping[str, Column] | None = None,
) -> Window:
    """A full window that holds ``vectors`` (n, dim), with the best kernel; ids are u64."""
    count, dim = vectors.shape
    window = Window(Definition(dim, count, metric, columns=dict(columns or {})))
    for at in range(0, count, _ROWS_AN_ADD):
        part = slice(at, at + _ROWS_AN_ADD)
        ids = np.arange(at, min(at + _ROWS_AN_ADD, count), dtype=np.uint64)
        some = taken(values or {}, part)
        add(window, RowBatch(vectors[part], ids, some))
    return window


def kernels(window: Window, k: int) -> dict[str, Callable[[F32], object]]:
    """Plain searches of the window, as a server's tick does them, by the kernel it has (``engine``)
    and by the numpy reference, over the same rows."""
    best, reference = window.state.scan, scan.choose(REFERENCE)
    return {"engine": _by(window, k, best), REFERENCE: _by(window, k, reference)}


def by_threads(window: Window, k: int, threads: int) -> Callable[[F32], object]:
    """Plain searches of the window by its kernel, on so many threads where that is worth it."""
    return _by(window, k, SplitScan(window.state.scan, threads))


def _by(window: Window, k: int, kernel: interface.Scan) -> Callable[[F32], object]:
    best = window.state.scan

    def search(queries: F32) -> object:
        window.state.scan = kernel
        try:
            return window.search_all(queries, np.full(len(queries), k, np.int64))
        finally:
            window.state.scan = best

    return search
