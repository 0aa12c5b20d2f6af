"""The accounts of all tenants that are here, or owe something.

An account is made when a tenant's first connection comes in, by a token that was verified: nobody
else can have one made. It goes when nothing of it is left and its buckets are full again, so that
who leaves and comes back is no better off. Those that the tenants file names stay, and have their
places set aside; all others share the rest of ``max_tenants``. Belongs to the loop's thread.

Invariant: beside those that are named, and those whose collections came back at the start, there
are at most ``max_tenants`` less the named ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import nlargest, nsmallest
from typing import Final

from omendb_core.model.budget import Budget
from omendb_core.model.errors import Quota

from ..telemetry.metrics import TenantNumbers
from .account import Account
from .limits import TenantLimits

#: The tenants that no file names, together, where each is named: no tenant can be called so.
OTHERS: Final = "_others"


class Accounts:
    """Accounts by tenant; ``memory`` is the server's, which theirs are parts of."""

    def __init__(
        self, limits: TenantLimits, memory: Budget, max_tenants: int, clock_us: Callable[[], int]
    ) -> None:
        self.memory = memory
        self._limits = limits
        self._max_tenants = max_tenants
        self._clock_us = clock_us
        self._accounts: dict[str, Account] = {}
        #: What is added to the counts of the unnamed that are here, so that the sum never falls.
        self._others_before = TenantNumbers()

    def __len__(self) -> int:
        return len(self._accounts)

    def __iter__(self) -> Iterator[Account]:
        return iter(list(self._accounts.values()))

    def is_named(self, tenant: str) -> bool:
        """Whether the tenants file names it."""
        return tenant in self._limits.named

    def of(self, tenant: str) -> Account:
        """The account of a tenant that is here, or comes back out of the store."""
        found = self._accounts.get(tenant)
        if found is None:
            found = Account(tenant, self._limits.of(tenant), self.memory, self._clock_us())
            self._accounts[tenant] = found
        return found

    def peek(self, tenant: str) -> Account:
        """The account of a tenant to look at; of one that is not here, what it would have."""
        found = self._accounts.get(tenant)
        return found or Account(tenant, self._limits.of(tenant), self.memory, self._clock_us())

    def enter(self, tenant: str) -> Account:
        """The account of a tenant, with one connection more. Quota."""
        if tenant not in self._accounts and not self.is_named(tenant):
            self._make_place()
        account = self.of(tenant)
        account.enter()
        return account

    def visit(self, tenant: str) -> Account:
        """The account of a tenant of which a client of another node asks something here. Quota."""
        if tenant not in self._accounts and not self.is_named(tenant):
            self._make_place()
        account = self.of(tenant)
        account.visits += 1
        return account

    def sample(self) -> None:
        """Remember this moment for rates, and let go of who is gone; called every second or so."""
        now_us = self._clock_us()
        for account in self:
            if not self.is_named(account.tenant) and account.is_gone(now_us):
                self._forget(account)
            else:
                account.sample(now_us)

    def change(self, limits: TenantLimits) -> None:
        """The file was read again."""
        before, now_us = self._limits, self._clock_us()
        self._limits = limits
        for account in self:
            was, is_ = account.tenant in before.named, self.is_named(account.tenant)
            if was != is_:
                self._others_before = _plus(self._others_before, account, 1 if is_ else -1)
            account.change(limits.of(account.tenant), now_us)

    def numbers(self, count: Callable[[str], int], known: int) -> dict[str, TenantNumbers]:
        """By tenant that the file names, and all others together, those that are gone, too.

        ``count`` tells a tenant's collections, and there are so many known in all.
        """
        found = {name: self.peek(name).numbers(count(name)) for name in self._limits.named}
        others = self._others_before
        for account in self:
            if not self.is_named(account.tenant):
                others = _plus(others, account)
                others = others._replace(
                    connections=others.connections + account.connections,
                    subscriptions=others.subscriptions + account.subscriptions,
                    reserved_bytes=others.reserved_bytes + account.memory.taken_bytes,
                )
        left = known - sum(one.collections for one in found.values())
        found[OTHERS] = others._replace(collections=left)
        return found

    def busiest(self, most: int) -> list[Account]:
        """Those that are here and sent the most messages lately, in that order."""
        return nlargest(most, self._accounts.values(), key=lambda one: one.recent_messages)

    def _make_place(self) -> None:
        """Quota if there is no place for one that is not named; who only owes makes way for it,
        those that owe least first, if that makes one."""
        most = self._max_tenants - len(self._limits.named)
        unnamed = [one for one in self if not self.is_named(one.tenant)]
        too_many = len(unnamed) + 1 - most
        if too_many <= 0:
            return
        owing = [one for one in unnamed if not one.holds_anything]
        if len(owing) < too_many:
            raise Quota(f"max_tenants: this server has {self._max_tenants} already")
        now_us = self._clock_us()
        for one in nsmallest(too_many, owing, key=lambda one: one.owes_seconds(now_us)):
            self._forget(one)

    def _forget(self, account: Account) -> None:
        self._others_before = _plus(self._others_before, account)
        del self._accounts[account.tenant]


def _plus(before: TenantNumbers, account: Account, times: int = 1) -> TenantNumbers:
    """With what an account has counted; what it has now is left out."""
    return before._replace(
        rows=before.rows + times * account.rows.count,
        queries=before.queries + times * account.queries.count,
        messages=before.messages + times * account.messages.count,
        rate_limited=before.rate_limited + times * account.rate_limited,
        over_quota=before.over_quota + times * account.over_quota,
        engine_seconds=before.engine_seconds + times * account.share.used_us / 1e6,
        rested_seconds=before.rested_seconds + times * account.share.rested_us / 1e6,
    )
