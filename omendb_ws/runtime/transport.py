"""What a link needs of whatever carries its messages: a WebSocket, or a server in this process.

The seam below which sockets begin. A message is bytes in both directions: a text message begins
with ``{``, a binary one with the magic byte of PROTOCOL section 7; nothing else tells them apart.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NoReturn, Protocol, TypeAlias

#: The first byte of a text message.
TEXT_MARK = ord("{")


#: Takes a message; never waits.
Take: TypeAlias = Callable[[bytes], None]


class Closed(Exception):
    """The transport is closed: WebSocket close code (1006: without a close frame) and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"closed with code {code}" + (f": {reason}" if reason else ""))
        self.code = code
        self.reason = reason


class Transport(Protocol):
    """One connection to a server. Used by one link, closed once, never reopened."""

    async def send(self, message: bytes | bytearray) -> None:
        """Hand the message over before the first suspension; then wait for room behind it.

        So messages leave in the order of the calls, and a cancelled call has still sent. The
        message is copied or consumed before the first suspension. Raises Closed.
        """

    async def receive(self) -> bytes:
        """Return the next message. Raises Closed, after what had been received was returned."""

    async def deliver(self, take: Take) -> NoReturn:
        """Call ``take`` with each message from now on, as soon as it is there.

        Raises Closed, after what had been received was taken; or what ``take`` raises, after which
        nothing more is taken.
        """

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it, and wait until it is (a transport bounds that wait itself)."""


#: Opens a transport with the token given. Raises OSError (so also TimeoutError) where another
#: attempt may succeed, and an OmenError where none will.
Opener: TypeAlias = Callable[[str | None], Awaitable[Transport]]
