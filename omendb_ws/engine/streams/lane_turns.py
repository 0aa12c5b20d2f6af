"""Whose turn it is among connections for which something is to be done: pushes, counts, numbers.

Lives on the engine's thread. While nobody waits the connection that came first is served until it
has nothing left. Once a tick leaves work over, tenants take turns, and connections of each, and
whoever is too far ahead of the others (``shares.py``) is left out of that slice. So one that has
ten thousand is as far ahead as one turn and the slack of the shares allow, and in the turns of the
others one step. A tenant that has had its time (``engine_ms_per_second``) has no turn until it
has some again, whether anybody waits or not; what is told then is what is true then.

Invariants: what was added is returned once, unless it was discarded before; of one connection in
the order in which it was added.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Final, Generic, TypeVar

from ...tenants.share import TenantShare
from ..model.shares import Share, Shares
from ..model.ticket import Lane

#: Of a tenant's connections those that were served longest ago stand first, and of these as many
#: tell where its clock stands. To look at all, thousands may have a push due, took milliseconds.
_LOOKED_AT: Final = 8

T = TypeVar("T")


class _Turns(Generic[T]):
    """The connections of one tenant; ``ahead``: those that are too far."""

    __slots__ = ("ahead", "lanes")

    def __init__(self) -> None:
        # Ordered: a plain dict that is emptied from the front walks over what was there before.
        self.lanes: OrderedDict[Lane, OrderedDict[T, None]] = OrderedDict()
        self.ahead: OrderedDict[Lane, OrderedDict[T, None]] = OrderedDict()


class LaneTurns(Generic[T]):
    """What is to be done for connections. ``begin`` a slice, and then take what is ``next``."""

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._tenants: OrderedDict[TenantShare, _Turns[T]] = OrderedDict()
        self._ahead: OrderedDict[TenantShare, _Turns[T]] = OrderedDict()
        #: While nobody waits: the first connection, and what is left of it.
        self._first: Lane | None = None
        self._left: OrderedDict[T, None] = OrderedDict()

    def __bool__(self) -> bool:
        """Whether something could be done now."""
        if not self._ahead:
            return bool(self._tenants)
        return bool(self._tenants) or any(not self._shares.rests_us(one) for one in self._ahead)

    @property
    def rests_us(self) -> float | None:
        """For how long nothing is to be done of what there is; None: there is nothing."""
        if not self._tenants and not self._ahead:
            return None
        tenants = chain(self._tenants, self._ahead)
        return min(map(self._shares.rests_us, tenants), default=None)

    def add(self, lane: Lane, item: T) -> None:
        """Behind the others of its connection, unless it is among them."""
        tenant = lane.share.tenant
        turns = self._tenants.get(tenant) or self._ahead.get(tenant)
        if turns is None:
            turns = self._tenants[tenant] = _Turns()
        items = turns.lanes.get(lane) or turns.ahead.get(lane)
        if items is None:
            items = turns.lanes[lane] = OrderedDict()
        items[item] = None

    def put_first(self, lane: Lane, item: T) -> None:
        """Before all others: of its connection, which is next."""
        self.add(lane, item)
        self._first = None
        tenant = lane.share.tenant
        tenants = self._tenants if tenant in self._tenants else self._ahead
        turns = tenants[tenant]
        tenants.move_to_end(tenant, last=False)
        lanes = turns.lanes if lane in turns.lanes else turns.ahead
        lanes[lane].move_to_end(item, last=False)
        lanes.move_to_end(lane, last=False)

    def discard(self, lane: Lane, item: T) -> None:
        """It need not be done any more."""
        tenant = lane.share.tenant
        for tenants in (self._tenants, self._ahead):
            turns = tenants.get(tenant)
            if turns is None:
                continue
            for lanes in (turns.lanes, turns.ahead):
                items = lanes.get(lane)
                if items is not None:
                    items.pop(item, None)
                    if not items:
                        del lanes[lane]
                        self._first = None
            if not turns.lanes and not turns.ahead:
                del tenants[tenant]

    def begin(self) -> None:
        """A slice begins: whoever was too far ahead is looked at again."""
        self._first = None
        while self._ahead:
            tenant, turns = self._ahead.popitem()
            self._tenants[tenant] = turns
            self._tenants.move_to_end(tenant, last=False)
        for turns in self._tenants.values():
            while turns.ahead:
                lane, items = turns.ahead.popitem()
                turns.lanes[lane] = items
                turns.lanes.move_to_end(lane, last=False)

    def next(self) -> tuple[Lane, T] | None:
        """What is next, taken out; None if there is nothing that need not wait for others."""
        is_shared, shares = self._shares.is_contended, self._shares
        if self._first is not None and len(self._left) > 1 and not is_shared:
            return self._first, self._left.popitem(last=False)[0]
        while self._tenants:
            tenant, turns = next(iter(self._tenants.items()))
            rests = tenant.pace is not None and shares.rests_us(tenant) > 0.0
            if rests or (is_shared and not (turns.lanes and shares.may_tenant(tenant))):
                self._ahead[tenant] = self._tenants.pop(tenant)
                continue
            lane, items = next(iter(turns.lanes.items()))
            if is_shared and not shares.may(lane.share):
                turns.ahead[lane] = turns.lanes.pop(lane)
                continue
            item, _ = items.popitem(last=False)
            if not items:
                del turns.lanes[lane]
                if not turns.lanes and not turns.ahead:
                    del self._tenants[tenant]
                    return lane, item
            elif not is_shared and tenant.pace is None:
                self._first, self._left = lane, items
            elif len(turns.lanes) > 1:
                turns.lanes.move_to_end(lane)
            if is_shared and len(self._tenants) > 1:
                self._tenants.move_to_end(tenant)
            return lane, item
        return None

    def waiting(self) -> Iterator[Share]:
        """Shares that tell how far behind anybody is who waits; of each tenant some."""
        for tenants in (self._tenants, self._ahead):
            for tenant, turns in tenants.items():
                if self._shares.rests_us(tenant):
                    continue
                some: Iterable[Lane] = turns.lanes or turns.ahead
                yield from (lane.share for lane in islice(some, _LOOKED_AT))
