"""What one tenant may use, and uses: the one owner of both (PROTOCOL section 9).

All connections of a tenant share its account, whoever they act as. Whoever takes something of it
asks here first, and gives it back here. Pure; belongs to the loop's thread, but for ``memory``,
which any thread may ask, and ``share``, whose time the engine counts.

Invariant: ``connections``, ``subscriptions`` and ``memory`` are what is there now. A limit that was
lowered below that takes nothing away, and lets nothing more in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from omendb_core.model.budget import Budget
from omendb_core.model.errors import Quota, RateLimited

from ..access.principal import Principal
from ..access.token_bucket import TokenBucket
from ..telemetry.histogram import Rates
from ..telemetry.metrics import TenantNumbers
from .limits import FIELDS, Limits
from .share import TenantShare

#: What tells of rows that a principal may not be shown.
_OF_ROWS: Final = (
    "memory_bytes", "rows_per_second", "queries_per_second", "messages_per_second",
    "engine_ms_per_second",
)  # fmt: skip
#: A budget that refuses nothing.
_NO_LIMIT: Final = 2**63


class Meter:
    """How much of something a tenant asks for, and whether it may: ``count`` is what went in."""

    __slots__ = ("_what", "bucket", "count")

    def __init__(self, what: str, per_second: float | None) -> None:
        self.count = 0
        self.bucket = TokenBucket(per_second)
        self._what = what

    @property
    def is_limited(self) -> bool:
        """Whether there is a rate."""
        return self.bucket.per_second is not None

    def take(self, count: int, clock_us: Callable[[], int]) -> None:
        """RateLimited, and nothing is taken, while what was taken before is over the rate."""
        if self.bucket.per_second is not None:
            self.admit(count, clock_us)
        self.count += count

    def admit(self, count: int, clock_us: Callable[[], int]) -> None:
        """As ``take``, but whether it is counted, or given back, is settled later."""
        if self.bucket.per_second is not None:
            now_us = clock_us()
            wait_ms = self.bucket.wait_ms(now_us)
            if wait_ms:
                raise RateLimited(
                    f"{self._what}_per_second: this tenant has had its"
                    f" {self.bucket.per_second:g} a second",
                    retry_after_ms=wait_ms,
                )
            self.bucket.spend(count, now_us)


class Account:
    """One tenant's limits and use."""

    def __init__(self, tenant: str, limits: Limits, whole: Budget, now_us: int) -> None:
        self.tenant = tenant
        self.limits = limits
        self.memory = Budget("max_memory_bytes of this tenant", _most_bytes(limits), whole)
        self.share = TenantShare(limits.weight)
        self.share.limit(limits.engine_ms_per_second)
        self.rows = Meter("rows", limits.rows_per_second)
        self.queries = Meter("queries", limits.queries_per_second)
        self.messages = Meter("messages", limits.messages_per_second)
        #: Paid for out of ``engine_ms``: of ``share.used_us``, that.
        self._paid_us = 0.0
        self.engine_ms = Meter("engine_ms", limits.engine_ms_per_second)
        self.connections = 0
        #: Connections of other nodes for clients of theirs.
        self.visits = 0
        self.subscriptions = 0
        #: Those of requests that are making theirs: they have their places.
        self.subscriptions_to_come = 0
        #: Refusals for want of either.
        self.rate_limited = self.over_quota = 0
        self._rates = Rates(now_us / 1e6, self._rated())
        #: Messages that were let in in the last second or so.
        self.recent_messages = self._messages_before = 0

    def change(self, limits: Limits, now_us: int) -> None:
        """Other limits from now on; what is there stays."""
        self.limits = limits
        self.memory.max_bytes = _most_bytes(limits)
        self.share.weight = limits.weight
        self.rows.bucket.change(limits.rows_per_second, now_us)
        self.queries.bucket.change(limits.queries_per_second, now_us)
        self.messages.bucket.change(limits.messages_per_second, now_us)
        self._pay(now_us)
        if limits.engine_ms_per_second != self.engine_ms.bucket.per_second:
            self.share.limit(limits.engine_ms_per_second)
        self.engine_ms.bucket.change(limits.engine_ms_per_second, now_us)

    # -- what is taken and given back -------------------------------------------------------------

    def enter(self) -> None:
        """One connection more. Quota."""
        most = self.limits.max_connections
        if most is not None and self.connections >= most:
            raise Quota(f"max_connections: this tenant has {self.connections} of {most}")
        self.connections += 1

    def leave(self) -> None:
        """One connection less."""
        self.connections -= 1

    def refuse_subscriptions(self, count: int) -> None:
        """Quota if there may not be so many more, beside those that are being made."""
        most = self.limits.max_subscriptions
        there = self.subscriptions + self.subscriptions_to_come
        if most is not None and there + count > most:
            raise Quota(f"max_subscriptions: this tenant has {there} of {most}")

    def refuse_collection(self, there: int) -> None:
        """Quota if there may be none beside those that there are."""
        most = self.limits.max_collections
        if most is not None and there >= most:
            raise Quota(f"max_collections: this tenant has {there} of {most}")

    def refuse_spent(self, clock_us: Callable[[], int]) -> None:
        """RateLimited while its requests took more of the engine's time than it may have."""
        if self.engine_ms.bucket.per_second is not None:
            self._pay(clock_us())
            self.engine_ms.take(0, clock_us)

    def refused(self, code: str) -> None:
        """One of its requests was refused."""
        if code == RateLimited.code:
            self.rate_limited += 1
        elif code == Quota.code:
            self.over_quota += 1

    # -- what is told -----------------------------------------------------------------------------

    def numbers(self, collections: int) -> TenantNumbers:
        """What there is now, what went in, and what was refused."""
        return TenantNumbers(
            self.connections,
            self.subscriptions,
            collections,
            self.memory.taken_bytes,
            self.rows.count,
            self.queries.count,
            self.messages.count,
            self.rate_limited,
            self.over_quota,
            self.share.used_us / 1e6,
            self.share.rested_us / 1e6,
        )

    def sample(self, now_us: int) -> None:
        """Remember this moment for rates; called every second or so."""
        self._rates.sample(now_us / 1e6, self._rated())
        self.recent_messages = self.messages.count - self._messages_before
        self._messages_before = self.messages.count

    def use(self, collections: int, now_us: int) -> dict[str, Any]:
        """What there is now; rates of the recent past."""
        rates = self._rates.per_second(now_us / 1e6, self._rated())
        rows, queries, messages, engine_ms = rates
        return {
            "connections": self.connections,
            "subscriptions": self.subscriptions,
            "collections": collections,
            "memory_bytes": self.memory.taken_bytes,
            "rows_per_second": rows,
            "queries_per_second": queries,
            "messages_per_second": messages,
            "engine_ms_per_second": engine_ms,
        }

    def usage(self, collections: int, now_us: int, principal: Principal) -> dict[str, Any]:
        """The reply to ``usage``; null for what tells of rows or collections unseen."""
        use = self.use(collections, now_us)
        if not principal.sees_all_names:
            use["collections"] = None
        if not principal.sees_all_rows:
            use |= dict.fromkeys(_OF_ROWS)
        return {
            "tenant": self.tenant,
            "limits": {name: getattr(self.limits, name) for name in FIELDS},
            "use": use,
        }

    def is_gone(self, now_us: int) -> bool:
        """Whether nothing of it is left, nor owed: a new one would be the same."""
        return not self.holds_anything and self.owes_seconds(now_us) <= 0.0

    @property
    def holds_anything(self) -> bool:
        """Whether anything that was taken was not given back."""
        there = self.connections or self.visits or self.subscriptions or self.memory.taken_bytes
        return bool(there)

    def owes_seconds(self, now_us: int) -> float:
        """How long until all its buckets are full again."""
        self._pay(now_us)
        meters = (self.rows, self.queries, self.messages, self.engine_ms)
        return max(one.bucket.full_in_seconds(now_us) for one in meters)

    def _pay(self, now_us: int) -> None:
        """What the engine has done since is paid for."""
        used_us = self.share.used_us
        self.engine_ms.bucket.spend((used_us - self._paid_us) / 1000, now_us)
        self._paid_us = used_us

    def _rated(self) -> tuple[float, ...]:
        used_ms = self.share.used_us / 1000
        return self.rows.count, self.queries.count, self.messages.count, used_ms


def _most_bytes(limits: Limits) -> int:
    return _NO_LIMIT if limits.max_memory_bytes is None else limits.max_memory_bytes
