"""Following a stream: its messages in order, each once, from a sequence on.

An ephemeral pull consumer without acknowledgements, in memory, with two pulls under way. Where its
messages stop coming, or do not follow each other, another is made from where this one was: one
whose server stops goes silent without an error, so its heartbeats are listened for. What is not in
the stream any more, although it comes next, is ``Broken``: there is no other way to it.

Consumers are made by whoever leads all of JetStream. While its servers elect that one, for some
seconds, there is none to be had, though streams go on whose own leaders live; so meanwhile messages
are asked for one by one, of any server that has them.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import orjson
from omendb_core.model.errors import Unavailable

from ...runtime.faults import as_error
from .api import ApiError, JetStream
from .records import Broken, Gap
from .takeover import refuse_end_before

if TYPE_CHECKING:
    from nats.aio.msg import Msg

log = logging.getLogger(__name__)

#: Two pulls of so much; with two of 24 MiB NATS cut the connection as that of a slow consumer.
PULL_BYTES: Final = 8 << 20
PULLS: Final = 2
_PULL_MESSAGES: Final = 1_000_000
_PULL_SECONDS: Final = 30
_HEARTBEAT_SECONDS: Final = 0.4
#: Silence of so long ends a consumer; three heartbeats.
SILENCE_SECONDS: Final = 1.2
#: A consumer that nobody pulls from is taken away after so long.
_INACTIVE_SECONDS: Final = 10
_RETRY_SECONDS: Final = 0.05
#: Consumers are there within milliseconds as a rule.
_UNTIL_DIRECT_SECONDS: Final = 0.1
_NANOSECONDS: Final = 1_000_000_000

#: ``receive(sequence, message, time_ns)``; the time is that of NATS when it stored the message.
Receive = Callable[[int, bytes, int], None]


class Tail:
    """Follows ``stream`` from ``sequence`` on; on the connection's thread.

    ``fail`` is told what ends it. While ``has_room`` is not set nothing more is received.
    """

    def __init__(
        self,
        jetstream: JetStream,
        stream: str,
        sequence: int,
        receive: Receive,
        fail: Callable[[Broken], None],
    ) -> None:
        self._jetstream = jetstream
        self._stream = stream
        self._next = sequence
        self._receive = receive
        self._fail = fail
        self.has_room = asyncio.Event()
        self.has_room.set()
        #: How many consumers there were.
        self.consumers = 0
        self._heard_at = 0.0
        self._is_over = asyncio.Event()
        self._task = jetstream.connection.begin(self._run())

    def stop(self) -> None:
        """Receive nothing more."""
        self._is_over.set()
        self._task.cancel()

    async def _run(self) -> None:
        connection = self._jetstream.connection
        while True:
            try:
                await connection.until_connected()
                await self._follow()
                continue
            except Broken as error:
                self._end(error)
                return
            except ApiError as error:
                if error.is_not_found:
                    self._end(Broken("the stream is not there any more"))
                    return
                log.info("%s: no consumer yet: %s", self._stream, error)
            except Unavailable as error:
                log.debug("%s: %s", self._stream, error)
            except Exception as error:  # of nats-py, as its connection ends
                log.info("%s: its consumer ended: %s", self._stream, error)
            await asyncio.sleep(_RETRY_SECONDS)

    def _end(self, error: Broken) -> None:
        if not self._is_over.is_set():
            self._is_over.set()
            self._fail(error)

    async def _follow(self) -> None:
        """Receive by one consumer, until that is of no use any more."""
        connection = self._jetstream.connection
        client, name = connection.client, f"omendb-{secrets.token_hex(6)}"
        inbox = client.new_inbox()
        reading = _Reading(self, name, inbox)
        subscription = await client.subscribe(f"{inbox}.*", cb=reading.on_message)
        try:
            await self._have_consumer(name)
            self.consumers += 1
            await refuse_end_before(self._jetstream, self._stream, self._next - 1)
            self._heard_at = connection.now
            for number in range(PULLS):
                await reading.pull(f"{inbox}.{number}")
            while not reading.is_over.is_set():
                silent = connection.now - self._heard_at
                if silent > SILENCE_SECONDS and self.has_room.is_set():
                    log.info("%s: its consumer went silent; making another", self._stream)
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(_HEARTBEAT_SECONDS):
                        await reading.is_over.wait()
            if reading.broken is not None:
                raise reading.broken
        finally:
            reading.is_over.set()
            with suppress(Exception):
                await subscription.unsubscribe()
            with suppress(Exception):  # it would go by itself
                await client.publish(f"$JS.API.CONSUMER.DELETE.{self._stream}.{name}")

    async def _have_consumer(self, name: str) -> None:
        """Have one made; receive meanwhile. ApiError, Unavailable, Broken."""
        is_made = asyncio.Event()
        meanwhile = asyncio.create_task(self._receive_until(is_made))
        try:
            await self._jetstream.insist(
                f"CONSUMER.CREATE.{self._stream}.{name}",
                {"stream_name": self._stream, "config": self._config(name), "action": "create"},
            )
        finally:
            is_made.set()
            await meanwhile

    async def _receive_until(self, is_made: asyncio.Event) -> None:
        """Receive one by one, unless a consumer is there soon. Raises Broken."""
        pause_seconds = _UNTIL_DIRECT_SECONDS
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_seconds):
                    await is_made.wait()
            if is_made.is_set():
                return
            pause_seconds = _RETRY_SECONDS
            if not self.has_room.is_set():
                continue
            found = await self._jetstream.message_of_any(self._stream, self._next)
            if found is not None and not (is_made.is_set() or self._is_over.is_set()):
                pause_seconds = 0.0
                self._take(self._next, *found)

    def _take(self, sequence: int, message: bytes, time_ns: int) -> None:
        """The next message. Raises Broken: a fault of whoever receives leaves it half done, so it
        is all to be read again."""
        self._next = sequence + 1
        try:
            self._receive(sequence, message, time_ns)
        except Broken:
            raise
        except Exception as error:
            fault = as_error(error, f"receiving of {self._stream}")
            raise Broken(
                f"a fault of the server at sequence {sequence}: {fault.message}"
            ) from error

    def _config(self, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": self._next,
            "ack_policy": "none",
            "replay_policy": "instant",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": _INACTIVE_SECONDS * _NANOSECONDS,
        }


class _Reading:
    """What one consumer sends; ``is_over`` once it is of no use any more, ``broken`` says why."""

    def __init__(self, tail: Tail, name: str, inbox: str) -> None:
        self._tail = tail
        self._name = name
        self._inbox = inbox
        self._delivered = 0
        self.is_over = asyncio.Event()
        self.broken: Broken | None = None

    async def pull(self, inbox: str) -> None:
        """Ask for more; whatever ends that comes to ``inbox``."""
        tail = self._tail
        ask = {
            "batch": _PULL_MESSAGES,
            "max_bytes": PULL_BYTES,
            "expires": _PULL_SECONDS * _NANOSECONDS,
            "idle_heartbeat": int(_HEARTBEAT_SECONDS * _NANOSECONDS),
        }
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{tail._stream}.{self._name}"
        await tail._jetstream.connection.client.publish(subject, orjson.dumps(ask), reply=inbox)

    async def on_message(self, message: Msg) -> None:
        """A message of the stream, or a status of a pull; what fails here is dropped by nats-py,
        so another consumer begins with it."""
        try:
            await self._look_at(message)
        except Broken as error:
            self.broken = error
            self.is_over.set()
        except Exception as error:
            as_error(error, f"following {self._tail._stream}")
            self.is_over.set()

    async def _look_at(self, message: Msg) -> None:
        tail = self._tail
        tail._heard_at = tail._jetstream.connection.now
        if self.is_over.is_set():
            return
        if message.subject.startswith(self._inbox):
            await self._status(message)
            return
        await tail.has_room.wait()
        if self.is_over.is_set() or tail._is_over.is_set():
            return
        sequence, delivered, time_ns = _place(message.reply)
        self._delivered += 1
        if delivered != self._delivered:
            self.is_over.set()  # some were not delivered
        elif sequence < tail._next:
            return  # it was received before this consumer was there
        elif sequence != tail._next:
            raise Gap(f"sequence {tail._next} is not there; {sequence} comes next")
        else:
            tail._take(sequence, message.data, time_ns)

    async def _status(self, message: Msg) -> None:
        status = (message.headers or {}).get("Status", "")
        if status == "100":
            return
        if status in ("408", "409"):
            text = str((message.headers or {}).get("Description", ""))
            if "Consumer Deleted" in text or "Leadership" in text or "Shutdown" in text:
                self.is_over.set()
                return
        elif status == "503":  # right after it was made
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            self.is_over.set()
            return
        await self.pull(message.subject)


def _place(reply: str) -> tuple[int, int, int]:
    """Sequence in the stream, number of its delivery, and time, by the reply of a message."""
    parts = reply.split(".")
    first = 5 if len(parts) < 11 else 7  # with a domain and an account in front
    return int(parts[first]), int(parts[first + 1]), int(parts[first + 2])
