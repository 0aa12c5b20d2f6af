"""What ``/openapi.json`` says of each route, by the wire's table: parameters, bodies, answers.

A route names its op and what of it stands where; everything else is the table's. FastAPI puts the
operations together (``openapi.py``). Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ...wire.opcodes import OPS, SUBSCRIPTION_KINDS, Field
from .json_schema import ID, INTEGER, ROW, Json, answered_by, object_of, schema_of

JSON_TYPE: Final = "application/json"
_ERROR: Final = {"$ref": "#/components/responses/error"}
_NOTHING: Final = {"description": "There is nothing more to come"}
#: The statuses that any route may answer with, and those of routes that name a collection.
_ALWAYS: Final = (400, 401, 403, 429, 431, 500, 503)
_OF_COLLECTIONS: Final = (404,)
_OF_BODIES: Final = (413, 415)
COLLECTION_IN_PATH: Final[Json] = {
    "name": "collection",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"},
}
ROW_ID: Final[Json] = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "Percent-encoded; it may hold `/`. Where ids are integers, one in decimal.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 256},
}
_NULL_OR_ROW: Final[Json] = {"oneOf": [{"$ref": "#/components/schemas/row"}, {"type": "null"}]}
_ROWS: Final[Json] = {"type": "array", "items": {"$ref": "#/components/schemas/row"}}
_DESCRIPTION: Final[Json] = {"$ref": "#/components/schemas/description"}
_NULL_OR_INTEGER: Final[Json] = {"type": ["integer", "null"]}
NEW_ROW: Final[Json] = object_of(
    {"id": ID, "vector": ROW["properties"]["vector"], "metadata": {"type": ["object", "null"]}},
    ("vector",),
    is_open=False,
)
_CHANGED_ROW: Final[Json] = object_of(
    {"id": ID, "metadata": {"type": "object"}}, ("id", "metadata"), is_open=False
)


def _answer(*required: str, **properties: Json) -> Json:
    return object_of(properties, required, is_open=True)


#: op -> its ``ok``, where the names of its fields alone do not say enough.
_ANSWERS: Final[Mapping[str, Json]] = {
    "create": _DESCRIPTION,
    "describe": _DESCRIPTION,
    "list": _answer(
        "collections",
        collections={"type": "array", "items": _DESCRIPTION},
        unavailable={"type": "array", "items": {"$ref": "#/components/schemas/unavailable"}},
    ),
    "drop": _answer(),
    "add": _answer(
        "version", "first_seq", "last_seq",
        version=INTEGER, first_seq=_NULL_OR_INTEGER, last_seq=_NULL_OR_INTEGER,
        duplicate={"type": "boolean"},
        skipped={"type": ["array", "null"], "items": INTEGER},
        near={"type": ["array", "null"], "items": ID},
    ),
    "delete": _answer("version", "deleted", version=INTEGER, deleted=INTEGER),
    "update": _answer("version", version=INTEGER),
    "get": _answer(
        "version", "rows", version=INTEGER, rows={"type": "array", "items": _NULL_OR_ROW}
    ),
    "count": _answer(
        "version", "count", version=INTEGER, count=INTEGER, others=INTEGER,
        by={"type": "array", "items": {"$ref": "#/components/schemas/count_of_value"}},
    ),
    "search": _answer(
        "version", "results", "took_us", version=INTEGER, took_us=INTEGER, at={"type": "number"},
        results={
            "description": "The rows; with `vectors`, a list of rows for each of them.",
            "oneOf": [_ROWS, {"type": "array", "items": _ROWS}],
        },
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Document:
    """One operation. ``op``: of the table, or a kind of subscription.

    ``body``: media type -> schema; ``answers``: media type -> schema of 200, by default the op's.
    ``statuses``: besides those that any such route has. ``is_public``: it takes no token.
    """

    name: str
    summary: str
    op: str = ""
    description: str = ""
    path: tuple[Json, ...] = (COLLECTION_IN_PATH,)
    query: tuple[Field, ...] = ()
    body: Mapping[str, Json] = field(default_factory=dict)
    answers: Mapping[str, Json] | None = None
    statuses: tuple[int, ...] = ()
    headers: tuple[Json, ...] = ()
    is_public: bool = False
    tag: str = "collections"

    def as_given(self) -> dict[str, Any]:
        """What FastAPI is given."""
        operation: Json = {
            "parameters": [*self.path, *map(_parameter, self.query), *self.headers],
            "responses": self._responses(),
        }
        if self.body:
            content = {kind: {"schema": schema} for kind, schema in self.body.items()}
            operation["requestBody"] = {"required": True, "content": content}
        if self.is_public:
            operation["security"] = []
        return {
            "summary": self.summary,
            "description": self.description or self._refers(),
            "operation_id": self.name,
            "tags": [self.tag],
            "openapi_extra": operation,
        }

    def _responses(self) -> Json:
        answers = self.answers
        if answers is None:
            answers = {JSON_TYPE: _ANSWERS.get(self.op) or _answer(**answered_by(OPS[self.op]))}
        content = {kind: {"schema": schema} for kind, schema in answers.items()}
        statuses = {*_ALWAYS, *self.statuses}
        if COLLECTION_IN_PATH in self.path:
            statuses |= {*_OF_COLLECTIONS}
        if self.body:
            statuses |= {*_OF_BODIES}
        return {
            "200": {"description": "Done", "content": content},
            **{str(one): _NOTHING if one == 204 else _ERROR for one in sorted(statuses)},
        }

    def _refers(self) -> str:
        if self.op in OPS:
            return f"As the op `{self.op}`; right: {OPS[self.op].right}."
        return f"As the kind of subscription `{self.op}`." if self.op else ""


def body_of(op: str, *but: str) -> dict[str, Json]:
    """The JSON body of an op, or of a kind of subscription: its fields without ``but``."""
    fields = OPS[op].fields if op in OPS else SUBSCRIPTION_KINDS[op]
    inside = [one for one in fields if one.name not in but]
    properties = {one.name: schema_of(one) for one in inside}
    if "rows" in properties:
        item = _CHANGED_ROW if op == "update" else NEW_ROW
        properties["rows"] = {**properties["rows"], "items": item}
    schema = object_of(properties, (one.name for one in inside if one.required), is_open=False)
    one_of = OPS[op].one_of if op in OPS else ()
    if one_of:
        schema["oneOf"] = [{"required": [name]} for name in one_of]
    if op == "count":
        schema["dependentRequired"] = {"limit": ["by"]}
    return {JSON_TYPE: schema}


def _parameter(one: Field) -> Json:
    """A field in the query: lists and objects as JSON text, ``include`` with commas."""
    schema = schema_of(one)
    found: Json = {"name": one.name, "in": "query", "required": one.required}
    if one.type == "include":
        return {**found, "schema": schema, "style": "form", "explode": False}
    if _is_simple(schema):
        return {**found, "schema": schema}
    return {**found, "content": {JSON_TYPE: {"schema": schema}}}


def _is_simple(schema: Json) -> bool:
    kinds = schema.get("type", "object")
    return {kinds} <= {"string", "integer", "number"} if isinstance(kinds, str) else False
