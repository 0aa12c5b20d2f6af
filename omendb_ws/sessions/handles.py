"""What the numbers of a connection's messages name: collections that it has opened, and the
snapshot and restores that it has begun."""

from __future__ import annotations

from typing import Final

from omendb_core.model.errors import Internal, NotFound

from ..catalog.entry import Entry
from ..catalog.restoring import Restore
from ..engine.engine import Engine
from ..engine.pieces.snapshots import Reading
from ..engine.writes.commands import EndSnapshot
from ..wire.opcodes import MAX_U32

#: Dead handles are looked for when so many are held.
_HANDLES_TO_SWEEP: Final = 512


class Ending:
    """A snapshot that a connection reads, ended on the engine's thread."""

    def __init__(self, reading: Reading, engine: Engine) -> None:
        self.reading = reading
        self._engine = engine

    def end(self) -> None:
        """It is read no more."""
        self._engine.submit(EndSnapshot(self.reading))


class Handles:
    """Handles count from 1, and are never used again on their connection."""

    def __init__(self) -> None:
        self._collections: dict[int, Entry] = {}
        self._handles: dict[Entry, int] = {}
        self._last = 0
        #: What it reads now; and what it restores, by number.
        self.snapshot: Ending | None = None
        self.restores: dict[int, Restore] = {}

    def find(self, handle: int) -> Entry:
        """The open collection of that handle. NotFound."""
        collection = self._collections.get(handle)
        if collection is None or not collection.listed.is_listed:
            raise NotFound(f"handle: {handle} is no open collection")
        return collection

    def open(self, collection: Entry) -> int:
        """The handle of a collection; the same each time."""
        handle = self._handles.get(collection)
        if handle is None:
            if len(self._collections) >= _HANDLES_TO_SWEEP:
                self._sweep()
            if self._last == MAX_U32:
                raise Internal("handle: this connection has used them all; reconnect")
            handle = self._last = self._last + 1
            self._collections[handle] = collection
            self._handles[collection] = handle
        return handle

    def clear(self) -> None:
        """The connection is gone."""
        self._collections.clear()
        self._handles.clear()
        if self.snapshot is not None:
            self.snapshot.end()
            self.snapshot = None
        for restore in self.restores.values():
            restore.give_up()
        self.restores.clear()

    def _sweep(self) -> None:
        for handle, collection in list(self._collections.items()):
            if not collection.listed.is_listed:
                del self._collections[handle]
                del self._handles[collection]
