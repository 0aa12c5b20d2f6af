"""Where vectors come from: a pool, made or mapped before the run, of which rows are taken in turn.

Knows numpy and files. The same settings and seed give the same pool in every process, so that any
of them knows the vector of any row by its place in the pool. Queries are drawn like the rows, but
are none of them (in a file: rows with a little noise).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from omendb_core.model.types import F32

from omendb_ws.demo import digits

from .scenario import ScenarioError, Vectors

#: Noise on queries that are taken from given vectors, as a share of their standard deviation.
_QUERY_NOISE: Final = 0.1


def dim_of(settings: Vectors, wanted: int) -> int:
    """The dimension of the source; ``wanted`` where it makes any. Raises ScenarioError."""
    if settings.source == "digits":
        return int(digits.load().vectors.shape[1])
    if settings.source == "file":
        return int(_mapped(settings).shape[1])
    return wanted


def pool(settings: Vectors, dim: int, seed: int) -> F32:
    """The rows, float32 (n, dim), n at most ``settings.pool``; a view where it is a mapped file."""
    generator = np.random.default_rng([seed, 1])
    if settings.source == "digits":
        return digits.load().vectors[: settings.pool]
    if settings.source == "file":
        return np.ascontiguousarray(_mapped(settings)[: settings.pool], np.float32)
    if settings.source == "random":
        return _unit(generator.standard_normal((settings.pool, dim), dtype=np.float32))
    return _clustered(settings, settings.pool, dim, seed, generator)


def queries(settings: Vectors, dim: int, seed: int, count: int) -> F32:
    """Vectors to ask with, float32 (count, dim)."""
    generator = np.random.default_rng([seed, 2])
    if settings.source == "random":
        return _unit(generator.standard_normal((count, dim), dtype=np.float32))
    if settings.source == "clustered":
        return _clustered(settings, count, dim, seed, generator)
    rows = pool(settings, dim, seed)
    chosen = rows[generator.integers(0, len(rows), count)]
    noise = generator.standard_normal(chosen.shape, dtype=np.float32)
    return (chosen + np.float32(_QUERY_NOISE * float(rows.std())) * noise).astype(np.float32)


def _clustered(
    settings: Vectors, count: int, dim: int, seed: int, generator: np.random.Generator
) -> F32:
    """Rows around unit centres; every centre walks to another place from first row to last.

    ``drift`` 0 leaves the centres where they are, at 1 they end somewhere else altogether.
    """
    of_centres = np.random.default_rng([seed, 3])
    shape = (settings.clusters, dim)
    start = _unit(of_centres.standard_normal(shape, dtype=np.float32))
    goal = _unit(of_centres.standard_normal(shape, dtype=np.float32))
    which = generator.integers(0, settings.clusters, count)
    way = np.linspace(0.0, settings.drift, count, dtype=np.float32)[:, None]
    centres = start[which] * (1 - way) + goal[which] * way
    noise = _unit(generator.standard_normal((count, dim), dtype=np.float32))
    return _unit(centres + np.float32(settings.spread) * noise)


def _unit(vectors: F32) -> F32:
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    found: F32 = vectors / lengths[:, None]
    return found


def _mapped(settings: Vectors) -> F32:
    """The file as float32 (n, dim), memory-mapped."""
    path = Path(settings.path)
    try:
        if path.suffix == ".npy":
            found: F32 = np.load(path, mmap_mode="r")
        elif path.suffix == ".fvecs":
            found = _fvecs(path)
        else:
            raise ScenarioError(f"vectors.path: {path} is neither .npy nor .fvecs")
    except (OSError, ValueError) as error:
        raise ScenarioError(f"vectors.path: {path}: {error}") from None
    if found.ndim != 2 or not len(found):
        raise ScenarioError(f"vectors.path: {path} holds no rows of vectors")
    return found


def _fvecs(path: Path) -> F32:
    """Rows of a little-endian int32 dimension and as many float32."""
    words = np.memmap(path, "<i4", "r")
    dim = int(words[0]) if len(words) else 0
    if dim < 1 or len(words) % (dim + 1) or (words[:: dim + 1] != dim).any():
        raise ValueError("not rows of one dimension")
    found: F32 = words.reshape(-1, dim + 1)[:, 1:].view("<f4")
    return found
