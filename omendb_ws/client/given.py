"""What callers may pass, as types; ``arrays``, ``ids``, ``columns`` and ``plain`` look closer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

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
