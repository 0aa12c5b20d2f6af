"""What the agenda says is done here; and what this node knows of its cluster, for whoever asks.

On the loop's thread. The bucket is watched on the connection's, which hands over what it reads. A
few times a second, and at once when something changes, the caretaker looks at all of it, begins
what is due (``Replicas`` does it), says what this node holds, and keeps the names of collections
that are elsewhere, so that nobody makes one anew.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

from omendb_core.model.errors import OmenError

from ..catalog.catalog import Catalog
from ..catalog.healing import log_of
from ..catalog.replicas import Replicas
from ..engine.model.shard import Shard
from ..journal.interface import Damaged, Stored
from ..journal.jetstream.names import held_entry, node_entry
from ..journal.jetstream.store import JetStreamStore
from ..runtime.faults import as_error
from ..telemetry.metrics import ClusterNumbers
from .agenda import Act, Agenda, Held, Step
from .members import BROKEN, GONE_SECONDS, READY, WAITING, Collection, Members
from .seen import Seen, held

log = logging.getLogger(__name__)

#: How often it looks, if nothing changes, in seconds.
LOOK_SECONDS: Final = 0.2
#: How often it says how far its windows are, in seconds.
_SAY_SECONDS: Final = 2.0
#: How long what a node that is gone was making or dropping stays, in seconds.
_CLEAR_SECONDS: Final = 3.0
ELSEWHERE: Final = "is not on this node; try again"


class _Told:
    """What the watch tells, handed over to the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, caretaker: Caretaker) -> None:
        self._loop = loop
        self._caretaker = caretaker

    def heard(self) -> None:
        self._soon(self._caretaker.heard, time.monotonic())

    def take(self, entry: str, value: dict[str, Any], revision: int) -> None:
        self._soon(self._caretaker.take, entry, value, revision, time.monotonic())

    def forget(self, entry: str) -> None:
        self._soon(self._caretaker.forget, entry)

    def listed(self) -> None:
        self._soon(self._caretaker.listed)

    def _soon(self, callback: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            log.debug("the loop is closed")


class Caretaker:
    """Of the node ``me``: ``begin``, then ``run`` until ``stop``."""

    def __init__(
        self,
        me: str,
        store: JetStreamStore,
        catalog: Catalog,
        replicas: Replicas,
        *,
        heals: bool = True,
    ) -> None:
        self._me = me
        self._store = store
        self._catalog = catalog
        self._replicas = replicas
        self._heals = heals
        self._agenda = Agenda(me, heals=heals)
        self._members = Members(me)
        self.seen = Seen(me, catalog, replicas.left, self._members.view(time.monotonic()))
        self._tasks: dict[str, tuple[Act, asyncio.Task[None]]] = {}
        #: Names that are held here because their collections are elsewhere, with their keys.
        self._elsewhere: dict[tuple[str, str], str] = {}
        self._owned: set[str] = set()
        self._leftovers_since: dict[str, float] = {}
        self._said: dict[str, tuple[int, str, int]] | None = None
        self._said_at = 0.0
        self._changed = asyncio.Event()
        #: The nodes that were logged as being here.
        self._told: frozenset[str] = frozenset()
        self._is_listed = self._has_come_back = False

    def begin(self, stored: list[Stored]) -> None:
        """Hold the names of all that is ``stored``, and watch the bucket."""
        for one in stored:
            self._hold_elsewhere(one.tenant, one.name, one.key, "is recovering; try again")
        self._store.watch(_Told(asyncio.get_running_loop(), self))

    def advertise(self, address: str) -> None:
        """Where other nodes reach this one."""
        self.seen.address = address
        self._store.advertise(address)

    async def run(self) -> None:
        """Look after the collections, until this is cancelled."""
        while True:
            try:
                self._look()
            except Exception as error:
                as_error(error, "looking after collections")
            self._changed.clear()
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def stop(self) -> None:
        """Let go of what is under way."""
        self._replicas.stop()
        tasks = [task for _, task in self._tasks.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    @property
    def waiting(self) -> int:
        """How many collections are still to come, at the start; later on 0."""
        if self._has_come_back:
            return 0
        others = self.seen.view.members.keys() - {self._me}
        is_settled = not others or self._members.watched_seconds > 1.5 * GONE_SECONDS
        if not self._is_listed or not is_settled or self._me not in self.seen.view.members:
            return len(self._elsewhere) + 1
        mine = self._mine()
        coming = sum(self._is_coming(one, mine.get(one.key)) for one in self.seen.by_name.values())
        self._has_come_back = not coming
        return coming

    def _is_coming(self, one: Collection, held: Held | None) -> bool:
        if held is Held.FOLLOWING:
            return one.owner is None
        if held is None:
            return self._me in self._agenda.wanted(self.seen.view, one, one.ready)
        return held in (Held.COMING, Held.BUSY)

    # -- what is watched --------------------------------------------------------------------------

    def heard(self, now: float) -> None:
        """The bucket could be read at ``now``."""
        self._members.heard(now)

    def take(self, entry: str, value: dict[str, Any], revision: int, now: float) -> None:
        """An entry of it was read."""
        self._members.take(entry, value, revision, now)
        if entry == node_entry(self._me):
            self._store.heard_of_me(value, revision)
        if not entry.startswith("node."):
            self._changed.set()

    def forget(self, entry: str) -> None:
        """An entry is gone."""
        self._members.forget(entry)
        if entry == held_entry(self._me):  # taken for dead meanwhile: say it again
            self._said = None
        self._changed.set()

    def listed(self) -> None:
        """All of them were read."""
        self._is_listed = True
        self._changed.set()

    # -- what is done -----------------------------------------------------------------------------

    def _look(self) -> None:
        now = time.monotonic()
        self.seen.look(self._members.view(now))
        self._tell_of_nodes()
        self._catalog.nodes = len(self.seen.nodes())
        if not self._is_listed or self._store.is_replaced:
            return
        mine = self._mine()
        self._replicas.forget_others(self.seen.view.collections.keys())
        self._keep_names(mine)
        for step in self._agenda.steps(self.seen.view, mine, now):
            self._begin(step)
        self._say(now)
        self._clear_leftovers(now)

    def _tell_of_nodes(self) -> None:
        """Log who comes and goes: whoever has two clusters of one name at one NATS reads it."""
        members = self.seen.view.members.items()
        there = {name: one for name, one in members if one.is_alive and one.address}
        for name in sorted(there.keys() - self._told - {self._me}):
            log.info(
                "node %s is here (%s, version %s)", name, there[name].address, there[name].version
            )
        for name in sorted(self._told - there.keys() - {self._me}):
            log.info("node %s is gone", name)
        self._told = frozenset(there)

    def _shards(self) -> dict[str, Shard]:
        return {
            shard.pending.log.stored.key: shard
            for shard in self._catalog.shards()
            if shard.pending is not None and shard.pending.log is not None
        }

    def _mine(self) -> dict[str, Held]:
        """What this node has of each collection, by key."""
        mine = {key: held(shard) for key, shard in self._shards().items()}
        for key in self._replicas.coming:
            mine[key] = Held.COMING
        for key, (act, _) in self._tasks.items():
            mine[key] = Held.COMING if act is Act.FOLLOW else Held.BUSY
        for stored in self._catalog.held.all_given_up():
            if stored.key in self.seen.view.collections:
                mine.setdefault(stored.key, Held.BROKEN)
        return mine

    def _begin(self, step: Step) -> None:
        one, shard = self.seen.view.collections.get(step.key), self._shards().get(step.key)
        doing: Coroutine[Any, Any, object]
        if step.act is Act.BEGIN_ANEW:
            assert one is not None
            doing = self._replicas.begin_anew(Stored(one.key, one.tenant, one.name))
        elif step.act is Act.FOLLOW or (step.act is Act.READ_AGAIN and shard is None):
            assert one is not None
            if step.act is Act.READ_AGAIN:
                self._catalog.held.drop(one.tenant, one.name)
            if self._catalog.is_taken(one.tenant, one.name):
                return  # by the one before it, which goes first
            self._hold_elsewhere(one.tenant, one.name, one.key, ELSEWHERE)
            doing = self._replicas.follow(Stored(one.key, one.tenant, one.name))
        elif shard is None or not shard.listed.is_listed:
            return
        elif step.act is Act.TAKE_OVER:
            doing = self._replicas.promote(shard)
        elif step.act is Act.HEAL:
            doing = self._replicas.heal(shard)
        elif step.act is Act.READ_AGAIN:
            self._owned.discard(step.key)
            doing = self._replicas.read_again(shard)
        else:
            self._owned.discard(step.key)
            there = one or self.seen.by_name.get((shard.tenant, shard.name))
            if there is not None:
                self._elsewhere[shard.tenant, shard.name] = there.key
            doing = self._replicas.let_go(shard, None if there is None else ELSEWHERE)
        log.info("%s %s", step.act.value, step.key if one is None else one.name)
        task = asyncio.create_task(self._do(step, doing))
        self._tasks[step.key] = step.act, task

    async def _do(self, step: Step, doing: Coroutine[Any, Any, object]) -> None:
        try:
            await doing
        except Damaged as error:
            self._give_up(step, error)
        except OmenError as error:
            log.warning("%s %s: %s", step.act.value, step.key, error.message)
            self._agenda.failed(step.key, time.monotonic())
        except Exception as error:
            as_error(error, f"{step.act.value} {step.key}")
            self._agenda.failed(step.key, time.monotonic())
        finally:
            del self._tasks[step.key]
            self._changed.set()

    def _give_up(self, step: Step, error: Damaged) -> None:
        """Its log is not what was written: nobody takes it before somebody has looked."""
        self._agenda.failed(step.key, time.monotonic())
        one, shard = self.seen.view.collections.get(step.key), self._shards().get(step.key)
        if step.act is Act.TAKE_OVER and shard is not None:
            self._replicas.lose(shard, error)
        if step.act not in (Act.FOLLOW, Act.READ_AGAIN) or one is None:
            log.error("%s %s: %s", step.act.value, step.key, error.message)
            return
        self._elsewhere.pop((one.tenant, one.name), None)
        reason = f"needs repair: {error.message}; {error.remedy}"
        self._catalog.held.give_up(Stored(one.key, one.tenant, one.name), reason)
        log.error("%s %s", one.name, reason)

    # -- names ------------------------------------------------------------------------------------

    def _keep_names(self, mine: dict[str, Held]) -> None:
        """Hold the names of collections that are elsewhere, and free those that are nowhere."""
        self._owned |= {key for key, held in mine.items() if held is Held.OWNING}
        self._owned &= self.seen.view.collections.keys() | mine.keys()
        for (tenant, name), one in self.seen.by_name.items():
            is_here = one.key in mine or one.key in self._owned  # or was dropped here just now
            if not is_here and not self._catalog.is_taken(tenant, name):
                self._hold_elsewhere(tenant, name, one.key, ELSEWHERE)
        for stored in self._catalog.held.all_given_up():
            if stored.key not in self.seen.view.collections:  # dropped, or healed
                self._catalog.held.drop(stored.tenant, stored.name)
        for name_of, key in list(self._elsewhere.items()):
            if self._catalog.shard_of(*name_of) is not None:
                del self._elsewhere[name_of]
            elif key not in self.seen.view.collections and key not in mine:
                del self._elsewhere[name_of]
                if self._catalog.held.is_held(*name_of):
                    self._catalog.held.release(*name_of)

    def _hold_elsewhere(self, tenant: str, name: str, key: str, reason: str) -> None:
        if self._elsewhere.get((tenant, name)) != key:
            self._elsewhere[tenant, name] = key
            self._catalog.held.hold(tenant, name, reason)

    def _clear_leftovers(self, now: float) -> None:
        """Take away what is left of nodes that are gone, if this is the first node."""
        found = self.seen.view.leftovers
        for key in self._leftovers_since.keys() - {one.key for one in found}:
            del self._leftovers_since[key]
        is_first = self._me == min(self.seen.view.alive, default="")
        for name in self.seen.view.dead if is_first else ():
            if name != self._me and name not in self._tasks:
                self._clear(name, asyncio.to_thread(self._store.forget_node, name))
        for one in found if is_first else ():
            since = self._leftovers_since.setdefault(one.key, now)
            if now - since >= _CLEAR_SECONDS and one.key not in self._tasks:
                self._clear(one.key, asyncio.to_thread(self._store.clear, one))

    def _clear(self, key: str, clearing: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(self._do(Step(Act.LET_GO, key), clearing))
        self._tasks[key] = Act.LET_GO, task

    # -- what is said -----------------------------------------------------------------------------

    def _say(self, now: float) -> None:
        """Say what this node holds: what it answers for at once, versions now and then."""
        windows = {
            key: (shard.window.version, READY, shard.window.rows)
            for key, shard in self._shards().items()
            if shard.broken is None and hasattr(shard, "window")
        }
        shards = self._shards()
        for key, state in self._mine().items():
            if state is Held.COMING:
                windows.setdefault(key, (0, state.value, 0))
            elif state is Held.BROKEN:
                windows[key] = 0, BROKEN, 0
        for key, shard in shards.items():  # while it is looked at, or healed, too
            error = None if shard.broken is None else log_of(shard).error
            if isinstance(error, Damaged) and hasattr(shard, "window"):
                windows[key] = shard.window.version, BROKEN, 0
        if windows == self._said:
            return
        known = self._said or {}
        is_new = {key: one[1] for key, one in windows.items()} != {
            key: one[1] for key, one in known.items()
        }
        if is_new or now - self._said_at >= _SAY_SECONDS:
            self._said, self._said_at = windows, now
            self._store.hold(windows)

    # -- for whoever asks --------------------------------------------------------------------------

    def numbers(self) -> ClusterNumbers:
        """For statistics."""
        states = list(self._mine().values())
        collections = self.seen.view.collections.values()
        return ClusterNumbers(
            nodes=len(self.seen.nodes()),
            ownerless_collections=sum(one.owner is None for one in collections),
            owned_collections=states.count(Held.OWNING),
            followed_collections=states.count(Held.FOLLOWING),
            lag_versions=max(map(self.seen.behind, collections), default=0),
            rebuilt=self._replicas.rebuilt,
            healed=self._replicas.healed,
            waiting_collections=sum(one.healing(self._heals) == WAITING for one in collections),
        )
