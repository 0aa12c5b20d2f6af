"""What a request takes of its tenant's rates: rows, query vectors, the engine's time (PROTOCOL 9).

Looked at once, before anything is done for it: what a request asks for counts, whatever comes of
it. Lives on the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from omendb_core.model.change import RowBatch, UpdateRequest

from ..tenants.account import Account
from ..wire import messages as wire
from ..wire.searches import PlainSearch


def take(
    account: Account, request: wire.Request | PlainSearch, clock_us: Callable[[], int]
) -> None:
    """RateLimited, and nothing is taken, while the tenant is over its rate."""
    if not isinstance(request, _FREE):
        account.refuse_spent(clock_us)
    found = _MEASURES.get(type(request))
    if found is not None:
        found(account, request, clock_us)


def _rows(account: Account, request: wire.Add | wire.Update, clock_us: Callable[[], int]) -> None:
    rows = request.rows
    if isinstance(rows, RowBatch):
        count = len(rows.vectors)
    elif isinstance(rows, UpdateRequest):
        count = len(rows.ids)
    else:  # a batch that could not be read has cost as much as a row
        count = len(rows) if isinstance(rows, list) else 1
    account.rows.take(count, clock_us)


def _plain(account: Account, request: PlainSearch, clock_us: Callable[[], int]) -> None:
    account.queries.take(request.n, clock_us)


def _vectors(
    account: Account, request: wire.Search | wire.Subscribe | wire.Move, clock_us: Callable[[], int]
) -> None:
    if isinstance(request, wire.Subscribe) and request.kind not in ("live", "match"):
        return
    vectors = request.vectors
    account.queries.take(1 if vectors is None else len(vectors), clock_us)


#: What the engine has nothing to do for, or less afterwards.
_FREE: Final = (wire.Auth, wire.Ping, wire.Usage, wire.Unsubscribe)

_MEASURES: Final[dict[type, Callable[[Account, Any, Callable[[], int]], None]]] = {
    wire.Add: _rows,
    wire.Update: _rows,
    PlainSearch: _plain,
    wire.Search: _vectors,
    wire.Subscribe: _vectors,
    wire.Move: _vectors,
}
