"""``get_token``: a caller's function that is asked for a token whenever one is needed.

It may be synchronous or not. The asyncio client calls it on its own loop; the synchronous client in
a thread, so it may block there, and use a client itself.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from omendb_core.model.errors import BadRequest

from . import arguments

#: What callers pass; and what is made of it.
GetToken: TypeAlias = Callable[[], str | Awaitable[str]]
AskToken: TypeAlias = Callable[[], Awaitable[str]]

#: A token is renewed when so much of its time has gone, and never sooner than after a second.
RENEW_PART: Final = 0.8
LEAST_RENEW_SECONDS: Final = 1.0
#: So many tokens in a row may be refused before the refusal is the callers' to know.
MAX_REFUSALS: Final = 3


class NoToken(ConnectionError):
    """``get_token`` raised, or returned what is no token; another attempt may do better."""


def on_this_loop(get_token: Any) -> AskToken:
    """What asks ``get_token`` on the running loop. Raises BadRequest."""
    if not callable(get_token):
        raise BadRequest(f"get_token: must be callable, not {arguments.kind(get_token)}")

    async def ask() -> str:
        try:
            given = get_token()
            return arguments.token(await given if inspect.isawaitable(given) else given)
        except Exception as error:
            raise NoToken(f"get_token failed: {error!r}") from error

    return ask


def in_a_thread(get_token: Any) -> AskToken:
    """What asks ``get_token`` in a thread of its own. Raises BadRequest."""
    if not callable(get_token):
        raise BadRequest(f"get_token: must be callable, not {arguments.kind(get_token)}")

    def call() -> Any:
        given = get_token()
        return asyncio.run(_awaited(given)) if inspect.isawaitable(given) else given

    async def ask() -> Any:
        return await asyncio.to_thread(call)

    return ask


async def _awaited(given: Awaitable[Any]) -> Any:
    return await given
