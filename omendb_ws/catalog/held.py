"""Names of collections that the store has and the catalog has not: why, and what is there.

A name is *held* while its collection comes back. One that cannot be trusted is *given up*: it stays
held until somebody drops it, or repairs it and starts the server again. The loop's, as the catalog.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from omendb_core.model.errors import Unavailable

from ..journal.interface import Stored
from ..sharding.names import collection_of


@dataclass(slots=True)
class _Held:
    reason: str
    #: What is in the store under that name, and will not come back; more than one after a fault.
    given_up: list[Stored] = field(default_factory=list)
    #: Of a collection of several shards: those that may still come back.
    coming: set[str] = field(default_factory=set)


class HeldNames:
    """Held names by tenant, each with the reason."""

    def __init__(self) -> None:
        self._names: dict[str, dict[str, _Held]] = {}

    @property
    def given_up(self) -> int:
        """How many collections will not come back by themselves."""
        return sum(len(held.given_up) for names in self._names.values() for held in names.values())

    def __len__(self) -> int:
        return sum(map(len, self._names.values()))

    def of(self, tenant: str) -> list[tuple[str, str, bool]]:
        """The held names of a tenant: the name, why, and whether its collection may come back."""
        return [
            (name, held.reason, not held.given_up)
            for name, held in self._names.get(tenant, {}).items()
        ]

    def count(self, tenant: str) -> int:
        """How many names of a tenant are held."""
        return len(self._names.get(tenant, ()))

    def is_held(self, tenant: str, name: str) -> bool:
        """Whether a name is."""
        return name in self._names.get(tenant, {})

    def all_given_up(self) -> list[Stored]:
        """The collections that will not come back by themselves."""
        return [
            one
            for names in self._names.values()
            for held in names.values()
            for one in held.given_up
        ]

    def hold(self, tenant: str, name: str, reason: str) -> None:
        """Take a name, or say anew why its collection is not available.

        A name of a shard is its collection's, here as in what follows.
        """
        name = collection_of(name)
        self._names.setdefault(tenant, {}).setdefault(name, _Held("")).reason = reason

    def give_up(self, stored: Stored, reason: str) -> None:
        """Hold the name of a collection that does not come back; it can be dropped from now on."""
        self.hold(stored.tenant, stored.name, reason)
        held = self._names[stored.tenant][collection_of(stored.name)]
        held.given_up.append(stored)
        held.coming.discard(stored.name)

    def expect(self, stored: Stored, reason: str) -> None:
        """Hold the name of what comes back: a collection, or one of its shards."""
        self.hold(stored.tenant, stored.name, reason)
        if collection_of(stored.name) != stored.name:
            self._names[stored.tenant][collection_of(stored.name)].coming.add(stored.name)

    def came(self, tenant: str, name: str) -> None:
        """A shard is back; its collection is held on."""
        self._names[tenant][collection_of(name)].coming.discard(name)

    def release(self, tenant: str, name: str) -> None:
        """The collection is back, or dropped."""
        names = self._names[tenant]
        del names[collection_of(name)]
        if not names:
            del self._names[tenant]

    def refuse(self, tenant: str, name: str) -> None:
        """Unavailable if the name is held."""
        held = self._names.get(tenant, {}).get(name)
        if held is not None:
            raise Unavailable(f"collection: {name!r} {held.reason}")

    def drop(self, tenant: str, name: str) -> list[Stored]:
        """Free a name that was given up: what is to be dropped from the store.

        Empty if the name is not held; Unavailable if its collection is still coming back.
        """
        held = self._names.get(tenant, {}).get(name)
        if held is None:
            return []
        if not held.given_up or held.coming:
            self.refuse(tenant, name)
        self.release(tenant, name)
        return held.given_up

    def undrop(self, stored: list[Stored], reason: str) -> None:
        """A drop did not come through: hold the name again."""
        for one in stored:
            self.give_up(one, reason)
