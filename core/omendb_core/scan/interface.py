"""What a scan is: the best rows of a ring for queries, and new rows against standing queries.

Every kernel gives the same answer to the bit: the best rows by the scores of ``score_pairs``, in
the order (score descending, seq descending). They differ in speed only. ``choice`` picks one.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from ..model.types import F32, F64, I64, U32, U64, Metric
from ..rows.ring import Ring
from ..rows.shadow import Shadow

#: ``most`` of a query that takes every row that reaches it.
UNBOUNDED: Final = 2**62


class TopK(NamedTuple):
    """Answers, flat: query after query, each by score descending, then seq descending.

    ``counts`` uint32 (q,), at most k each; ``slots`` int64 and ``scores`` float32, both
    (sum of counts,). All are the caller's own.
    """

    counts: U32
    slots: I64
    scores: F32


class Times(NamedTuple):
    """When rows were, by slot (capacity,): a number over ``per_second``, in float64, is seconds.

    ``integers`` (NULL_INTEGER: no time) or else ``numbers`` (NaN: none). ``never_fall``: every live
    row has one, and along the seqs they never decrease. ``latest`` float64 (words,), where there is
    one: no number of the 64 slots of a word is greater.
    """

    integers: I64 | None
    numbers: F64 | None
    per_second: float
    never_fall: bool
    latest: F64 | None = None


class RankedTopK(NamedTuple):
    """As ``TopK``, in the order of decay; ``ranks`` float64 beside the scores, NaN for null."""

    counts: U32
    slots: I64
    scores: F32
    ranks: F64


class Subscribed(NamedTuple):
    """Standing queries: ``vectors`` float32 (q, dim) as prepared, ``norms`` float64, exact.

    ``shadow``, where the kernel keeps one, has room for them and perhaps more.
    """

    vectors: F32
    norms: F64
    shadow: Shadow | None


class Pairs(NamedTuple):
    """Pairs (row, query) by index, with their decided scores; all arrays (m,).

    ``crowded`` are the queries that more rows of one chunk may have reached than ``most``: no
    pair of theirs is here.
    """

    rows: I64
    queries: I64
    scores: F32
    crowded: I64


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

    def top_k_decayed(
        self,
        ring: Ring,
        metric: Metric,
        queries: F32,
        k: I64,
        min_scores: F32,
        masks: U64,
        mask_of: I64,
        times: Times,
        half_lives: F64,
    ) -> RankedTopK:
        """As ``top_k``, in the order of decay (PROTOCOL section 5); ``half_lives`` seconds (q,).

        The rank of a row is log2(score) + t / half-life, the larger the better, then its seq. Rows
        whose score is not above 0, without a time, or whose rank is not finite come after all
        others, by score, then seq.
        """
        ...

    def score_bounds(
        self, ring: Ring, metric: Metric, queries: F32, first: int, stop: int
    ) -> tuple[F32, F32]:
        """Lower and upper bounds, float32 (q, stop - first), of scores with ``queries`` (q, dim).

        Of the rows in the slots ``first … stop - 1``, whose bounds are whole words of the ring's
        masks (multiples of 64, stop at most 63 beyond its end); of slots without a row anything.
        An infinity tells nothing.
        """
        ...

    def rows_reaching(
        self,
        ring: Ring,
        metric: Metric,
        queries: F32,
        first: int,
        block_rows: int,
        floors: F32,
        mask: U64,
        most: int,
    ) -> list[I64 | None]:
        """For each of ``queries`` the slots of ``mask`` that may score what their block asks for.

        Block b is the slots from ``first`` + b ``block_rows`` on, both multiples of 64; ``floors``
        float32 (q, blocks): what query i asks for there; -inf: any score, +inf: none. None instead
        of slots where there are more than ``most``.
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
