"""What callers may pass, as types; ``arrays``, ``ids``, ``columns`` and ``plain`` look closer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict

from numpy.typing import ArrayLike, NDArray
from omendb_core.model.types import StrColumn

Vectors: TypeAlias = ArrayLike
Id: TypeAlias = int | str
IdsGiven: TypeAlias = Sequence[int] | Sequence[str] | NDArray[Any]
ColumnGiven: TypeAlias = Sequence[Any] | NDArray[Any] | StrColumn
Metadata: TypeAlias = Sequence[Mapping[str, Any] | None]
#: A filter of PROTOCOL section 5.
Filter: TypeAlias = Mapping[str, Any]
IncludeNames: TypeAlias = Iterable[Literal["metadata", "vector"]]
#: What a search is to be like, or unlike: ids of stored rows, and vectors.
Example: TypeAlias = Id | Sequence[float] | NDArray[Any]
Examples: TypeAlias = Sequence[Example] | NDArray[Any]
#: ``decay``, ``group``, ``spread``, ``mmr``, and the expression ``rank``, of PROTOCOL section 5.
Shape: TypeAlias = Mapping[str, Any]
Rank: TypeAlias = Mapping[str, Any] | str | float
#: ``unless_near`` of PROTOCOL section 4: ``score``, and ``filter`` if wanted.
UnlessNear: TypeAlias = Mapping[str, Any]


class Shaping(TypedDict, total=False):
    """What may shape the answer of any search."""

    exclude: IdsGiven | None
    decay: Shape | None
    rank: Rank | None
    group: Shape | None
    spread: Shape | None
    mmr: Shape | None
    at: float | None
