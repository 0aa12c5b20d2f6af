"""What operators ask of a cluster, as entries of its bucket: nodes see it there, and do it.

::

    def.TENANT.NAME    "owner": the node that should own the collection
    leave.NODE         "incarnation": the process that should hold nothing
    heal.KEY           a collection that should be healed out of what nodes kept of it

On the connection's thread.
"""

from __future__ import annotations

from omendb_core.model.errors import NotFound, OmenError, StorageFailed, Unavailable

from .api import ApiError, JetStream
from .names import definition_entry, healing_entry, leaving_entry

#: How often an entry is tried again that others changed meanwhile.
_ATTEMPTS = 10


class Wishes:
    """Of one bucket. Everything raises Unavailable, StorageFailed."""

    def __init__(self, jetstream: JetStream) -> None:
        self._jetstream = jetstream

    async def move_owner(self, tenant: str, name: str, to: str | None) -> None:
        """Have a node own a collection; None: the one that its key draws. NotFound."""
        entry = definition_entry(tenant, name)
        for _ in range(_ATTEMPTS):
            try:
                there = await self._jetstream.get(entry)
                if there is None or there.value.get("state") != "made":
                    raise NotFound(f"collection: there is no {name!r}")
                value = {key: one for key, one in there.value.items() if key != "owner"}
                if to is not None:
                    value["owner"] = to
                if value != there.value:
                    await self._jetstream.put(entry, value, there.revision)
                return
            except ApiError as error:
                if not error.is_wrong_last:
                    raise _failed(error) from error
        raise Unavailable(f"{name}: its entry changes too often; try again")

    async def leave(self, node: str, incarnation: str) -> None:
        """Have a process hold nothing, and own nothing."""
        try:
            await self._jetstream.put(leaving_entry(node), {"incarnation": incarnation})
        except ApiError as error:
            raise _failed(error) from error

    async def stay(self, node: str) -> None:
        """Have a node hold its part again."""
        try:
            await self._jetstream.remove(leaving_entry(node))
        except ApiError as error:
            raise _failed(error) from error

    async def heal(self, key: str) -> None:
        """Have a collection healed; its key is never used again, so this is for once."""
        try:
            await self._jetstream.put(healing_entry(key), {})
        except ApiError as error:
            raise _failed(error) from error


def _failed(error: ApiError) -> OmenError:
    return StorageFailed(f"the cluster's NATS says {error}")
