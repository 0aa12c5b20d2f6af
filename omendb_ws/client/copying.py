"""Whole collections out of a server, and in: ``snapshot`` and ``restore``, named as the wire."""

from __future__ import annotations

from dataclasses import dataclass

from omendb_core.model.errors import BadRequest

from ..wire import binary, messages
from ..wire.limits import MAX_U32
from ..wire.messages import Durability
from ..wire.opcodes import HEADER_BYTES
from . import arguments, descriptions, requests
from .arguments import field, integer
from .descriptions import Description, Opened
from .searching import Searching

#: What goes into one message of a restore, at most.
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot that has begun: its ``number``, and what the collection is at its version."""

    number: int
    description: Description


class Copying(Searching):
    """What ``Client`` does with whole collections."""

    #: The snapshot whose last bytes have come, and whose reader was not told.
    _read_to_end: int | None = None

    async def snapshot(self, collection: str) -> Snapshot:
        """Begin to read all of a collection as it is now, while it goes on changing.

        ``snapshot_next`` with the ``number`` of what this returns gives its bytes; ``restore``
        makes a collection of them. One at a time on a connection: the one before ends. What leaves
        the window before it is read is kept for it, and charged to the tenant; what keeps no pace
        with that is lost (Quota, in ``snapshot_next``). It goes with its connection.

        Raises NotFound, Forbidden (it takes ``admin``, and ``read`` on every row), Quota.
        """
        name = arguments.collection(collection)
        call = self._connection.call(
            requests.plain(messages.Snapshot, collection=name), repeat=True
        )
        _, reply = await self._connection.within(call)
        assert isinstance(reply, messages.Reply)
        return Snapshot(reply.ok["snapshot"], descriptions.read_description(reply.ok))

    async def snapshot_next(self, number: int) -> bytes:
        """Return the next bytes of a snapshot, about 1 MiB; b"" when it was read to its end.

        Raises NotFound (it has ended, or belongs to another connection), Quota, Unavailable,
        ConnectionLost.
        """
        given = integer(number, "number", 0, MAX_U32)
        if self._read_to_end == given:
            self._read_to_end = None
            return b""
        encode = requests.plain(messages.Snapshot, snapshot=given)
        call = self._connection.call(encode, repeat=False)
        _, reply = await self._connection.within(call)
        assert isinstance(reply, messages.SnapshotBytes)
        if reply.is_last:
            self._read_to_end = given
        return bytes(reply.data)

    async def snapshot_end(self, number: int) -> None:
        """End a snapshot that is not read to its end. Raises NotFound, ConnectionLost."""
        encode = requests.plain(messages.Snapshot, end=integer(number, "number", 0, MAX_U32))
        await self._connection.within(self._connection.call(encode, repeat=False))

    async def restore(
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
        name = arguments.collection(collection)
        given = None
        if durability is not None:
            given = arguments.chosen(durability, field("create", "durability"))
        nodes = None
        if replicas is not None:
            nodes = arguments.bounded(replicas, field("restore", "replicas"))
        encode = requests.plain(messages.Restore, collection=name, durability=given, replicas=nodes)
        _, reply = await self._connection.within(self._connection.call(encode, repeat=False))
        assert isinstance(reply, messages.Reply)
        number: int = reply.ok["restore"]
        return number

    async def restore_next(self, number: int, data: bytes) -> Description | None:
        """Have the next bytes taken in, however they are cut; with the last ones the collection is
        there, and this returns what it is.

        Raises BadRequest (with the place in the snapshot: it is cut off, altered, or none), Quota,
        TooLarge, Unsupported, StorageFull, NotFound (it has ended); then nothing is left of it.
        ConnectionLost: as before, but with the last bytes the outcome is unknown.
        """
        given = integer(number, "number", 0, MAX_U32)
        try:
            view = memoryview(data).cast("B")
        except TypeError:
            raise BadRequest("data: must be bytes") from None
        if not len(view):
            raise BadRequest("data: must be at least one byte")
        found: Description | None = None
        limit = (await self._connection.within(self._connection.ready())).limits.max_message_bytes
        step = max(8, min(_PIECE_BYTES, limit - HEADER_BYTES - 8))
        for start in range(0, len(view), step):
            found = await self._restore_piece(given, view[start : start + step])
        return found

    async def restore_end(self, number: int) -> None:
        """Give a restore up. Raises NotFound, ConnectionLost."""
        encode = requests.plain(messages.Restore, end=integer(number, "number", 0, MAX_U32))
        await self._connection.within(self._connection.call(encode, repeat=False))

    async def _restore_piece(self, number: int, data: memoryview) -> Description | None:
        def encode(request_id: int, _: Opened | None) -> bytes:
            return binary.encode_restore(request_id, number, data)

        _, reply = await self._connection.within(self._connection.call(encode, repeat=False))
        assert isinstance(reply, messages.Reply)
        return descriptions.read_description(reply.ok) if "collection" in reply.ok else None
