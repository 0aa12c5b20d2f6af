"""Collections that are made of snapshots, while the server serves the others.

The bytes of a snapshot are taken in by a thread of its own, for all restores of the server: into a
window that no name leads to, and of a durable collection into a log that is none yet. With the last
bytes the collection is there at once, whole; whatever goes wrong before, nothing of it is. Its name
is held meanwhile. What the loop does here stands under "on the loop's thread".
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import orjson
from omendb_core.model.errors import BadRequest, NotFound, OmenError, Unavailable
from omendb_core.model.logged import ProducerState
from omendb_core.restored import Restored

from ..engine.engine import Engine
from ..engine.model import replies
from ..engine.model.commands import Beat
from ..engine.model.pending import PendingChanges
from ..engine.model.shard import Shard
from ..engine.model.ticket import Ticket
from ..engine.writes.commands import Recovered
from ..journal.archive import ArchiveReader, End, Head, Part, SomeProducers
from ..journal.interface import Manifest, Receiving
from ..journal.store_thread import Storage
from ..runtime.faults import as_error
from ..telemetry.metrics import Metrics
from ..wire.messages import Durability, Refusal
from ..wire.opcodes import Limits
from ..wire.text import decode_request
from .catalog import Catalog
from .entry import Entry
from .kept_rows import check_texts

#: Told that the collection is there; the handle of who restored it.
Listed: TypeAlias = Callable[[Entry], int]


class Restores:
    """All restores of a server, and the thread that they have. On the loop's thread."""

    def __init__(
        self,
        catalog: Catalog,
        engine: Engine,
        limits: Limits,
        clock_us: Callable[[], int],
        wall_us: Callable[[], int],
        metrics: Metrics,
    ) -> None:
        self.catalog = catalog
        self.engine = engine
        self.limits = limits
        self.clock_us, self.wall_us = clock_us, wall_us
        self.numbers = metrics.restores
        #: None without a data directory.
        self.storage: Storage | None = None
        self._next_number = itertools.count(1)
        self._thread: ThreadPoolExecutor | None = None

    def begin(
        self,
        tenant: str,
        name: str,
        durability: Durability | None,
        replicas: int | None,
        listed: Listed,
    ) -> Restore:
        """Hold the name. Exists, Unavailable, Quota, Unsupported."""
        try:
            self.do(lambda: None)  # the thread is there, or the name is not held for want of it
        except RuntimeError as error:
            raise Unavailable(f"restore: there is no thread for it now: {error}") from error
        begun = Restore(next(self._next_number), self, tenant, name, durability, replicas, listed)
        self.numbers.under_way += 1
        return begun

    def do(self, work: Callable[[], None]) -> None:
        """Have the thread do it, behind what it was asked before. From any thread."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "omendb-restore")
        self._thread.submit(work)

    def close(self) -> None:
        """End the thread; what it was asked is done."""
        if self._thread is not None:
            self._thread.shutdown()


class Restore:
    """One collection on its way in; ``number`` is its name on this server."""

    def __init__(
        self,
        number: int,
        all_: Restores,
        tenant: str,
        name: str,
        durability: Durability | None,
        replicas: int | None,
        listed: Listed,
    ) -> None:
        self.number, self.name = number, name
        self.is_over = False
        self._all, self._listed = all_, listed
        self._tenant = tenant
        self._durability = durability
        self._replicas = all_.catalog.replicas_for(replicas)
        # The thread's:
        self._reader = ArchiveReader()
        self._producers: list[ProducerState] = []
        self._restored: Restored | None = None
        self._receiving: Receiving | None = None
        self._manifest: Manifest | None = None
        self._end: End | None = None
        self._has_ended = False
        # The last: from here on its name is held.
        self._memory = all_.catalog.reserve(tenant, name, durability)

    # -- on the loop's thread ---------------------------------------------------------------------

    def take(self, ticket: Ticket, data: memoryview) -> None:
        """Have the next bytes taken in; answered by ``ticket``. On any thread."""
        self._all.do(lambda: self._take(ticket, data))

    def give_up(self, ticket: Ticket | None = None) -> None:
        """Nothing more comes of it; ``ticket`` is answered once its name is free. Again and again,
        on any thread."""
        self.is_over = True
        self._all.do(lambda: self._abandon(ticket))

    def release(self) -> None:
        """Its name is free again. Once."""
        self.is_over = True
        self._all.catalog.unreserve(self._tenant, self.name)
        self._all.numbers.under_way -= 1
        self._all.numbers.failed += 1

    def is_not_held(self) -> None:
        """Its name is free, or leads to it. Again and again."""
        self._all.catalog.unreserve(self._tenant, self.name)
        self._all.numbers.under_way -= not self.is_over
        self.is_over = True

    def listed(self, shard: Shard) -> int:
        """It is there from now on; the handle of who restored it."""
        self._all.numbers.under_way -= 1
        self.is_over = True
        entry = self._all.catalog.restore(shard)
        assert entry is not None, "a snapshot is of one shard"
        self._all.numbers.done += 1
        return self._listed(entry)

    # -- on the restores' thread ------------------------------------------------------------------

    def _take(self, ticket: Ticket, data: memoryview) -> None:
        engine, shard = self._all.engine, None
        try:
            if self._has_ended:
                raise NotFound(f"restore: {self.number} was given up")
            for part in self._reader.feed(data):
                self._take_part(part)
            if self._reader.is_over:
                shard = self._finished()
                engine.submit(Recovered(shard))
                self._has_ended = True
        except Exception as error:
            told = as_error(error, "restore")
            had_ended, self._has_ended = self._has_ended, True
            self._let_go()
            engine.submit(Beat(_Failed(self, ticket, told, is_first=not had_ended)))
            return
        description = None if shard is None else shard.describe()
        engine.submit(Beat(_Taken(self, ticket, shard, description)))

    def _abandon(self, ticket: Ticket | None) -> None:
        had_ended, self._has_ended = self._has_ended, True
        self._let_go()
        if ticket is not None or not had_ended:
            self._all.engine.submit(Beat(_GivenUp(self, ticket, is_first=not had_ended)))

    def _let_go(self) -> None:
        self._restored = None
        receiving, self._receiving = self._receiving, None
        if receiving is not None:
            try:
                receiving.abandon()
            except Exception as error:  # the next start takes it away
                as_error(error, "giving a restore up")

    def _take_part(self, part: Part) -> None:
        if isinstance(part, Head):
            self._check(part)
        elif isinstance(part, SomeProducers):
            self._producers += part.producers
        else:
            restored = self._restored or self._begun()
            if isinstance(part, End):
                self._end = part
                return
            check_texts(part, restored.window.definition, self._all.limits)
            restored.take(part)
            if self._receiving is not None:
                self._receiving.keep(part)

    def _check(self, head: Head) -> None:
        """Refuse what nobody could create here."""
        definition = head.definition
        self._durability = self._durability or cast("Durability", head.durability)
        asked = {
            "id": 0, "op": "create", "collection": self.name, "dim": definition.dim,
            "capacity": definition.capacity, "metric": definition.metric, "ids": definition.ids,
            "columns": dict(definition.columns), "ttl": definition.ttl_seconds,
            "durability": self._durability,
        }  # fmt: skip
        decoded = decode_request(orjson.dumps(asked), self._all.limits)
        if isinstance(decoded, Refusal):
            raise decoded.error
        self._all.catalog.refuse_durability(self._durability)

    def _begun(self) -> Restored:
        """The window, now that what is known of producers has come."""
        head, all_ = self._head, self._all
        window = all_.catalog.new_window(self._memory, head.definition)
        restored = Restored(window, head.checkpoint, self._producers, head.rows)
        durability = self._durability
        assert durability is not None
        if all_.catalog.has_log(durability):
            assert all_.storage is not None
            shard = self._shard(restored)
            manifest = Manifest(
                self._tenant, self.name, head.definition, durability, shard.epoch, self._replicas,
            )  # fmt: skip
            self._manifest = manifest
            time_us = self._time_us(head)
            receiving = all_.storage.receive(manifest, restored.checkpoint, time_us)
            self._receiving = receiving.result()
        self._restored = restored
        return restored

    def _finished(self) -> Shard:
        """Everything is there: the collection, whose log is open."""
        if self._reader.rest:
            raise BadRequest("snapshot: there is something behind its end")
        restored = self._restored
        assert restored is not None, "an end without a beginning"
        if self._end != End(restored.window.rows):
            raise BadRequest("snapshot: its end counts other rows than came")
        restored.finish()
        shard = self._shard(restored)
        shard.ahead_us = self._time_us(self._head) - self._all.clock_us()
        if self._receiving is not None:
            assert self._all.storage is not None
            settle = self._all.engine.settler(shard)
            finishing = self._all.storage.finish_receiving(self._receiving, settle)
            shard.pending = PendingChanges(finishing.result())
            self._receiving = None
        self._restored = None
        return shard

    def _shard(self, restored: Restored) -> Shard:
        epoch = None if self._manifest is None else self._manifest.epoch
        durability = self._durability
        assert durability is not None
        now_seconds = self._all.clock_us() / 1e6
        return Shard(self._tenant, self.name, durability, restored.window, now_seconds, epoch)

    @property
    def _head(self) -> Head:
        head = self._reader.head
        if head is None:
            raise BadRequest("snapshot: it is cut off")
        return head

    def _time_us(self, head: Head) -> int:
        """What time it is for its rows: they have aged by what the machines' clocks moved on."""
        passed_us = max(0, self._all.wall_us() - head.wall_us)
        return max(head.now_us, head.checkpoint.time_us) + passed_us


@dataclass(slots=True, eq=False)
class _Taken:
    """Effect: bytes were taken in; with the last ones the collection is there."""

    restore: Restore
    ticket: Ticket
    shard: Shard | None
    description: dict[str, Any] | None

    def deliver(self) -> None:
        """Answer; of one that could not be listed its outcome is not known, as of a ``create``."""
        body: dict[str, Any] = {}
        try:
            if self.shard is not None and self.description is not None:
                body = {**self.description, "handle": self.restore.listed(self.shard)}
        except Exception as error:
            self.restore.is_not_held()
            replies.refusal(self.ticket, as_error(error, "restore")).deliver()
        else:
            replies.ok(self.ticket, body).deliver()
        finally:
            self.shard = None


@dataclass(slots=True, eq=False)
class _Failed:
    """Effect: a restore came to nothing."""

    restore: Restore
    ticket: Ticket
    error: OmenError
    is_first: bool

    def deliver(self) -> None:
        """Answer, and free its name."""
        if self.is_first:
            self.restore.release()  # first: after a fault it is called again
            self.is_first = False
        replies.refusal(self.ticket, self.error).deliver()


@dataclass(slots=True, eq=False)
class _GivenUp:
    """Effect: nothing comes of a restore any more."""

    restore: Restore
    ticket: Ticket | None
    is_first: bool

    def deliver(self) -> None:
        """Free its name, and answer who gave it up."""
        if self.is_first:
            self.restore.release()  # first: after a fault it is called again
            self.is_first = False
        if self.ticket is not None:
            replies.ok(self.ticket, {}).deliver()
