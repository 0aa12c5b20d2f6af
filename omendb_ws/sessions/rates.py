"""What a request takes of its tenant's rates: rows, query vectors, the engine's time (PROTOCOL 9).

Looked at once, before anything is done for it; what is refused gives back what it took. (A loader
has several numbered batches under way: if one waits for its rate, those behind it may come before
it, and be refused as out of order.) Lives on the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from omendb_core.model.change import RowBatch, UpdateRequest

from ..tenants.account import Account, Meter
from ..wire import messages as wire
from ..wire.searches import PlainSearch


class Taken(NamedTuple):
    """What one request took of a rate; counted once it is known that it was not refused."""

    meter: Meter
    amount: int

    def keep(self) -> None:
        """It was done."""
        self.meter.count += self.amount

    def give_back(self) -> None:
        """It was refused."""
        self.meter.bucket.give_back(self.amount)


def take(
    account: Account, request: wire.Request | PlainSearch, clock_us: Callable[[], int]
) -> Taken | None:
    """What it took, None: of no rate. RateLimited while the tenant is over its rate."""
    if account.engine_ms.bucket.per_second is not None and not isinstance(request, _FREE):
        account.refuse_spent(clock_us)
    measure = _MEASURES.get(type(request))
    found = None if measure is None else measure(account, request)
    if found is None:
        return None
    meter, count = found
    if meter.bucket.per_second is None:
        meter.count += count
        return None
    meter.admit(count, clock_us)
    return Taken(meter, count)


def _rows(account: Account, request: wire.Add | wire.Update) -> tuple[Meter, int]:
    rows = request.rows
    if isinstance(rows, RowBatch):
        count = len(rows.vectors)
    elif isinstance(rows, UpdateRequest):
        count = len(rows.ids)
    else:  # a batch that could not be read has cost as much as a row
        count = len(rows) if isinstance(rows, list) else 1
    return account.rows, count


def _plain(account: Account, request: PlainSearch) -> tuple[Meter, int]:
    return account.queries, request.n


def _vectors(
    account: Account, request: wire.Search | wire.Subscribe | wire.Move
) -> tuple[Meter, int]:
    vectors = request.vectors
    return account.queries, 1 if vectors is None else len(vectors)


def _begun(account: Account, request: wire.Subscribe) -> tuple[Meter, int] | None:
    return _vectors(account, request) if request.kind in ("live", "match") else None


#: What the engine has nothing to do for, or less afterwards.
_FREE: Final = (
    wire.Auth, wire.Ping, wire.Usage, wire.Unsubscribe, wire.Cluster, wire.MoveOwner, wire.Evacuate,
    wire.Heal,
)  # fmt: skip

_MEASURES: Final[dict[type, Callable[[Account, Any], tuple[Meter, int] | None]]] = {
    wire.Add: _rows,
    wire.Update: _rows,
    PlainSearch: _plain,
    wire.Search: _vectors,
    wire.Subscribe: _begun,
    wire.Move: _vectors,
}
