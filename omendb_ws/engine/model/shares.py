"""Who has had how much of the engine's time: tenants by weight, and connections of each alike.

Start-time fair queueing (Goyal, Vin, Cheng 1996) in two levels. Each tenant and each connection has
a *virtual start*: where its next piece of work begins on a clock that goes on by the time which its
pieces took, a tenant's divided by its weight. Whoever is furthest behind is next. Whoever had
nothing to do begins at the clock of those that waited, so nobody saves time up, and whoever stays
below its share is served as if it were alone, but for the pieces under way. Two that wait differ by
one piece each and ``SLACK_US`` at most.

Costs need not be known before: a piece is charged by what it took. That is why it is this
discipline and not deficit round robin, which must know a packet's length to let it go.

Changes, reads, long reads and pushes have their own queues and their own parts of a tick. ``may``
is what they have in common: a connection that is ahead of the others by more than the slack waits,
whatever queue it stands in. Without it a tenant that adds and one that searches would be served by
the parts of a tick, and not by weight.

What subscriptions take counts as what was asked for does: pushes, counts, numbers and maps for the
connection whose they are; catching up for the tenant at once, and for its connections when it has
come to something (``streams/owners.py``).

Lives on the engine's thread; the loop says whose a connection is, and sets the weights. Pure.
Invariants: of those that wait one may go on, now or after some ticks in which nobody did; virtual
starts never go back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ...tenants.share import TenantShare

#: How far one that waits may be ahead of another: a tick's worth of work, so that a tick can be
#: filled by one connection, and searches of many be answered in one scan.
SLACK_US: Final = 5_000.0


class Share:
    """A connection's part of its tenant's time.

    ``used_us``: what its requests have taken, ever; ``waited_us``: how long what was taken up last,
    at ``taken_us``, had waited by then. The engine's to write.
    """

    __slots__ = ("start_us", "taken_us", "tenant", "used_us", "waited_us")

    def __init__(self, tenant: TenantShare) -> None:
        self.tenant = tenant
        self.start_us = self.used_us = 0.0
        self.waited_us = self.taken_us = 0


class Shares:
    """The clock of the tenants. ``is_contended``: work of several waited as the last tick was over.

    While nobody waits for another, time is only counted, and everything is taken in the order in
    which it came. So it is where one connection has more to do than a tick does, and nothing else
    was done in that: to keep its changes by places took 6.7 µs of each, and not 0.7.
    """

    def __init__(self) -> None:
        self.is_contended = False
        #: When the tick began.
        self.tick_us = 0
        self._now_us = 0.0
        self._slack_us = SLACK_US
        self._has_charged = False
        #: For whom something was done since a tick left something over, and whether for others too.
        self._served: Share | None = None
        self._has_served_others = False

    def begin(self, share: Share) -> None:
        """It has work that waits from now on, and did not before."""
        tenant = share.tenant
        share.start_us = max(share.start_us, tenant.now_us)
        tenant.start_us = max(tenant.start_us, self._now_us)

    def end_tick(
        self,
        requests: Iterable[Share],
        streams: Iterable[Share] = (),
        tenants: Iterable[TenantShare] = (),
    ) -> None:
        """A tick is over, and these have work that could be done: connections that asked for it or
        subscribed to it, and ``tenants`` for which something is to be done that none of theirs
        asked for by itself.

        Of those that have begun the one of each tenant that is furthest behind will do.
        """
        shares, told, behind = set(requests), set(streams), set(tenants)
        is_alone = shares == {self._served} and not self._has_served_others
        self._served, self._has_served_others = None, False
        self.is_contended = bool(told or behind or (shares and not is_alone))
        shares |= told
        if not self.is_contended:
            self._slack_us = SLACK_US
            return
        # Nobody that may go on could: what they wait for may be others' work.
        self._slack_us = SLACK_US if self._has_charged else 2 * self._slack_us
        self._has_charged = False
        least: dict[TenantShare, float] = {}
        for share in shares:
            tenant = share.tenant
            share.start_us = max(share.start_us, tenant.now_us)
            least[tenant] = min(least.get(tenant, share.start_us), share.start_us)
        for tenant, start_us in least.items():
            tenant.now_us = max(tenant.now_us, start_us)
            behind.add(tenant)
        for tenant in behind:
            tenant.start_us = max(tenant.start_us, self._now_us)
        self._now_us = max(self._now_us, min(tenant.start_us for tenant in behind))

    def place(self, share: Share) -> tuple[float, float]:
        """What those that wait are ordered by: the least is next."""
        tenant = share.tenant
        return max(tenant.start_us, self._now_us), max(share.start_us, tenant.now_us)

    def may(self, share: Share) -> bool:
        """Whether it is not too far ahead of the others."""
        if not self.is_contended:
            return True
        of_tenant, of_connection = self.place(share)
        return (
            of_tenant <= self._now_us + self._slack_us
            and of_connection <= share.tenant.now_us + self._slack_us
        )

    def may_tenant(self, tenant: TenantShare) -> bool:
        """Whether a tenant is not too far ahead of the others."""
        return not self.is_contended or tenant.start_us <= self._now_us + self._slack_us

    def rests_us(self, tenant: TenantShare) -> float:
        """For how long nothing is done for a tenant's subscriptions: it has had its time."""
        return 0.0 if tenant.pace is None else tenant.rests_us(self.tick_us)

    def charge_tenant(self, tenant: TenantShare, took_us: float) -> None:
        """What none of its connections asked for by itself took so long."""
        tenant.used_us += took_us
        self._has_served_others = True
        if self.is_contended:
            self._has_charged = True
            tenant.start_us = max(tenant.start_us, self._now_us) + took_us / tenant.weight

    def charge_connection(self, share: Share, took_us: float) -> None:
        """Of what its tenant was charged for already that was for this connection."""
        if self.is_contended:
            share.start_us = max(share.start_us, share.tenant.now_us) + took_us

    def charge(self, share: Share, took_us: float) -> None:
        """A piece of what its connection asked for took so long."""
        share.used_us += took_us
        if self._served is None:
            self._served = share
        elif share is not self._served:
            self._has_served_others = True
        self._charge(share, took_us)

    def charge_streams(self, share: Share, took_us: float) -> None:
        """A piece of what its subscriptions are told took so long."""
        self._has_served_others = True
        self._charge(share, took_us)

    def _charge(self, share: Share, took_us: float) -> None:
        share.tenant.used_us += took_us
        if not self.is_contended:
            return
        self._has_charged = True
        of_tenant, of_connection = self.place(share)
        share.start_us = of_connection + took_us
        share.tenant.start_us = of_tenant + took_us / share.tenant.weight
