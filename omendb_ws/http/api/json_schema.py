"""The wire's table as JSON Schema: fields of requests, fields of answers, and what they share.

For the documents that are made of it: AsyncAPI of the WebSocket, OpenAPI of the HTTP API. What the
table does not know (what an answer's field is) stands here. Both documents keep what is shared in
``#/components/schemas``. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from omendb_core.ranking.rank_parser import OPERATORS
from omendb_core.ranking.shape_parser import LEAST_HALF_LIFE_SECONDS, MOST_HALF_LIFE_SECONDS

from ...wire.opcodes import ERRORS, LIMITS, OPS, RIGHTS, Field, Op

RANK_OPERATORS: Final = (*OPERATORS, "$if", "$default")

Json = dict[str, Any]

INTEGER: Final[Json] = {"type": "integer", "minimum": 0}
ID: Final[Json] = {"type": ["integer", "string"]}
VECTOR: Final[Json] = {"type": "array", "items": {"type": "number"}}
ROW: Final[Json] = {
    "type": "object",
    "properties": {
        "id": ID,
        "seq": INTEGER,
        "score": {"type": "number"},
        "metadata": {"type": "object"},
        "vector": VECTOR,
        "rank": {"type": ["number", "null"]},
        "weight": {"type": ["number", "null"]},
    },
    "required": ["id", "seq"],
}


def _members(properties: Json, required: str) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": [required],
        "additionalProperties": False,
    }


def _bounded(least: float, most: float) -> Json:
    return {"type": "number", "minimum": least, "maximum": most}


ROWS: Final[Json] = {"type": "array", "items": {"$ref": "#/components/schemas/row"}}
NEW_ROWS: Final[Json] = {"type": "array", "items": {"$ref": "#/components/schemas/new_row"}}
_PERCENTILES: Final[Json] = {
    "type": "object",
    "additionalProperties": {"type": ["number", "null"]},
}
#: type of a field -> its schema, bounds not counted.
_TYPES: Final[dict[str, Json]] = {
    "string": {"type": "string"},
    "name": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"},
    "choice": {"type": "string"},
    "integer": {"type": "integer"},
    "k": {"type": "integer", "minimum": 1},
    "number": {"type": "number"},
    "threshold": {"type": ["number", "null"]},
    "ttl": {"type": ["number", "null"], "exclusiveMinimum": 0},
    "filter": {"type": "object"},
    "include": {"type": "array", "items": {"enum": ["metadata", "vector"]}},
    "columns": {"type": "object", "additionalProperties": {"enum": ["f64", "i64", "bool", "str"]}},
    "vector": VECTOR,
    "vectors": {"type": "array", "minItems": 1, "items": VECTOR},
    "id": ID,
    "ids": {"type": "array", "items": ID},
    "rows": {"type": "array", "minItems": 1, "items": {"type": "object"}},
    "producer": {"type": "string", "minLength": 1},
    "batch": {"type": "integer", "minimum": 1},
    "examples": {"type": "array", "items": {"oneOf": [ID, VECTOR]}},
    "object": {"type": "object"},
    "expression": {"type": ["number", "string", "object"]},
    "unless_near": _members({"score": {"type": "number"}, "filter": {"type": "object"}}, "score"),
    "seqs": {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 1}},
}
#: Fields of type ``object`` and ``expression`` -> their schema, which ops share.
_SHAPES: Final[dict[str, Json]] = {
    "decay": _members(
        {
            "half_life": _bounded(LEAST_HALF_LIFE_SECONDS, MOST_HALF_LIFE_SECONDS),
            "column": {"type": "string"},
        },
        "half_life",
    ),
    "rank": {
        "description": "An expression: a number, the name of a column, `$score`, `$age`, or an"
        f" object whose one key is an operator, out of {', '.join(RANK_OPERATORS)}.",
        "type": ["number", "string", "object"],
        "maxProperties": 1,
    },
    "group": _members(
        {"by": {"type": "string"}, "size": {"type": "integer", "minimum": 1, "default": 1}}, "by"
    ),
    "spread": _members({"max_similarity": {"type": "number"}}, "max_similarity"),
    "mmr": _members(
        {"lambda": _bounded(0, 1), "candidates": {"type": "integer", "minimum": 1}}, "lambda"
    ),
}
#: Fields of replies and pushes by name; every other one is a number.
ANSWERED: Final[dict[str, Json]] = {
    "by": {"type": "array", "items": {"$ref": "#/components/schemas/count_of_value"}},
    "collection": {"type": "string"},
    "collections": {"type": "array", "items": {"$ref": "#/components/schemas/description"}},
    "columns": _TYPES["columns"],
    "duplicate": {"type": "boolean"},
    "durability": {"enum": ["memory", "everysec", "always"]},
    "epoch": {"type": "string"},
    "expires_in_s": {"type": ["number", "null"]},
    "ids": {"enum": ["auto", "u64", "str"]},
    "metric": {"enum": ["cosine", "dot", "l2"]},
    "near": {"type": ["array", "null"], "items": ID},
    "skipped": {"type": ["array", "null"], "items": INTEGER},
    "results": {"type": "array"},
    "grants": {"type": "array", "items": {"$ref": "#/components/schemas/grant"}},
    "rights": {"type": "array", "items": {"type": "string"}},
    "rows": {"type": ["array", "integer"]},
    "tenant": {"type": ["string", "null"]},
    "unavailable": {"type": "array", "items": {"$ref": "#/components/schemas/unavailable"}},
    "limits": {"type": "object", "additionalProperties": {"type": ["number", "null"]}},
    "tenants": {"type": "object"},
    "use": {"type": "object", "additionalProperties": {"type": ["number", "null"]}},
    "ttl": {"type": ["number", "null"]},
    "first_seq": {"type": ["integer", "null"]},
    "last_seq": {"type": ["integer", "null"]},
    "shards": {"type": "array", "items": {"$ref": "#/components/schemas/of_shard"}},
    "versions": {"type": "array", "items": INTEGER},
    "to_seqs": {"type": "array", "items": INTEGER},
    "search_ms": _PERCENTILES,
    "add_ms": _PERCENTILES,
    "push_ms": _PERCENTILES,
}


def object_of(properties: Json, required: Iterable[str], *, is_open: bool) -> Json:
    """An object; ``is_open``: it may have other members."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": is_open,
    }


def schema_of(one: Field) -> Json:
    """A field of a request."""
    if one.name in _SHAPES:
        return {"$ref": f"#/components/schemas/{one.name}"}
    schema = dict(_TYPES[one.type])
    if one.choices and schema["type"] == "string":
        schema["enum"] = list(one.choices)
    if one.type == "integer":
        schema["minimum"] = one.least
    most = LIMITS[one.most].default if isinstance(one.most, str) else one.most
    if schema["type"] == "integer":
        schema["maximum"] = most
    if isinstance(one.most, str):
        schema["description"] = f"At most {one.most}, by default {most}."
    if one.type == "examples":
        schema |= {"minItems": one.least, "maxItems": most}
    return schema


def answered_by(op: Op) -> Json:
    """The fields of an op's ``ok``, by their names."""
    properties = {name: ANSWERED.get(name, {"type": "number"}) for name in op.reply}
    if op.name in ("move", "subscribe"):
        properties["results"] = ROWS
    return properties


def shared_schemas() -> Json:
    """What is referred to, by its name."""
    return {"row": ROW, "new_row": _NEW_ROW, **_SHAPES, **_of_answers(), **_of_server()}


_NEW_ROW: Final[Json] = {
    **ROW,
    "properties": {
        **ROW["properties"],
        "score": {"type": ["number", "null"]},
        "near": {"type": ["integer", "string", "null"]},
    },
    "required": [*ROW["required"], "score", "near"],
}


def _of_answers() -> Json:
    described = {name: ANSWERED.get(name, {"type": "number"}) for name in OPS["describe"].reply}
    described["rows"] = INTEGER
    return {
        "count_of_value": object_of(
            {"value": {"type": ["number", "boolean", "string", "null"]}, "count": INTEGER},
            ("value", "count"),
            is_open=True,
        ),
        "of_shard": object_of(
            {
                "shard": INTEGER,
                "first_seq": {"type": ["integer", "null"]},
                "last_seq": {"type": ["integer", "null"]},
                "version": INTEGER,
            },
            ("shard", "first_seq", "last_seq", "version"),
            is_open=True,
        ),
        "grant": object_of(
            {
                "collections": {"type": "array", "items": {"type": "string"}},
                "rights": {"type": "array", "items": {"enum": list(RIGHTS)}},
                "filter": {"type": "object"},
                "stamp": {"type": "object"},
            },
            ("collections", "rights"),
            is_open=True,
        ),
        "unavailable": object_of(
            {
                "collection": {"type": "string"},
                "reason": {"type": "string"},
                "recovering": {"type": "boolean"},
            },
            ("collection", "reason", "recovering"),
            is_open=True,
        ),
        "description": object_of(described, OPS["describe"].reply, is_open=True),
    }


def _of_server() -> Json:
    limits = {
        one.name: {"type": "integer", "default": one.default, "description": one.about}
        for one in LIMITS.values()
        if one.name != "max_memory_bytes"
    }
    error = {
        "code": {"enum": list(ERRORS)},
        "message": {"type": "string"},
        "retry": {"type": "boolean"},
    }
    return {
        "limits": {
            "type": "object",
            "properties": limits,
            "additionalProperties": {"type": "integer"},
        },
        "error": object_of(error, ("code", "message"), is_open=True),
    }
