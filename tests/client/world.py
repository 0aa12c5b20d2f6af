"""A server and its network as a plain model, to hold the add pipeline to its promises.

Frames are real messages. The model decodes them, remembers producers as PROTOCOL section 4 says,
and keeps a log of the rows that went in. What was sent on a connection that is gone may still be
read by the server, later than what a newer connection brought.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from omendb_core.model.change import RowBatch
from omendb_core.model.errors import NonFinite, NotFound, OmenError, OutOfOrder

from omendb_ws.client.added import Added
from omendb_ws.client.adding import Pipeline
from omendb_ws.client.descriptions import Description, Opened
from omendb_ws.client.frames import Frame, Job
from omendb_ws.client.rows import checked_rows, given_rows
from omendb_ws.errors import ConnectionLost
from omendb_ws.wire import binary, messages
from omendb_ws.wire.limits import Limits

#: A row with this value is refused by the server, and only there.
BAD = 666.0
ROWS_PER_FRAME = 2


def description(epoch: str = "e1", **fields: object) -> Description:
    """A collection of two dimensions with u64 ids."""
    values: dict[str, object] = {
        "collection": "items", "dim": 2, "metric": "dot", "capacity": 10_000, "ids": "u64",
        "columns": {}, "ttl": None, "durability": "memory", "epoch": epoch, "version": 0,
        "first_seq": 1, "last_seq": 0, "rows": 0, "bytes": 0,
    }  # fmt: skip
    return Description(**{**values, **fields})  # type: ignore[arg-type]


@dataclass
class Server:
    """Producers, and the log of the current epoch: (producer, number, first id, ids)."""

    epoch: int = 1
    handle: int = 1
    producers: dict[str, int] = field(default_factory=dict)
    log: list[tuple[str, int, list[int]]] = field(default_factory=list)
    #: The ids of every epoch before.
    past: list[list[int]] = field(default_factory=list)

    def ids(self) -> list[int]:
        return [one for _, _, ids in self.log for one in ids]

    def add(self, message: bytes) -> messages.Added | OmenError:
        add = binary.decode_request(message, Limits())
        assert isinstance(add, messages.Add), add
        assert isinstance(add.rows, RowBatch)
        assert add.producer is not None
        assert add.batch is not None
        if add.collection != self.handle:
            return NotFound("handle")
        last = self.producers.get(add.producer, 0)
        if add.batch > last + 1:
            return OutOfOrder("out of order", expected=last + 1)
        if add.batch <= last:
            return messages.Added(len(self.log), None, None, duplicate=True)
        bad = np.flatnonzero(add.rows.vectors[:, 1] == BAD)
        if len(bad):
            return NonFinite("bad", row=int(bad[0]))
        ids = [int(one) for one in add.rows.ids]  # type: ignore[union-attr]
        first = len(self.ids()) + 1
        self.log.append((add.producer, add.batch, ids))
        self.producers[add.producer] = add.batch
        return messages.Added(len(self.log), first, first + len(ids) - 1)

    def begin_anew(self, kept: int) -> None:
        """A new epoch, with the first ``kept`` batches of the log."""
        self.epoch += 1
        self.past.append(self.ids())
        self.log = self.log[:kept]
        self.producers = {producer: number for producer, number, _ in self.log}


@dataclass
class Call:
    """One add: its ids are consecutive; ``outcome`` once it has ended."""

    ids: list[int]
    job: Job
    bad: int | None
    outcome: Added | OmenError | None = None
    cancelled: bool = False


class World:
    """One client's pipeline, one server, one current connection and those that are gone."""

    def __init__(self, *, durable: bool = False) -> None:
        self.server = Server()
        self.durable = durable
        names = count(1)
        self.pipeline = Pipeline(lambda: f"p{next(names)}")
        self.calls: list[Call] = []
        self.alive = False
        self.handle = 0
        self._request_ids = count(1)
        #: Sent on the current connection and not read yet; read and not delivered; of the gone.
        self.sent: deque[tuple[Frame, bytes]] = deque()
        self.replies: deque[tuple[Frame, messages.Added | OmenError]] = deque()
        self.stale: deque[bytes] = deque()

    # -- the client

    def call(self, rows: int, bad: int | None = None) -> Call:
        first = sum(len(call.ids) for call in self.calls)
        ids = list(range(first, first + rows))
        vectors = np.ones((rows, 2), np.float32)
        if bad is not None:
            vectors[bad, 1] = BAD
        checked = checked_rows(description(), given_rows(vectors, ids, None, None))
        job = Job(checked, ROWS_PER_FRAME, 1 << 20, lambda outcome: self._ended(call, outcome))
        call = Call(ids, job, bad)
        self.calls.append(call)
        self.pipeline.submit(job)
        return call

    def cancel(self, call: Call) -> None:
        if call.outcome is None:
            call.cancelled = True
            self.pipeline.abandon(call.job)

    def step(self) -> bool:
        """What the driver would do now; whether it did anything."""
        if not self.pipeline.is_busy:
            return False
        if not self.alive or self.pipeline.is_cut_off:
            self.open()
        if self.pipeline.must_settle:
            if self.pipeline.settle().reopen:
                self.open()
            return True
        frame = self.pipeline.next_frame()
        if frame is None:
            return False
        opened = Opened(self.handle, self._description())
        message = frame.encode(next(self._request_ids), opened)
        self.pipeline.was_sent(frame)
        self.sent.append((frame, message))
        return True

    def open(self) -> None:
        self.alive, self.handle = True, self.server.handle
        self.pipeline.opened(self._description())
        self.pipeline.resume()

    def _description(self) -> Description:
        durability = "everysec" if self.durable else "memory"
        return description(f"e{self.server.epoch}", durability=durability)

    def _ended(self, call: Call, outcome: Added | OmenError) -> None:
        call.outcome = outcome
        if isinstance(outcome, Added):
            epochs = [*self.server.past, self.server.ids()]
            assert any(all(there.count(one) == 1 for one in call.ids) for there in epochs), (
                "an acknowledged row is not in, or twice"
            )
        self._check_refused(call)

    # -- the server and the network

    def read(
        self, refusal: Callable[[], OmenError] | None = None, *, applied: bool = False
    ) -> None:
        """Read the oldest message; answer it, or with ``refusal`` (``applied``: having done it)."""
        if not self.sent:
            return
        frame, message = self.sent.popleft()
        answer = self.server.add(message) if refusal is None or applied else None
        if refusal is not None and not isinstance(answer, OmenError):
            answer = refusal()
        assert answer is not None
        self.replies.append((frame, answer))

    def deliver(self) -> None:
        """Hand the oldest reply to the client."""
        if self.replies:
            frame, answer = self.replies.popleft()
            if isinstance(answer, messages.Added):
                self.pipeline.acknowledged(frame, answer)
            else:
                self.pipeline.refused(frame, answer)

    def cut(self, *, blamed: bool = False) -> None:
        """The connection goes: replies under way are lost, what was sent may be read later."""
        self.alive = False
        waiting = [frame for frame, _ in self.replies] + [frame for frame, _ in self.sent]
        self.stale.extend(message for _, message in self.sent)
        self.sent.clear()
        self.replies.clear()
        for frame in waiting:
            self.pipeline.lost(frame, blamed=blamed)

    def read_stale(self) -> None:
        if self.stale:
            self.server.add(self.stale.popleft())

    def forget(self) -> None:
        """The server forgets its producers; it has read all that was under way before.

        (A first batch that is in, unacknowledged, and forgotten cannot be told from a new one: no
        client can help that, so it does not happen here.)
        """
        while self.stale:
            self.read_stale()
        first = [frame for frame in self.pipeline._inflight if frame.number == 1]
        if not any(frame.unknown or frame.is_out for frame in first):
            self.server.producers.clear()

    def restart(self, kept: int) -> None:
        """The server loses all but ``kept`` batches (all, if in memory); its sockets are gone."""
        self.cut()
        self.stale.clear()
        self.server.begin_anew(kept if self.durable else 0)

    def recreate(self) -> None:
        """The collection is dropped and made anew, with another handle."""
        self.server.begin_anew(0)
        self.server.handle += 1
        # A message on a connection that is gone names a handle that died with the collection.
        self.stale.clear()

    # -- the end

    def finish(self) -> None:
        """No more faults: everything ends, in bounded time; then the network runs dry."""
        for _ in range(20_000):
            if not self.pipeline.is_busy:
                break
            if not self.step():
                self.read()
                self.deliver()
        assert not self.pipeline.is_busy, "a call never ends"
        while self.stale:
            self.read_stale()

    def check(self) -> None:
        """The promises, when all is over."""
        ids = self.server.ids()
        assert len(ids) == len(set(ids)), "a row went in twice"
        added = {one for call in self.calls if isinstance(call.outcome, Added) for one in call.ids}
        in_order = [one for one in ids if one in added]
        assert in_order == sorted(in_order), "rows of two calls changed places"
        for call in self.calls:
            assert call.cancelled or call.outcome is not None, "a call never ended"
            self._check_refused(call)

    def _check_refused(self, call: Call) -> None:
        """A refusal that is no ConnectionLost says exactly which rows are in."""
        error = call.outcome
        if not isinstance(error, OmenError):
            return
        if isinstance(error, NonFinite):
            assert error.row == call.bad
        rows_in = error.details["rows_added"]
        if not isinstance(error, ConnectionLost) and error.code not in OPEN_ENDED:
            there = set(self.server.ids())
            assert not there.intersection(call.ids[int(rows_in) :]), "a refused row went in"


OPEN_ENDED = ("internal", "storage_failed", "not_found")
