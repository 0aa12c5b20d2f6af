"""Routes of event streams: a subscription each, in the session of its connection.

What is subscribed to is read by the wire's table, from a query or a body; ``Last-Event-ID`` says
where it goes on. A refusal comes before the stream begins, with the status of its code.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, Literal

import orjson
from fastapi import Request

from ...sessions.identity import NOTICE_SECONDS, Identity
from ...wire.field_types import Field
from ...wire.text_replies import encode_event
from .api import COLLECTION, Answer, Api, asking_of, in_path
from .bodies import JSON, read_json
from .conversation import is_of_no_collection
from .documents import Document, body_of
from .events import HEADERS, EventStream
from .events_text import MEDIA_TYPE, Place, begin, behind, event, parse_place
from .gate import Scope, Send
from .json_schema import Json, object_of
from .parameters import FIELDS, read_query
from .refusals import Refused

StreamKind = Literal["live", "match", "feed", "novel", "stats"]
#: Kinds that are served as events, and what each is.
KINDS: Final[Mapping[StreamKind, str]] = {
    "live": "Follow the nearest rows",
    "match": "Follow the rows that score enough",
    "feed": "Follow every row",
    "novel": "Follow the rows that are like none before them",
    "stats": "Follow the statistics of a collection",
}
_LAST_EVENT_ID: Final = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "The id of the event to go on behind, as it was said: `epoch:to_seq`.",
    "schema": {"type": "string"},
}
#: Said by the path, and by what an event is.
_NOT_ASKED: Final = frozenset(("collection", "encoding"))
#: Those that begin where they are asked to.
_RESUMED: Final = frozenset(("match", "feed", "novel"))
#: When a client that was cut off comes again: not all of them at once.
RETRY_MS: Final = (2_000, 6_000)


def add_routes(api: Api) -> None:
    """Add them."""
    for kind, summary in KINDS.items():
        for method in ("GET", "POST"):
            document = _document(kind, method, summary)
            api.route(method, f"{COLLECTION}/{kind}", partial(_follow, kind), document)


def _document(kind: StreamKind, method: str, summary: str) -> Document:
    is_post = method == "POST"
    return Document(
        f"{method.lower()}_{kind}",
        summary,
        kind,
        query=() if is_post else _asked(kind),
        body=body_of(kind) if is_post else {},
        answers={MEDIA_TYPE: _event(kind)},
        statuses=(204, 409),
        headers=(_LAST_EVENT_ID,),
        tag="streams",
    )


def _event(kind: StreamKind) -> Json:
    """What each event is like: before OpenAPI 3.2 that is what a schema of events says."""
    names = ["snapshot"] if kind == "live" else []
    names += [kind, *(["gap"] if kind in _RESUMED else []), "expiring", "error", "ended"]
    data = {"type": "string", "contentMediaType": JSON, "contentSchema": {"type": "object"}}
    properties = {
        "event": {"type": "string", "enum": names},
        "data": data,
        "id": {"type": "string"},
        "retry": {"type": "integer"},
    }
    return {**object_of(properties, ("event", "data"), is_open=False), "description": "Each event"}


async def _follow(kind: StreamKind, request: Request) -> Answer:
    """One stream, or the end of the one that it goes on with."""
    asking = asking_of(request)
    said = asking.headers.get("last-event-id")
    place = parse_place(said) if said else None
    is_post = asking.method == "POST"
    fields = read_query(asking.query, () if is_post else _asked(kind))
    conversation = await asking.enter()
    body = await read_json(asking) if is_post else orjson.dumps(fields).decode()
    if place is not None and place.to_seq is None:
        return _no_more
    if place is not None and kind in _RESUMED:
        body = behind(body, place)
    collection = in_path(request, "collection")
    try:
        ok = await conversation.ask("subscribe", body, **_given(kind, collection))
    except Refused as refused:
        if place is not None and is_of_no_collection(refused, conversation, collection):
            return _no_more
        raise refused if place is None else _of_header(refused, place) from None
    if asking.method == "HEAD":
        conversation.close()
        return _head
    begun = begin(kind, bytes(ok), random.randint(*RETRY_MS))
    begun = begun._replace(first=begun.first + _notice(conversation.session.who, begun.epoch))
    return EventStream(conversation, begun, asking.context.beats, asking.context.metrics)


def _of_header(refused: Refused, place: Place) -> Refused:
    """The same, naming the header where that said what is refused."""
    if str(refused.fault.get("message")).startswith("from_seq:"):
        said = f"Last-Event-ID: {place} is beyond the newest row"
        return Refused({**refused.fault, "message": said})
    return refused.renamed("epoch:", "Last-Event-ID:")


def _notice(who: Identity, epoch: str) -> bytes:
    """What was said of a token's end before the stream began; empty if nothing was."""
    left = who.expires_in_seconds
    if left is None or left > NOTICE_SECONDS:
        return b""
    return event(encode_event("expiring", {"expires_in_s": round(left)}), epoch)


def _asked(kind: StreamKind) -> tuple[Field, ...]:
    """The fields that a request for a stream may have."""
    return tuple(one for one in FIELDS[kind] if one.name not in _NOT_ASKED)


def _given(kind: StreamKind, collection: str) -> dict[str, Any]:
    """The fields that it has besides."""
    names = {one.name for one in FIELDS[kind]}
    encoding = {"encoding": "json"} if "encoding" in names else {}
    return {"kind": kind, "collection": collection, **encoding}


async def _no_more(scope: Scope, receive: Any, send: Send) -> None:
    """The stream has ended: to a browser, no reason to come again."""
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def _head(scope: Scope, receive: Any, send: Send) -> None:
    """What a stream would begin with."""
    await send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})
    await send({"type": "http.response.body", "body": b""})
