"""What a scan is, and the choice of the kernel that does it.

Every kernel gives the same answer to the bit: the best rows by the scores of ``score_pairs``, in
the order (score descending, seq descending). They differ in speed only.
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple, Protocol

from .. import native
from ..ring import Ring
from ..shadow import MAX_DIM, Shadow
from ..types import F32, I64, U32, U64, Definition, Metric
from .matching import Pairs, Subscribed

REFERENCE: Final = "reference"
PORTABLE: Final = "portable"


class TopK(NamedTuple):
    """Answers, flat: query after query, each by score descending, then seq descending.

    ``counts`` uint32 (q,), at most k each; ``slots`` int64 and ``scores`` float32, both
    (sum of counts,). All are the caller's own.
    """

    counts: U32
    slots: I64
    scores: F32


class Scan(Protocol):
    """A kernel."""

    @property
    def name(self) -> str:
        """As in ``names``."""
        ...

    @property
    def keeps_shadow(self) -> bool:
        """Whether it is fast only over rings that keep a shadow."""
        ...

    def top_k(
        self,
        ring: Ring,
        metric: Metric,
        queries: F32,
        k: I64,
        min_scores: F32,
        masks: U64,
        mask_of: I64,
    ) -> TopK:
        """Find the best ``k[i]`` rows for each of ``queries`` float32 (q, dim), already prepared.

        Rows of query i are the slots whose bit is set in ``masks[mask_of[i]]`` (``masks`` uint64
        (m, words of the ring); only slots of live rows may be set) and whose score is at least
        ``min_scores[i]`` (float32; -inf: any). ``k`` int64 (q,), at least 1.
        """
        ...

    def pairs_above(
        self,
        metric: Metric,
        rows: F32,
        row_norms: F32,
        queries: Subscribed,
        floors: F32,
        most: I64,
    ) -> Pairs:
        """All pairs whose score is at least the query's floor, by row, then query.

        ``rows`` float32 (n, dim) as stored, with their norms as the ring keeps them; ``floors``
        float32 (q,): -inf takes every row, +inf none; ``most`` int64 (q,): a query that more rows
        reach, or may reach, has no pairs, and is told as crowded.
        """
        ...


def names() -> list[str]:
    """The kernels that run here, best first.

    Those of the C extension for this processor, the one in numpy, and plain C, which takes four
    times as long as numpy with a BLAS.
    """
    compiled = native.compiled.kernels() if native.is_there else []
    return [*(name for name in compiled if name != PORTABLE), REFERENCE, *compiled[-1:]]


def choose(name: str | None = None) -> Scan:
    """Return the kernel ``name``, else the one that ``OMENDB_KERNEL`` names, else the best one.

    Raises ValueError, which lists the choices, for one that is unknown or does not run here.
    """
    from .reference import ReferenceScan  # they import this module
    from .shadowed import ShadowedScan

    name = name or os.environ.get("OMENDB_KERNEL") or names()[0]
    if name not in names():
        raise ValueError(f"no scan kernel is named {name!r} here; there is: {', '.join(names())}")
    return ReferenceScan() if name == REFERENCE else ShadowedScan(name)


def shadow_for(scan: Scan, definition: Definition) -> Shadow | None:
    """The shadow that a ring of this definition keeps for ``scan``."""
    if not has_shadow(scan, definition):
        return None
    return Shadow(definition.capacity, definition.dim, definition.metric)


def has_shadow(scan: Scan, definition: Definition) -> bool:
    """Whether a ring of this definition keeps one."""
    return scan.keeps_shadow and definition.dim <= MAX_DIM
