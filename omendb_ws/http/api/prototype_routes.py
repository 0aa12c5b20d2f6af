"""The prototype's calls as routes: the ops that they are, on the collection ``default``.

What bodies hold is said in ``prototype.py``. The first add makes the collection; before it there is
nothing to be found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import orjson
from fastapi import Request
from omendb_core.model.errors import Exists, OmenError

from .. import routes
from . import prototype
from .answers import JsonAnswer
from .api import Answer, Api, asking_of
from .bodies import JSON, read_json, read_text
from .conversation import Conversation, is_of_no_collection
from .documents import NEW_ROW, Document
from .gate import Asking
from .json_schema import VECTOR, Json, object_of
from .parameters import read_query
from .prototype import COLLECTION
from .refusals import Refused

#: A vector of ``max_dim`` as JSON, and metadata with escapes: read in one piece, in a millisecond.
_ROW_BYTES: Final = 256 << 10
_NOTHING_FOUND: Final = orjson.dumps({"version": 0, "results": [], "took_us": 0})
_NO_ROWS: Final = orjson.dumps({"collection": COLLECTION, "rows": 0, "dim": None})
#: A collection for whoever may not make it.
_ANY: Final = f'{{"collection":"{COLLECTION}","dim":1,"capacity":1}}'

_SEARCH: Final[Json] = object_of(
    {
        "vector": VECTOR,
        "k": {"type": "integer", "minimum": 1, "default": 10},
        "include_metadata": {"type": "boolean", "default": False},
    },
    ("vector",),
    is_open=False,
)
_BATCH: Final[Json] = object_of(
    {"vectors": {"type": "array", "minItems": 1, "items": NEW_ROW}}, ("vectors",), is_open=False
)
_HEALTH: Final[Mapping[str, Json]] = {
    JSON: object_of(
        {
            "status": {"type": "string"},
            "version": {"type": "string"},
            "uptime_s": {"type": "number"},
        },
        ("status", "version", "uptime_s"),
        is_open=True,
    )
}


def add_routes(api: Api) -> None:
    """Add them."""
    about = f"Right: write; the first one, which makes `{COLLECTION}`, needs admin too."
    document = _document("add", "Add one vector", "add", about, {JSON: NEW_ROW}, 409)
    api.route("POST", "/vectors/add", _add, document)
    document = _document("batch", "Add vectors", "add", about, {JSON: _BATCH}, 409)
    api.route("POST", "/vectors/batch", _add_batch, document)
    about = f"The nearest rows of `{COLLECTION}`; none before the first add. Right: read."
    document = _document("search", "Search", "search", about, {JSON: _SEARCH})
    api.route("POST", "/search", _search, document)
    about = f"As the op `stats` of `{COLLECTION}`. Right: read."
    api.route("GET", "/stats", _stats, _document("stats", "Statistics", "stats", about))
    about = "Status, version and uptime; for anybody."
    health = replace(_document("health", "Health", "", about), answers=_HEALTH, is_public=True)
    api.route("GET", "/health", _health, health)


def _document(
    name: str, summary: str, op: str, about: str, body: Json | None = None, *statuses: int
) -> Document:
    return Document(
        f"prototype_{name}",
        summary,
        op,
        about,
        path=(),
        body=body or {},
        statuses=statuses,
        tag="prototype",
    )


async def _add(request: Request) -> Answer:
    """One row, which the body is."""
    asking = asking_of(request)
    read_query(asking.query, ())
    conversation = await asking.enter()
    fields = prototype.add_of_row(await read_text(asking, _ROW_BYTES, "of one vector"))
    return JsonAnswer(asking, await _added(asking, conversation, fields))


async def _add_batch(request: Request) -> Answer:
    """The rows of ``vectors``."""
    asking = asking_of(request)
    read_query(asking.query, ())
    conversation = await asking.enter()
    fields = prototype.add_of_batch(await read_json(asking))
    return JsonAnswer(asking, await _added(asking, conversation, fields))


async def _added(asking: Asking, conversation: Conversation, fields: str) -> bytes | memoryview:
    """The reply to an add, before which the collection is made if it is not there."""
    try:
        return await _ask(conversation, "add", fields)
    except Refused as refused:
        if not is_of_no_collection(refused, conversation, COLLECTION):
            raise
    session = conversation.session
    made = _ANY
    if session.who.known().scope("admin", COLLECTION) is not None:
        # What may be long is read for nobody else: the others are refused whatever it says.
        try:
            capacity = asking.house.default_capacity
            made = prototype.create_for(fields, capacity, asking.context.limits)
        except OmenError as error:
            raise Refused.of(error).renamed("rows", "vectors") from None
    try:
        await conversation.ask("create", made)
    except Refused as refused:
        if refused.code != Exists.code:  # somebody's first add was quicker
            raise
    return await _ask(conversation, "add", fields)


async def _search(request: Request) -> Answer:
    """As the op ``search``."""
    asking = asking_of(request)
    read_query(asking.query, ())
    conversation = await asking.enter()
    fields = prototype.search_of(await read_text(asking, _ROW_BYTES, "of one vector"))
    return JsonAnswer(asking, await _found(conversation, "search", fields, _NOTHING_FOUND))


async def _stats(request: Request) -> Answer:
    """As the op ``stats`` of the collection."""
    asking = asking_of(request)
    read_query(asking.query, ())
    conversation = await asking.enter()
    return JsonAnswer(asking, await _found(conversation, "stats", "{}", _NO_ROWS))


async def _health(request: Request) -> Answer:
    """As on the WebSocket's port."""
    asking = asking_of(request)
    return JsonAnswer(asking, orjson.dumps(routes.health(asking.house.running)))


async def _found(
    conversation: Conversation, op: str, fields: str, without: bytes
) -> bytes | memoryview:
    """What an op is answered; ``without`` the collection."""
    try:
        return await _ask(conversation, op, fields)
    except Refused as refused:
        if not is_of_no_collection(refused, conversation, COLLECTION):
            raise
        return without


async def _ask(conversation: Conversation, op: str, fields: str) -> bytes | memoryview:
    """As ``Conversation.ask``; rows are called vectors here."""
    try:
        return await conversation.ask(op, fields, collection=COLLECTION)
    except Refused as refused:
        raise refused.renamed("rows", "vectors") from None
