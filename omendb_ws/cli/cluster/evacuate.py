"""``omendb-ws cluster evacuate``: have a node hold nothing, so that it can be stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .. import reaching
from ..failure import FAILED, fail
from ..output import print_json
from . import waiting

if TYPE_CHECKING:
    from ...client import Client


def evacuate(
    node: Annotated[str, typer.Argument(help="The node.", metavar="NODE")],
    undo: Annotated[
        bool, typer.Option("--undo", help="Have it stay, and hold its part again.")
    ] = False,
    no_wait: waiting.NoWait = False,
    timeout: waiting.Timeout = waiting.TIMEOUT_SECONDS,
    url: reaching.Url = reaching.DEFAULT_URL,
    token: reaching.Token = None,
    token_file: reaching.TokenFile = None,
    ca_file: reaching.CaFile = None,
    timeout_seconds: reaching.TimeoutSeconds = reaching.TIMEOUT_SECONDS,
    as_json: reaching.Json = False,
) -> None:
    """Have a node of a cluster hold and own nothing; return once it can be stopped.

    Other nodes take its place first. It needs the rights operator, and admin on everything. Ctrl-C
    ends the waiting, not the moves.

    \b
    Examples:
      omendb-ws cluster evacuate two
      omendb-ws cluster evacuate two --undo
    """
    at = reaching.address(url, token, token_file, ca_file, timeout_seconds)
    waits = not (no_wait or undo)
    left = reaching.reach(at, lambda db: _evacuated(db, node, undo, timeout if waits else None))
    if as_json:
        print_json({"node": node, "collections": left})
    elif undo:
        print(f"{node} stays")
    elif left:
        print(f"{node} is to leave, and holds {left:,} collections still")
    else:
        print(f"{node} holds nothing any more")


async def _evacuated(
    db: Client, node: str, undo: bool, timeout_seconds: float | None
) -> int | None:
    """What it holds in the end; None for a time: do not wait."""
    asked = await db.evacuate(node, state="up" if undo else "leaving")
    if timeout_seconds is None:
        return asked
    is_leaving = False

    async def look() -> int | None:
        """What it holds; None while the node that is asked has not heard that it is to leave."""
        nonlocal is_leaving
        told = [one for one in (await db.cluster())["nodes"] if one["node"] == node]
        is_up = any(one["state"] == "up" for one in told)
        if is_leaving and is_up:
            fail(FAILED, f"{node} is to leave no more: it was started again, or told to stay")
        is_leaving = not is_up
        return sum(one["collections"] for one in told) if is_leaving else None

    return await waiting.until(
        look,
        lambda left: left == 0,
        lambda left: f"{node} holds {asked if left is None else left:,} collections still",
        timeout_seconds,
    )
