"""Which collections there are: (tenant, name) -> Entry, and the memory they reserve.

The catalog belongs to the loop's thread: ``create`` and ``drop`` take effect there when they are
received, so that the requests that a client sent right behind them find, or miss, the name. A
collection's window belongs to the engine's thread from the first work that is queued for it.

``budget`` is ``max_memory_bytes``, and each tenant has its part of it: windows are taken from that
here, and whatever else is charged to it (standing queries, maps) by whoever makes it. A window's
bytes go back when the window goes, with its last reference. A ``create`` right behind a ``drop`` of
the same tenant may have them before: the engine frees the one window before it can touch the other,
since work is done in the order in which it was queued.

A collection that is recovering, or needs repair, is *held*: its name is taken, and whoever asks for
it is told why it is not there; nothing else of it is here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from omendb_core.model.budget import Budget, Share
from omendb_core.model.errors import Exists, NotFound, Quota, Unavailable, Unsupported
from omendb_core.model.types import Definition, WindowLimits
from omendb_core.scan.interface import Scan
from omendb_core.state import reserved_bytes
from omendb_core.window import Window

from ..engine.model.shard import Shard
from ..sharding.names import collection_of
from ..telemetry.metrics import NO_JOURNAL, JournalNumbers
from ..tenants.accounts import Accounts
from ..wire.messages import Create, Durability
from ..wire.opcodes import Limits
from .differences import differences
from .entry import Entry
from .held import HeldNames
from .parts import Coming, part_definition, part_names

#: What asks the budget, in a refusal.
_WINDOW: Final = "this window takes"
#: Of a collection that says nothing, in a cluster.
DEFAULT_REPLICAS: Final = 2


class Catalog:
    """Collections by (tenant, name), and what they reserve.

    ``has_journal``: whether anything but ``memory`` can be promised; ``is_in_cluster``: whether
    logs are streams, of all collections: what each can promise is known to the store.
    """

    def __init__(
        self,
        limits: Limits,
        scan: Scan,
        default_durability: Durability,
        has_journal: bool,
        accounts: Accounts,
        *,
        is_in_cluster: bool = False,
    ) -> None:
        self.limits = limits
        #: What all windows, and all else that is charged to it, may take together.
        self.budget: Budget = accounts.memory
        self._accounts = accounts
        #: What the logs of dropped collections had come to.
        self.dropped_journals = NO_JOURNAL
        self._has_journal = has_journal
        self._is_in_cluster = is_in_cluster
        #: Names that are taken by what is in the store and not, or not yet, here.
        self.held = HeldNames()
        #: How many nodes there are, this one with them; the cluster says it.
        self.nodes = 1
        #: Names of collections that are made of snapshots now.
        self._reserved: set[tuple[str, str]] = set()
        self._dropping: dict[tuple[str, str], Shard] = {}
        self._leaving: list[Shard] = []
        self._scan = scan
        self._default_durability = default_durability
        self._tenants: dict[str, dict[str, Entry]] = {}
        #: Those of several shards, by tenant and name; and those of which some shards are back.
        self.sharded: dict[tuple[str, str], Entry] = {}
        self.coming = Coming()
        self.window_limits = window_limits(limits)

    def __iter__(self) -> Iterator[Entry]:
        for collections in self._tenants.values():
            yield from collections.values()

    def shards(self) -> Iterator[Shard]:
        """Those of all collections."""
        for entry in self:
            yield from entry.shards

    def __len__(self) -> int:
        return sum(map(len, self._tenants.values()))

    @property
    def known(self) -> int:
        """How many collections there are, those that are coming back, or will not, too."""
        return len(self) + len(self.held)

    @property
    def reserved_bytes(self) -> int:
        """What is taken of the budget."""
        return self.budget.taken_bytes

    def journal_numbers(self) -> JournalNumbers:
        """All logs together. On the loop's thread."""
        total = self.dropped_journals
        for shard in self.shards():
            if shard.pending is not None and shard.pending.log is not None:
                total = total.with_log(shard.pending.log.numbers())
        return total

    def failed_logs(self) -> int:
        """How many cannot be written any more."""
        return sum(one.pending is not None and one.pending.has_failed for one in self.shards())

    def find(self, tenant: str, name: str) -> Entry:
        """The collection of that name. NotFound, also for other tenants' names; Unavailable."""
        entry = self._tenants.get(tenant, {}).get(name)
        if entry is None:
            self.held.refuse(tenant, name)
            raise NotFound(f"collection: there is no {name!r}")
        return entry

    def shard_of(self, tenant: str, name: str) -> Shard | None:
        """The shard of the collection of that name, if it is here."""
        entry = self._tenants.get(tenant, {}).get(name)
        return None if entry is None else entry.shard

    def is_taken(self, tenant: str, name: str) -> bool:
        """Whether a collection of that name is here, is being restored, or still being dropped."""
        if (tenant, name) in self._reserved:
            return True
        dropping = self._dropping.get((tenant, name))
        is_being_dropped = dropping is not None and not dropping.is_dropped
        return is_being_dropped or self.shard_of(tenant, name) is not None

    def of(self, tenant: str) -> list[Entry]:
        """The collections of a tenant, by name."""
        return sorted(self._tenants.get(tenant, {}).values(), key=lambda one: one.name)

    def count(self, tenant: str) -> int:
        """How many collections a tenant has, those that are coming back, or will not, too."""
        return len(self._tenants.get(tenant, ())) + self.held.count(tenant)

    def create(self, tenant: str, create: Create, now_seconds: float) -> tuple[Entry, bool]:
        """The collection that ``create`` asks for, and whether it is new.

        Raises Exists, Quota, Unavailable, or Unsupported for a durability that needs a journal.
        """
        durability = create.durability or self._default_durability
        definition = Definition(
            dim=create.dim,
            capacity=create.capacity,
            metric=create.metric,
            ids=create.ids,
            columns=dict(create.columns),
            ttl_seconds=create.ttl,
        )
        shards = create.shards or 1
        definition = part_definition(definition, shards)
        existing = self._tenants.get(tenant, {}).get(create.collection)
        if existing is not None:
            _refuse_other(existing, create, definition, durability)
            return existing, False
        self.held.refuse(tenant, create.collection)
        self.refuse_durability(durability)
        replicas = self.replicas_for(create.replicas)
        if shards > 1 and self._is_in_cluster:
            raise Unsupported("shards: more than 1 is not supported in a cluster yet")
        names = part_names(create.collection, shards)
        self._refuse_still_dropping(tenant, create.collection, names)
        self._refuse_over_collections(tenant)
        windows = self._new_windows(tenant, definition, names)
        made = [
            Shard(
                tenant, name, durability, window, now_seconds, replicas=replicas,
                has_log=self.has_log(durability),
            )
            for name, window in zip(names, windows, strict=True)
        ]  # fmt: skip
        if self.has_log(durability):
            for shard in made:
                shard.follows = self._dropping.get((tenant, shard.name))
        entry = self._list(*made)
        for name in names:
            self._dropping.pop((tenant, name), None)
        return entry, True

    def _new_windows(self, tenant: str, definition: Definition, names: list[str]) -> list[Window]:
        """A window for each name; none of them if there is no room for all. Quota."""
        windows: list[Window] = []
        for name in names:
            share = Share(self._accounts.of(tenant).memory, _WINDOW)
            beyond_bytes = self._coming_back(tenant, name)
            share.resize(reserved_bytes(definition, self._scan), beyond_bytes)
            windows.append(self._window(definition, share))
        return windows

    def _refuse_still_dropping(self, tenant: str, name: str, names: list[str]) -> None:
        """Unavailable while a collection of that name, cut otherwise, is still in the store."""
        for (whose, part), other in self._dropping.items():
            is_of_name = whose == tenant and collection_of(part) == name
            if is_of_name and part not in names and not other.is_dropped:
                raise Unavailable(f"collection: the {name!r} before is being dropped; try again")

    def uncreate(self, entry: Entry) -> None:
        """Take a collection out that the engine was not told of."""
        before = [(shard, shard.follows) for shard in entry.shards]
        self.drop(entry)
        for shard, follows in before:
            shard.is_dropped = True
            self._dropping.pop((shard.tenant, shard.name), None)
            if follows is not None:
                self._dropping[shard.tenant, shard.name] = follows

    def _list(self, *shards: Shard) -> Entry:
        entry = Entry(*shards)
        self._tenants.setdefault(entry.tenant, {})[entry.name] = entry
        if entry.whole is not None:
            self.sharded[entry.tenant, entry.name] = entry
        return entry

    def drop(self, entry: Entry) -> None:
        """Take a collection out; its window, and its bytes of the budget, go when it is dropped.

        After a fault it is still there.
        """
        self.unlist(entry.shards[0])

    def unlist(self, shard: Shard) -> None:
        """As ``drop``, of the collection that a shard is of."""
        collections, name = self._tenants[shard.tenant], collection_of(shard.name)
        entry, journals = collections[name], self.dropped_journals
        dropping = {name: other for name, other in self._dropping.items() if not other.is_dropped}
        for one in entry.shards:
            if one.pending is None:
                continue
            dropping[one.tenant, one.name] = one
            if one.pending.log is not None:
                journals = journals.with_dropped(one.pending.log.numbers())
        leaving = [one for one in self._leaving if not one.is_dropped]
        leaving.extend(entry.shards)
        # From here on nothing can fail.
        self.dropped_journals, self._dropping, self._leaving = journals, dropping, leaving
        del collections[name]
        self.sharded.pop((shard.tenant, name), None)
        if not collections:
            del self._tenants[shard.tenant]
        entry.listed.is_listed = False

    # -- collections that are made of snapshots ---------------------------------------------------

    def reserve(self, tenant: str, name: str, durability: Durability | None) -> Budget:
        """Hold the name of a collection that is to come, and say whose memory it takes.

        Exists, Unavailable, Quota, Unsupported.
        """
        if name in self._tenants.get(tenant, {}):
            raise Exists(f"collection: there is a {name!r} already")
        self.held.refuse(tenant, name)
        if durability is not None:
            self.refuse_durability(durability)
        self._refuse_over_collections(tenant)
        memory = self._accounts.of(tenant).memory
        self.held.hold(tenant, name, "is being restored; try again")
        self._reserved.add((tenant, name))
        return memory

    def unreserve(self, tenant: str, name: str) -> None:
        """Nothing comes of it. Again and again."""
        if (tenant, name) in self._reserved:
            self._reserved.discard((tenant, name))
            self.held.release(tenant, name)

    def new_window(self, budget: Budget, definition: Definition) -> Window:
        """An empty window that no name leads to yet. From any thread. Quota."""
        share = Share(budget, _WINDOW)
        share.resize(reserved_bytes(definition, self._scan))
        return self._window(definition, share)

    @property
    def default_durability(self) -> Durability:
        """Of a collection that says none."""
        return self._default_durability

    # -- collections that are in the store and not, or not yet, here ------------------------------

    def window_for(self, tenant: str, definition: Definition) -> Window:
        """An empty window for a held collection: its tenant had it before. Quota."""
        share = Share(self._accounts.of(tenant).memory, _WINDOW)
        share.restore(reserved_bytes(definition, self._scan))
        return self._window(definition, share)

    def restore(self, shard: Shard) -> Entry | None:
        """A held collection is back, or one of its shards; None while others of it are missing.

        The memory of its window is set aside already.
        """
        shards = self.coming.with_one_more(shard)
        if shards is None:
            self.held.came(shard.tenant, shard.name)
            return None
        self.held.release(shard.tenant, shard.name)
        self._reserved.discard((shard.tenant, shard.name))
        return self._list(*shards)

    # -- memory -----------------------------------------------------------------------------------

    def _window(self, definition: Definition, share: Share) -> Window:
        """A window, which has its bytes of the budget for as long as it is there."""
        try:
            return Window(definition, self.window_limits, self._scan, share)
        except MemoryError:
            raise Quota(
                f"capacity: the machine has no {share.taken_bytes} bytes for this window"
            ) from None

    def _coming_back(self, tenant: str, name: str) -> int:
        """Bytes of the tenant's windows that are gone before a new one of this name can be touched.

        The engine does what it is asked in order, and drops what is in memory only at once; what
        the store must drop first, only before another of the same name is made.
        """
        return sum(
            one.reserved_bytes
            for one in self._leaving
            if one.tenant == tenant
            and not one.is_dropped
            and (one.pending is None or one.name == name)
        )

    def has_log(self, durability: Durability) -> bool:
        """Whether what is done to a collection is logged."""
        return self._is_in_cluster or durability != "memory"

    def refuse_durability(self, durability: Durability) -> None:
        """Unsupported where nothing here can promise it."""
        if self.has_log(durability) and not (self._has_journal or self._is_in_cluster):
            raise Unsupported(
                f"durability: {durability!r} needs a data directory, and this server has none;"
                " start it with --data-dir DIRECTORY (the setting data_dir)"
            )

    def replicas_for(self, asked: int | None) -> int:
        """How many nodes should hold a new collection. Unsupported."""
        if asked is None:
            return DEFAULT_REPLICAS if self._is_in_cluster else 1
        if asked > 1 and not self._is_in_cluster:
            raise Unsupported(f"replicas: {asked} nodes need a cluster, and this server is in none")
        if asked > self.nodes:
            raise Unsupported(f"replicas: {asked} is more than the {self.nodes} node(s) there are")
        return asked

    def _refuse_over_collections(self, tenant: str) -> None:
        there = self.count(tenant)
        if there >= self.limits.max_collections:
            raise Quota(f"max_collections: there are {there} of {self.limits.max_collections}")
        self._accounts.of(tenant).refuse_collection(there)


def _refuse_other(
    existing: Entry, create: Create, definition: Definition, durability: Durability
) -> None:
    if create.if_exists != "ok":
        raise Exists(f"collection: there is a {existing.name!r} already")
    there = existing.shards[0].definition, len(existing.shards), existing.durability
    found = differences(there, (definition, create.shards or 1, durability))
    if found is not None:
        raise Exists(f"collection: there is a {existing.name!r} already, but its {found}")


def window_limits(limits: Limits) -> WindowLimits:
    """What of the server's limits is a window's business."""
    return WindowLimits(
        max_rows=limits.max_rows,
        max_metadata_bytes=limits.max_metadata_bytes,
        max_producers=limits.max_producers,
        max_payload_bytes=limits.max_payload_bytes,
    )
