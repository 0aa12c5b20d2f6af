"""``omendb-ws stats``: the figures of a server, or of one collection, at this moment."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from . import reaching
from .completion import complete_collection
from .output import plain, print_json, size, table


def stats(
    collection: Annotated[
        str | None,
        typer.Argument(
            help="Name of a collection; without it, the server.", autocompletion=complete_collection
        ),
    ] = None,
    url: reaching.Url = reaching.DEFAULT_URL,
    token: reaching.Token = None,
    token_file: reaching.TokenFile = None,
    ca_file: reaching.CaFile = None,
    timeout_seconds: reaching.TimeoutSeconds = reaching.TIMEOUT_SECONDS,
    as_json: reaching.Json = False,
) -> None:
    """Print figures of the server, or of a collection. The server's need the right operator.

    \b
    Examples:
      omendb-ws stats
      omendb-ws stats items --json
    """
    at = reaching.address(url, token, token_file, ca_file, timeout_seconds)
    found = reaching.reach(at, lambda db: db.stats(collection))
    if as_json:
        print_json(found)
    else:
        print(table(("figure", "value"), list(_rows(found)), "lr"))


def _rows(document: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for name, value in document.items():
        if isinstance(value, Mapping):
            rows += _rows(value, f"{prefix}{name}.")
        elif name == "at" and isinstance(value, float):
            rows.append(
                (prefix + name, f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S} UTC")
            )
        elif (name == "bytes" or name.endswith("_bytes")) and isinstance(value, int):
            rows.append((prefix + name, size(value)))
        else:
            rows.append((prefix + name, plain(value)))
    return rows
