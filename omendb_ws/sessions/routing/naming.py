"""Sessions of a cluster's nodes: whose handles name collections by name and epoch.

On a server by itself a handle is an entry of its catalog. In a cluster a collection may be held
here now and elsewhere later, so a handle is a name and an epoch, and its entry is looked for when
it is needed.
"""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from omendb_core.model.errors import NotFound
from omendb_core.model.types import ColumnType

from ...catalog.entry import Entry
from ..session import Session


class Named(NamedTuple):
    """What a handle means; ``epoch`` None: whatever has that name."""

    name: str
    epoch: str | None


class NamingSession(Session):
    """A session whose handles may be of collections that are not here, or not yet."""

    named: dict[int, Named]

    def find(self, target: str | int) -> Entry:
        """As ``Session.find``."""
        if isinstance(target, str):
            return super().find(target)
        named = self.named.get(target)
        if named is not None:
            entry = super().find(named.name)
            if named.epoch is None or named.epoch == entry.epoch:
                return entry
        raise NotFound(f"handle: {target} is no open collection")

    def columns_of(self, handle: int) -> dict[str, ColumnType] | None:
        """As ``Session.columns_of``."""
        with suppress(NotFound):
            return dict(self.find(handle).definition.columns)
        return None
