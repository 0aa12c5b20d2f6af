"""``omendb-ws count``: how many rows there are, and how many have each value of a column."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from . import arguments, reaching
from .failure import FAILED, WRONG, fail
from .output import plain, print_json, table
from .standard_output import let_go

if TYPE_CHECKING:
    from ..client import Client, Counts

_MOST: Final = 1000

By = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Count the values of this column, most frequent first."),
]
Limit = Annotated[
    int | None,
    typer.Option(min=1, max=_MOST, help="How many values to list; with --by.", show_default="100"),
]


def count(
    collection: reaching.Collection,
    filter: arguments.Filter = None,
    by: By = None,
    limit: Limit = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Print it again whenever it has changed, till Ctrl-C.")
    ] = False,
    url: reaching.Url = reaching.DEFAULT_URL,
    token: reaching.Token = None,
    token_file: reaching.TokenFile = None,
    ca_file: reaching.CaFile = None,
    timeout_seconds: reaching.TimeoutSeconds = reaching.TIMEOUT_SECONDS,
    as_json: reaching.Json = False,
) -> None:
    """Count the rows of a collection, and how many have each value of a column.

    \b
    Examples:
      omendb-ws count items
      omendb-ws count items --filter '{"price": {"$lt": 10}}' --by category --limit 5
      omendb-ws count items --by category --watch --json
    """
    condition = arguments.parse_filter(filter)
    if limit is not None and by is None:
        fail(WRONG, "--limit: goes with --by")
    at = reaching.address(url, token, token_file, ca_file, timeout_seconds)

    async def work(db: Client) -> None:
        if watch:
            async for found in db.watch_count(collection, filter=condition, by=by, limit=limit):
                _print(found.count if by is None else found, by, as_json)
            fail(FAILED, f"{collection} was dropped")
        elif by is None:
            _print(await db.count(collection, condition), by, as_json)
        else:
            _print(await db.count(collection, condition, by=by, limit=limit), by, as_json)

    try:
        reaching.reach(at, work, reconnect=watch)
    except BrokenPipeError:
        let_go()  # the reader went away, as head does


def _print(found: Counts | int, by: str | None, as_json: bool) -> None:
    if isinstance(found, int):
        if as_json:
            print_json({"count": found})
        else:
            print(found)
    elif as_json:
        print_json(_document(found))
    else:
        rows = [(plain(value), str(count)) for value, count in found.by.items()]
        if found.others:
            rows.append(("(others)", str(found.others)))
        print(table((by or "", "rows"), rows, "lr"))
    sys.stdout.flush()


def _document(found: Counts) -> dict[str, Any]:
    """As the protocol writes it."""
    values = [{"value": value, "count": count} for value, count in found.by.items()]
    return {
        "version": found.version, "count": found.count, "by": values, "others": found.others,
    }  # fmt: skip
