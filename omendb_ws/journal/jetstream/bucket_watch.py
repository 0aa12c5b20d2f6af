"""The cluster's bucket as it changes: every entry as it is, then each change as it comes.

One push consumer in memory, which begins with the last message of each entry. Where it goes silent,
or leaves something out, another is made, and all entries are told again. An entry that is taken out
leaves no message: so the names that there are get listed now and then, and those that were told and
are not among them are gone. On the connection's thread.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson
from omendb_core.model.errors import Unavailable

from .api import ApiError, JetStream
from .tail import SILENCE_SECONDS

if TYPE_CHECKING:
    from nats.aio.msg import Msg

log = logging.getLogger(__name__)

_HEARTBEAT_SECONDS: Final = 0.4
_INACTIVE_SECONDS: Final = 10
_RETRY_SECONDS: Final = 0.1
_LIST_SECONDS: Final = 5.0
_NANOSECONDS: Final = 1_000_000_000


class Watcher(Protocol):
    """Who is told, on the connection's thread."""

    def heard(self) -> None:
        """The bucket can be read."""

    def take(self, entry: str, value: dict[str, Any], revision: int) -> None:
        """An entry is, or has become, ``value``."""

    def forget(self, entry: str) -> None:
        """There is no such entry any more."""

    def listed(self) -> None:
        """Every entry that there was has been told."""


class BucketWatch:
    """Watches for ``watcher`` from when it is made until ``stop``."""

    def __init__(self, jetstream: JetStream, watcher: Watcher) -> None:
        self._jetstream = jetstream
        self._watcher = watcher
        self._prefix = f"$KV.{jetstream.bucket}."
        self._stream = f"KV_{jetstream.bucket}"
        #: The entries that were told, with their revisions.
        self._told: dict[str, int] = {}
        #: When anything came of it last, by the connection's clock.
        self.heard_at = jetstream.connection.now
        self._task = jetstream.connection.begin(self._run())

    def stop(self) -> None:
        """Tell nothing any more."""
        self._task.cancel()

    async def _run(self) -> None:
        connection = self._jetstream.connection
        while True:
            try:
                await connection.until_connected()
                await self._watch()
            except ApiError as error:
                log.warning("the bucket is not watched: %s", error)
            except Unavailable as error:
                log.debug("the bucket is not watched: %s", error)
            except Exception as error:  # of nats-py, as its connection ends
                log.info("watching the bucket ended: %s", error)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _watch(self) -> None:
        """By one consumer, until that is of no use any more."""
        connection = self._jetstream.connection
        client, name = connection.client, f"omendb-{secrets.token_hex(6)}"
        inbox = client.new_inbox()
        reading = _Reading(self)
        subscription = await client.subscribe(inbox, cb=reading.on_message)
        try:
            answer = await self._jetstream.insist(
                f"CONSUMER.CREATE.{self._stream}.{name}",
                {
                    "stream_name": self._stream,
                    "config": _config(name, inbox, f"{self._prefix}>"),
                    "action": "create",
                },
            )
            if not answer.get("num_pending"):
                reading.is_whole.set()
            listing_at = connection.now
            while not reading.is_over:
                if connection.now - reading.heard_at > SILENCE_SECONDS:
                    log.info("the bucket's consumer went silent; making another")
                    return
                if reading.is_whole.is_set() and connection.now >= listing_at:
                    listing_at = connection.now + _LIST_SECONDS
                    await self._forget_those_gone()
                    self._watcher.listed()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_HEARTBEAT_SECONDS):
                        await reading.changed()
        finally:
            reading.is_over = True
            with suppress(Exception):
                await subscription.unsubscribe()
            with suppress(Exception):  # it would go by itself
                await client.publish(f"$JS.API.CONSUMER.DELETE.{self._stream}.{name}")

    async def _forget_those_gone(self) -> None:
        names, last_revision = await self._jetstream.listing()
        for entry, revision in list(self._told.items()):
            if entry not in names and revision <= last_revision:
                del self._told[entry]
                self._watcher.forget(entry)

    def _tell(self, subject: str, data: bytes, revision: int) -> None:
        entry = subject.removeprefix(self._prefix)
        try:
            value = orjson.loads(data or b"{}")
        except orjson.JSONDecodeError:
            value = None
        if not isinstance(value, dict):
            log.warning("entry %s of the bucket is no JSON object", entry)
            return
        self._told[entry] = revision
        self._watcher.take(entry, value, revision)


class _Reading:
    """What one consumer sends; ``is_whole`` once every entry that there was has come."""

    def __init__(self, watch: BucketWatch) -> None:
        self._watch = watch
        self._delivered = 0
        self._changed = asyncio.Event()
        self.is_whole = asyncio.Event()
        self.is_over = False
        self.heard_at = watch._jetstream.connection.now

    async def changed(self) -> None:
        """Wait until the first listing is whole, or it is over."""
        await self._changed.wait()
        self._changed.clear()

    async def on_message(self, message: Msg) -> None:
        """An entry, or a heartbeat."""
        watch = self._watch
        if self.is_over:
            return
        self.heard_at = watch.heard_at = watch._jetstream.connection.now
        if not message.reply.startswith("$JS.ACK."):
            watch._watcher.heard()
            return
        revision, delivered, left = _place(message.reply)
        self._delivered += 1
        if delivered != self._delivered:
            self.is_over = True  # some were not delivered
            self._changed.set()
            return
        watch._tell(message.subject, message.data, revision)
        if not left and not self.is_whole.is_set():
            self.is_whole.set()
            self._changed.set()


def _config(name: str, inbox: str, subjects: str) -> dict[str, Any]:
    return {
        "name": name,
        "filter_subject": subjects,
        "deliver_subject": inbox,
        "deliver_policy": "last_per_subject",
        "ack_policy": "none",
        "replay_policy": "instant",
        "idle_heartbeat": int(_HEARTBEAT_SECONDS * _NANOSECONDS),
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": _INACTIVE_SECONDS * _NANOSECONDS,
    }


def _place(reply: str) -> tuple[int, int, int]:
    """Sequence in the stream, number of its delivery, and how many come after it at least."""
    parts = reply.split(".")
    first = 5 if len(parts) < 11 else 7  # with a domain and an account in front
    return int(parts[first]), int(parts[first + 1]), int(parts[first + 3])
