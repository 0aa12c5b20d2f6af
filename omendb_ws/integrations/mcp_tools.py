"""The tools of the MCP server: what a model may ask of collections, and how that becomes calls.

Each tool is a schema and a coroutine over the client. What a model gives is passed on as it is: the
client checks it, and its errors, which name the argument, are the tool's. A tool that takes vectors
takes texts, too, where there is a function that embeds them, and says so only then.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from omendb_ws import Answer, Client, Description, LiveAnswer
from omendb_ws.errors import BadRequest

#: Texts to vectors (n, dim): a function, or a coroutine function.
Embed: TypeAlias = Callable[[list[str]], Any]
Json: TypeAlias = dict[str, Any]

_SAFE_INTEGER: Final = 2**53 - 1
_COLLECTION: Final = {"type": "string", "description": "Name of the collection."}
_FILTER: Final = {
    "type": "object",
    "description": 'A condition on declared columns, such as {"price": {"$lt": 10}, "kind": "a"}: '
    "$eq $ne $in $nin $exists $prefix $lt $lte $gt $gte $and $or $not.",
}
_EXAMPLES: Final = {"type": "array", "items": {"type": ["string", "integer", "array"]}}
_ID: Final = {"type": ["string", "integer"]}
_VECTOR: Final = {"type": "array", "items": {"type": "number"}}
_TARGET: Final[Json] = {
    "vector": {**_VECTOR, "description": "What to look for; as many numbers as `dim`."},
    "positive": {**_EXAMPLES, "description": "Ids of rows, or vectors, to be like."},
    "negative": {**_EXAMPLES, "description": "Ids of rows, or vectors, to be unlike."},
}
_TEXT: Final = {"type": "string", "description": "What to look for, in words."}
_ASKED: Final[Json] = {
    "collection": _COLLECTION,
    "k": {"type": "integer", "minimum": 1, "default": 10, "description": "How many rows."},
    "filter": _FILTER,
    "min_score": {"type": "number", "description": "The least score; larger is nearer."},
    "exclude": {"type": "array", "items": _ID, "description": "Ids to leave out."},
    "decay": {
        "type": "object",
        "description": 'Prefer newer rows: {"half_life": seconds}.',
    },
}


class Tool(NamedTuple):
    """A tool: ``call`` takes the client and the arguments."""

    name: str
    description: str
    properties: Json
    required: tuple[str, ...]
    call: Callable[[Client, Json], Awaitable[Json]]
    is_read_only: bool = True

    def schema(self) -> Json:
        """Its arguments as JSON Schema."""
        return {
            "type": "object", "properties": self.properties, "required": list(self.required),
            "additionalProperties": False,
        }  # fmt: skip

    def check(self, given: Mapping[str, Any]) -> None:
        """Raise BadRequest for arguments that it has not, and for those that are missing."""
        for name in given:
            if name not in self.properties:
                raise BadRequest(f"{name}: no argument of {self.name}")
        for name in self.required:
            if name not in given:
                raise BadRequest(f"{name}: missing")


def tools(embed: Embed | None) -> list[Tool]:
    """The tools; with ``embed`` they take texts in place of vectors."""
    target = {**_TARGET, "text": _TEXT} if embed is not None else _TARGET
    row: Json = {"id": _ID, "vector": _VECTOR, "metadata": {"type": "object"}}
    if embed is not None:
        row["text"] = {"type": "string", "description": "What the vector is made of."}

    async def search(db: Client, given: Json) -> Json:
        asked = await with_target(given, embed)
        answer: Answer = await db.search(**asked, include=["metadata"])
        return answer_document(answer)

    async def add(db: Client, given: Json) -> Json:
        return await _add(db, given["collection"], given["rows"], embed)

    what = "a vector, a text, or example rows" if embed is not None else "a vector or example rows"
    return [
        Tool("list", "List the collections: name, dimension, rows, columns.", {}, (), _list),
        Tool("describe", "Say what a collection is, and how full.",
             {"collection": _COLLECTION}, ("collection",), _describe),
        Tool("count", "Count the rows that pass a filter, or by the values of a column.",
             {"collection": _COLLECTION, "filter": _FILTER,
              "by": {"type": "string", "description": "A column to count by."},
              "limit": {"type": "integer", "minimum": 1, "description": "At most so many values."}},
             ("collection",), _count),
        Tool("search", f"Find the rows nearest to {what}: exact, of this moment.",
             {**_ASKED, **target}, ("collection",), search),
        Tool("add", "Add rows; one whose id is there is replaced.",
             {"collection": _COLLECTION,
              "rows": {"type": "array", "minItems": 1, "items": {"type": "object",
                       "properties": row, "additionalProperties": False}}},
             ("collection", "rows"), add, is_read_only=False),
    ]  # fmt: skip


def watch_properties(embed: Embed | None) -> Json:
    """The arguments of a watch: those of a search, and how often it may change."""
    every = {"type": "integer", "minimum": 0, "default": 1000,
             "description": "Be told at most each so many milliseconds."}  # fmt: skip
    target = {**_TARGET, "text": _TEXT} if embed is not None else _TARGET
    return {**_ASKED, **target, "every_ms": every}


async def with_target(given: Json, embed: Embed | None) -> Json:
    """Arguments of a search with a text's vector in its place. Raises BadRequest."""
    asked = dict(given)
    if "text" in asked and embed is not None:
        if "vector" in asked:
            raise BadRequest("text: give either this or vector")
        [asked["vector"]] = await embedded(embed, [asked.pop("text")])
    if "vector" not in asked and "positive" not in asked:
        others = "" if embed is None else ", text"
        raise BadRequest(f"vector: missing; a search takes one of vector{others} and positive")
    return asked


async def embedded(embed: Embed, texts: list[Any]) -> Any:
    """The vectors of texts, as ``embed`` makes them. Raises BadRequest."""
    for text in texts:
        if not isinstance(text, str):
            raise BadRequest(f"text: must be a string, not {type(text).__name__}")
    if inspect.iscoroutinefunction(embed):
        vectors = await embed(texts)
    else:
        vectors = await asyncio.to_thread(embed, texts)
    found = np.asarray(vectors)
    if found.ndim != 2 or len(found) != len(texts):
        raise BadRequest(f"text: the embedding gave {found.shape} for {len(texts)} texts")
    return found


def answer_document(answer: Answer | LiveAnswer) -> Json:
    """An answer as JSON."""
    return {
        "version": answer.version,
        "rows": [
            {"id": safe_id(row.id), "score": row.score, "metadata": row.metadata} for row in answer
        ],
    }


def safe_id(one: int | str) -> int | str:
    """An id as every reader of JSON reads it."""
    return str(one) if isinstance(one, int) and one > _SAFE_INTEGER else one


async def _list(db: Client, given: Json) -> Json:
    return {"collections": [_description(one) for one in await db.list()]}


async def _describe(db: Client, given: Json) -> Json:
    return _description(await db.describe(given["collection"]))


def _description(one: Description) -> Json:
    whole = dataclasses.asdict(one)
    return {name: value for name, value in whole.items() if value not in (None, ())}


async def _count(db: Client, given: Json) -> Json:
    found = await db.count(**given)
    if isinstance(found, int):
        return {"count": found}
    by = [{"value": value, "count": count} for value, count in found.by.items()]
    return {"count": found.count, "by": by, "others": found.others}


async def _add(db: Client, collection: Any, rows: Any, embed: Embed | None) -> Json:
    """Rows of one call; all have vectors, or all have texts."""
    if not isinstance(rows, list) or not rows or not all(isinstance(one, dict) for one in rows):
        raise BadRequest("rows: must be a list of objects, at least one")
    key = "text" if embed is not None and "text" in rows[0] else "vector"
    for at, row in enumerate(rows):
        unknown = row.keys() - {"id", "metadata", key}
        if unknown or key not in row:
            wrong = f"no field of {sorted(unknown)}" if unknown else f"{key}: missing"
            raise BadRequest(f"rows[{at}]: {wrong}")
    values = [row[key] for row in rows]
    vectors = values if key == "vector" or embed is None else await embedded(embed, values)
    ids = [row["id"] for row in rows] if all("id" in row for row in rows) else None
    metadata = [row.get("metadata") for row in rows]
    added = await db.add(collection, vectors, ids, metadata)
    return {"rows": added.rows, "version": added.version}
