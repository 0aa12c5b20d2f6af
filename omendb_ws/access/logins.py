"""Logins: who came, by the name of their key, and tokens that are nobody's.

A wrong token is counted, logged at a bounded rate, and answered the later the more of them came
from its address. A right one is never held up: behind a proxy all clients have one address, and a
client with an old token must not lock the others out. (There is nothing to guess: a token has 256
random bits. What is slowed down is the load.) Knows no socket; lives on the loop's thread.

Invariant: no token, nor any part of one, comes here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from omendb_core.model.errors import Unauthenticated

from ..runtime.few_lines import FewLines, more
from ..telemetry.metrics import Metrics
from .audit import OK, Audit
from .peer import Peer
from .principal import Principal
from .token_bucket import Paces

log = logging.getLogger(__name__)

#: Wrong tokens of one address that are answered at once, and the time for each of the next.
BURST: Final = 10
STEP_SECONDS: Final = 1.0
#: Less than a stranger has for its token (PROTOCOL section 1.4), so that it hears the reason.
MOST_SECONDS: Final = 3.0
#: Addresses that are remembered: 1 MB at most.
MOST_ADDRESSES: Final = 4096


class Logins:
    """Counts, logs and slows down logins, by address."""

    def __init__(
        self, metrics: Metrics, clock_us: Callable[[], int], audit: Audit | None = None
    ) -> None:
        self._metrics = metrics
        self._audit = audit or Audit()
        self._clock_us = clock_us
        self._paces = Paces(BURST, round(STEP_SECONDS * 1e6), MOST_ADDRESSES)
        self._lines = FewLines()

    def succeeded(self, principal: Principal, peer: Peer, *, is_new: bool = True) -> None:
        """A connection acts as ``principal`` from now on; ``is_new``: as it did not before."""
        self._audit.enter("auth", OK, principal, peer)
        if is_new:
            log.info(
                "login of key %s (tenant %s) from %s",
                principal.name,
                principal.tenant,
                peer,
                extra={"key": principal.name, "tenant": principal.tenant, "peer": str(peer)},
            )

    def failed(self, peer: Peer, reason: str, op: str = "auth") -> float:
        """A token is nobody's: the seconds after which to say so."""
        self._metrics.failed_logins += 1
        self._audit.enter_stranger(op, Unauthenticated.code, peer, reason)
        now_us = self._clock_us()
        passed_over = self._lines.next(now_us)
        if passed_over is not None:
            log.warning(
                "failed login from %s: %s%s",
                peer.host,
                reason,
                more(passed_over),
                extra={"peer": peer.host, "passed_over": passed_over},
            )
        return min(self._paces.step(peer.site, now_us) / 1e6, MOST_SECONDS)
