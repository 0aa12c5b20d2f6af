"""Sessions of a cluster's nodes: whose handles name collections by name and epoch.

On a server by itself a handle is an entry of its catalog. In a cluster a collection may be held
here now and elsewhere later, so a handle is a name and an epoch, and its entry is looked for when
it is needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

from omendb_core.model.errors import NotFound
from omendb_core.model.types import ColumnType

from ...catalog.entry import Entry
from ..session import Session

#: Handles that are dead are looked for when so many are held.
_HANDLES_TO_SWEEP: Final = 512
#: Of collections of one name so many are known: only the last is there, but nodes hear of that at
#: different times.
_EPOCHS: Final = 8


class Named(NamedTuple):
    """What a handle means; ``epoch`` None: whatever has that name."""

    name: str
    epoch: str | None


class HandleNames:
    """The handles of one connection, from 1 on; ``named`` says what each means.

    ``is_there``: whether there is a collection of that name. A handle stays what it is until its
    collection is gone, however long that was made again under its name before.
    """

    def __init__(self, named: dict[int, Named], is_there: Callable[[str], bool]) -> None:
        self._named = named
        self._is_there = is_there
        self._handles: dict[Named, int] = {}
        self._last = 0
        self._sweep_at = _HANDLES_TO_SWEEP

    def of(self, named: Named) -> int:
        """The handle of a collection; the same each time."""
        handle = self._handles.get(named)
        if handle is None:
            if len(self._handles) >= self._sweep_at:
                self._sweep()
            handle = self._last = self._last + 1
            self._handles[named] = handle
            self._named[handle] = named
        return handle

    def _sweep(self) -> None:
        """Forget those of collections that are gone, and of each name all but the last few."""
        seen: Counter[str] = Counter()
        for named, handle in reversed(list(self._handles.items())):
            seen[named.name] += 1
            if seen[named.name] > _EPOCHS or not self._is_there(named.name):
                del self._handles[named], self._named[handle]
        self._sweep_at = max(_HANDLES_TO_SWEEP, 2 * len(self._handles))


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
