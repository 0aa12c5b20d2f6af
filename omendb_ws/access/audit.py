"""The audit log: who came in or did not, what rights refused, what was made, dropped and reloaded.

An entry is one line of JSON with the fields of ``FIELDS``. Whoever has a token is answerable for
what it enters; what strangers cause is limited in rate, by address and altogether, and how many
entries were left out is said. Knows no file: ``put`` takes lines, and never waits.

Invariant: no token, nor any part of one, comes here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import orjson

from .peer import Peer
from .principal import Principal
from .token_bucket import Paces

#: Of every entry; ``detail`` is the server's own words, and null where there is nothing to add.
FIELDS: Final = (
    "time", "principal", "tenant", "address", "op", "collection", "outcome", "detail",
)  # fmt: skip
#: Outcomes beside the protocol's codes of errors.
OK: Final = "ok"
FAILED: Final = "failed"
LEFT_OUT: Final = "left_out"
#: What strangers may enter: of one address, and all together.
ADDRESS_BURST: Final = 10
ADDRESS_STEP_US: Final = 1_000_000
BURST: Final = 100
STEP_US: Final = 100_000
#: Addresses that are remembered.
MOST_ADDRESSES: Final = 4096
_MOST_DETAIL: Final = 300


class Audit:
    """Makes entries; without ``put`` none. On the loop's thread."""

    def __init__(
        self,
        put: Callable[[bytes], None] | None = None,
        clock_us: Callable[[], int] = lambda: time.monotonic_ns() // 1000,
    ) -> None:
        self._put = put
        self._clock_us = clock_us
        self._by_address = Paces(ADDRESS_BURST, ADDRESS_STEP_US, MOST_ADDRESSES)
        self._altogether = Paces(BURST, STEP_US, 1)
        self._left_out = 0

    def enter(
        self,
        op: str,
        outcome: str,
        principal: Principal | None = None,
        peer: Peer | None = None,
        collection: str | None = None,
        detail: str | None = None,
    ) -> None:
        """One entry: of somebody who is known, or of the server itself."""
        if self._put is not None:
            self._put(_line(op, outcome, principal, peer, collection, detail))

    def enter_stranger(self, op: str, outcome: str, peer: Peer, detail: str) -> None:
        """One entry of somebody who is not known, unless there are too many of them."""
        if self._put is None:
            return
        now_us = self._clock_us()
        if self._by_address.may_step(peer.site, now_us) and self._altogether.may_step("", now_us):
            self._put(_line(op, outcome, None, peer, None, detail))
        else:
            self._left_out += 1

    def say_left_out(self) -> None:
        """Enter how many were left out since then; call it now and then, and at the end."""
        if self._left_out and self._put is not None:
            left_out, self._left_out = self._left_out, 0
            said = f"{left_out} entries of unauthenticated clients"
            self._put(_line("audit", LEFT_OUT, None, None, None, said))


def lost_line(count: int) -> bytes:
    """The entry that stands for ``count`` that could not be written."""
    said = f"{count} entries that could not be written in time"
    return _line("audit", LEFT_OUT, None, None, None, said)


def _line(
    op: str,
    outcome: str,
    principal: Principal | None,
    peer: Peer | None,
    collection: str | None,
    detail: str | None,
) -> bytes:
    seconds, us = divmod(time.time_ns() // 1000, 1_000_000)
    values = (
        f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{us // 1000:03d}Z",
        None if principal is None else principal.name,
        None if principal is None else principal.tenant,
        None if peer is None else str(peer),
        op,
        collection,
        outcome,
        None if detail is None else detail[:_MOST_DETAIL],
    )
    entry = dict(zip(FIELDS, values, strict=True))
    return orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)
