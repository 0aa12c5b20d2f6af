"""The synchronous client's snapshots and restores: the twin of ``copying.py``."""

from __future__ import annotations

from ..wire.messages import Durability
from .copying import Snapshot
from .descriptions import Description
from .sync_searching import SyncSearching


class SyncCopying(SyncSearching):
    """What ``Client`` does with whole collections."""

    def snapshot(self, collection: str) -> Snapshot:
        """Begin to read all of a collection as it is now, while it goes on changing.

        ``snapshot_next`` with the ``number`` of what this returns gives its bytes; ``restore``
        makes a collection of them. One at a time on a connection: the one before ends. What leaves
        the window before it is read is kept for it, and charged to the tenant; what keeps no pace
        with that is lost (Quota, in ``snapshot_next``). It goes with its connection.

        Raises NotFound, Forbidden (it takes ``admin``, and ``read`` on every row), Quota.
        """
        return self._run(self._aio.snapshot(collection))

    def snapshot_next(self, number: int) -> bytes:
        """Return the next bytes of a snapshot, about 1 MiB; b"" when it was read to its end.

        Raises NotFound (it has ended, or belongs to another connection), Quota, Unavailable,
        ConnectionLost.
        """
        return self._run(self._aio.snapshot_next(number))

    def snapshot_end(self, number: int) -> None:
        """End a snapshot that is not read to its end. Raises NotFound, ConnectionLost."""
        self._run(self._aio.snapshot_end(number))

    def restore(
        self,
        collection: str,
        *,
        durability: Durability | None = None,
        replicas: int | None = None,
    ) -> int:
        """Begin to make a collection of a snapshot's bytes, under any name; return its number.

        ``restore_next`` takes the bytes. ``durability``: default, that of the snapshot;
        ``replicas``: as for ``create``. Until all have come nobody sees anything of it; its name is
        taken. Rows, ids, seqs and version are those of the snapshot, the epoch is a new one. It
        goes with its connection.

        Raises Exists, Quota, Unsupported, Unavailable, Forbidden (it takes ``admin``, and ``write``
        without filter and stamp).
        """
        return self._run(self._aio.restore(collection, durability=durability, replicas=replicas))

    def restore_next(self, number: int, data: bytes) -> Description | None:
        """Have the next bytes taken in, however they are cut; with the last ones the collection is
        there, and this returns what it is.

        Raises BadRequest (with the place in the snapshot: it is cut off, altered, or none), Quota,
        TooLarge, Unsupported, StorageFull, NotFound (it has ended); then nothing is left of it.
        ConnectionLost: as before, but with the last bytes the outcome is unknown.
        """
        return self._run(self._aio.restore_next(number, data))

    def restore_end(self, number: int) -> None:
        """Give a restore up. Raises NotFound, ConnectionLost."""
        self._run(self._aio.restore_end(number))
