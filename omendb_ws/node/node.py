"""One server without its sockets: what ``server.py`` and ``local.py`` both are underneath.

Puts the parts together (limits, catalog, engine, metrics: the ``Context`` of its sessions), and is
where the two threads meet: the engine's effects come over to the loop in one call a tick. Knows
sessions and no transport. Everything here but ``_post`` runs on the loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, Literal

from omendb_core.model.errors import Quota

from ..access.audit import Audit
from ..access.logins import Logins
from ..access.peer import LOCAL, Peer
from ..access.principal import Principal
from ..catalog.recovery import Recoveries
from ..catalog.replicas import Replicas
from ..catalog.restoring import Restores
from ..cluster.caretaker import Caretaker
from ..cluster.operating import Operating
from ..engine.inbox import Inbox
from ..engine.model.ticket import Effect
from ..journal.interface import Store
from ..journal.jetstream.store import JetStreamStore
from ..journal.local.machine import wall_us
from ..journal.local.store import LocalStore
from ..journal.store_thread import Storage
from ..runtime.by_turns import ByTurns
from ..runtime.endings import Ending, Once
from ..runtime.faults import as_error
from ..sessions.authentication import look_again, refuse_place
from ..sessions.context import Context, monotonic_us
from ..sessions.long_work import Steps
from ..sessions.outbox import Outbox
from ..sessions.routing.parts import ClusterParts, OpenLine
from ..sessions.routing.vouched import VouchedSession
from ..sessions.server_view import ServerView
from ..sessions.session import Session
from ..sessions.subscriptions.pictures import Looks
from ..sessions.traced import make_session, make_vouched
from ..telemetry.metrics import Metrics
from ..telemetry.tracing import Traces
from .advertised import reached_at
from .audit_file import audit_file, begin
from .config import Settings
from .keys import Keys
from .making import make_accounts, make_catalog, make_engine, open_store, read_tenants
from .reloading import Reloads, Watched
from .samples import Samples
from .watching import watched

log = logging.getLogger(__name__)

#: Effects delivered in one turn of the loop: 10 µs each, those that are long cut themselves.
DELIVERED_AT_ONCE: Final = 256
#: Sessions that are looked at in one piece once keys have changed: 10 µs each.
LOOKED_AT_ONCE: Final = 64


class Node:
    """Catalog, engine and store, and the two threads that meet in them.

    ``start``, any number of sessions, ``stop``: once each, on one loop.
    """

    #: What brings stored collections back; None without a data directory.
    recoveries: Recoveries | None = None
    #: What follows collections of other nodes; None on a server by itself.
    replicas: Replicas | None = None
    #: The store of a node in a cluster, and who looks after its collections; None on a server by
    #: itself.
    _cluster: JetStreamStore | None = None
    caretaker: Caretaker | None = None

    def __init__(
        self,
        settings: Settings,
        clock_us: Callable[[], int] = monotonic_us,
        open_store: Callable[[str], Store] = LocalStore,
        traces: Traces | None = None,
    ) -> None:
        metrics = Metrics(clock_us() / 1e6)
        #: Those whose turn is still to come; each goes on where it was after a fault.
        self._effects: ByTurns[Effect] = ByTurns(_deliver, DELIVERED_AT_ONCE, self._fault)
        #: Where the audit log is; None if there is none.
        self.audit_file = audit_file(settings)
        audit = Audit(self.audit_file.put if self.audit_file is not None else None, clock_us)
        self.keys = Keys(settings, metrics, audit)
        self.keys.on_change = self._look_again_at_sessions
        self.reloads = Reloads(metrics, audit)
        engine = make_engine(settings, metrics, clock_us, self._post, traces)
        accounts = make_accounts(settings, clock_us)
        catalog, told_of = make_catalog(settings, accounts), settings.max_metrics_collections
        self.context = Context(
            limits=settings.limits(),
            max_messages_per_second=settings.max_messages_per_second,
            gate=self.keys.gate,
            newer_keys=self._newer_keys,
            audit=audit,
            logins=Logins(metrics, clock_us, audit),
            accounts=accounts,
            catalog=catalog,
            engine=engine,
            inbox=Inbox(engine, metrics, self._effects.give),
            metrics=metrics,
            clock_us=clock_us,
            looks=Looks(engine.submit, catalog.budget, metrics),
            server_view=ServerView(metrics, accounts, catalog, clock_us, told_of),
            overload=watched(settings.queue_deadline_ms, clock_us, metrics),
            restores=Restores(catalog, engine, settings.limits(), clock_us, wall_us, metrics),
            traces=traces,
            place=None if settings.cluster is None else (settings.node_name, settings.cluster_name),
        )
        self._settings, self._open_store = settings, open_store
        self._storage: Storage | None = None
        self.samples = Samples(self.context)
        self._loop: asyncio.AbstractEventLoop
        self._tasks: dict[asyncio.Task[None], bool] = {}  # whether it is to be cancelled
        self._sessions: set[Session] = set()
        self._ending, self._threads_end = Ending(), Once()

    def start(self) -> None:
        """Start the engine's thread; its effects come to the running loop.

        Stored collections begin to come back. Raises StorageFailed if the data directory cannot be
        used, Unavailable if another process does, Unsupported, AuditFileError; then nothing is left
        of it: no thread, no task, no lock of the directory.
        """
        try:
            self._start()
        except BaseException:
            self._give_up()
            raise

    def _start(self) -> None:
        self._loop = asyncio.get_running_loop()
        context = self.context
        if self.audit_file is not None:
            begin(self.audit_file)
        store = open_store(self._settings, self._open_store)
        if store is not None:
            try:
                self._storage = Storage(store, context.catalog.window_limits)
                self._cluster = store if isinstance(store, JetStreamStore) else None
            except BaseException:
                store.close()
                raise
            self._begin_with(self._storage)
        context.restores.storage = self._storage
        context.engine.start(self._storage)
        self._begin(self.samples.run)
        if self.keys.files:
            self.reloads.watch(Watched("keys", self.keys.files, self.keys.read))
        tenants_file = self._settings.tenants_file
        if tenants_file is not None:
            self.reloads.watch(Watched("tenants", (tenants_file,), self._read_tenants))
        self._begin(self.keys.run)
        self._begin(self.reloads.run)
        if self.recoveries is not None:
            self._begin(self.recoveries.run, is_endless=False)
        if self.caretaker is not None:
            self._begin(self.caretaker.run)

    def _begin_with(self, storage: Storage) -> None:
        """Have what is stored come back: all, or what of a cluster's is this node's to hold."""
        catalog, engine, clock_us = self.context.catalog, self.context.engine, self.context.clock_us
        if self._cluster is None:
            self.recoveries = Recoveries(storage, catalog, engine, clock_us)
            self.recoveries.begin()
            return
        assert self._settings.node_name is not None
        self.replicas = Replicas(storage, catalog, engine, clock_us)
        name = self._settings.node_name
        heals = self._settings.cluster_heal == "auto"
        self.caretaker = Caretaker(name, self._cluster, catalog, self.replicas, heals=heals)
        self.context.overview = self.caretaker.seen
        self.context.operations = Operating(self.caretaker.seen, self._cluster, heals=heals)
        self.caretaker.begin(storage.stored())

    def join(self, open_line: OpenLine) -> None:
        """Pass on what other nodes of the cluster answer; on a server by itself nothing happens."""
        if self.caretaker is not None and self._cluster is not None:
            name, secret = self._settings.cluster_name, self._cluster.secret()
            self.context.cluster = ClusterParts(self.caretaker.seen, name, secret, open_line)

    def listens_at(self, url: str) -> None:
        """Clients reach this server at ``url``; other nodes, too, unless the settings say where."""
        if self.caretaker is not None and self._cluster is not None:
            local = self._cluster.connection.local_host()
            self.caretaker.advertise(self._settings.advertise or reached_at(url, local))

    def _begin(
        self, work: Callable[[], Coroutine[Any, Any, None]], *, is_endless: bool = True
    ) -> None:
        self._tasks[self._loop.create_task(work())] = is_endless

    def _give_up(self) -> None:
        """A start failed: let go of what it had made by then."""
        for task in self._tasks:
            task.cancel()
        self.context.engine.stop()
        if self._storage is not None:
            self._storage.close()
        if self.audit_file is not None:
            self.audit_file.close()

    async def stop(self) -> None:
        """Do what is queued, and end the threads; what was acknowledged is on the disk then.

        Its sessions are closed by then. Whatever a step raises, the others are taken; what stays
        undone is raised in the end. After a fault it may be called again.
        """
        for task, is_endless in self._tasks.items():
            if is_endless:
                task.cancel()
        if self.replicas is not None:
            self.replicas.stop()
        if self.recoveries is not None:
            try:
                self.recoveries.stop()
            except Exception as error:
                as_error(error, "the end of recoveries")
                self.recoveries.stop()
        try:
            if self.caretaker is not None:
                await self.caretaker.stop()
            await asyncio.wait(self._tasks)
        finally:
            try:
                await self._end_threads()
            except Exception as error:
                as_error(error, "the end of the threads")
                await self._end_threads()
        if self._ending.error is not None:
            raise self._ending.error

    async def _end_threads(self) -> None:
        """Wait until they have ended; a loop that ends meanwhile, and cancels this, waits too."""
        stop = partial(self._threads_end.do, self._stop_threads)
        try:
            ending = asyncio.get_running_loop().run_in_executor(None, stop)
        except RuntimeError:  # no thread for it; one that there was may do it all the same
            return stop()
        cancelled: asyncio.CancelledError | None = None
        while not ending.done():
            try:
                await asyncio.wait([ending])
            except asyncio.CancelledError as error:
                cancelled = error
        while self._effects:
            self._effects.give()
        if cancelled is not None:
            raise cancelled
        return ending.result()

    def _stop_threads(self) -> None:
        ending, catalog = self._ending, self.context.catalog
        ending.do("the end of restores", self.context.restores.close)
        ending.do("the end of the engine", self.context.engine.stop)
        for shard in catalog.shards():
            if shard.pending is not None and shard.pending.log is not None:
                ending.do(f"closing the log of {shard.name}", shard.pending.log.close)
        if self._storage is not None:
            ending.do("giving the data directory free", self._storage.close)
        for shard in catalog.shards():
            ending.do("letting go of windows", shard.let_go)
        ending.do("the end of the audit log", self._close_audit_file)
        if self.context.traces is not None:
            ending.do("the end of traces", self.context.traces.stop)

    def _close_audit_file(self) -> None:
        self.context.audit.say_left_out()
        if self.audit_file is not None:
            self.audit_file.close()

    def status(self) -> Literal["ok", "recovering", "storage_failed"]:
        """Whether everything stored is back, and every log can be written."""
        if self._waiting:
            return "recovering"
        return "storage_failed" if self.context.catalog.failed_logs() else "ok"

    @property
    def _waiting(self) -> int:
        """How many collections are still to come."""
        if self.caretaker is not None:
            return self.caretaker.waiting
        return 0 if self.recoveries is None else self.recoveries.waiting

    def refresh_journal_gauges(self) -> None:
        """Set what the gauges say of the journal."""
        gauges = self.context.metrics.gauges
        gauges.journal = self.context.catalog.journal_numbers()
        gauges.journal_pending = self.context.engine.pending_changes
        gauges.storage_failed_collections = self.context.catalog.failed_logs()
        gauges.recovering_collections = self._waiting
        gauges.damaged_collections = self.context.catalog.held.given_up
        if self._cluster is not None:
            gauges.nats = self._cluster.numbers()
        if self.caretaker is not None:
            gauges.cluster = self.caretaker.numbers()

    def refresh_audit_gauges(self) -> None:
        """Set what the gauges say of the audit log."""
        if self.audit_file is not None:
            gauges = self.context.metrics.gauges
            gauges.audit_failures = self.audit_file.failures
            gauges.audit_dropped = self.audit_file.dropped

    def open_session(self, principal: Principal | None, peer: Peer = LOCAL) -> Session:
        """A session for a new connection; ``principal`` None: not authenticated yet.

        Where its tenant has no place for one more it is refused already, and closes.
        """
        session = make_session(self.context, Outbox(), peer)
        if principal is not None:
            try:
                session.who.become(principal)
            except Quota as error:
                refuse_place(session, None, error, principal)
            except BaseException:
                session.who.leave()
                raise
        self.context.metrics.connections += 1
        self.context.metrics.connections_opened += 1
        self._sessions.add(session)
        return session

    def open_link(self, peer: Peer) -> VouchedSession:
        """A session for a connection of another node, which has not said for whom it speaks."""
        session = make_vouched(self.context, Outbox(), peer)
        self.context.metrics.connections += 1
        self.context.metrics.connections_opened += 1
        self._sessions.add(session)
        return session

    def close_session(self, session: Session) -> None:
        """Its connection is gone; called once."""
        self.context.metrics.connections -= 1
        self._sessions.discard(session)
        session.close()

    async def read_again(self) -> None:
        """A hangup: read keys, certificates and tenants, and open the audit log by its name."""
        if self.audit_file is not None:
            self.audit_file.reopen()
        await self.reloads.all()

    # -- keys and tenants -------------------------------------------------------------------------

    def _newer_keys(self, then: Callable[[], None]) -> bool:
        """See ``Context.newer_keys``."""
        fetching = self.keys.newer()
        if fetching is not None:
            fetching.add_done_callback(lambda _: then())
        return fetching is not None

    def _read_tenants(self) -> Callable[[], None]:
        """Read the tenants file, on any thread; what then takes it, on the loop's."""
        return partial(self.context.accounts.change, read_tenants(self._settings))

    def _look_again_at_sessions(self) -> None:
        """Keys have changed: whose is gone is closed, the others go on with the rights of now."""
        self.context.long_requests.begin(self._looking_again(list(self._sessions)), self._fault)

    def _looking_again(self, sessions: list[Session]) -> Steps:
        for number, session in enumerate(sessions, 1):
            if number % LOOKED_AT_ONCE == 0:
                yield
            try:
                look_again(session)
            except Exception as error:
                self._fault(error, "looking at a session's key")
                # Nobody knows what it may do still, so it may nothing.
                try:
                    session.refuse_connection("the key of this token could not be looked at")
                except Exception as again:  # those behind it have keys, too
                    self._fault(again, "refusing a session")

    # -- the engine's thread, and time ------------------------------------------------------------

    def _post(self, effects: list[Effect]) -> None:
        """On the engine's thread: have effects delivered on the loop's."""
        try:
            self._loop.call_soon_threadsafe(self._effects.give, effects)
        except RuntimeError:
            log.debug("the loop is closed: %d effects are for nobody", len(effects))

    def _fault(self, error: Exception, what: str = "delivering an effect") -> None:
        self.context.metrics.faults += 1
        as_error(error, what)


def _deliver(effect: Effect) -> None:
    effect.deliver()
