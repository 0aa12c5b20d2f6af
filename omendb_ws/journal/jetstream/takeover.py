"""Becoming who appends to a stream: the entry, and the fence. What comes before that in the stream
is decided once it is read up to there; whoever called reads on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from omendb_core.model.errors import OmenError

from ...runtime.faults import as_error
from ..interface import Deposed
from .api import ApiError, JetStream
from .followed import Followed
from .ownership import fence
from .records import Broken
from .streamed import Streamed

log = logging.getLogger(__name__)

#: How often it is looked whether a stream ends too early, and how long between.
_ATTEMPTS: Final = 8
_RETRY_SECONDS: Final = 0.25


async def state_of(streamed: Streamed) -> dict[str, int]:
    """Its ``first_seq``, ``last_seq``, ``bytes``. Broken if there is no stream, or nothing in it;
    Unavailable."""
    try:
        state = await streamed.jetstream.stream_state(streamed.stream)
    except ApiError as error:
        if error.is_not_found:
            raise Broken("the stream is not there any more") from error
        raise
    if not state["messages"]:
        raise Broken("there is nothing in the stream any more")
    return {name: int(state[name]) for name in ("first_seq", "last_seq", "bytes")}


async def refuse_end_before(jetstream: JetStream, stream: str, sequence: int) -> None:
    """Broken if the stream ends before ``sequence``, which it has held. ApiError, Unavailable.

    A server that leads a stream since a moment ago may be behind for another one.
    """
    last = 0
    for attempt in range(_ATTEMPTS):
        try:
            last = int((await jetstream.stream_state(stream))["last_seq"])
        except ApiError as error:
            if error.is_not_found:
                raise Broken("the stream is not there any more") from error
            raise
        if last >= sequence:
            return
        if attempt + 1 < _ATTEMPTS:
            await asyncio.sleep(_RETRY_SECONDS)
    raise Broken(f"it ends at sequence {last}, and had {sequence}")


async def claim(
    streamed: Streamed, followed: Followed, term_before: int, *, from_others: bool
) -> tuple[int, int]:
    """A term of this node's, and the sequence of its fence's end.

    Raises Broken if the stream ends before what was read of it; Deposed, ApiError, Unavailable:
    perhaps it is there.
    """
    await refuse_end_before(streamed.jetstream, streamed.stream, followed.applied)
    if followed.applied:
        had = max(streamed.ownership.noted_version, followed.tracker.version)
        streamed.ownership.noted_version = had
    term = await streamed.ownership.take(term_before, from_others=from_others)
    return term, await fence(streamed.jetstream, streamed.subject, term)


async def resolved(
    streamed: Streamed, attempt: Callable[[], Awaitable[None]], is_over: Callable[[], bool]
) -> Broken | Deposed | None:
    """Take a log over by ``attempt``, again and again until it does, or ``is_over``; or why it
    never will."""
    name = streamed.stored.name
    while not is_over():
        try:
            await streamed.jetstream.connection.until_connected()
            await attempt()
        except (Broken, Deposed) as error:
            return error
        except (ApiError, OmenError) as error:
            log.info("%s: not taken over yet: %s", name, error)
        except Exception as error:
            as_error(error, f"taking over {name}")
        else:
            return None
        await asyncio.sleep(_RETRY_SECONDS)
    return None
