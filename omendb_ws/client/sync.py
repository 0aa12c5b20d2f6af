"""The synchronous client: ``db`` in ``with connect(url) as db``, the twin of ``aio.py``.

Nothing is decided here. Every method hands the asyncio client's method of the same name to the loop
of ``background.py`` and waits; a test holds the two surfaces to each other, their docstrings too.
Searches are in ``sync_searching.py``, snapshots in ``sync_copying.py``, subscriptions in
``sync_watching.py`` and ``sync_subscriptions.py``.
"""

from __future__ import annotations

import builtins
import ssl
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast, overload

from omendb_core.model.types import ColumnType, IdKind, Metric

from ..wire.limits import Limits
from ..wire.messages import Durability, IfExists, JsonObject
from . import aio, background, connecting
from .added import Added
from .answers import Row
from .backoff import RECONNECT, Backoff
from .connecting import MAX_MESSAGE_BYTES
from .counts import Counts
from .descriptions import Description, UnavailableCollection
from .given import ColumnGiven, Filter, IdsGiven, IncludeNames, Metadata, UnlessNear, Vectors
from .sync_copying import SyncCopying
from .tokens import GetToken, in_a_thread


def connect(
    url: str | Sequence[str],
    token: str | None = None,
    *,
    get_token: GetToken | None = None,
    request_timeout_seconds: float | None = 30.0,
    open_timeout_seconds: float = 10.0,
    reconnect: bool = True,
    fail_fast: bool = False,
    backoff: Backoff = RECONNECT,
    tls: ssl.SSLContext | None = None,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    server_settings: Mapping[str, Any] | None = None,
) -> Client:
    """Connect to a server: ``with connect("ws://127.0.0.1:8765/v1") as db``, or just ``db = …``.

    The arguments and errors are those of the asyncio ``omendb_ws.connect``; ``memory://`` too.
    (``get_token`` is called in a thread of its own, and may block.)
    A client that is not closed is closed when nothing refers to it any more, or with the process.
    """
    made = connecting.connect(
        url,
        token,
        get_token=None if get_token is None else in_a_thread(get_token),
        request_timeout_seconds=request_timeout_seconds,
        open_timeout_seconds=open_timeout_seconds,
        reconnect=reconnect,
        fail_fast=fail_fast,
        backoff=backoff,
        tls=tls,
        max_message_bytes=max_message_bytes,
        server_settings=server_settings,
    )
    loop = background.shared()
    return Client(loop.run(_started(made, loop)), loop)


async def _started(made: connecting.Connecting, loop: background.Background) -> aio.Client:
    client = await made
    loop.keep(id(client), client.close)
    return client


class Client(SyncCopying):
    """A connection to a server, for any number of threads.

    A call made after another one returned sees what that did. Calls of several threads at the same
    time may take effect in any order. Ctrl-C in a waiting call ends that call as cancelling it
    does in the asyncio client, and leaves the connection as it was. Works inside a running event
    loop too (it holds that up while it waits), as in a notebook.
    """

    # -- the server -----------------------------------------------------------------------
    def ping(self) -> None:
        """Ask for a sign of life."""
        return self._run(self._aio.ping())

    def auth(self, token: str) -> JsonObject:
        """Authenticate anew, here and at every later reconnect; before the old token expires.

        Returns ``rights``, ``tenant``, ``grants``, ``expires_in_s``. Raises Forbidden for a token
        of another tenant; Unauthenticated, and then the server closes the connection, and the
        client is over.
        """
        return self._run(self._aio.auth(token))

    def stats(self, collection: str | None = None) -> dict[str, Any]:
        """Return statistics of a collection, or of the server (PROTOCOL section 6 "stats")."""
        return self._run(self._aio.stats(collection))

    def usage(self) -> dict[str, Any]:
        """Return what this client's tenant may use, and uses (PROTOCOL section 9 "Tenants").

        ``tenant``; ``limits`` and ``use``, both by name; None where there is no limit, or where
        this client must not know.
        """
        return self._run(self._aio.usage())

    def cluster(self) -> dict[str, Any]:
        """Return who is in the cluster, and holds how much (PROTOCOL section 8 "cluster").

        ``node`` (who says it), ``collections``, ``ownerless``, ``nodes``, ``nats``; as it was a
        moment ago. Raises Unsupported on a server by itself, Forbidden.
        """
        return self._run(self._aio.cluster())

    def move_owner(self, collection: str, to: str | None = None) -> str | None:
        """Have another node own a collection, and take its changes.

        ``to`` names a node that is up; None leaves it to the cluster again. Returns who owns it
        now: that changes once the other node has all of it; ``describe`` says when. Raises
        BadRequest (``to``), NotFound, Forbidden, Unavailable, Unsupported.
        """
        return self._run(self._aio.move_owner(collection, to))

    def evacuate(self, node: str, *, state: Literal["leaving", "up"] = "leaving") -> int:
        """Have a node hold and own nothing, so that it can be stopped; return what it holds still.

        Others take its place first; ``cluster`` says when nothing is left. ``state="up"`` has it
        stay. It is of that process: one that is started anew under the name takes its part. Raises
        BadRequest (``node``), Forbidden (it takes operator, and admin on everything), Unavailable,
        Unsupported.
        """
        return self._run(self._aio.evacuate(node, state=state))

    def heal(self, collection: str) -> int:
        """Have a collection that no node shows become what a node kept of it, under a new epoch.

        Its log is not what was written, and it waits for this (``cluster``: ``"waiting"``). Returns
        the version that it will have, a few seconds from now. Raises BadRequest where there is
        nothing to heal, or nothing to heal it from; NotFound, Forbidden, Unavailable, Unsupported.
        """
        return self._run(self._aio.heal(collection))

    def identity(self) -> dict[str, Any] | None:
        """Return who this client is to the server: what ``auth`` returns, as it was said last.

        None where the server has no keys.
        """
        return self._run(self._aio.identity())

    def limits(self) -> Limits:
        """Return the server's limits, by their names in PROTOCOL section 9."""
        return self._run(self._aio.limits())

    # -- collections -----------------------------------------------------------------------

    def create(
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
        return self._run(
            self._aio.create(
                collection,
                dim=dim,
                capacity=capacity,
                metric=metric,
                ids=ids,
                columns=columns,
                ttl=ttl,
                durability=durability,
                if_exists=if_exists,
                replicas=replicas,
                shards=shards,
            )
        )

    def open(self, collection: str) -> Description:
        """Return what the collection is, and how full. Raises NotFound.

        Nothing needs opening before use; this only does it early.
        """
        return self._run(self._aio.open(collection))

    def describe(self, collection: str) -> Description:
        """Return what the collection is, and how full. Raises NotFound."""
        return self._run(self._aio.describe(collection))

    def list(self) -> builtins.list[Description]:
        """Return every collection of this tenant."""
        return self._run(self._aio.list())

    def list_unavailable(self) -> builtins.list[UnavailableCollection]:
        """Return the collections of this tenant that cannot be used now, and why."""
        return self._run(self._aio.list_unavailable())

    def drop(self, collection: str) -> None:
        """Remove a collection and its rows. Raises NotFound, ConnectionLost (outcome unknown)."""
        return self._run(self._aio.drop(collection))

    # -- rows ------------------------------------------------------------------------------

    def add(
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
        return self._run(
            self._aio.add(
                collection,
                vectors,
                ids,
                metadata,
                columns,
                producer=producer,
                batch=batch,
                unless_near=unless_near,
            )
        )

    def delete(self, collection: str, ids: IdsGiven) -> int:
        """Delete rows by id, and return how many were there. Raises NotFound (the collection),
        BadId, ConnectionLost (outcome unknown)."""
        return self._run(self._aio.delete(collection, ids))

    def update(self, collection: str, ids: IdsGiven, metadata: Sequence[Mapping[str, Any]]) -> int:
        """Replace the metadata of rows, all or none; return the version. Raises NotFound (with
        the ``row`` of an id that is not there), BadMetadata, ConnectionLost (outcome unknown)."""
        return self._run(self._aio.update(collection, ids, metadata))

    def get(
        self, collection: str, ids: IdsGiven, *, include: IncludeNames = ()
    ) -> builtins.list[Row | None]:
        """Return the rows with these ids, None for each that is not there.

        ``include`` out of ``"metadata"``, ``"vector"``. Raises NotFound (the collection), BadId.
        """
        return self._run(self._aio.get(collection, ids, include=include))

    @overload
    def count(self, collection: str, filter: Filter | None = ...) -> int: ...

    @overload
    def count(
        self, collection: str, filter: Filter | None = ..., *, by: str, limit: int | None = ...
    ) -> Counts: ...

    def count(
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
        client = cast("Any", self._aio)  # each of the two is one of its own
        found: int | Counts = self._run(client.count(collection, filter, by=by, limit=limit))
        return found
