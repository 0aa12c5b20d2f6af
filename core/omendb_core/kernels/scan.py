"""What a scan is, and the choice of the kernel that does it.

Every kernel gives the same answer to the bit: the best rows by the scores of ``score_pairs``, in
the order (score descending, seq descending). They differ in speed only.
"""

from __future__ import annotations

import os
from typing import NamedTuple, Protocol

from ..ring import Ring
from ..types import F32, I64, U32, U64, Metric

#: Names that ``choose`` takes, best first.
KERNELS = ("reference",)


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
        """As in ``KERNELS``."""
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


def choose(name: str | None = None) -> Scan:
    """Return the kernel ``name``, else the one that ``OMENDB_KERNEL`` names, else the best one.

    Raises ValueError, which lists the choices, for an unknown name.
    """
    name = name or os.environ.get("OMENDB_KERNEL") or KERNELS[0]
    if name not in KERNELS:
        raise ValueError(f"no scan kernel is named {name!r}; there is: {', '.join(KERNELS)}")
    from .reference import ReferenceScan  # it imports this module

    return ReferenceScan()
