"""Making links: open a transport, greet, and have the token renewed before it expires.

Knows no socket (an Opener opens transports), and not what becomes of a link.
"""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass, field

from ..runtime.transport import Closed, Opener
from ..wire import messages
from . import requests
from .backoff import Backoff
from .link import Link, expiry
from .tokens import LEAST_RENEW_SECONDS, MAX_REFUSALS, RENEW_PART, AskToken, NoToken

log = logging.getLogger("omendb_ws.client")


@dataclass(frozen=True, slots=True)
class Settings:
    """How a connection is made and kept. ``address`` is for people: no secrets in it."""

    address: str = "server"
    token: str | None = field(default=None, repr=False)
    #: Asked for a token at each connection, and before one expires, instead of ``token``.
    ask_token: AskToken | None = field(default=None, repr=False)
    reconnect: bool = True
    #: Calls that find no connection raise ConnectionLost instead of waiting for one.
    fail_fast: bool = False
    backoff: Backoff = field(default_factory=Backoff)
    open_timeout_seconds: float = 10.0
    request_timeout_seconds: float | None = 30.0


class Dialer:
    """Makes the links of one connection, one at a time.

    ``token`` is shown at the next one, where ``ask_token`` is not there to be asked.
    """

    def __init__(self, opener: Opener, settings: Settings) -> None:
        self.token = settings.token
        #: Authenticates the newest link anew, as often as need be.
        self.renewing: asyncio.Task[None] | None = None
        self._opener = opener
        self._settings = settings
        self._refusals = 0
        self._random = random.Random()

    async def connect(self) -> Link:
        """Open and greet. Raises OSError where another attempt may succeed, else OmenError."""
        async with asyncio.timeout(self._settings.open_timeout_seconds):
            ask_token = self._settings.ask_token
            token = self.token if ask_token is None else await ask_token()
            transport = await self._opener(token)
            link = Link(transport)
            try:
                expires_in_s = await link.greet(token, wants_expiry=ask_token is not None)
            except Closed as closed:
                raise ConnectionError(f"the server ended the greeting: {closed}") from closed
            except BaseException:
                await transport.close()
                raise
            self.rest()
            if ask_token is not None and expires_in_s is not None:
                renewing = self._renew(link, ask_token, expires_in_s)
                self.renewing = asyncio.get_running_loop().create_task(renewing)
            return link

    def may_ask_again(self) -> bool:
        """Whether a token that was refused may be replaced by another one."""
        self._refusals += 1
        may = self._settings.ask_token is not None and self._refusals <= MAX_REFUSALS
        return may and self._settings.reconnect

    def was_useful(self) -> None:
        """A link with the token of then has answered something."""
        self._refusals = 0

    def rest(self) -> None:
        """Renew no more."""
        if self.renewing is not None:
            self.renewing.cancel()

    async def _renew(self, link: Link, ask_token: AskToken, expires_in_s: float | None) -> None:
        """Authenticate anew before the token expires, as long as the link lives.

        Where no token can be had that is tried again, in ever longer intervals; if the old one
        expires meanwhile, the server ends the link.
        """
        while expires_in_s is not None:
            await asyncio.sleep(max(RENEW_PART * expires_in_s, LEAST_RENEW_SECONDS))
            attempt = 0
            while link.is_alive:
                try:
                    token = await ask_token()
                    break
                except NoToken as error:
                    log.warning("no new token: %s", error)
                wait = self._settings.backoff.delay_seconds(attempt, self._random.random())
                attempt += 1
                await asyncio.sleep(wait)
            if not link.is_alive:
                return
            outcome = await link.ask(requests.plain(messages.Auth, token=token))
            if not isinstance(outcome, messages.Reply):
                return
            expires_in_s = expiry(outcome.ok)
