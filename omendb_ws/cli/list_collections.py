"""``omendb-ws list``: the collections that a token sees."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from . import reaching
from .output import age, print_json, size, table

if TYPE_CHECKING:
    from ..client import Client, Description, UnavailableCollection

_HEADING = ("collection", "dim", "metric", "rows", "capacity", "ids", "durability", "ttl", "memory")


def list_collections(
    url: reaching.Url = reaching.DEFAULT_URL,
    token: reaching.Token = None,
    token_file: reaching.TokenFile = None,
    ca_file: reaching.CaFile = None,
    timeout_seconds: reaching.TimeoutSeconds = reaching.TIMEOUT_SECONDS,
    as_json: reaching.Json = False,
) -> None:
    """List the collections.

    \b
    Examples:
      omendb-ws list
      omendb-ws list --json | jq -r '.collections[].collection'
    """
    at = reaching.address(url, token, token_file, ca_file, timeout_seconds)
    found, unavailable = reaching.reach(at, _found)
    if as_json:
        document = {"collections": [dataclasses.asdict(one) for one in found]}
        if unavailable:
            document["unavailable"] = [dataclasses.asdict(one) for one in unavailable]
        print_json(document)
        return
    rows = [
        (
            one.collection,
            str(one.dim),
            one.metric,
            f"{one.rows:,}",
            f"{one.capacity:,}",
            one.ids,
            one.durability,
            age(one.ttl),
            size(one.bytes),
        )
        for one in found
    ]
    print(table(_HEADING, rows, "lrlrrlllr"))
    for one in unavailable:
        print(f"{one.collection} {one.reason}")


async def _found(db: Client) -> tuple[list[Description], list[UnavailableCollection]]:
    """Both sorted by name."""
    there, unavailable = await db.list(), await db.list_unavailable()
    return (
        sorted(there, key=lambda one: one.collection),
        sorted(unavailable, key=lambda one: one.collection),
    )
