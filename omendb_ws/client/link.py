"""One live connection: requests out, replies and pushes to those they belong to.

Knows a Transport, no socket, no reconnecting. A link is used once: ``greet``, then ``run`` until
the transport closes; then every waiting request gets ``Lost``, every receiver is told, and the
link is dead. Replies and pushes are handed on in the order of their arrival, inside ``run``, so a
subscription is known before its first push is looked at.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import partial
from typing import Final, Protocol, TypeAlias

from omendb_core.model.errors import OmenError, TooLarge, Unauthenticated, Unsupported

from ..runtime.transport import TEXT_MARK, Closed, Transport
from ..wire import messages
from ..wire.limits import Limits
from ..wire.more_fields import put_fields
from ..wire.opcodes import MAX_U32, PROTOCOL
from ..wire.traceparent import put_into
from . import requests
from .descriptions import Opened, read_opened
from .requests import Encode
from .seen import Version
from .tracing import current_traceparent

log = logging.getLogger("omendb_ws.client")

#: Close codes after which the same requests would only break the next connection (PROTOCOL
#: section 1): those that blame what this side sent.
BLAMING_CODES = frozenset({1002, 1003, 1007, 1009})
#: The close code of refused credentials: reconnecting with the same ones is pointless.
UNAUTHENTICATED_CODE = 4401


@dataclass(frozen=True, slots=True)
class Lost:
    """No reply will come: the connection went first. ``blamed``: perhaps because of a request."""

    reason: str
    blamed: bool = False


#: What becomes of a request.
Outcome: TypeAlias = (
    messages.Reply | messages.ErrorReply | messages.Added | messages.Results
    | messages.SnapshotBytes | Lost
)  # fmt: skip
Sink: TypeAlias = Callable[[Outcome], None]
#: What answers a request that is accepted.
Answer: TypeAlias = messages.Reply | messages.Added | messages.Results | messages.SnapshotBytes
Push: TypeAlias = messages.Rows | messages.Live | messages.Event


#: What is said of who one is (PROTOCOL section 9).
_IDENTITY: Final = ("tenant", "rights", "grants", "expires_in_s")


@dataclass(frozen=True, slots=True)
class Standing:
    """Who the server says one is: a tenant, and for how many seconds; None: for ever, or unsaid.

    ``identity``: ``tenant``, ``rights``, ``grants``, ``expires_in_s`` as it was said; None where
    nothing was, as on a server without keys.
    """

    tenant: str | None = None
    expires_in_s: float | None = None
    identity: messages.JsonObject | None = None

    @classmethod
    def of(cls, said: messages.JsonObject) -> Standing:
        """What ``hello`` or a reply to ``auth`` says."""
        tenant, left = said.get("tenant"), said.get("expires_in_s")
        return cls(
            tenant if isinstance(tenant, str) else None,
            float(left) if isinstance(left, int | float) else None,
            {name: said.get(name) for name in _IDENTITY} if isinstance(tenant, str) else None,
        )


class Accept(Protocol):
    """Takes an answer the moment it arrives, before what came right behind it is looked at."""

    def __call__(
        self, link: Link, opened: Opened | None, answer: Answer, *, is_wanted: bool
    ) -> None:
        """Take it. ``is_wanted``: whoever asked is still there."""


class Receiver(Protocol):
    """One subscription, as the link sees it. The link does not keep it alive."""

    def take(self, push: Push, size_bytes: int) -> None:
        """Take a push; never waits."""

    def lose(self, reason: str) -> None:
        """Learn that this link is gone."""


class Link:
    """One connection of a client, from ``hello`` to its end. ``limits`` are the server's."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._last_id = 0
        self._waiting: dict[int, Sink] = {}
        self._receivers: dict[int, weakref.ref[Receiver]] = {}
        self._loop = asyncio.get_running_loop()
        self._leaving: set[int] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._opened: dict[str, Opened] = {}
        #: Collections whose newest version that the client knows of was shown here (``Seen``).
        self.reached: set[str] = set()
        self._opening: dict[str, asyncio.Lock] = {}
        self._refusal: OmenError | None = None
        self._lost: Lost | None = None
        self.limits = Limits()
        self.standing = Standing()
        #: Set by the first reply: this connection was good for something.
        self.useful = False
        #: Set when the server says that the token ends soon; whoever heard it clears it.
        self.expiring = asyncio.Event()

    @property
    def is_alive(self) -> bool:
        """Whether requests can still be answered."""
        return self._lost is None

    @property
    def loss(self) -> str:
        """Why it is dead; nothing while it lives."""
        return "" if self._lost is None else self._lost.reason

    # -- life -----------------------------------------------------------------------------

    async def greet(self, token: str | None) -> Standing:
        """Read ``hello``, authenticate where the header did not; return who one is.

        Raises Unauthenticated, Unsupported (no server of this protocol), Closed.
        """
        hello = requests.decode(await self._transport.receive())
        if isinstance(hello, messages.ErrorReply):
            raise hello.error
        if not isinstance(hello, messages.Event) or hello.event != "hello":
            raise Unsupported(f"the other side does not speak {PROTOCOL}")
        if hello.body.get("protocol") != PROTOCOL:
            raise Unsupported(f"the server speaks {hello.body.get('protocol')}, not {PROTOCOL}")
        self.limits = _known_limits(hello.body.get("limits"))
        if hello.body.get("auth") == "required":
            self.standing = await self._authenticate(token)
        else:
            self.standing = Standing.of(hello.body)
        return self.standing

    async def run(self) -> OmenError | None:
        """Hand on what arrives until the transport closes; returns why no other would do better.

        None: another connection may. Never raises but CancelledError; the link is dead afterwards.
        """
        try:
            await self._transport.deliver(self._dispatch)
        except Closed as closed:
            return self._end(closed)
        except Exception as error:
            # What arrived is none of the protocol's: nothing after it can be trusted.
            log.warning("the server sent what cannot be read", exc_info=error)
            await self._transport.close(1002, "a message that cannot be read")
            return self._end(Closed(1006, f"the server sent what cannot be read: {error!r}"))
        except asyncio.CancelledError:
            self._end(Closed(1006, "closed by this client"))
            raise

    async def close(self) -> None:
        """Close the transport; ``run`` ends by it."""
        await self._transport.close()

    # -- requests -------------------------------------------------------------------------

    def post(
        self,
        encode: Encode,
        sink: Sink,
        opened: Opened | None = None,
        wanted: Version | None = None,
    ) -> Awaitable[None]:
        """Register a request; awaiting the result sends it, then waits for room in the socket.

        ``sink`` is called once, with what becomes of it. ``wanted``: the answer is to be of that
        version, or a later one. Raises TooLarge for a message that the
        server would not read, and what ``encode`` raises; then nothing is registered.
        """
        request_id = self._unused_id()
        message = encode(request_id, opened)
        if wanted is not None:
            message = put_fields(message, {"min_version": wanted.number, "epoch": wanted.epoch})
        trace = current_traceparent()
        if trace is not None:
            message = put_into(message, trace)
        self._check_size(message)
        if self._lost is not None:
            sink(self._lost)
            return _nothing()
        self._waiting[request_id] = sink
        return self._send(message)

    async def ask(
        self,
        encode: Encode,
        opened: Opened | None = None,
        accept: Accept | None = None,
        wanted: Version | None = None,
    ) -> Outcome:
        """Send a request and return what becomes of it. Cancelling leaves nothing behind.

        ``accept`` sees an answer (no error) first: so a subscription is there before its pushes.
        """
        future: asyncio.Future[Outcome] = self._loop.create_future()
        sink = partial(_settle, future)
        if accept is not None:
            sink = partial(self._accepted, future, accept, opened)
        try:
            await self.post(encode, sink, opened, wanted)
            return await future
        finally:
            future.cancel()  # who is cancelled while the message waits for room wants no answer

    async def open(self, collection: str) -> Opened | messages.ErrorReply | Lost:
        """Return the handle of ``collection``, asking for it once a link."""
        known = self._opened.get(collection)
        if known is not None:
            return known
        async with self._opening.setdefault(collection, asyncio.Lock()):
            known = self._opened.get(collection)
            if known is not None:
                return known
            encode = requests.plain(messages.Open, collection=collection)
            outcome = await self.ask(encode)
            if isinstance(outcome, messages.Reply):
                return self.remember(collection, outcome)
            assert isinstance(outcome, messages.ErrorReply | Lost)
            return outcome

    def remember(self, collection: str, reply: messages.Reply) -> Opened:
        """Keep the handle that came with a reply to ``open`` or ``create``."""
        opened = read_opened(reply.ok)
        self._opened[collection] = opened
        return opened

    def forget(self, collection: str, opened: Opened | None = None) -> None:
        """Drop a handle, or only this one if it is still the one in use."""
        if opened is None or self._opened.get(collection) is opened:
            self._opened.pop(collection, None)

    # -- subscriptions --------------------------------------------------------------------

    def carry(self, sub: int, receiver: Receiver) -> None:
        """Hand pushes of ``sub`` to ``receiver``, for as long as something else keeps it alive.

        When nothing does any more, ``sub`` is given up, whether or not a push ever comes for it.
        """
        self._receivers[sub] = weakref.ref(receiver, partial(_forgotten, weakref.ref(self), sub))

    def detach(self, sub: int) -> None:
        """Give ``sub`` up: its pushes are passed over, and the server is told."""
        self._receivers.pop(sub, None)
        if self._lost is None and sub not in self._leaving:
            self._leaving.add(sub)
            task = self._loop.create_task(self._unsubscribe(sub))
            self._background.add(task)
            task.add_done_callback(self._background.discard)

    # -- inside ---------------------------------------------------------------------------

    def _accepted(
        self,
        future: asyncio.Future[Outcome],
        accept: Accept,
        opened: Opened | None,
        outcome: Outcome,
    ) -> None:
        if not isinstance(outcome, messages.ErrorReply | Lost):
            accept(self, opened, outcome, is_wanted=not future.done())
        _settle(future, outcome)

    async def _authenticate(self, token: str | None) -> Standing:
        if token is None:
            raise Unauthenticated("the server wants a token")
        encode = requests.plain(messages.Auth, token=token)
        await self._transport.send(encode(self._unused_id(), None))
        while True:  # events may come before
            reply = requests.decode(await self._transport.receive())
            if isinstance(reply, messages.ErrorReply):
                raise reply.error
            if isinstance(reply, messages.Reply):
                return Standing.of(reply.ok)

    async def _send(self, message: bytes) -> None:
        with suppress(Closed):  # ``run`` learns it as well, and tells the sink
            await self._transport.send(message)

    async def _unsubscribe(self, sub: int) -> None:
        encode = requests.plain(messages.Unsubscribe, sub=sub)
        await self.ask(encode)
        self._leaving.discard(sub)

    def _unused_id(self) -> int:
        while True:
            self._last_id = (self._last_id + 1) & MAX_U32
            if self._last_id not in self._waiting:
                return self._last_id

    def _check_size(self, message: bytes) -> None:
        text = message[0] == TEXT_MARK
        limit = self.limits.max_text_bytes if text else self.limits.max_message_bytes
        if len(message) > limit:
            name = "max_text_bytes" if text else "max_message_bytes"
            raise TooLarge(f"the request has {len(message)} bytes; {name} is {limit}")

    def _dispatch(self, message: bytes) -> None:
        incoming = requests.decode(message)
        if isinstance(incoming, tuple):
            self._answer(incoming[0], incoming[1])
        elif isinstance(incoming, messages.Rows | messages.Live):
            self._push(incoming.sub, incoming, len(message))
        elif isinstance(incoming, messages.Event):
            sub = incoming.body.get("sub")
            if isinstance(sub, int):
                self._push(sub, incoming, len(message))
            elif incoming.event == "expiring":
                self.expiring.set()
        elif incoming.id is not None:
            self._answer(incoming.id, incoming)
        elif isinstance(incoming, messages.ErrorReply):
            self._refusal = incoming.error

    def _answer(self, request_id: int, outcome: Outcome) -> None:
        self.useful = True
        sink = self._waiting.pop(request_id, None)
        if sink is not None:
            sink(outcome)

    def _push(self, sub: int, push: Push, size_bytes: int) -> None:
        held = self._receivers.get(sub)
        receiver = None if held is None else held()
        if receiver is not None:
            receiver.take(push, size_bytes)
        elif not (isinstance(push, messages.Event) and push.event == "ended"):
            self.detach(sub)

    def _end(self, closed: Closed) -> OmenError | None:
        reason = closed.reason if self._refusal is None else self._refusal.message
        text = f"the connection is gone (code {closed.code}" + (f": {reason})" if reason else ")")
        self._lost = Lost(text, blamed=closed.code in BLAMING_CODES)
        waiting, self._waiting = self._waiting, {}
        for sink in waiting.values():
            sink(self._lost)
        receivers, self._receivers = self._receivers, {}
        for held in receivers.values():
            if (receiver := held()) is not None:
                receiver.lose(text)
        if closed.code == UNAUTHENTICATED_CODE:
            return Unauthenticated(reason or "the server did not accept the token")
        return None


def _forgotten(link: weakref.ref[Link], sub: int, _: object) -> None:
    """Nothing refers to the receiver of ``sub`` any more. In any thread, in the midst of anything.

    (The link is referred to weakly: through ``_receivers`` this is its own.)
    """
    there = link()
    if there is not None and there.is_alive:
        with suppress(RuntimeError):  # the loop is closed, and with it the connection
            there._loop.call_soon_threadsafe(there.detach, sub)


def _settle(future: asyncio.Future[Outcome], outcome: Outcome) -> None:
    if not future.done():
        future.set_result(outcome)


async def _nothing() -> None:
    pass


def _known_limits(sent: object) -> Limits:
    """Return the server's limits; what it does not say keeps the protocol's default."""
    if not isinstance(sent, dict):
        return Limits()
    names = {field.name for field in fields(Limits)}
    return Limits(**{name: value for name, value in sent.items() if name in names})
