"""Which fields of a row are its id, its vector and its metadata, in files whose fields have names.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

#: How moments become metadata: as text that people read, or as Unix seconds, which filters take.
Times: TypeAlias = Literal["text", "seconds"]
TIMES: Final[tuple[Times, ...]] = get_args(Times)


@dataclass(frozen=True, slots=True)
class Fields:
    """Names of fields. ``kept``: those that become metadata, None for all the others.

    ``numbered``: ids are the numbers of rows, from 0, and ``id`` is a field like the others.
    ``times``: of formats that have moments (Parquet, Arrow).
    """

    id: str = "id"
    vector: str = "vector"
    kept: tuple[str, ...] | None = None
    numbered: bool = False
    times: Times = "text"

    def chosen(self, metadata: dict[str, Any]) -> dict[str, Any]:
        """``metadata`` with the kept fields only."""
        if self.kept is None:
            return metadata
        return {name: metadata[name] for name in self.kept if name in metadata}

    def is_kept(self, name: str) -> bool:
        """Whether a field becomes metadata."""
        return self.kept is None or name in self.kept


def without_nulls(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """``metadata`` without keys whose value is None, or a float that is not a number."""
    # NaN is the one value that is not equal to itself.
    return {key: value for key, value in metadata.items() if value is not None and value == value}


def distinct(names: Sequence[str]) -> list[str]:
    """``names``, each one once: the second ``price`` is ``price.1``, as pandas calls it."""
    taken = set(names)
    seen: set[str] = set()
    found = []
    for name in names:
        one, number = name, 0
        while one in seen or (number and one in taken):
            number += 1
            one = f"{name}.{number}"
        seen.add(one)
        found.append(one)
    return found
