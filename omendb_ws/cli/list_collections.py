"""``omendb-ws list``: the collections that a token sees."""

from __future__ import annotations

import dataclasses

from . import reaching
from .output import age, print_json, size, table

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
    found = sorted(reaching.reach(at, lambda db: db.list()), key=lambda one: one.collection)
    if as_json:
        print_json({"collections": [dataclasses.asdict(one) for one in found]})
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
