"""How long a shaped answer may take to be found, so that what takes long is done in pieces.

How deep a selection reads, only reading tells: what is expected is the worst, every row read in
order, and each held against all that were taken before.
"""

from __future__ import annotations

from typing import Final

from omendb_core.ranking.costs import ns_a_row
from omendb_core.ranking.shape import PLAIN, Rank, Shape

from ..model.shard import Shard

#: Microseconds, measured: to score an element of a row, exactly; to give a row its place,
#: the expression aside; to sort a row in, and have a selection look at it.
_ELEMENT_US: Final = 0.25e-3
_RANKED_ROW_US: Final = 0.1
_READ_ROW_US: Final = 0.4
#: So many rows of a ``spread`` that were taken are held against each row one by one; the others are
#: matched, at this share of the cost or less (648 taken of 100,000 x 128: a sixteenth).
_ONE_BY_ONE: Final = 64
_MATCHED_SHARE: Final = 1 / 8


def most_us(shard: Shard, shape: Shape, k: int) -> float:
    """How long the shape of a query for ``k`` rows may take, a scan for it aside."""
    if shape == PLAIN or shard.is_dropped:
        return 0.0
    rows, dim = shard.window.rows, shard.definition.dim
    pairs = 0.0
    each_row_us = 0.0
    if isinstance(shape.order, Rank):  # decay is the scan's
        pairs += rows
        each_row_us += _RANKED_ROW_US + ns_a_row(shape.order.expression) / 1000
    if shape.selects:
        each_row_us += _READ_ROW_US
        pairs += rows
    if shape.spread is not None:
        taken = min(k, rows)
        matched = max(0, taken - _ONE_BY_ONE)
        pairs += rows * (taken - matched + matched * _MATCHED_SHARE)
    if shape.mmr is not None:
        pairs += k * min(shape.mmr.candidates, rows)
    return rows * each_row_us + pairs * dim * _ELEMENT_US
