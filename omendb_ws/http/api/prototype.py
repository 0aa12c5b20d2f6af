"""The five calls of the prototype, as requests of the protocol (PROTOCOL section 10): pure.

They are about one collection, ``default``, which the first add makes. Knows JSON bodies and the
table of fields; who may do what, and what is there, is for the sessions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from omendb_core.model.errors import BadRequest, BadVector

from ...wire.fields import refuse_unknown
from ...wire.rows import ROW_FIELDS

COLLECTION: Final = "default"
_SEARCH_FIELDS: Final = frozenset(("vector", "k", "include_metadata"))


def row_of(body: Any) -> list[Any]:
    """``POST /vectors/add``: the one row that a body is. BadRequest."""
    row = _object(body)
    refuse_unknown(row, ROW_FIELDS)
    return [row]


def rows_of(body: Any) -> list[Any]:
    """``POST /vectors/batch``: the rows of a body. BadRequest."""
    found = _object(body)
    refuse_unknown(found, ("vectors",))
    if "vectors" not in found:
        raise BadRequest("vectors: missing")
    rows = found["vectors"]
    if type(rows) is not list:
        raise BadRequest("vectors: must be a list of objects")
    if not rows:
        raise BadRequest("vectors: at least 1")
    return rows


def search_of(body: Any) -> dict[str, Any]:
    """``POST /search``: the fields of the op. BadRequest."""
    asked = _object(body)
    refuse_unknown(asked, _SEARCH_FIELDS)
    if "vector" not in asked:
        raise BadRequest("vector: missing")
    wants_metadata = asked.get("include_metadata", False)
    if type(wants_metadata) is not bool:
        raise BadRequest("include_metadata: must be true or false")
    fields = {name: value for name, value in asked.items() if name != "include_metadata"}
    return {**fields, "include": ["metadata"]} if wants_metadata else fields


def definition(rows: list[Any], capacity: int) -> dict[str, Any]:
    """The fields of the ``create`` before a first add. BadRequest, BadVector with ``row``."""
    first = rows[0]
    if type(first) is not dict:
        raise BadRequest("vectors: must be objects", row=0)
    if "vector" not in first:
        raise BadRequest("vector: missing", row=0)
    vector = first["vector"]
    if type(vector) is not list or not vector:
        raise BadVector("vector: must be a list of numbers", row=0)
    return {
        "collection": COLLECTION,
        "dim": len(vector),
        "capacity": capacity,
        "ids": "str",
        "if_exists": "ok",
    }


def statistics(stats: Mapping[str, Any] | None) -> dict[str, Any]:
    """``GET /stats``: what the op says of the collection, with no rows before the first add."""
    if stats is None:
        return {"collection": COLLECTION, "rows": 0, "dim": None}
    return dict(stats)


def _object(body: Any) -> dict[str, Any]:
    if type(body) is not dict:
        raise BadRequest("the body must be a JSON object")
    return body
