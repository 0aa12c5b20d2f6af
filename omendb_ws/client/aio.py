"""The asyncio client, ``db`` in ``async with connect(url) as db``: flat, and named as the wire.

Here arguments become requests and answers become results; connecting, repeating, adding, searching
(``searching.py``), copying (``copying.py``) and subscribing (``watching.py``) are in the modules
beside it. Every call raises the class of the error's code (``omendb_ws.errors``),
``ConnectionLost``, or ``TimeoutError``.

**What is repeated.** Reads (and ``open``, ``describe``, ``list``, ``ping``, ``stats``, ``auth``)
are asked again after a reconnect. Adds are repeated under a producer and number, so they go in
once. ``create``, ``drop``, ``delete`` and ``update`` are not repeated when the connection took
their reply with it: they raise ConnectionLost, and the outcome is unknown. Refusals that may pass
are waited out: ``overloaded``, ``rate_limited``, ``draining`` for a few seconds, ``unavailable``
(the collection is coming back) as long as a call may take. Then they are raised.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, overload

from omendb_core.model.types import ColumnType, IdKind, Metric

from ..wire import messages
from ..wire.limits import Limits
from ..wire.messages import Durability, IfExists, JsonObject
from ..wire.opcodes import MAX_TTL_SECONDS
from . import answers, arguments, descriptions, requests
from .added import Added, read_added
from .adder import Adder
from .answers import Row
from .arguments import field
from .connection import Connection
from .copying import Copying
from .counts import Counts, count_fields, read_counts
from .descriptions import Description, UnavailableCollection
from .given import ColumnGiven, Filter, IdsGiven, IncludeNames, Metadata, UnlessNear, Vectors
from .ids import in_order, json_ids
from .plain import near_document
from .requests import Encode
from .rows import given_rows


class Client(Copying):
    """A connection to a server, for one event loop; safe for any number of its tasks.

    On another loop, or in a forked process, every call raises ConnectionLost. A client that is not
    closed is closed when nothing refers to it any more, no call and no subscription either.

    A call made after another one returned sees what that did. Calls that run at the same time may
    take effect in any order, except adds to one collection, which keep theirs.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._adders: dict[str, Adder] = {}

    async def close(self) -> None:
        """Close the connection. Calls and subscriptions that wait raise ConnectionLost."""
        await super().close()
        for adder in self._adders.values():
            await adder.close()

    # -- the server -----------------------------------------------------------------------

    async def ping(self) -> None:
        """Ask for a sign of life."""
        await self._ask(requests.plain(messages.Ping))

    async def auth(self, token: str) -> JsonObject:
        """Authenticate anew, here and at every later reconnect; before the old token expires.

        Returns ``rights``, ``tenant``, ``grants``, ``expires_in_s``. Raises Forbidden for a token
        of another tenant; Unauthenticated, and then the server closes the connection, and the
        client is over.
        """
        given = arguments.token(token)
        ok = await self._ask(requests.plain(messages.Auth, token=given))
        self._connection.use_token(given, ok)
        return ok

    async def identity(self) -> dict[str, Any] | None:
        """Return who this client is to the server: what ``auth`` returns, as it was said last.

        None where the server has no keys.
        """
        return (await self._connection.within(self._connection.ready())).standing.identity

    async def stats(self, collection: str | None = None) -> dict[str, Any]:
        """Return statistics of a collection, or of the server (PROTOCOL section 6 "stats")."""
        of = None if collection is None else arguments.collection(collection)
        return await self._ask(requests.plain(messages.Stats, collection=of))

    async def usage(self) -> dict[str, Any]:
        """Return what this client's tenant may use, and uses (PROTOCOL section 9 "Tenants").

        ``tenant``; ``limits`` and ``use``, both by name; None where there is no limit, or where
        this client must not know.
        """
        return await self._ask(requests.plain(messages.Usage))

    async def cluster(self) -> dict[str, Any]:
        """Return who is in the cluster, and holds how much (PROTOCOL section 8 "cluster").

        ``node`` (who says it), ``collections``, ``ownerless``, ``nodes``, ``nats``; as it was a
        moment ago. Raises Unsupported on a server by itself, Forbidden.
        """
        return await self._ask(requests.plain(messages.Cluster))

    async def move_owner(self, collection: str, to: str | None = None) -> str | None:
        """Have another node own a collection, and take its changes.

        ``to`` names a node that is up; None leaves it to the cluster again. Returns who owns it
        now: that changes once the other node has all of it; ``describe`` says when. Raises
        BadRequest (``to``), NotFound, Forbidden, Unavailable, Unsupported.
        """
        given = None if to is None else arguments.text(to, "to")
        owner: str | None = (await self._ask(_of(messages.MoveOwner, collection, to=given)))[
            "owner"
        ]
        return owner

    async def evacuate(self, node: str, *, state: Literal["leaving", "up"] = "leaving") -> int:
        """Have a node hold and own nothing, so that it can be stopped; return what it holds still.

        Others take its place first; ``cluster`` says when nothing is left. ``state="up"`` has it
        stay. It is of that process: one that is started anew under the name takes its part. Raises
        BadRequest (``node``), Forbidden (it takes operator, and admin on everything), Unavailable,
        Unsupported.
        """
        chosen = arguments.chosen(state, field("evacuate", "state"))
        encode = requests.plain(messages.Evacuate, node=arguments.text(node, "node"), state=chosen)
        left: int = (await self._ask(encode))["collections"]
        return left

    async def heal(self, collection: str) -> int:
        """Have a collection that no node shows become what a node kept of it, under a new epoch.

        Its log is not what was written, and it waits for this (``cluster``: ``"waiting"``). Returns
        the version that it will have, a few seconds from now. Raises BadRequest where there is
        nothing to heal, or nothing to heal it from; NotFound, Forbidden, Unavailable, Unsupported.
        """
        version: int = (await self._ask(_of(messages.Heal, collection)))["version"]
        return version

    async def limits(self) -> Limits:
        """Return the server's limits, by their names in PROTOCOL section 9."""
        return (await self._connection.within(self._connection.ready())).limits

    # -- collections ----------------------------------------------------------------------

    async def create(
        self,
        collection: str,
        *,
        dim: int,
        capacity: int,
        metric: Metric = "cosine",
        ids: IdKind = "u64",
        columns: Mapping[str, ColumnType] | None = None,
        ttl: float | None = None,
        durability: Durability | None = None,
        if_exists: IfExists = "error",
        replicas: int | None = None,
        shards: int | None = None,
    ) -> Description:
        """Create a window over the newest ``capacity`` rows of ``dim`` dimensions.

        ``columns`` names the metadata keys that filters may use, with their types; ``ttl`` is in
        seconds; ``if_exists="ok"`` accepts one with the same definition; ``replicas`` is how many
        nodes of a cluster hold it (default 2, or all if there are fewer). ``shards`` cuts it into
        so many windows, whose answers are still those of one; for these not everything is there
        yet (PROTOCOL section 3). Raises Exists, BadName, BadRequest, TooLarge, Quota, Unsupported,
        Forbidden, ConnectionLost (outcome unknown).
        """
        name = arguments.collection(collection)
        encode = requests.plain(
            messages.Create,
            collection=name,
            dim=arguments.bounded(dim, field("create", "dim")),
            capacity=arguments.bounded(capacity, field("create", "capacity")),
            metric=arguments.chosen(metric, field("create", "metric")),
            ids=arguments.chosen(ids, field("create", "ids")),
            columns=arguments.declared(columns),
            ttl=None if ttl is None else arguments.seconds(ttl, "ttl", MAX_TTL_SECONDS),
            durability=None
            if durability is None
            else arguments.chosen(durability, field("create", "durability")),
            if_exists=arguments.chosen(if_exists, field("create", "if_exists")),
            replicas=None
            if replicas is None
            else arguments.bounded(replicas, field("create", "replicas")),
            shards=None if shards is None else arguments.bounded(shards, field("create", "shards")),
        )
        return await self._open(encode, name, repeat=False)

    async def open(self, collection: str) -> Description:
        """Return what the collection is, and how full. Raises NotFound.

        Nothing needs opening before use; this only does it early.
        """
        name = arguments.collection(collection)
        return await self._open(requests.plain(messages.Open, collection=name), name)

    async def describe(self, collection: str) -> Description:
        """Return what the collection is, and how full. Raises NotFound."""
        ok = await self._ask(_of(messages.Describe, collection))
        return descriptions.read_description(ok)

    async def list(self) -> builtins.list[Description]:
        """Return every collection of this tenant."""
        ok = await self._ask(requests.plain(messages.List))
        read = descriptions.read_description
        return descriptions.Descriptions(read(one) for one in ok["collections"])

    async def list_unavailable(self) -> builtins.list[UnavailableCollection]:
        """Return the collections of this tenant that cannot be used now, and why."""
        ok = await self._ask(requests.plain(messages.List))
        return [descriptions.read_unavailable(one) for one in ok.get("unavailable", ())]

    async def drop(self, collection: str) -> None:
        """Remove a collection and its rows. Raises NotFound, ConnectionLost (outcome unknown)."""
        await self._ask(_of(messages.Drop, collection), repeat=False)
        self._connection.seen.forget(collection)

    # -- rows -----------------------------------------------------------------------------

    async def add(
        self,
        collection: str,
        vectors: Vectors,
        ids: IdsGiven | None = None,
        metadata: Metadata | None = None,
        columns: Mapping[str, ColumnGiven] | None = None,
        *,
        producer: str | None = None,
        batch: int | None = None,
        unless_near: UnlessNear | None = None,
    ) -> Added:
        """Add rows, and return when all are as safe as the collection's durability says.

        ``vectors``: numbers (n, dim); a C-contiguous float32 array is not copied and must not
        change until this returns. ``ids``: n integers or strings, distinct, as the collection has
        them; None for ``auto``. ``metadata``: n mappings or None. ``columns``: declared columns by
        name, each n values: arrays, or lists with None for null; faster than ``metadata``.

        ``vectors`` may be a data frame or an Arrow table with a field ``vector``, lists of numbers
        (the extra ``arrow``): then its field ``id`` is the ids, and its other fields are metadata,
        by the rules by which files are loaded (docs/how-to/frames.md).

        Many rows go out as frames of about 256 KiB, 2 MiB of them under way at a time; the call
        waits while the server is busy, so a producer cannot outrun it. Frames are repeated after a
        reconnect and go in once. If one is refused, the rows before it stay in: the error's ``row``
        counts from the first row of the call, ``details["rows_added"]`` says how many rows (the
        first ones) are in. Cancelled, or timed out: frames not sent yet never are; those under way
        may still go in.

        With ``producer`` and ``batch`` (PROTOCOL section 4) the rows go out as one message under
        that name, which any later process may repeat: one that went in before is a ``duplicate``
        and changes nothing. OutOfOrder has the number ``expected`` in its ``details``. Calls made
        at the same time are sent in their order until one of them fails.

        ``unless_near``, ``{"score": s}`` or ``{"score": s, "filter": {…}}``, leaves out each row
        that scores at least ``s`` against a row that is there (and passes the filter), or against
        one of the call that went in before it: ``skipped`` and ``near`` of what is returned say
        which. Rows of the call that go out in later frames are compared with those before them too.

        Raises BadVector, DimMismatch, NonFinite, ZeroNorm, BadId, DuplicateId, BadMetadata,
        BadFilter, BadRequest, TooLarge, Quota, NotFound, Forbidden, Unsupported (a data frame,
        without the extra), and ConnectionLost where it is not known whether the rows after
        ``rows_added`` went in.
        """
        collection = arguments.collection(collection)
        rows = given_rows(vectors, ids, metadata, columns)
        near = near_document(unless_near)
        if producer is not None or batch is not None:
            encode = requests.add(rows, producer, batch, near)
            call = self._connection.call(encode, repeat=True, collection=collection)
            _, reply = await self._connection.within(call)
            assert isinstance(reply, messages.Added)
            _, opened = await self._connection.opened(collection)
            return read_added(reply, len(rows), opened.description.ids)
        adder = self._adders.get(collection)
        if adder is None:
            adder = self._adders[collection] = Adder(self._connection, collection)
        return await adder.add(rows, near)

    async def delete(self, collection: str, ids: IdsGiven) -> int:
        """Delete rows by id, and return how many were there. Raises NotFound (the collection),
        BadId, ConnectionLost (outcome unknown)."""
        encode = _of(messages.Delete, collection, ids=json_ids(ids))
        deleted: int = (await self._ask(encode, collection, repeat=False))["deleted"]
        return deleted

    async def update(
        self, collection: str, ids: IdsGiven, metadata: Sequence[Mapping[str, Any]]
    ) -> int:
        """Replace the metadata of rows, all or none; return the version. Raises NotFound (with
        the ``row`` of an id that is not there), BadMetadata, ConnectionLost (outcome unknown)."""
        rows = requests.update_rows(ids, metadata)
        encode = _of(messages.Update, collection, rows=rows)
        version: int = (await self._ask(encode, collection, repeat=False))["version"]
        return version

    async def get(
        self, collection: str, ids: IdsGiven, *, include: IncludeNames = ()
    ) -> builtins.list[Row | None]:
        """Return the rows with these ids, None for each that is not there.

        ``include`` out of ``"metadata"``, ``"vector"``. Raises NotFound (the collection), BadId.
        """
        asked = in_order(ids)
        wanted = arguments.included(include)
        encode = _of(messages.Get, collection, ids=json_ids(asked), include=wanted)
        return answers.read_rows(await self._ask(encode, collection, reads=True), asked)

    @overload
    async def count(self, collection: str, filter: Filter | None = ...) -> int: ...

    @overload
    async def count(
        self, collection: str, filter: Filter | None = ..., *, by: str, limit: int | None = ...
    ) -> Counts: ...

    async def count(
        self,
        collection: str,
        filter: Filter | None = None,
        *,
        by: str | None = None,
        limit: int | None = None,
    ) -> int | Counts:
        """Return how many rows pass ``filter``; with ``by``, a column, also how many by its values.

        A number, or ``Counts``: the ``limit`` most frequent values, 1 to 1,000, by default 100.
        Raises BadFilter, BadRequest (no such column), NotFound.
        """
        counted = count_fields(filter, by, limit)
        encode = _of(messages.Count, collection, **counted)
        found = read_counts(await self._ask(encode, collection, reads=True))
        return found.count if by is None else found

    # -- inside ---------------------------------------------------------------------------

    async def _open(self, encode: Encode, collection: str, *, repeat: bool = True) -> Description:
        call = self._connection.call(encode, repeat=repeat)
        link, reply = await self._connection.within(call)
        assert isinstance(reply, messages.Reply)
        description = link.remember(collection, reply).description
        self._connection.seen.opened(collection, description.epoch)
        return description

    async def _ask(
        self,
        encode: Encode,
        collection: str | None = None,
        *,
        repeat: bool = True,
        reads: bool = False,
    ) -> JsonObject:
        """``collection``: whose version the answer states."""
        return await self._connection.within(self._asked(encode, collection, repeat, reads))

    async def _asked(
        self, encode: Encode, collection: str | None, repeat: bool, reads: bool
    ) -> JsonObject:
        connection = self._connection
        if collection is not None and not connection.seen.knows(collection):
            await connection.opened(collection)
        read = collection if reads else None
        link, reply = await connection.call(encode, repeat=repeat, reads=read)
        connection.seen.answered(link, collection, reply)
        assert isinstance(reply, messages.Reply)
        return reply.ok


def _of(kind: Callable[..., messages.Request], collection: str, **fields: Any) -> Encode:
    """Return what builds a JSON request about a collection. Raises BadRequest, BadName."""
    return requests.plain(kind, collection=arguments.collection(collection), **fields)
