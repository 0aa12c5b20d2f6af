"""``omendb-ws drop``: remove a collection and its rows, after a question."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ..wire.addresses import shown
from . import reaching
from .failure import FAILED, WRONG, fail
from .output import print_json

if TYPE_CHECKING:
    from ..client import Client


def drop(
    collection: reaching.Collection,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: reaching.Url = reaching.DEFAULT_URL,
    token: reaching.Token = None,
    token_file: reaching.TokenFile = None,
    ca_file: reaching.CaFile = None,
    timeout_seconds: reaching.TimeoutSeconds = reaching.TIMEOUT_SECONDS,
    as_json: reaching.Json = False,
) -> None:
    """Remove a collection and all its rows. It asks first, unless told not to.

    \b
    Examples:
      omendb-ws drop items
      omendb-ws drop items --yes
    """
    if not yes and not sys.stdin.isatty():
        fail(WRONG, f"drop {collection}: nobody is there to be asked; --yes drops it")
    at = reaching.address(url, token, token_file, ca_file, timeout_seconds)

    if not yes:
        rows = reaching.reach(at, lambda db: _rows(db, collection))
        question = f"Drop {collection} and {rows} at {shown(url)}? [y/N] "
        print(question, end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            fail(FAILED, f"{collection} was not dropped")

    async def work(db: Client) -> None:
        await db.drop(collection)

    reaching.reach(at, work)
    if as_json:
        print_json({"dropped": collection})
    else:
        print(f"{collection} is dropped")


async def _rows(db: Client, collection: str) -> str:
    """What would be lost, in words."""
    from ..errors import Unavailable

    try:
        return f"its {(await db.describe(collection)).rows:,} rows"
    except Unavailable as error:  # damaged, say; it can be dropped all the same
        return f"whatever it holds ({error.message})"
