"""What shapes an answer: the order of the rows that pass, and the selection of k out of it.

Values as they were checked (``shape_parser``): nothing of rows, windows or the wire. PROTOCOL
section 5 says what each means. A query without any of it is plain: by score, then seq, the first k.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from .tree import Expression


@dataclass(frozen=True, slots=True)
class Decay:
    """Newer is better: by log2(score) + t / half_life, t the row's time in Unix seconds.

    ``column``: where t stands (``f64`` or ``i64``); None: the time of acceptance.
    """

    half_life_seconds: float
    column: str | None = None


@dataclass(frozen=True, slots=True)
class Rank:
    """By the value of an expression; a row whose value is null is left out."""

    expression: Expression


Order: TypeAlias = Decay | Rank


@dataclass(frozen=True, slots=True)
class Group:
    """At most ``size`` rows of each value of ``column``; null is a value."""

    column: str
    size: int = 1


@dataclass(frozen=True, slots=True)
class Spread:
    """No row whose score with one taken already is at least ``max_similarity`` (float32)."""

    max_similarity: float


@dataclass(frozen=True, slots=True)
class Mmr:
    """Maximal marginal relevance over the first ``candidates`` rows (Carbonell, Goldstein 1998).

    ``relevance`` is lambda, 0 … 1: the weight of a row's score against its likeness to those taken.
    """

    relevance: float
    candidates: int


@dataclass(frozen=True, slots=True)
class Shape:
    """An order (None: by score) and a selection (all None: the first k)."""

    order: Order | None = None
    group: Group | None = None
    spread: Spread | None = None
    mmr: Mmr | None = None

    @property
    def selects(self) -> bool:
        """Whether rows of the order may be passed over."""
        return not (self.group is None and self.spread is None and self.mmr is None)

    @property
    def leaves_out(self) -> bool:
        """Whether an answer may have fewer than k rows though as many pass."""
        is_ranked = isinstance(self.order, Rank)
        return is_ranked or self.group is not None or self.spread is not None


#: By score, then seq; the first k.
PLAIN = Shape()
