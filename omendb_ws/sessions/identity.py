"""Who a session is: its principal, what that may do, for how long, and its tenant's account.

Lives on the loop's thread. A token that ends is told of before, and says so when it does; a newer
one takes its place by ``become``. Knows no message and no socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from omendb_core.model.errors import Forbidden, Unauthenticated

from ..access.grants import Scope
from ..access.principal import OPEN, Principal
from ..engine.model.shares import Share
from ..tenants.account import Account, Meter
from .context import Context

#: How long before its end a token is told of (PROTOCOL section 9).
NOTICE_SECONDS: Final = 30.0
#: So often it is looked whether that moment has come: the clock may be set forward.
_LOOK_SECONDS: Final = 60.0
#: Scopes that a connection keeps: 2.3 µs of a request were spent on finding them anew.
_SCOPES: Final = 256
#: Filters that it keeps parsed, which takes 5 µs of a request, and 30 to 400 of a long one: few,
#: as nobody is charged for them.
_FITS: Final = 16


class Identity:
    """``principal`` None: not authenticated yet. From then on to ``leave`` it has a place among
    its tenant's connections, and its ``share`` of the engine's time is of its tenant's.

    ``expiring`` is called with the seconds that are left, ``expired`` when none are.
    """

    def __init__(
        self,
        context: Context,
        share: Share,
        expiring: Callable[[float], None],
        expired: Callable[[], None],
    ) -> None:
        self.principal: Principal | None = None
        self._accounts = context.accounts
        self._wall_seconds = context.wall_seconds
        self._share = share
        self._account: Account | None = None
        #: What its tenant may send.
        self.messages: Meter | None = None
        self._has_place = self._is_visiting = False
        self._expiring = expiring
        self._expired = expired
        self._timer: asyncio.Handle | None = None
        #: Rights that were asked for, and that it has on some collection.
        self._had: set[str] = set()
        #: What was asked for under its grants of now, by right and name: every request asks.
        self._scopes: dict[tuple[str | None, str], Scope] = {}
        #: What filters came to, for ``reach``, by right, whether it writes, and epoch.
        self.fits: dict[tuple[str, bool, str], Any] = {}

    def become(self, principal: Principal) -> None:
        """Act as ``principal`` from now on; its tenant stays. Quota if there is no place for it."""
        if self._account is None:
            self._account = self._accounts.enter(principal.tenant)
            self.messages = self._account.messages
            self._share.tenant = self._account.share
            self._has_place = True
        self.principal = principal
        self._had.clear()
        self._scopes.clear()
        self.fits.clear()
        self.stop()
        if principal.expires_at is not None:
            self._wait(principal.expires_at, NOTICE_SECONDS, self._tell)

    def visit(self, tenant: str) -> None:
        """It is a client of another node, which counts its connection."""
        self._account = self._accounts.visit(tenant)
        self.messages = self._account.messages
        self._share.tenant = self._account.share
        self._is_visiting = True

    def stop(self) -> None:
        """Wait for no end any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def leave(self) -> None:
        """Its connection is gone."""
        self.stop()
        if self._account is not None and self._has_place:
            self._has_place = False
            self._account.leave()
        if self._account is not None and self._is_visiting:
            self._is_visiting = False
            self._account.visits -= 1

    @property
    def account(self) -> Account:
        """What its tenant may use, and uses. Unauthenticated."""
        if self._account is None:
            raise Unauthenticated("send auth with a token first")
        return self._account

    def refused(self, code: str) -> None:
        """One of its requests was refused."""
        if self._account is not None:
            self._account.refused(code)

    @property
    def expires_in_seconds(self) -> float | None:
        """How long its token is good for; None: for ever."""
        if self.principal is None or self.principal.expires_at is None:
            return None
        return max(0.0, self.principal.expires_at - self._wall_seconds())

    @property
    def tenant(self) -> str:
        """Whose collections it sees. Unauthenticated."""
        return self.known().tenant

    def known(self) -> Principal:
        """The principal. Unauthenticated if it is nobody yet."""
        if self.principal is None:
            raise Unauthenticated("send auth with a token first")
        return self.principal

    def producer(self, name: str | None) -> str | None:
        """A producer's name as the log keeps it: nobody uses up another principal's batches."""
        if name is None:
            return None
        principal = self.known()
        if principal.source == OPEN.source:
            return name
        return f"{principal.name}\0{name}"

    def need(self, right: str) -> None:
        """Forbidden without ``right`` on any collection: one of ``RIGHTS``, ``any``, ``none``."""
        if right == "none" or right in self._had:
            return
        principal = self.known()
        if right == "any" and (principal.rights or principal.is_operator):
            return
        if not principal.may(right):
            raise Forbidden(f"this token does not have the right {right}")
        self._had.add(right)

    def scope(self, right: str | None, collection: str) -> Scope:
        """What ``right``, None: any, reaches of a collection, there or not. Forbidden."""
        found = self._scopes.get((right, collection))
        if found is not None:
            return found
        found = self.known().scope(right, collection)
        if found is None:
            what = "any right" if right is None else f"the right {right}"
            raise Forbidden(f"this token does not have {what} on {collection}")
        if len(self._scopes) >= _SCOPES:
            self._scopes.clear()
        self._scopes[right, collection] = found
        return found

    def keep_fit(self, key: tuple[str, bool, str], fit: object) -> None:
        """Keep what a filter came to, as one of a few."""
        if len(self.fits) >= _FITS:
            self.fits.clear()
        self.fits[key] = fit

    def need_numbers(self) -> None:
        """Forbidden unless it may see the server's numbers, or its tenant's part of them."""
        if not self.known().sees_numbers:
            raise Forbidden(
                "this token has neither the right operator nor admin on all collections"
            )

    def _wait(self, until: float, before_seconds: float, call: Callable[[float], None]) -> None:
        """Call when the machine's clock, which may be set meanwhile, stands there."""
        left = until - before_seconds - self._wall_seconds()
        loop = asyncio.get_running_loop()
        if left <= 0:
            # Not at once: a client hears ``hello``, or the reply to its ``auth``, before.
            self._timer = loop.call_soon(call, until)
            return
        left = min(left, _LOOK_SECONDS)
        self._timer = loop.call_later(left, self._wait, until, before_seconds, call)

    def _tell(self, until: float) -> None:
        left = until - self._wall_seconds()
        if left > 0:
            self._expiring(left)
        self._wait(until, 0.0, lambda _: self._expired())
