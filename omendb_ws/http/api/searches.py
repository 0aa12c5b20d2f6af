"""Routes that read a collection by a JSON body: search, count."""

from __future__ import annotations

from fastapi import Request

from .answers import JsonAnswer
from .api import COLLECTION, Answer, Api, asking_of, in_path
from .bodies import read_json
from .documents import Document, body_of
from .parameters import read_query


def add_routes(api: Api) -> None:
    """Add them."""
    for endpoint, summary in ((search, "Search"), (count, "Count rows")):
        op = endpoint.__name__
        document = Document(op, summary, op, body=body_of(op), tag="rows", statuses=(409,))
        api.route("POST", f"{COLLECTION}/{op}", endpoint, document)


async def search(request: Request) -> Answer:
    """As the op ``search``."""
    return await answer_op(request, "search")


async def count(request: Request) -> Answer:
    """As the op ``count``."""
    return await answer_op(request, "count")


async def answer_op(request: Request, op: str) -> Answer:
    """The answer to an op of the collection in the path, its other fields in the body."""
    asking = asking_of(request)
    read_query(asking.query, ())
    conversation = await asking.enter()
    body = await read_json(asking)
    found = await conversation.ask(op, body, collection=in_path(request, "collection"))
    return JsonAnswer(asking, found)
