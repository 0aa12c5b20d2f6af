"""Who was refused lately and has nothing waiting: it asks again, and its turn is before others'.

Time is shared by what each has had (``engine/model/shares.py``). So of thousands with a request
each, one that had its answer just now waits until all those have theirs that are not as far, and of
these most are not let in yet: what waits does not tell how long that takes. Before they were known
500 users that ask for 2 ms each, again as soon as they are answered or refused, waited up to seven
times the target, and the waits that were seen were short all the while: of whoever came first.

Lives on the loop's thread; reads what the engine writes of shares. Pure. Invariant: nobody is kept
for longer than ``lasts_us`` while there are looks, and nobody when they are over.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final, Protocol

from ..engine.model.shares import Share
from ..tenants.share import TenantShare
from .backlog import Works

#: Of so many it is looked where they stand; more count as these do. To look at 10,000 takes 3 ms.
_LOOKED_AT: Final = 256


class Refused(Protocol):
    """A connection that may have been refused."""

    share: Share
    waiting: int


def ahead_us(share: Share) -> float:
    """How much more a connection has had than those of its tenant whose turn it is."""
    return max(share.start_us - share.tenant.now_us, 0.0)


class Wants:
    """Those that were refused in the last ``lasts_us``."""

    def __init__(self, lasts_us: float) -> None:
        self._lasts_us = lasts_us
        #: And when, the oldest first.
        self._refused: dict[Refused, float] = {}
        self._works: dict[TenantShare, Works] = {}
        #: For how many one counts that was looked at.
        self._times = 1.0

    def refused(self, one: Refused, now_us: float) -> None:
        """It was just now."""
        self._refused.pop(one, None)
        self._refused[one] = now_us

    def __bool__(self) -> bool:
        return bool(self._refused)

    def clear(self) -> None:
        """Forget all."""
        self._refused, self._works = {}, {}

    def look(self, now_us: float) -> None:
        """See where they stand now."""
        refused = self._refused
        gone = []
        for one, refused_us in refused.items():
            if now_us - refused_us < self._lasts_us:
                break
            gone.append(one)
        for one in gone:
            del refused[one]
        every = len(refused) // _LOOKED_AT + 1
        self._times = float(every)
        self._works = self._stand(islice(refused, 0, None, every))

    def _stand(self, some: Iterable[Refused]) -> dict[TenantShare, Works]:
        stands: dict[TenantShare, list[float]] = {}
        for one in some:
            if not one.waiting:
                stands.setdefault(one.share.tenant, []).append(ahead_us(one.share))
        return {tenant: Works(us) for tenant, us in stands.items()}

    def before_us(self, share: Share) -> float:
        """What those of its tenant have before it is a connection's turn, as they are let in."""
        works, own_us = self._works.get(share.tenant), ahead_us(share)
        if works is None or not own_us:
            return 0.0
        return self._times * (len(works) * own_us - works.cut_us(own_us))
