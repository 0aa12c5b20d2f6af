"""Routes of collections: list, create, describe, drop; what reads one as a whole."""

from __future__ import annotations

from fastapi import Request

from .answers import JsonAnswer
from .api import COLLECTION, Answer, Api, asking_of, in_path
from .bodies import read_json
from .documents import Document, body_of
from .parameters import read_query


def add_routes(api: Api) -> None:
    """Add them."""
    listing = Document("list_collections", "List collections", "list", path=())
    creating = Document(
        "create_collection",
        "Create a collection",
        "create",
        path=(),
        body=body_of("create"),
        statuses=(409, 501),
    )
    describing = Document("describe_collection", "Describe a collection", "describe")
    dropping = Document("drop_collection", "Drop a collection", "drop")
    api.route("GET", "/v1/collections", list_collections, listing)
    api.route("POST", "/v1/collections", create, creating)
    api.route("GET", COLLECTION, describe, describing)
    api.route("DELETE", COLLECTION, drop, dropping)


async def list_collections(request: Request) -> Answer:
    """As the op ``list``."""
    asking = asking_of(request)
    read_query(asking.query, ())
    conversation = await asking.enter()
    return JsonAnswer(asking, await conversation.ask("list"))


async def create(request: Request) -> Answer:
    """As the op ``create``."""
    asking = asking_of(request)
    read_query(asking.query, ())
    conversation = await asking.enter()
    return JsonAnswer(asking, await conversation.ask("create", await read_json(asking)))


async def describe(request: Request) -> Answer:
    """As the op ``describe``."""
    asking = asking_of(request)
    read_query(asking.query, ())
    conversation = await asking.enter()
    found = await conversation.ask("describe", collection=in_path(request, "collection"))
    return JsonAnswer(asking, found)


async def drop(request: Request) -> Answer:
    """As the op ``drop``."""
    asking = asking_of(request)
    read_query(asking.query, ())
    conversation = await asking.enter()
    found = await conversation.ask("drop", collection=in_path(request, "collection"))
    return JsonAnswer(asking, found)
