"""The collections of a cluster: a stream and two entries each, by a name that is never used again.

::

    def.TENANT.NAME    the key of its stream, and how far it is: making, made, dropping
    own.KEY            who should append to it
    OMENDB-CLUSTER-KEY its stream, which begins with a checkpoint that says all of it

A collection is there while its definition says ``made``. What a node that died was making or
dropping is taken away at the next start.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from omendb_core.model.errors import OmenError, StorageFailed, StorageFull, Unavailable
from omendb_core.model.logged import Checkpoint
from omendb_core.model.types import WindowLimits

from ..interface import Following, Log, Manifest, NatsNumbers, Receiving, Recovery, Settle, Stored
from .api import ApiError, JetStream
from .beginning import begin_stream
from .bucket_watch import BucketWatch, Watcher
from .connection import Connection
from .following import StreamFollowing
from .log import StreamLog
from .names import (
    bucket,
    defined_by,
    definition_entry,
    healing_entry,
    held_entry,
    node_entry,
    secret_entry,
    stream,
)
from .ownership import Ownership
from .presence import Presence
from .receiving import Arrivals, StreamReceiving
from .recovery import StreamRecovery
from .streamed import Streamed
from .wishes import Wishes

log = logging.getLogger(__name__)

_Result = TypeVar("_Result")

#: Of JetStream: no room in memory, on disk, or in the account.
_FULL: Final = frozenset({10023, 10028, 10047, 10077})


@dataclass(frozen=True, slots=True)
class ClusterPlace:
    """Where a node belongs: servers of NATS, a .creds file or None, the cluster, its own name, and
    the version of its software.
    """

    servers: tuple[str, ...]
    credentials: str | None
    cluster: str
    node: str
    version: str = ""


class JetStreamStore:
    """``interface.SharedStore`` over NATS. Raises connection.Refused, Unavailable, ExtraMissing."""

    def __init__(self, place: ClusterPlace) -> None:
        self._cluster = place.cluster
        self._node = place.node
        self._incarnation = secrets.token_hex(8)
        self.connection = Connection(place.servers, place.credentials, f"omendb-ws {place.node}")
        self._jetstream = JetStream(self.connection, bucket(place.cluster))
        self._presence = Presence(self._jetstream, place.node, self._incarnation, place.version)
        self._watch: BucketWatch | None = None
        self._saying: asyncio.Task[None] | None = None
        self.connection.open()
        try:
            self._call("begin", self._jetstream.begin())
            self._call("begin", self._presence.begin())
            self._call("begin", self._clear())
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
        return [
            Stored(value["key"], tenant, name)
            for tenant, name, value in self._call("list", self._definitions())
            if value["state"] == "made"
        ]

    def recover(self, stored: Stored, limits: WindowLimits) -> Recovery:
        """See Store. The log is taken over from whoever had it."""
        recovery = StreamRecovery(self._streamed(stored, limits))
        recovery.begin()
        return recovery

    def follow(self, stored: Stored, limits: WindowLimits) -> Following:
        """See SharedStore."""
        following = StreamFollowing(self._streamed(stored, limits))
        following.open()
        return following

    def create(self, manifest: Manifest, limits: WindowLimits, settle: Settle) -> Log:
        """See Store."""
        stored = self._new(manifest)
        log_, publish = self._made(stored, manifest, Checkpoint(), limits, settle)
        publish()
        return log_

    def receive(
        self, manifest: Manifest, checkpoint: Checkpoint, limits: WindowLimits, time_us: int
    ) -> Receiving:
        """See Store."""
        arrivals = Arrivals()
        stands = replace(checkpoint, time_us=max(time_us, checkpoint.time_us))
        log_, publish = self._made(self._new(manifest), manifest, stands, limits, arrivals)
        return StreamReceiving(log_, arrivals, publish)

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
        beginning = self._renewed(old, new, manifest, stands, limits, arrivals)
        log_, publish = self._call("renew", beginning)
        return StreamReceiving(log_, arrivals, publish)

    def ask_to_heal(self, key: str) -> None:
        """Say that an operator wants a collection healed. Waits."""
        self._call("ask", self._jetstream.put(healing_entry(key), {"by": self._node}))

    def _new(self, manifest: Manifest) -> Stored:
        return Stored(secrets.token_hex(8), manifest.tenant, manifest.name)

    def _made(
        self,
        stored: Stored,
        manifest: Manifest,
        checkpoint: Checkpoint,
        limits: WindowLimits,
        settle: Settle,
    ) -> tuple[StreamLog, Callable[[], None]]:
        """``_create``, of which nothing is left where it fails."""
        try:
            return self._call("create", self._create(stored, manifest, checkpoint, limits, settle))
        except Exception:
            with suppress(Exception):  # else the next start does
                self._call("create", self._take_away(stored))
            raise

    def drop(self, stored: Stored) -> None:
        """See Store."""
        self._call("drop", self._drop(stored))

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
        self._call("clear", self._take_away(stored))

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
        self._call("forget", self._jetstream.remove(node_entry(node)))
        self._call("forget", self._jetstream.remove(held_entry(node)))

    def numbers(self) -> NatsNumbers:
        """For statistics; from any thread."""
        connection = self.connection
        return NatsNumbers(connection.is_connected, connection.losses, self._jetstream.takeovers)

    # -- on the connection's thread ---------------------------------------------------------------

    async def _create(
        self,
        stored: Stored,
        manifest: Manifest,
        checkpoint: Checkpoint,
        limits: WindowLimits,
        settle: Settle,
    ) -> tuple[StreamLog, Callable[[], None]]:
        """A log behind ``checkpoint``, and what says that its collection is made."""
        entry = definition_entry(manifest.tenant, manifest.name)
        there = await self._jetstream.get(entry)
        if there is not None and there.value.get("state") == "made":
            raise Unavailable(
                f"collection: another node has just made {manifest.name!r}; try again"
            )
        if there is not None:
            raise Unavailable(
                f"collection: the one that was {manifest.name!r} before is in the cluster still;"
                " drop it again"
            )
        value = self._value(stored, "making") | {"replicas": manifest.replicas}
        try:
            revision = await self._jetstream.put(entry, value, 0)
        except ApiError as error:
            if error.is_wrong_last:
                raise Unavailable(
                    f"collection: another node makes {manifest.name!r} now; try again"
                ) from error
            raise
        log_ = await begin_stream(self._streamed(stored, limits), manifest, checkpoint, settle)
        made = value | {"state": "made"}
        return log_, lambda: self._publish(log_, self._jetstream.put(entry, made, revision))

    async def _renewed(
        self,
        old: Stored,
        new: Stored,
        manifest: Manifest,
        checkpoint: Checkpoint,
        limits: WindowLimits,
        settle: Settle,
    ) -> tuple[StreamLog, Callable[[], None]]:
        """As ``_create``, of a collection that is there; what it had by then goes at the end."""
        entry = definition_entry(old.tenant, old.name)
        there = await self._jetstream.get(entry)
        if there is None or (there.value["key"], there.value["state"]) != (old.key, "made"):
            raise Unavailable("collection: it was dropped, or is healed already")
        value = there.value | {"renewing": new.key}
        revision = await self._jetstream.put(entry, value, there.revision)
        if "renewing" in there.value:  # a node died of it, or comes too late: it cannot switch now
            await self._take_away(replace(old, key=there.value["renewing"]))
        log_ = await begin_stream(self._streamed(new, limits), manifest, checkpoint, settle)
        made = there.value | {"key": new.key}
        made.pop("renewing", None)

        async def switch() -> None:
            await self._jetstream.put(entry, made, revision)
            await self._take_away(old)

        return log_, lambda: self._publish(log_, switch())

    def _publish(self, log_: StreamLog, saying: Coroutine[Any, Any, object]) -> None:
        """Say that a collection is there; where that fails nothing of it is."""
        try:
            self._call("create", saying)
        except BaseException:
            with suppress(Exception):  # else the next start does
                log_.drop()
            raise

    async def _drop(self, stored: Stored) -> None:
        entry = definition_entry(stored.tenant, stored.name)
        there = await self._jetstream.get(entry)
        if there is not None and there.value.get("key") == stored.key:
            value = there.value | self._value(stored, "dropping")
            await self._jetstream.put(entry, value, there.revision)
        await self._take_away(stored)

    async def _take_away(self, stored: Stored) -> None:
        """Take out what there is of a collection, its definition last."""
        entry = definition_entry(stored.tenant, stored.name)
        there = await self._jetstream.get(entry)
        is_all = there is not None and there.value.get("key") == stored.key
        renewing = there.value.get("renewing") if there is not None and is_all else None
        for key in (stored.key, renewing):
            if key is not None:
                await self._jetstream.delete_stream(stream(self._cluster, key))
                await self._ownership(key).forget()
        await self._jetstream.remove(healing_entry(stored.key))
        if is_all:
            await self._jetstream.remove(entry)

    async def _clear(self) -> None:
        """Take away what was never finished, and what was dropped, by nobody who may be alive."""
        nodes = [key for key in await self._jetstream.entries() if key.startswith("node.")]
        found = [await self._jetstream.get(node) for node in nodes]
        alive = {entry.value.get("incarnation") for entry in found if entry is not None}
        for tenant, name, value in await self._definitions():
            if value["state"] != "made" and value.get("by") not in alive:
                await self._take_away(Stored(value["key"], tenant, name))

    async def _definitions(self) -> list[tuple[str, str, dict[str, Any]]]:
        found = []
        for key in await self._jetstream.entries():
            names = defined_by(key)
            entry = await self._jetstream.get(key) if names else None
            if names and entry is not None:
                found.append((*names, entry.value))
        return found

    # -- its own ----------------------------------------------------------------------------------

    def _value(self, stored: Stored, state: str) -> dict[str, Any]:
        return {"key": stored.key, "state": state, "by": self._incarnation}

    def _ownership(self, key: str) -> Ownership:
        return Ownership(self._jetstream, self._node, self._incarnation, key)

    def _streamed(self, stored: Stored, limits: WindowLimits) -> Streamed:
        ownership = self._ownership(stored.key)
        return Streamed(
            self._jetstream, self._cluster, stored, ownership, limits, lambda: self.drop(stored)
        )

    def _call(self, doing: str, work: Coroutine[Any, Any, _Result]) -> _Result:
        try:
            return self.connection.call(work)
        except ApiError as error:
            kind: type[OmenError] = StorageFull if error.number in _FULL else StorageFailed
            raise kind(f"cannot {doing}: NATS says {error}") from error
