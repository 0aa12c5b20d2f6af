"""What ``/openapi.json`` says of each route, by the wire's table: parameters, bodies, answers.

A route names its op and what of it stands where; everything else is the table's. FastAPI puts the
operations together (``openapi.py``). Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ...wire.opcodes import OPS, SUBSCRIPTION_KINDS, Field
from .json_schema import ID, INTEGER, ROW, Json, object_of, schema_of

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
DESCRIPTION: Final[Json] = {"$ref": "#/components/schemas/description"}
_VERSIONS = {"type": "array", "items": INTEGER}
_NULL_OR_INTEGER: Final[Json] = {"type": ["integer", "null"]}
#: Ops whose fields are a JSON body; of subscriptions all are.
_WITH_BODY: Final = ("create", "add", "update", "get", "delete", "search", "count")
#: Said by the path, or by what the answer is.
_SAID_ELSEWHERE: Final = frozenset(("collection", "encoding"))
NEW_ROW: Final[Json] = object_of(
    {"id": ID, "vector": ROW["properties"]["vector"], "metadata": {"type": ["object", "null"]}},
    ("vector",),
    is_open=False,
)


def _answer(*required: str, **properties: Json) -> Json:
    return object_of(properties, required, is_open=True)


#: Ops that are answered by the description of a collection.
_DESCRIBING: Final = frozenset(("create", "describe"))
#: op -> its ``ok``.
_ANSWERS: Final[Mapping[str, Json]] = {
    "list": _answer(
        "collections",
        collections={"type": "array", "items": DESCRIPTION},
        unavailable={"type": "array", "items": {"$ref": "#/components/schemas/unavailable"}},
    ),
    "drop": _answer(),
    "stats": _answer("rows", collection={"type": "string"}, rows=INTEGER),
    "add": _answer(
        "version", "first_seq", "last_seq",
        version=INTEGER, first_seq=_NULL_OR_INTEGER, last_seq=_NULL_OR_INTEGER,
        duplicate={"type": "boolean"},
        skipped={"type": ["array", "null"], "items": INTEGER},
        near={"type": ["array", "null"], "items": ID},
        shards={"type": "array", "items": {"$ref": "#/components/schemas/of_shard"}},
    ),
    "delete": _answer("version", "deleted", version=INTEGER, deleted=INTEGER, versions=_VERSIONS),
    "update": _answer("version", version=INTEGER, versions=_VERSIONS),
    "get": _answer(
        "version", "rows", version=INTEGER, rows={"type": "array", "items": _NULL_OR_ROW},
        versions=_VERSIONS,
    ),
    "count": _answer(
        "version", "count", version=INTEGER, count=INTEGER, others=INTEGER,
        by={"type": "array", "items": {"$ref": "#/components/schemas/count_of_value"}},
        versions=_VERSIONS,
    ),
    "search": _answer(
        "version", "results", "took_us", version=INTEGER, took_us=INTEGER, at={"type": "number"},
        versions=_VERSIONS,
        results={
            "description": "The rows; with `vectors`, a list of rows for each of them.",
            "anyOf": [_ROWS, {"type": "array", "items": _ROWS}],
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
            answers = {
                JSON_TYPE: DESCRIPTION if self.op in _DESCRIBING else _ref(f"{self.op}_answer")
            }
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


def body_of(op: str) -> dict[str, Json]:
    """The JSON body of an op, or of a kind of subscription."""
    return {JSON_TYPE: _ref(f"{op}_request")}


def shared() -> dict[str, Json]:
    """What routes refer to, by its name."""
    requests = {f"{op}_request": _request(op) for op in (*_WITH_BODY, *SUBSCRIPTION_KINDS)}
    answers = {f"{op}_answer": answer for op, answer in _ANSWERS.items()}
    return {**requests, **answers, "added_row": NEW_ROW}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _request(op: str) -> Json:
    """Its fields, without those that the path says. Which go together is for the description:
    generators make nothing good of alternatives within an object.
    """
    if op == "update":
        return object_of({"metadata": {"type": "object"}}, ("metadata",), is_open=False)
    fields = OPS[op].fields if op in OPS else SUBSCRIPTION_KINDS[op]
    but = () if op == "create" else _SAID_ELSEWHERE
    inside = [one for one in fields if one.name not in but]
    properties = {one.name: schema_of(one) for one in inside}
    if op == "add":
        properties["rows"] = {**properties["rows"], "items": _ref("added_row")}
    schema = object_of(properties, (one.name for one in inside if one.required), is_open=False)
    one_of = OPS[op].one_of if op in OPS else ()
    if one_of:
        schema["description"] = f"Exactly one of {', '.join(one_of)}."
    if op == "count":
        schema["dependentRequired"] = {"limit": ["by"]}
    return schema


def _parameter(one: Field) -> Json:
    """A field in the query: lists and objects as JSON text, ``include`` with commas.

    (Clients that say ``include`` more than once are understood, too.)
    """
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
