"""Adds with an ``Idempotency-Key``: the table of keys, and a session that outlasts its client.

The work is asked in the session of its connection, as any request is. While it is under way that
session is not closed: if the client leaves, it ends once the add is answered, so that whoever
repeats the request hears what came of it. Lives on the loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

import orjson
from omendb_core.model.errors import BadRequest, OmenError

from ...sessions.reach import reach
from .answers import JsonAnswer
from .conversation import Conversation
from .gate import Asking
from .idempotency import MAX_KEY_CHARACTERS, Answer, Owner, check_key, fingerprint
from .json_schema import Json
from .refusals import Refused, unknown_outcome

IDEMPOTENCY_KEY: Final[Json] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The request is done once for each key; repeated, it is answered alike. The"
    " same key with another request is refused (409). A restart of the server forgets keys.",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARACTERS},
}
_DONE: Final = 200

Ask = Callable[[], Awaitable[bytes | memoryview]]


async def add_once(
    asking: Asking, conversation: Conversation, collection: str, body: str | bytes, ask: Ask
) -> JsonAnswer:
    """What ``ask`` is answered, asked once for each key. Raises Refused, Exists, Quota."""
    key = _key_of(asking)
    if key is None:
        return JsonAnswer(asking, await ask())
    session = conversation.session
    try:
        epoch = reach(session, "add", collection).collection.epoch
    except OmenError:
        return JsonAnswer(asking, await ask())  # which is refused for that, and audited
    owner = Owner(session.tenant, session.who.known().name, epoch)
    kind = (asking.headers.get("content-type") or "").encode("latin-1")
    mark = fingerprint(asking.query, kind, body.encode() if isinstance(body, str) else body)
    work, keys = partial(_done, conversation, ask), asking.house.keys
    answer, was_before = await keys.once(owner, key, mark, session.account.memory, work)
    metrics = session.context.metrics.http
    metrics.idempotency_keys = len(keys)
    metrics.repeated_adds += was_before
    if was_before:
        session.account.messages.take(1, session.context.clock_us)
    if answer.status == _DONE:
        return JsonAnswer(asking, answer.body)
    raise Refused(orjson.loads(answer.body)["error"], answer.status)


def _key_of(asking: Asking) -> str | None:
    given = asking.headers.get_all("Idempotency-Key")
    if len(given) > 1:
        raise BadRequest("Idempotency-Key: stands twice")
    return check_key(given[0]) if given else None


async def _done(conversation: Conversation, ask: Ask) -> Answer:
    with _outlasting(conversation):
        try:
            return Answer(_DONE, bytes(await ask()))
        except asyncio.CancelledError:  # the server leaves, and waits no longer
            refused = unknown_outcome()
        except Refused as error:
            refused = error
        except OmenError as error:
            refused = Refused.of(error)
        return Answer(refused.status, refused.body)


@contextmanager
def _outlasting(conversation: Conversation) -> Iterator[None]:
    """Close it, if its connection does, only behind what is asked inside the block."""
    close, is_left = conversation.close, False

    def leave() -> None:
        nonlocal is_left
        is_left = True

    conversation.close = leave
    try:
        yield
    finally:
        conversation.close = close
        if is_left:
            close()
