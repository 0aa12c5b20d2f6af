"""Whose standing queries a shard has: who bears what it takes to keep them up to date.

Lives on the engine's thread. A tenant is charged at once. Its connections are when that has come to
something for each query: to divide it takes longer than many a change does, where there are
thousands. So a connection owes no more than ``EACH_US`` for each of its queries, and no less than
nothing; and queries are taken for alike, although a ``rank`` takes longer than a plain one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final, Protocol

from ...tenants.share import TenantShare
from ..model.shard import Shard
from ..model.shares import Share, Shares
from .deliveries import Stream

#: What each query has come to when connections are charged: to divide it takes 0.2 µs a query.
EACH_US: Final = 10.0


class Registry(Protocol):
    """The streams of one kind."""

    def standing(self, shard: Shard) -> Collection[Stream]:
        """Those of a shard, as they are."""
        ...


class Owners:
    """Of the streams of ``registries``."""

    def __init__(self, shares: Shares, registries: Sequence[Registry]) -> None:
        self._shares = shares
        self._registries = registries
        self._owed_us: dict[Shard, float] = {}

    def tenant(self, shard: Shard) -> TenantShare | None:
        """Whose its streams are; None: it has none."""
        for registry in self._registries:
            for stream in registry.standing(shard):
                return stream.lane.share.tenant
        return None

    def charge(self, shard: Shard, took_us: float) -> None:
        """Something was done for all of its streams, and took so long."""
        tenant = self.tenant(shard)
        if tenant is None:
            return
        self._shares.charge_tenant(tenant, took_us)
        if not self._shares.is_contended:
            self._owed_us.clear()
            return
        found = [registry.standing(shard) for registry in self._registries]
        count = sum(map(len, found))
        owed_us = self._owed_us.pop(shard, 0.0) + took_us
        if owed_us < EACH_US * count:
            self._owed_us[shard] = owed_us
            return
        of_each: Counter[Share] = Counter(stream.lane.share for some in found for stream in some)
        for share, queries in of_each.items():
            self._shares.charge_connection(share, owed_us * queries / count)

    def forget(self, shard: Shard) -> None:
        """It is gone."""
        self._owed_us.pop(shard, None)
