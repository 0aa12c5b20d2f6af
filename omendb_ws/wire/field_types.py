"""What a field of a JSON request can be: the type of its value, its bounds, its name.

Part of THE table (``opcodes.py`` hands them on); ``fields.py`` reads values by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from omendb_core.model.types import MAX_SAFE_INTEGER

#: How a field is read (``fields.READERS``) and what it is called in documents.
FieldType = Literal[
    "string", "name", "choice", "integer", "k", "number", "threshold", "ttl", "filter", "include",
    "columns", "vector", "vectors", "id", "ids", "rows", "producer", "batch", "examples", "object",
    "expression", "unless_near", "seqs",
]  # fmt: skip

#: FieldType -> the JSON type that it is.
JSON_TYPES: Final[Mapping[FieldType, str]] = MappingProxyType(
    {
        "string": "string",
        "name": "string",
        "choice": "string",
        "integer": "integer",
        "k": "integer",
        "number": "number",
        "threshold": "number or null",
        "ttl": "number or null",
        "filter": "object",
        "include": "list of strings",
        "columns": "object",
        "vector": "list of numbers",
        "vectors": "list of lists of numbers",
        "id": "number or string",
        "ids": "list of numbers or strings",
        "rows": "list of objects",
        "producer": "string",
        "batch": "integer",
        "examples": "list of ids or lists of numbers",
        "object": "object",
        "expression": "number, string or object",
        "unless_near": "object",
        "seqs": "list of integers",
    }
)


#: In microseconds still an integer that any JSON reader holds: 285 years.
MAX_TTL_SECONDS: Final = MAX_SAFE_INTEGER // 10**6


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a JSON request.

    ``least`` and ``most`` bound an integer, ``most`` a list's length too; a ``most`` that is a
    text is the name of a limit. ``choices`` are the values of a ``choice``. ``attribute`` is the
    name in the message where that carries the unit. Defaults stand in the messages.
    """

    name: str
    type: FieldType
    required: bool = False
    least: int = 0
    most: int | str = MAX_SAFE_INTEGER
    choices: tuple[str, ...] = ()
    attribute: str = ""

    @property
    def target(self) -> str:
        """The attribute of the typed message that holds it."""
        return self.attribute or self.name
