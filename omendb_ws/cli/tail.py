"""``omendb-ws tail``: rows as they are added."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import arguments, reaching
from .failure import FAILED, WRONG, fail
from .output import plain, print_json
from .standard_output import let_go

if TYPE_CHECKING:
    from ..client import Client, FeedRows, Gap, Row


def tail(
    collection: reaching.Collection,
    filter: arguments.Filter = None,
    include: arguments.Include = None,
    from_seq: Annotated[
        int | None,
        typer.Option(
            min=1, help="Begin with this sequence number, as far as it is still in the window."
        ),
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="End after so many rows; without it, at Ctrl-C.")
    ] = None,
    url: reaching.Url = reaching.DEFAULT_URL,
    token: reaching.Token = None,
    token_file: reaching.TokenFile = None,
    ca_file: reaching.CaFile = None,
    timeout_seconds: reaching.TimeoutSeconds = reaching.TIMEOUT_SECONDS,
    as_json: reaching.Json = False,
) -> None:
    """Follow the rows that are added, one a line. Rows that were missed are said.

    It goes on after a lost connection. Metadata is shown unless --include says otherwise.

    \b
    Examples:
      omendb-ws tail items
      omendb-ws tail items --from-seq 1 --json > rows.jsonl
      omendb-ws tail items --filter '{"price": {"$lt": 10}}' --count 5
    """
    wanted = arguments.parse_include(["metadata"] if include is None else include)
    condition = arguments.parse_filter(filter)
    at = reaching.address(url, token, token_file, ca_file, timeout_seconds)

    async def work(db: Client) -> None:
        options: dict[str, Any] = {"filter": condition, "include": wanted}
        if from_seq is not None:
            described = await db.describe(collection)
            if from_seq > described.last_seq + 1:
                fail(WRONG, f"--from-seq {from_seq}: the newest row is {described.last_seq}")
            options |= {"from_seq": from_seq, "epoch": described.epoch}
        left = count
        async for rows in db.feed(collection, **options):
            left = _print(rows, left, as_json)
            if left == 0:
                return
        fail(FAILED, f"{collection} was dropped")

    try:
        reaching.reach(at, work, reconnect=True)
    except BrokenPipeError:
        let_go()  # the reader went away, as head does


def _print(rows: FeedRows, left: int | None, as_json: bool) -> int | None:
    """Print a step of the feed, at most ``left`` rows; return what is left then."""
    from .search import row_document

    if rows.gap is not None:
        if as_json:
            print_json({"gap": _gap(rows.gap)})
        else:
            print(f"--- {_said(rows.gap)}")
    for row in rows:
        if as_json:
            print_json(row_document(row))
        else:
            print(_line(row))
        if left is not None:
            left -= 1
            if left == 0:
                break
    sys.stdout.flush()
    return left


def _line(row: Row) -> str:
    parts = [f"{row.seq:>10}", plain(row.id)]
    if row.metadata:
        parts.append(plain(row.metadata))
    if row.vector is not None:
        parts.append("[" + ", ".join(f"{value:.4g}" for value in row.vector) + "]")
    return "  ".join(parts)


def _gap(gap: Gap) -> dict[str, Any]:
    return {"from_seq": gap.from_seq, "to_seq": gap.to_seq, "reason": gap.reason}


def _said(gap: Gap) -> str:
    if gap.reason == "epoch":
        return f"the collection began anew; rows from {gap.from_seq} on may be lost"
    return f"rows {gap.from_seq} to {gap.to_seq} are missing: {gap.reason}"
