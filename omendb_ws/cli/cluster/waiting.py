"""Waiting until a cluster has done what it was asked for: flags, what is said meanwhile, the end.

Knows clients only by what they answer. What goes on in the cluster goes on when the waiting ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Final, TypeVar

import typer

from ..failure import LATE, fail, say
from ..options import finite

T = TypeVar("T")

#: How often it is looked.
_LOOK_SECONDS: Final = 0.25
#: Enough to read some hundred million rows of other nodes' logs.
TIMEOUT_SECONDS: Final = 600.0
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        min=0.001,
        callback=finite,
        help="How long to wait until it is so; exit code 4 then, and it goes on all the same.",
    ),
]
NoWait = Annotated[
    bool, typer.Option("--no-wait", help="Ask for it, and do not wait until it is so.")
]


async def until(
    look: Callable[[], Awaitable[T]],
    is_so: Callable[[T], bool],
    told: Callable[[T], str],
    timeout_seconds: float,
) -> T:
    """Look until it is so, and say on stderr what is ``told`` of it whenever that has changed.

    Fails with LATE.
    """
    said = ""
    bound = asyncio.timeout(timeout_seconds)
    try:
        async with bound:
            while not is_so(found := await look()):
                if said != (said := told(found)):
                    say(said)
                await asyncio.sleep(_LOOK_SECONDS)
            return found
    except TimeoutError:
        if not bound.expired():  # a call's own
            raise
        fail(LATE, f"not so within {timeout_seconds:g} s{said and f': {said}'}; it goes on")
