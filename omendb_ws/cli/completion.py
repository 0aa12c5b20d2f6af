"""What a shell completes: names of collections, from the server, if it answers at once."""

from __future__ import annotations

import asyncio
import os
from typing import Final

import typer

#: A shell waits with the user; beyond this there is nothing to complete.
_PATIENCE_SECONDS: Final = 1.0


def complete_collection(context: typer.Context, incomplete: str) -> list[str]:
    """Names of the server's collections that begin with ``incomplete``; none if it is not there."""
    given = context.params
    url = given.get("url") or os.environ.get("OMENDB_URL") or "ws://127.0.0.1:8765/v1"
    token = given.get("token") or os.environ.get("OMENDB_TOKEN")
    try:
        if given.get("token_file"):
            with open(given["token_file"], encoding="utf-8") as file:
                token = file.read(8192).strip()
        found = asyncio.run(_names(url, token))
    except Exception:  # whatever it is, a line on stderr would stand in the user's prompt
        return []
    return [name for name in found if name.startswith(incomplete)]


async def _names(url: str, token: str | None) -> list[str]:
    from ..client import connect

    async with asyncio.timeout(_PATIENCE_SECONDS):
        async with connect(url, token, reconnect=False) as db:
            return [one.collection for one in await db.list()]
