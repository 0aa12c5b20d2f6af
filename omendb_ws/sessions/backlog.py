"""What those that wait have ahead of them, as time is shared: tenants by weight, connections alike.

The fluid model of fair queueing: when a connection is through so much of its own work, as much has
been done of everybody else's, as far as they have so much. Pure; a picture of one moment.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Final

from ..tenants.share import TenantShare

#: Halvings until a level is known, of the largest work: to less than a nanosecond.
_HALVINGS: Final = 40


class Works:
    """Some amounts, sorted; none of them below 0."""

    __slots__ = ("_sums_us", "sorted_us", "total_us")

    def __init__(self, works_us: Iterable[float]) -> None:
        self.sorted_us = sorted(works_us)
        self._sums_us = [0.0, *accumulate(self.sorted_us)]
        self.total_us = self._sums_us[-1]

    def __len__(self) -> int:
        return len(self.sorted_us)

    def cut_us(self, height_us: float) -> float:
        """The sum of all, each cut at a height."""
        lower = bisect_right(self.sorted_us, height_us)
        return self._sums_us[lower] + (len(self.sorted_us) - lower) * height_us


class Backlog:
    """``works``: what each connection of each tenant has waiting, in µs; none of them 0."""

    def __init__(self, works: Mapping[TenantShare, Iterable[float]]) -> None:
        self._works = {tenant: Works(own) for tenant, own in works.items()}
        # Tenants by how much they have for their weight, and sums of those up to each.
        stands = [(own.total_us / one.weight, one) for one, own in self._works.items()]
        stands.sort(key=lambda stand: stand[0])
        self._heights = [height for height, _ in stands]
        self._totals_us = [0.0, *accumulate(self._works[one].total_us for _, one in stands)]
        self._weights = [0.0, *accumulate(one.weight for _, one in stands)]

    def of_others_us(self, tenant: TenantShare, depth_us: float) -> float:
        """What of others is done before a connection of ``tenant`` is so deep in its own work."""
        own = self._works.get(tenant)
        if own is None:
            return self._beside_us(tenant, depth_us, 0.0)
        within_us = max(own.cut_us(depth_us), depth_us)
        return within_us - depth_us + self._beside_us(tenant, within_us, own.total_us)

    def worst_us(self) -> float:
        """The longest that a connection with work waits for others' before it is through."""
        deepest = ((one, own.sorted_us[-1]) for one, own in self._works.items())
        return max((self.of_others_us(*one) for one in deepest), default=0.0)

    def level_us(self, tenant: TenantShare, most_us: float) -> float:
        """How much a connection of ``tenant`` may have waiting, so that it waits for others' work
        that long at most; infinite if whoever has most does.
        """
        own = self._works.get(tenant)
        high_us = self._totals_us[-1] if own is None else own.sorted_us[-1]
        if self.of_others_us(tenant, high_us) <= most_us:
            return math.inf
        low_us = 0.0
        for _ in range(_HALVINGS):
            middle_us = (low_us + high_us) / 2
            if self.of_others_us(tenant, middle_us) <= most_us:
                low_us = middle_us
            else:
                high_us = middle_us
        return low_us

    def _beside_us(self, tenant: TenantShare, done_us: float, own_us: float) -> float:
        """What is done of other tenants' work while of ``tenant``, that has so much, so much is."""
        height = done_us / tenant.weight
        lower = bisect_right(self._heights, height)
        higher_weight = self._weights[-1] - self._weights[lower]
        all_us = self._totals_us[lower] + higher_weight * height
        return max(all_us - min(own_us, done_us), 0.0)
