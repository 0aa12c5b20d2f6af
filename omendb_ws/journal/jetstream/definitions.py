"""The collections of a cluster as its bucket has them: made, renewed, dropped, taken away.

::

    def.TENANT.NAME    the key of its stream, and how far it is: making, made, dropping
    own.KEY            who should append to it
    OMENDB-CLUSTER-KEY its stream, which begins with a checkpoint that says all of it

A collection is there while its definition says ``made``. What a node that died was making or
dropping is taken away at the next start. Of one that is in the memory of NATS the definition says
all (``memory``), since its stream goes with the servers; of one that was healed, which stream it
had before (``lost``). On the connection's thread.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeAlias

from omendb_core.model.errors import OmenError, Unavailable
from omendb_core.model.logged import Checkpoint
from omendb_core.model.types import WindowLimits

from ..interface import Manifest, Settle, Stored
from ..local.openings import manifest_json, manifest_of
from .api import ApiError, JetStream
from .beginning import begin_stream
from .log import StreamLog
from .names import defined_by, definition_entry, healing_entry, stream
from .ownership import Ownership
from .streamed import Streamed

log = logging.getLogger(__name__)

#: A log, and what says that its collection is there; once, by whoever waits.
Begun: TypeAlias = tuple[StreamLog, Callable[[], Coroutine[Any, Any, object]]]


class Definitions:
    """Of one cluster, for the process ``incarnation`` of ``node``.

    ``drop`` takes a collection out, and waits; so does ``give_up`` a healing, of the stream before
    and the new one. Everything else raises ApiError, Unavailable.
    """

    def __init__(
        self,
        jetstream: JetStream,
        cluster: str,
        node: str,
        incarnation: str,
        drop: Callable[[Stored], None],
        give_up: Callable[[Stored, Stored], None],
    ) -> None:
        self._jetstream = jetstream
        self._cluster = cluster
        self._node = node
        self._incarnation = incarnation
        self._drop = drop
        self._give_up = give_up

    def streamed(self, stored: Stored, limits: WindowLimits) -> Streamed:
        """A collection's stream, and what this node works on it with."""
        ownership = self._ownership(stored.key)
        return Streamed(
            self._jetstream, self._cluster, stored, ownership, limits, lambda: self._drop(stored)
        )

    def stream_of(self, stored: Stored) -> str:
        """What a collection's stream is called."""
        return stream(self._cluster, stored.key)

    async def made(self) -> list[Stored]:
        """The collections that are there."""
        return [
            Stored(value["key"], tenant, name)
            for tenant, name, value in await self._all()
            if value["state"] == "made"
        ]

    async def create(
        self,
        stored: Stored,
        manifest: Manifest,
        checkpoint: Checkpoint,
        limits: WindowLimits,
        settle: Settle,
    ) -> Begun:
        """Begin a log behind ``checkpoint``."""
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
        if manifest.durability == "memory":
            value["memory"] = manifest_json(manifest)
        try:
            revision = await self._jetstream.put(entry, value, 0)
        except ApiError as error:
            if error.is_wrong_last:
                raise Unavailable(
                    f"collection: another node makes {manifest.name!r} now; try again"
                ) from error
            raise
        begun = await begin_stream(self.streamed(stored, limits), manifest, checkpoint, settle)
        made = value | {"state": "made"}
        return begun, lambda: self._jetstream.put(entry, made, revision)

    async def renew(
        self,
        old: Stored,
        new: Stored,
        manifest: Manifest,
        checkpoint: Checkpoint,
        limits: WindowLimits,
        settle: Settle,
    ) -> Begun:
        """As ``create``, of a collection that is there. The stream that it had stays, under its
        name: NATS may have lost it for a while only, and whoever asks what happened finds it. It
        goes with the collection, or when that is renewed once more.
        """
        entry = definition_entry(old.tenant, old.name)
        there = await self._jetstream.get(entry)
        if there is None or (there.value["key"], there.value["state"]) != (old.key, "made"):
            raise Unavailable("collection: it was dropped, or is healed already")
        value = there.value | {"renewing": new.key}
        revision = await self._jetstream.put(entry, value, there.revision)
        if "renewing" in there.value:  # a node died of it, or comes too late: it cannot switch now
            await self.take_away(replace(old, key=there.value["renewing"]))
        streamed = replace(self.streamed(new, limits), remove=lambda: self._give_up(old, new))
        begun = await begin_stream(streamed, manifest, checkpoint, settle)
        made = there.value | {"key": new.key, "lost": old.key}
        made.pop("renewing", None)

        async def switch() -> None:
            await self._jetstream.put(entry, made, revision)
            try:
                await self._forget(old.key)
                if "lost" in there.value:
                    await self._take_stream(there.value["lost"])
            except (ApiError, OmenError) as error:  # it is healed all the same
                log.info("%s: what it had before is not all taken away: %s", old.name, error)

        return begun, switch

    async def give_up(self, old: Stored, new: Stored) -> None:
        """Have nothing of a healing, unless the collection is healed, or dropped, by now.

        Its entry is written first: a switch that is on its way still comes too late then.
        """
        entry = definition_entry(old.tenant, old.name)
        there = await self._jetstream.get(entry)
        if there is not None and there.value.get("key") == new.key:
            return
        if there is not None and there.value.get("renewing") == new.key:
            value = {key: one for key, one in there.value.items() if key != "renewing"}
            await self._jetstream.put(entry, value, there.revision)
        await self._take_stream(new.key)
        await self._forget(new.key)

    async def of_memory(self, stored: Stored) -> Manifest | None:
        """What a collection is made of that is in the memory of NATS, under a new epoch; None of
        any other."""
        there = await self._jetstream.get(definition_entry(stored.tenant, stored.name))
        if there is None or there.value.get("key") != stored.key or "memory" not in there.value:
            return None
        manifest = manifest_of(there.value["memory"])
        return replace(manifest, epoch=secrets.token_hex(8))

    async def drop(self, stored: Stored) -> None:
        """Take a collection out; where that breaks off it is not there any more either.

        Unless NATS has no room: its stream makes some, and only then it can be said.
        """
        entry = definition_entry(stored.tenant, stored.name)
        there = await self._jetstream.get(entry)
        if there is not None and there.value.get("key") == stored.key:
            value = there.value | self._value(stored, "dropping")
            try:
                await self._jetstream.put(entry, value, there.revision)
            except ApiError as error:
                if not error.is_full:
                    raise
        await self.take_away(stored)

    async def take_away(self, stored: Stored) -> None:
        """Take out what there is of a collection, its definition last."""
        entry = definition_entry(stored.tenant, stored.name)
        there = await self._jetstream.get(entry)
        is_all = there is not None and there.value.get("key") == stored.key
        value = there.value if there is not None and is_all else {}
        for key in (stored.key, value.get("renewing"), value.get("lost")):
            if key is not None:
                await self._take_stream(key)
                await self._forget(key)
        if is_all:
            await self._jetstream.remove(entry)

    async def clear_one(self, stored: Stored) -> None:
        """Take away what was never finished, or dropped; not what its maker has finished by now.

        Its entry is written first: a maker that stood still finds that it comes too late.
        """
        entry = definition_entry(stored.tenant, stored.name)
        there = await self._jetstream.get(entry)
        if there is None or there.value.get("key") != stored.key or there.value["state"] == "made":
            return
        value = there.value | self._value(stored, "dropping")
        try:
            await self._jetstream.put(entry, value, there.revision)
        except ApiError as error:
            if error.is_wrong_last:  # its maker is awake
                return
            if not error.is_full:
                raise
        await self.take_away(stored)

    async def _take_stream(self, key: str) -> None:
        await self._jetstream.delete_stream(stream(self._cluster, key))

    async def _forget(self, key: str) -> None:
        """What is said of a stream beside its definition."""
        await self._ownership(key).forget()
        await self._jetstream.remove(healing_entry(key))

    async def clear(self) -> None:
        """Take away what was never finished, and what was dropped, by nobody who may be alive."""
        nodes = [key for key in await self._jetstream.entries() if key.startswith("node.")]
        found = [await self._jetstream.get(node) for node in nodes]
        alive = {entry.value.get("incarnation") for entry in found if entry is not None}
        for tenant, name, value in await self._all():
            if value["state"] != "made" and value.get("by") not in alive:
                await self.clear_one(Stored(value["key"], tenant, name))

    async def _all(self) -> list[tuple[str, str, dict[str, Any]]]:
        found = []
        for key in await self._jetstream.entries():
            names = defined_by(key)
            entry = await self._jetstream.get(key) if names else None
            if names and entry is not None:
                found.append((*names, entry.value))
        return found

    def _value(self, stored: Stored, state: str) -> dict[str, Any]:
        return {"key": stored.key, "state": state, "by": self._incarnation}

    def _ownership(self, key: str) -> Ownership:
        return Ownership(self._jetstream, self._node, self._incarnation, key)
