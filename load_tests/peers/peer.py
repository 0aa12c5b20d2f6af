"""What a peer is, and which there are.

A peer keeps vectors of length 1 under integer ids and finds the nearest by inner product (which on
such vectors is also the order of cosine and of Euclidean distance).
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Final, NamedTuple, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from omendb_core.model.types import F32

Ints: TypeAlias = NDArray[np.int64]


class Peer(Protocol):
    """One engine, empty after ``open``. ``process_id``: the process whose memory it takes."""

    process_id: int

    def open(self, dim: int, capacity: int, threads: int) -> None:
        """Make room for ``capacity`` rows; compute on ``threads`` threads, where one can say."""

    def add(self, ids: Ints, vectors: F32) -> None:
        """Add new rows: ids (n,), vectors (n, dim). Returns when they are accepted."""

    def settle(self) -> None:
        """Finish what a user would have finished before searching (an index built afterwards)."""

    def set_effort(self, effort: int) -> None:
        """How many candidates a search looks at (``ef``); exact peers have nothing to set."""

    def search(self, queries: F32, k: int) -> Ints:
        """Ids (q, k), best first, -1 where there is none: all at once, the best way it has."""

    def close(self) -> None:
        """End what was started."""


class Entry(NamedTuple):
    """A peer that can be measured. ``requires``: what must be importable, of ``distribution``."""

    name: str
    module: str
    requires: str
    distribution: str
    is_in_process: bool
    is_exact: bool

    def is_installed(self) -> bool:
        """Whether its library is there; nothing is imported."""
        return importlib.util.find_spec(self.requires) is not None

    def make(self) -> Peer:
        """Import and make it; ImportError where its library is missing."""
        module = importlib.import_module(f"load_tests.peers.{self.module}")
        return cast("Peer", module.make())


PEERS: Final = (
    Entry("numpy", "brute_force", "numpy", "numpy", True, True),
    Entry("faiss-flat", "faiss_flat", "faiss", "faiss-cpu", True, True),
    Entry("faiss-hnsw", "faiss_hnsw", "faiss", "faiss-cpu", True, False),
    Entry("hnswlib", "hnswlib_index", "hnswlib", "hnswlib", True, False),
    Entry("usearch", "usearch_index", "usearch", "usearch", True, False),
    Entry("qdrant-edge", "qdrant_shard", "qdrant_edge", "qdrant-edge-py", True, False),
    Entry("chroma-server", "chroma_server", "chromadb", "chromadb", False, False),
    Entry("omendb-engine", "omendb_engine", "omendb_core", "omendb-ws", True, True),
    Entry("omendb-server", "omendb_server", "omendb_ws", "omendb-ws", False, True),
)

#: Of every graph alike: links of a node, and candidates while building. What faiss, hnswlib and
#: Qdrant recommend for a recall of 0.99 and beyond on data of this size.
LINKS: Final = 16
BUILD_EFFORT: Final = 200


def by_name(name: str) -> Entry:
    """The peer of that name; ValueError lists the names."""
    for entry in PEERS:
        if entry.name == name:
            return entry
    raise ValueError(f"there is no peer {name!r}; there is: {', '.join(e.name for e in PEERS)}")
