"""The server's numbers, and what of them is shown to whom: ``stats``, and ``/metrics`` by tenant.

All of it to operators, to others their tenant's own. Lives on the loop's thread. Looked up once in
a turn of the loop, whoever asks: they take 0.1 to 0.4 ms, and one connection may ask for them
10,000 times, by subscriptions or by requests in one piece.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from ..access.principal import Principal
from ..catalog.catalog import Catalog
from ..engine.model.shard import Shard
from ..telemetry.collection_numbers import OTHERS, Busiest, CollectionNumbers, Key
from ..telemetry.metrics import Metrics, TenantNumbers
from ..telemetry.server_stats import server_stats, tenant_stats
from ..tenants.account import Account
from ..tenants.accounts import Accounts
from ..wire.opcodes import SERVER_STATS

#: Tenants that ``stats`` tells of: 8 µs and 250 bytes each.
MOST_TENANTS: Final = 100


class ServerView:
    """``now`` is what is true in this turn of the loop. Not to be changed by who gets it."""

    def __init__(
        self,
        metrics: Metrics,
        accounts: Accounts,
        catalog: Catalog,
        clock_us: Callable[[], int],
        most_collections: int,
    ) -> None:
        self._metrics = metrics
        self._accounts = accounts
        self._catalog = catalog
        self._clock_us = clock_us
        self._most_collections = most_collections
        self._all_busiest = Busiest(most_collections, OTHERS)
        #: By tenant that was looked at: what it sees depends on nothing but its own.
        self._busiest: dict[str, Busiest] = {}
        #: By tenant; None: all of it.
        self._found: dict[str | None, dict[str, Any]] = {}

    def now(self, principal: Principal) -> dict[str, Any]:
        """The numbers as ``stats`` says them to ``principal`` (PROTOCOL section 6)."""
        tenant = None if principal.is_operator else principal.tenant
        found = self._found.get(tenant)
        if found is None:
            if not self._found:
                asyncio.get_running_loop().call_soon(self._forget)
            found = self._whole() if tenant is None else self._of(tenant)
            self._found[tenant] = found
        return found

    def by_tenant(self) -> dict[str, TenantNumbers]:
        """The numbers of those that the tenants file names, and of all others together."""
        return self._accounts.numbers(self._catalog.count, self._catalog.known)

    def numbers(self, tenant: str) -> TenantNumbers:
        """Those of one tenant."""
        return self._accounts.peek(tenant).numbers(self._catalog.count(tenant))

    def by_collection(self) -> dict[tuple[str, str], CollectionNumbers]:
        """The numbers of the busiest collections, and of all others together."""
        self._busiest = {
            tenant: one for tenant, one in self._busiest.items() if self._catalog.count(tenant)
        }
        shards = self._catalog.shards()
        return self._all_busiest.look(map(_numbered, shards), self._clock_us() / 1e6)

    def by_collection_of(self, tenant: str) -> dict[tuple[str, str], CollectionNumbers]:
        """The same of one tenant's."""
        busiest = self._busiest.get(tenant) or Busiest(self._most_collections, tenant)
        if self._catalog.count(tenant):
            self._busiest[tenant] = busiest
        shards = (shard for one in self._catalog.of(tenant) for shard in one.shards)
        return busiest.look(map(_numbered, shards), self._clock_us() / 1e6)

    def _forget(self) -> None:
        self._found.clear()

    def _whole(self) -> dict[str, Any]:
        now_us = self._clock_us()
        busiest = self._accounts.busiest(MOST_TENANTS)
        return {
            **server_stats(self._metrics, now_us),
            "tenants": {one.tenant: self._told(one, now_us) for one in busiest},
        }

    def _of(self, tenant: str) -> dict[str, Any]:
        """The same with null for what only all tenants have together."""
        now_us, account = self._clock_us(), self._accounts.peek(tenant)
        rates = [
            shard.rates.per_second(now_us / 1e6, shard.rate_counters())
            for one in self._catalog.of(tenant)
            for shard in one.shards
        ]
        return {
            **dict.fromkeys(SERVER_STATS),
            **tenant_stats(self._metrics, now_us, rates),
            "connections": account.connections,
            "subscriptions": account.subscriptions,
            "tenants": {tenant: self._told(account, now_us)},
        }

    def _told(self, account: Account, now_us: int) -> dict[str, Any]:
        return {
            **account.use(self._catalog.count(account.tenant), now_us),
            "rate_limited": account.rate_limited,
            "over_quota": account.over_quota,
        }


def _numbered(shard: Shard) -> tuple[Key, CollectionNumbers]:
    counts, window = shard.counts, shard.window
    log = None if shard.pending is None else shard.pending.log
    numbers = None if log is None else log.numbers()
    return (shard.tenant, shard.name, shard.epoch), CollectionNumbers(
        rows=window.rows,
        capacity_rows=shard.definition.capacity,
        reserved_bytes=shard.reserved_bytes,
        payload_bytes=window.payload_bytes,
        subscriptions=len(shard.listed.subscriptions),
        live_queries=shard.live_queries,
        journal_bytes=0 if numbers is None else numbers.bytes,
        journal_unflushed_seconds=0.0 if numbers is None else numbers.unflushed_seconds,
        added_rows=counts.adds,
        evicted_rows=window.state.evicted,
        queries=counts.searches,
        pushes=counts.pushes,
        merged_pushes=counts.merged,
        gaps=counts.gaps,
        errors=counts.errors,
        engine_seconds=counts.engine_us / 1e6,
    )
