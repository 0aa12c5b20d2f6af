"""Changes of durable collections: admitted, logged, and applied once they are safe.

Lives on the engine's thread. The order is journal → ring → match → answers: a row is visible, and
acknowledged, when it is as safe as its collection's durability promises (PROTOCOL section 8), and
not before. ``begin`` admits a change and hands it to the log; the log settles it from a thread of
its own, which comes back as a ``Settled``; ``land`` applies what was settled.

Adds are admitted behind whatever still flies, so the log writes large groups. What looks rows up, a
delete or an update, is admitted behind others of its kind, but not behind adds: then it waits until
everything of its collection has landed, and later changes of that collection wait behind it. Tried
in thought and left: admitting those against what flying adds will have done; it takes a second
index of ids, for streams that mix both.

Of a change that a full disk refused nothing is left, once all flights have landed and admission is
put back to what is safe (``Log.rewind``). After a failed write or flush the log is finished: every
change is refused, and reads go on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from omendb_core.model.change import Behind, Repeated
from omendb_core.model.errors import Internal, OmenError, StorageFailed, StorageFull
from omendb_core.replay import kept_rows

from ...journal.interface import Log, Settle
from ...runtime.faults import as_error
from ...telemetry.metrics import Metrics
from ..model import answers
from ..model.collection import Collection
from ..model.commands import Change
from ..model.pending import Flight, Flights
from ..model.ticket import Answer, Effect
from .changes import Changes
from .commands import RowChange, Settled
from .turns import Turns

log = logging.getLogger(__name__)

#: How often a log is asked whether it wants live rows written again.
_KEEPING_SECONDS: Final = 0.02
#: How often a line is logged of a collection whose changes are refused.
_SAY_SECONDS: Final = 10.0


class Durability:
    """Admits changes, hands them to logs, applies them when these say so.

    ``submit`` queues work for the engine, from any thread.
    """

    def __init__(
        self, metrics: Metrics, changes: Changes, turns: Turns, submit: Callable[[Settled], None]
    ) -> None:
        self._metrics = metrics
        self._changes = changes
        self._turns = turns
        self._submit = submit
        self._settled: dict[Collection, None] = {}
        self._keep_at_seconds: dict[Collection, float] = {}
        self._say_at_seconds: dict[Collection, float] = {}
        #: How many flights have not landed, over all collections.
        self.flying = 0

    @property
    def has_settled(self) -> bool:
        """Whether something can land right now."""
        return bool(self._settled)

    def settler(self, collection: Collection) -> Settle:
        """What the log of ``collection`` calls, on its own thread."""
        submit = self._submit

        def settle(flights: Sequence[Flight], error: OmenError | None) -> None:
            submit(Settled(collection, flights, error))

        return settle

    # -- taking off -------------------------------------------------------------------------------

    def begin(self, work: RowChange, now_us: int) -> Answer | None:
        """Admit a change and hand it to the log; its answer if it has one already. OmenError."""
        collection, flights = work.collection, _flights(work.collection)
        collection.refuse_broken()
        if flights.waits_for:
            flights.parked.append(work)
            return None
        journal = _log(flights)
        if isinstance(journal.error, StorageFailed):
            raise StorageFailed(journal.error.message)
        if not journal.has_room:
            flights.park(work, "room")
            return None
        try:
            admitted = self._changes.admit(work, now_us)
        except Behind:
            flights.park(work, "rest")
            return None
        is_change = admitted is not None and not isinstance(admitted, Repeated)
        if not is_change and not flights.flying:
            return self._changes.finish(work, admitted)
        try:
            flight = Flight(work, admitted, work.ticket.asker.lane, not is_change)
            self._take_off(collection, flights, flight)
        except Exception:
            if is_change:
                self._rewind_soon(collection, flights)
            raise
        return None

    def expire(self, collection: Collection, now_us: int) -> None:
        """Have what is older than the collection's ttl leave."""
        flights = _flights(collection)
        if flights.is_expiring or flights.waits_for == "store" or collection.broken is not None:
            return
        if flights.error is not None or flights.must_rewind or not collection.window.rows:
            return
        if _log(flights).error is not None:
            return
        change = collection.window.admit_expire(collection.time_us(now_us))
        if change is not None:
            try:
                self._take_off(collection, flights, Flight(None, change, None, False))
                flights.is_expiring = True
            except Exception:
                self._rewind_soon(collection, flights)
                raise

    def was_answered(self, work: Change) -> None:
        """A request was answered while changes that its connection sent before it still fly."""
        flights = _flights(work.collection)
        lane = work.ticket.asker.lane
        self._take_off(work.collection, flights, Flight(None, None, lane, True))

    def _take_off(self, collection: Collection, flights: Flights, flight: Flight) -> None:
        """Hand a flight to the log. After a fault of that it lands refused; after another one
        there is none."""
        if flight.lane is not None:
            self._turns.flies(flight.lane, collection)
        flights.flying.append(flight)
        self.flying += 1
        if flight.is_settled:
            return
        try:
            assert flight.admitted is not None
            assert not isinstance(flight.admitted, Repeated)
            _log(flights).append(flight.admitted, flight)
        except Exception as error:
            self._rewind_soon(collection, flights)
            flight.is_settled = True
            flight.error = self._fault(error, f"handing a change to the log of {collection.name}")

    def _rewind_soon(self, collection: Collection, flights: Flights) -> None:
        """What was admitted last is not in the log: nothing is admitted before it is forgotten."""
        flights.must_rewind = True
        if flights.waits_for != "store":
            flights.waits_for = "rest"
        self._settled[collection] = None

    # -- landing ----------------------------------------------------------------------------------

    def settled(self, note: Settled) -> None:
        """The log is through with some changes; ``land`` goes on with them."""
        for flight in note.flights:
            flight.is_settled = True
            flight.error = note.error
        self._settled[note.collection] = None

    def land(self, effects: list[Effect], until_ns: int) -> int:
        """Apply what is safe, as far as a tick goes: the answers to ``effects``; how many landed.

        A fault with one collection leaves the others, and what landed of it, alone.
        """
        landed = 0
        for collection in list(self._settled):
            collection.has_kept_waiting = collection.is_held
            if collection.is_held:
                continue
            try:
                landed += self._land_all(collection, effects, until_ns)
            except Exception as error:
                self._fault(error, f"landing changes of {collection.name}")
            if collection in self._settled:  # there is more, behind that of the others
                self._settled[collection] = self._settled.pop(collection)
            if time.perf_counter_ns() >= until_ns:
                break
        return landed

    def _land_all(self, collection: Collection, effects: list[Effect], until_ns: int) -> int:
        """Land what is safe of one collection; ``_settled`` holds it until all of that is done."""
        flights, landed = _flights(collection), 0
        while flights.has_landing and not collection.is_held:
            self._land_next(collection, flights, effects)
            landed += 1
            if time.perf_counter_ns() >= until_ns:
                break
        self._release(collection, flights)
        if not flights.has_landing:
            del self._settled[collection]
        return landed

    def _land_next(self, collection: Collection, flights: Flights, effects: list[Effect]) -> None:
        """Land one: it is applied, or refused, and its connection goes on, whatever faults."""
        flight = flights.flying.popleft()
        self.flying -= 1
        answer: Answer | None = None
        try:
            if flight.error is not None:
                self._refused(collection, flights, flight.error)
            answer = self._outcome(collection, flights, flight)
        except Exception as error:
            told = error if isinstance(error, OmenError) else self._fault(error, "landing")
            if flight.work is not None:
                answer = answers.refusal(flight.work.ticket, told)
            if flights.error is None:
                self._changes.make_up(collection, flight.admitted)
        if answer is not None:
            effects.append(answer)
        if flight.lane is None:
            return
        try:
            self._turns.landed(flight.lane)
        except Exception as error:  # nothing of it was done
            self._fault(error, "going on behind a change")
            self._turns.landed(flight.lane)

    def _outcome(self, collection: Collection, flights: Flights, flight: Flight) -> Answer | None:
        if flight.work is None and flight.admitted is None:
            return None
        if flight.work is None:
            flights.is_expiring = False
        if flights.error is not None:  # of a repeated batch: its original's, perhaps
            raise type(flights.error)(flights.error.message)
        if collection.broken is not None:
            raise Internal(f"the collection {collection.broken}; whether this is logged is unknown")
        if flight.work is not None:
            assert isinstance(flight.work, RowChange), "only these take off"
            return self._changes.finish(flight.work, flight.admitted)
        assert flight.admitted is not None
        assert not isinstance(flight.admitted, Repeated)
        arrival_us = flight.admitted.time_us - collection.ahead_us
        self._changes.apply(collection, flight.admitted, arrival_us)
        return None

    def _refused(self, collection: Collection, flights: Flights, error: OmenError) -> None:
        """Nothing takes off until everything that was refused has landed."""
        if flights.error is None:
            flights.error = error
            self._say(collection, error)
            if flights.waits_for != "store":
                flights.waits_for = "rest"

    def _say(self, collection: Collection, error: OmenError) -> None:
        """Log a refusal, now and then: a full disk is tried again with every change."""
        now_seconds = time.monotonic()
        if now_seconds >= self._say_at_seconds.get(collection, 0.0):
            self._say_at_seconds[collection] = now_seconds + _SAY_SECONDS
            log.error("%s: nothing is acknowledged: %s", collection.name, error)

    # -- everything has landed --------------------------------------------------------------------

    def _release(self, collection: Collection, flights: Flights) -> None:
        """Let parked changes go on if there is what they waited for."""
        if not flights.flying and flights.waits_for != "store":
            if flights.must_rewind or isinstance(flights.error, StorageFull):
                collection.window.rewind(_log(flights).rewind())
                flights.must_rewind = False
                if not flights.has_failed:
                    flights.error = None
            try:
                self._keep(collection, _log(flights))
            except Exception as error:  # the log asks again
                self._fault(error, f"writing live rows of {collection.name} again")
        if flights.may_go_on:
            self._turns.put_back(flights.parked)
            flights.waits_for = ""

    def _keep(self, collection: Collection, journal: Log) -> None:
        """Give the log the live rows that it wants written again."""
        now_seconds = time.monotonic()
        if now_seconds < self._keep_at_seconds.get(collection, 0.0) or journal.error is not None:
            return
        self._keep_at_seconds[collection] = now_seconds + _KEEPING_SECONDS
        window = collection.window
        row_bytes = 4 * window.definition.dim + 16
        wanted = journal.wanted_rows(window.rows * row_bytes + window.payload_bytes)
        if wanted is not None:
            journal.keep(kept_rows(window, *wanted))

    def _fault(self, error: Exception, doing: str) -> OmenError:
        self._metrics.faults += 1
        return as_error(error, doing)

    def forget(self, collection: Collection) -> None:
        """A collection is gone."""
        self._settled.pop(collection, None)
        self._keep_at_seconds.pop(collection, None)
        self._say_at_seconds.pop(collection, None)


def _flights(collection: Collection) -> Flights:
    assert collection.flights is not None, "a collection without a log"
    return collection.flights


def _log(flights: Flights) -> Log:
    assert flights.log is not None, "the log is not made yet"
    return flights.log
