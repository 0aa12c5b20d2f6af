"""Becoming who appends to a stream: the entry, and the fence. What comes before that in the stream
is decided once it is read up to there; whoever called reads on.
"""

from __future__ import annotations

from .api import ApiError
from .followed import Followed
from .ownership import fence
from .records import Broken
from .streamed import Streamed


async def state_of(streamed: Streamed) -> dict[str, int]:
    """Its ``first_seq``, ``last_seq``, ``bytes``. Broken if there is no stream; Unavailable."""
    try:
        state = await streamed.jetstream.stream_state(streamed.stream)
    except ApiError as error:
        if error.is_not_found:
            raise Broken("the stream is not there any more") from error
        raise
    return {name: int(state[name]) for name in ("first_seq", "last_seq", "bytes")}


async def claim(
    streamed: Streamed, followed: Followed, term_before: int, *, from_others: bool
) -> tuple[int, int]:
    """A term of this node's, and the sequence of its fence's end.

    Raises Broken if the stream ends before what was read of it; Deposed, ApiError, Unavailable:
    perhaps it is there.
    """
    had_sequence = followed.applied
    state = await state_of(streamed)  # more may come meanwhile
    if state["last_seq"] < had_sequence:
        raise Broken(f"it ends at sequence {state['last_seq']}, and had {had_sequence}")
    if followed.applied:
        had = max(streamed.ownership.noted_version, followed.tracker.version)
        streamed.ownership.noted_version = had
    term = await streamed.ownership.take(term_before, from_others=from_others)
    return term, await fence(streamed.jetstream, streamed.subject, term)
