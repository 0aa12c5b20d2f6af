"""Making links: get a token, open a transport, greet, and have the token renewed before it ends.

Knows no socket (an Opener opens transports), and not what becomes of a link.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress
from dataclasses import dataclass, field

from omendb_core.model.errors import OmenError

from ..runtime.transport import Closed, Opener
from ..wire import messages
from . import requests
from .backoff import Backoff
from .link import Link, Standing
from .tokens import (
    LEAST_RENEW_SECONDS,
    MAX_REFUSALS,
    NOTICED_PART,
    RENEW_PART,
    AskToken,
    NoToken,
)

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
        #: Of the first token of ``ask_token``: what subscriptions know holds for no other tenant.
        self._tenant: str | None = None
        self._random = random.Random()

    async def connect(self) -> Link:
        """Open and greet. Raises OSError where another attempt may succeed, else OmenError."""
        limit, token = self._settings.open_timeout_seconds, self.token
        is_asking = self._settings.ask_token is not None
        self.rest()
        try:
            async with asyncio.timeout(limit):
                if self._settings.ask_token is not None:
                    token = await self._settings.ask_token()
                is_asking = False
                link = Link(await self._opener(token))
                standing = await self._greeted(link, token)
        except TimeoutError as error:
            if error.args:  # the system's
                raise
            what = "get_token has not answered" if is_asking else "no connection"
            raise TimeoutError(f"{what} within {limit} s") from error
        if self._settings.ask_token is not None and standing.expires_in_s is not None:
            renewing = self._renew(link, self._settings.ask_token, standing)
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

    async def _greeted(self, link: Link, token: str | None) -> Standing:
        """Greet, and check that it is still the same tenant. Closes a link that is of no use."""
        try:
            standing = await link.greet(token)
            if self._settings.ask_token is not None and standing.tenant is not None:
                self._tenant = self._tenant or standing.tenant
                if standing.tenant != self._tenant:
                    raise NoToken(
                        f"get_token: a token of the tenant {standing.tenant};"
                        f" this client is one of {self._tenant}"
                    )
        except Closed as closed:
            raise ConnectionError(f"the server ended the greeting: {closed}") from closed
        except BaseException:
            await link.close()
            raise
        return standing

    async def _renew(self, link: Link, ask_token: AskToken, standing: Standing) -> None:
        """Authenticate anew before the token expires, as long as the link lives.

        Where no token of use can be had that is tried again, in ever longer intervals; if the old
        one expires meanwhile, the server ends the link.
        """
        attempt = 0
        while link.is_alive and standing.expires_in_s is not None:
            if attempt == 0:
                await _due(link, standing.expires_in_s)
            else:
                backoff = self._settings.backoff
                await asyncio.sleep(backoff.delay_seconds(attempt - 1, self._random.random()))
            try:
                renewed = await self._authenticate(link, ask_token)
            except (NoToken, OmenError) as error:
                log.warning("no new token: %s", error)
                attempt += 1
            else:
                standing, attempt = renewed, 0

    async def _authenticate(self, link: Link, ask_token: AskToken) -> Standing:
        """Show a newer token. Raises NoToken, and the server's refusal."""
        limit = self._settings.open_timeout_seconds
        try:
            async with asyncio.timeout(limit):
                token = await ask_token()
        except TimeoutError:
            raise NoToken(f"get_token has not answered within {limit} s") from None
        link.expiring.clear()
        outcome = await link.ask(requests.plain(messages.Auth, token=token))
        if isinstance(outcome, messages.ErrorReply):
            raise outcome.error
        if isinstance(outcome, messages.Reply):
            link.standing = Standing.of(outcome.ok)
        return link.standing


async def _due(link: Link, expires_in_s: float) -> None:
    """Return when a token that was good for so long is to be renewed."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    with suppress(TimeoutError):
        async with asyncio.timeout(max(RENEW_PART * expires_in_s, LEAST_RENEW_SECONDS)):
            await link.expiring.wait()
            half = max(NOTICED_PART * expires_in_s, LEAST_RENEW_SECONDS)
            await asyncio.sleep(began + half - loop.time())
