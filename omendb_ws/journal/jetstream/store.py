"""The logs of a cluster's collections: the ``Store`` of a node, over one connection to NATS.

Waits for what the connection's thread does; ``definitions.py`` is what that knows of collections.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from omendb_core.model.errors import NotFound, OmenError, StorageFailed, StorageFull, Unavailable
from omendb_core.model.logged import Checkpoint
from omendb_core.model.types import WindowLimits

from ..interface import Following, Log, Manifest, NatsNumbers, Receiving, Recovery, Settle, Stored
from .api import ApiError, JetStream
from .bucket_watch import BucketWatch, Watcher
from .connection import Connection
from .definitions import Begun, Definitions
from .flushing import flushing_servers, refuse_other_servers
from .following import StreamFollowing
from .log import StreamLog
from .names import bucket, held_entry, leaving_entry, node_entry, secret_entry
from .presence import Presence
from .receiving import Arrivals, StreamReceiving
from .recovery import StreamRecovery
from .wishes import Wishes

log = logging.getLogger(__name__)

_Result = TypeVar("_Result")

#: Of JetStream: what it stored is not on the disk, as a rule for want of room.
_STORE_FAILED: Final = 10077


@dataclass(frozen=True, slots=True)
class ClusterPlace:
    """Where a node belongs: servers of NATS, a .creds file or None, the cluster, its own name, the
    version of its software, and where these servers are monitored.
    """

    servers: tuple[str, ...]
    credentials: str | None
    cluster: str
    node: str
    version: str = ""
    monitors: tuple[str, ...] = ()


class JetStreamStore:
    """``interface.SharedStore`` over NATS. Raises connection.Refused, Unavailable, ExtraMissing."""

    def __init__(self, place: ClusterPlace) -> None:
        self._monitors = place.monitors
        self._node = place.node
        self._incarnation = secrets.token_hex(8)
        self.connection = Connection(place.servers, place.credentials, f"omendb-ws {place.node}")
        self._jetstream = JetStream(self.connection, bucket(place.cluster))
        self._presence = Presence(self._jetstream, place.node, self._incarnation, place.version)
        self._definitions = Definitions(
            self._jetstream, place.cluster, place.node, self._incarnation, self.drop, self._give_up
        )
        self._watch: BucketWatch | None = None
        self._saying: asyncio.Task[None] | None = None
        self.connection.open()
        try:
            self._call("begin", self._jetstream.begin())
            self._call("begin", self._jetstream.agree_on_format(place.version))
            self._call("begin", self._presence.begin())
            self._call("begin", self._definitions.clear())
        except BaseException:
            self.close()
            raise
        log.info(
            "cluster %s: node %s, streams on %d server(s)",
            place.cluster, place.node, self._jetstream.replicas,
        )  # fmt: skip

    # -- Store ------------------------------------------------------------------------------------

    def stored(self) -> list[Stored]:
        """See Store."""
        return self._call("list", self._definitions.made())

    def recover(self, stored: Stored, limits: WindowLimits) -> Recovery:
        """See Store. The log is taken over from whoever had it."""
        recovery = StreamRecovery(self._definitions.streamed(stored, limits))
        recovery.begin()
        return recovery

    def follow(self, stored: Stored, limits: WindowLimits) -> Following:
        """See SharedStore."""
        following = StreamFollowing(self._definitions.streamed(stored, limits))
        following.open()
        return following

    def create(self, manifest: Manifest, limits: WindowLimits, settle: Settle) -> Log:
        """See Store."""
        stored = self._new(manifest)
        log_, say = self._made(stored, manifest, Checkpoint(), limits, settle)
        self._publish(log_, say)
        return log_

    def receive(
        self, manifest: Manifest, checkpoint: Checkpoint, limits: WindowLimits, time_us: int
    ) -> Receiving:
        """See Store."""
        arrivals = Arrivals()
        stands = replace(checkpoint, time_us=max(time_us, checkpoint.time_us))
        log_, say = self._made(self._new(manifest), manifest, stands, limits, arrivals)
        return StreamReceiving(log_, arrivals, lambda: self._publish(log_, say))

    def renew(
        self,
        old: Stored,
        manifest: Manifest,
        checkpoint: Checkpoint,
        limits: WindowLimits,
        time_us: int,
    ) -> Receiving:
        """See SharedStore."""
        arrivals = Arrivals()
        stands = replace(checkpoint, time_us=max(time_us, checkpoint.time_us))
        new = self._new(manifest)
        beginning = self._definitions.renew(old, new, manifest, stands, limits, arrivals)
        log_, say = self._call("renew", beginning)
        return StreamReceiving(log_, arrivals, lambda: self._publish(log_, say))

    def begin_anew(self, stored: Stored, limits: WindowLimits) -> None:
        """See SharedStore."""
        manifest = self._call("begin anew", self._definitions.of_memory(stored))
        if manifest is None:
            raise NotFound(f"collection: {stored.name!r} is not in memory only")
        began = self.renew(stored, manifest, Checkpoint(), limits, 0)
        try:
            began.finish(lambda tags, error: None).close()
        except BaseException:
            began.abandon()
            raise

    def _new(self, manifest: Manifest) -> Stored:
        return Stored(secrets.token_hex(8), manifest.tenant, manifest.name)

    def _made(
        self,
        stored: Stored,
        manifest: Manifest,
        checkpoint: Checkpoint,
        limits: WindowLimits,
        settle: Settle,
    ) -> Begun:
        """A log that is begun; nothing is left of it where that fails. Unsupported for ``always``
        where it is not known of all its servers that they flush."""
        is_always = manifest.durability == "always"
        flushing = flushing_servers(self._monitors) if is_always else None
        beginning = self._definitions.create(stored, manifest, checkpoint, limits, settle)
        try:
            begun = self._call("create", beginning)
            if flushing is not None:
                for name in (self._definitions.stream_of(stored), self._jetstream.bucket_stream):
                    servers = self._call("create", self._jetstream.servers_of(name))
                    refuse_other_servers(flushing, servers)
            return begun
        except Exception:
            with suppress(Exception):  # else the next start does
                self._call("create", self._definitions.take_away(stored))
            raise

    def _publish(self, log_: StreamLog, say: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Say that a collection is there; where that fails nothing of it is."""
        try:
            self._call("create", say())
        except BaseException:
            with suppress(Exception):  # else the next start does
                log_.drop()
            raise

    def drop(self, stored: Stored) -> None:
        """See Store."""
        self._call("drop", self._definitions.drop(stored))

    def _give_up(self, old: Stored, new: Stored) -> None:
        self._call("give up", self._definitions.give_up(old, new))

    def close(self) -> None:
        """See Store."""
        if self.connection.is_connected:
            with suppress(Exception):  # its entry stands still then, too
                self._call("close", self._presence.end())
        self.connection.close()

    # -- the other nodes --------------------------------------------------------------------------

    @property
    def incarnation(self) -> str:
        """What this process is called in the bucket, and no other."""
        return self._incarnation

    def advertise(self, address: str) -> None:
        """Say where others reach this node. From any thread."""
        self._presence.advertise(address)

    def watch(self, watcher: Watcher) -> None:
        """Tell ``watcher`` of the bucket from now on, on the connection's thread."""
        self.connection.soon(lambda: self._begin_to_watch(watcher))

    def _begin_to_watch(self, watcher: Watcher) -> None:
        watch = self._watch = BucketWatch(self._jetstream, watcher)
        self._presence.heard_at = lambda: watch.heard_at

    def heard_of_me(self, value: dict[str, Any], revision: int) -> None:
        """What the bucket says of this node. From any thread."""
        self.connection.soon(lambda: self._presence.heard(value, revision))

    @property
    def is_replaced(self) -> bool:
        """Whether another process is this node now."""
        return self._presence.is_replaced

    def hold(self, windows: dict[str, tuple[int, str, int]]) -> None:
        """Say what this node holds: version, state, rows by key. From any thread; never waits."""
        self.connection.soon(lambda: self._begin_to_say(windows))

    def _begin_to_say(self, windows: dict[str, tuple[int, str, int]]) -> None:
        if self._saying is not None:
            self._saying.cancel()
        self._saying = self.connection.begin(self._presence.say(windows))

    def secret(self) -> bytes:
        """What the nodes of this cluster know each other by, 32 bytes: made by the first. Waits."""
        return self._call("agree on a secret", self._secret())

    async def _secret(self) -> bytes:
        while True:
            there = await self._jetstream.get(secret_entry())
            if there is not None:
                return bytes.fromhex(there.value["secret"])
            try:
                value = {"secret": secrets.token_hex(32)}
                await self._jetstream.put(secret_entry(), value, 0)
            except ApiError as error:
                if not error.is_wrong_last:
                    raise

    def clear(self, stored: Stored) -> None:
        """Take away what a node that is gone was making or dropping."""
        self._call("clear", self._definitions.clear_one(stored))

    def wish(
        self,
        wish: Callable[[Wishes], Coroutine[Any, Any, None]],
        then: Callable[[Exception | None], None],
    ) -> None:
        """Do what operators ask; ``then`` is told of it on the connection's thread. Never waits."""

        async def do() -> None:
            try:
                await wish(Wishes(self._jetstream))
            except asyncio.CancelledError:
                then(Unavailable("this node leaves; ask another"))
            except Exception as error:
                then(error)
            else:
                then(None)

        def begin() -> None:
            self.connection.begin(do())

        self.connection.soon(begin)

    def servers(self) -> list[tuple[str, bool]]:
        """The servers of NATS that are known, and which is connected; from any thread."""
        return self.connection.servers()

    def forget_node(self, node: str) -> None:
        """Take out what a node said that is dead."""
        self._call("forget", self._jetstream.remove(leaving_entry(node)))
        self._call("forget", self._jetstream.remove(node_entry(node)))
        self._call("forget", self._jetstream.remove(held_entry(node)))

    def numbers(self) -> NatsNumbers:
        """For statistics; from any thread."""
        connection = self.connection
        return NatsNumbers(connection.is_connected, connection.losses, self._jetstream.takeovers)

    # -- its own ----------------------------------------------------------------------------------

    def _call(self, doing: str, work: Coroutine[Any, Any, _Result]) -> _Result:
        try:
            return self.connection.call(work)
        except ApiError as error:
            kind: type[OmenError] = StorageFailed
            if error.is_full or error.number == _STORE_FAILED:
                kind = StorageFull
            raise kind(f"cannot {doing}: NATS says {error}") from error
