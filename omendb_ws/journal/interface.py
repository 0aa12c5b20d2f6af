"""What a journal is: the log of each durable collection, as the server sees it.

Protocols and plain data only; nothing here knows that a log is files. An implementation gives a
``Store`` (one data directory, one owner), which gives a ``Log`` for each collection, either new or
out of a ``Recovery``. ::

    store.create(…)  ─────────────────────────────►  Log
    store.stored()  ─►  store.recover(one)  ─►  Recovery  ─ changes() … finish() ─►  Log
                    ─►  store.follow(one)  ─►  Following  ─ changes() … begin() … promote() ─►  Log
                                                Log  ─ deposed, step_down() ─►  Following

A store of its own data directory does not know the last two lines: there nobody else appends.

**Order.** The engine admits a change, hands it to ``Log.append`` with a tag, and applies it when
the log *settles* that tag as safe: written for ``everysec``, flushed for ``always``. Tags are
settled in the order of their appends, in groups, on a thread of the journal. Admission of adds may
run ahead of that; every other change is admitted by a window that has caught up.

**Back-pressure.** ``append`` never waits and takes what it is given. The engine asks ``has_room``
before it admits, and admits nothing more for that collection until a group has settled.

**Failure.** A group settled with an error was not made safe, and neither is anything appended
behind it: the log refuses all that follows with the same error.

* ``StorageFull``: nothing of the refused changes is in the log. Once every refused tag is settled
  (they were appended before ``rewind`` is called) the engine puts its admission back to
  ``Log.rewind()``, and from then on the log tries again.
* ``StorageFailed``: the log is finished for this run, for good. What was refused may or may not be
  there after a restart. The window stays as it was applied; searches go on.

**Retention** is the log's own: it knows the definition, so it knows ``first_seq``, and drops what
lies wholly below the flushed one. Where deletes and updates pile up instead, its ``Compaction``
asks for live rows again, and drops what came before them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

from omendb_core.model.change import Change
from omendb_core.model.errors import OmenError, Unavailable
from omendb_core.model.logged import Checkpoint, KeptRows
from omendb_core.model.types import Definition, WindowLimits

#: ``memory`` has a log in a cluster only, in the memory of NATS.
Durability = Literal["memory", "everysec", "always"]

#: ``settle(tags, error)``: these appends are safe (None), or refused. Called on a thread of the
#: journal, never twice at once, tags in the order of their appends; it must not raise or wait.
Settle: TypeAlias = Callable[[Sequence[Any], OmenError | None], None]

#: What a log holds: changes, and live rows written again.
Logged: TypeAlias = Change | KeptRows


class Damaged(Unavailable):
    """A log that cannot be trusted: something in it that was flushed is not there any more.

    Nothing was cut or deleted. ``file`` and ``offset`` say where; ``remedy`` what can be done.
    """

    remedy: ClassVar[str] = "see omendb-ws repair"

    def __init__(self, message: str, file: str, offset: int) -> None:
        super().__init__(f"{file} at byte {offset}: {message}")
        self.file = file
        self.offset = offset


class Differs(Unavailable):
    """A window is not what its owner has: rebuild it."""


class Deposed(Unavailable):
    """A log that another node owns now: nothing of it is this one's to append."""


class Purged(Unavailable):
    """What comes next is not in the log any more, for nobody needs it who starts now: start again,
    with a fresh window."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A collection that a store holds, known by name alone; ``key`` is the store's own name."""

    key: str
    tenant: str
    name: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a log says of its collection: fixed but for ``epoch``, which a recovery may change."""

    tenant: str
    name: str
    definition: Definition
    durability: Durability
    epoch: str
    #: How many nodes should hold it, where several may; not in the log itself.
    replicas: int = 1


@dataclass(slots=True)
class Progress:
    """How far a recovery is; another thread may read it at any time."""

    bytes_done: int = 0
    bytes_total: int = 0
    rows: int = 0
    changes: int = 0


@dataclass(frozen=True, slots=True)
class Torn:
    """The end of a log that was being written when the process or the machine stopped: cut off.

    ``bytes_cut`` bytes of ``file`` from ``offset`` on; nothing says that any of them was flushed.
    """

    file: str
    offset: int
    bytes_cut: int


@dataclass(frozen=True, slots=True)
class LogNumbers:
    """A log now, for statistics; read from any thread, each number for itself.

    ``unflushed_seconds``: how long the oldest written byte has waited for the disk; 0 if none does.
    """

    bytes: int
    segments: int
    pending_bytes: int
    flushes: int
    unflushed_seconds: float
    written_bytes: int


@dataclass(frozen=True, slots=True)
class NatsNumbers:
    """A cluster's connection now: ``losses`` of it, and ``takeovers`` of its own logs, so far."""

    is_connected: bool
    losses: int
    takeovers: int


class Compaction(Protocol):
    """Live rows written again, so that a log need not hold what came before them. On the engine's
    thread.
    """

    def wanted_rows(self, live_bytes: int) -> tuple[int, int] | None:
        """The seqs (first, last) to be written again next, or None as a rule.

        ``live_bytes`` is about what the live rows take: rows times bytes of a row, and payloads.
        The engine asks when the window has caught up, and answers with
        ``keep(omendb_core.replay.kept_rows(window, first, last))`` before it admits another
        change; a piece is a few MiB. Not answering is allowed: it asks again.
        """

    def keep(self, rows: KeptRows) -> None:
        """Queue live rows that ``wanted_rows`` asked for; settles nothing."""


class Log(Protocol):
    """The log of one collection, open for appending. All but ``numbers`` on the engine's thread."""

    stored: Stored
    manifest: Manifest

    @property
    def has_room(self) -> bool:
        """Whether another change may be admitted; see "Back-pressure"."""

    @property
    def wants_rest(self) -> bool:
        """Whether none may be, before nothing is pending: what it has to ask is overdue."""

    @property
    def error(self) -> OmenError | None:
        """Why nothing is acknowledged now: StorageFull, StorageFailed, or None."""

    def append(self, change: Change, tag: Any) -> None:
        """Queue an admitted change, in the order of versions; ``tag`` is settled once."""

    def rewind(self) -> Checkpoint:
        """After ``StorageFull``: the state behind the last change that is safe; see "Failure".

        Every tag appended so far has been settled when this is called.
        """

    @property
    def compaction(self) -> Compaction | None:
        """What keeps it short; None: nothing that needs the window."""

    def numbers(self) -> LogNumbers:
        """See LogNumbers."""

    def close(self) -> None:
        """Write and flush what is queued, settle it, mark the clean stop, end the threads; waits.

        The next recovery keeps the epoch. Harmless after a failure; call it once.
        """

    def drop(self) -> None:
        """Take the collection out of the store, durably; what is queued is settled as it comes.

        Waits for the disk. Raises StorageFailed if the drop may not last.
        """


class Recovery(Protocol):
    """A stored log, read back: make a window, ``resume`` it, ``replay`` the changes, ``finish``.

    On any one thread; nothing is changed before ``finish``.
    """

    stored: Stored
    #: As it was left; once ``changes`` is exhausted, as it goes on: the epoch may be another one.
    manifest: Manifest
    #: Whether what was read lasts, and may be shown although ``finish`` has not come through.
    is_settled: bool
    #: Where the window starts, before the first of ``changes``.
    checkpoint: Checkpoint
    progress: Progress
    #: The end that ``finish`` cuts; known when ``changes`` is exhausted.
    torn: Torn | None
    #: Why something that was visible may be missing, so that the epoch is another; known then too.
    doubt: str | None

    def changes(self) -> Iterator[Logged]:
        """Everything the log holds, in order; arrays are views on what was read. Raises Damaged."""

    def time_us(self) -> int:
        """What time it is for the log now, once ``changes`` is exhausted: it goes on from the last
        change by as much as the machine's clock has moved on since, and never goes back.
        """

    def finish(self, settle: Settle) -> Log:
        """Open it for appending, once ``changes`` is exhausted: cuts the torn end, and makes the
        epoch durable.

        Raises StorageFull or StorageFailed; then no change was lost, and it may be tried again.
        """


@dataclass(frozen=True, slots=True)
class Stated:
    """What the owner's window held at ``version``: ``digests.digest_of`` a stretch of it."""

    version: int
    first_seq: int
    last_seq: int
    digest: int


#: What a follower is delivered.
Delivered: TypeAlias = Logged | Stated

#: ``deliver(logged, size_bytes)``: what comes next, in order, and what to call ``took`` with once
#: it is applied. On a thread of the journal; it must not raise or wait.
Deliver: TypeAlias = Callable[[Sequence[Delivered], int], None]
#: ``fail(error)``: nothing is delivered any more; likewise.
Fail: TypeAlias = Callable[[OmenError], None]


class Following(Protocol):
    """A log that another node owns, as a holder of its window reads it.

    Make a window, ``resume`` it at ``checkpoint``, ``replay`` the ``changes``; it can be shown
    then. From ``begin`` on what comes is delivered as it comes. Out of ``SharedLog.step_down`` the
    window is there already: ``begin`` at once.
    """

    stored: Stored
    manifest: Manifest
    #: Where the window starts, before the first of ``changes``.
    checkpoint: Checkpoint
    progress: Progress

    def changes(self) -> Iterator[Logged]:
        """All that the log held when it was begun to be read, in order; arrays are views on what
        was read. On any one thread. Raises Damaged, Purged, Unavailable.
        """

    def begin(self, deliver: Deliver, fail: Fail) -> None:
        """Deliver what comes behind that; never waits, once ``changes`` is exhausted.

        Not more is received than some MiB that are delivered and not ``took``: who applies slowly
        slows nobody else. ``fail`` is told, on the same thread, what ends it: Damaged or Purged.
        """

    def took(self, size_bytes: int) -> None:
        """So much of what was delivered is applied. From any thread."""

    def time_us(self) -> int:
        """As ``Recovery.time_us``, once ``changes`` is exhausted, or ``promote`` came through."""

    def promote(self, settle: Settle) -> Log:
        """Own it from now on, whoever did: everything that counts before is delivered when this
        returns, and nothing is any more. Waits, on any thread.

        Raises Deposed if yet another node has taken it meanwhile, Unavailable if NATS does not
        answer, Damaged. Then it is followed as before.
        """

    def numbers(self) -> LogNumbers:
        """See LogNumbers."""

    def close(self) -> None:
        """Deliver nothing any more; never waits. Again and again."""

    def drop(self) -> None:
        """Take the collection out, whose log is not what was written. Waits."""


class Statements(Protocol):
    """What an owner says of its window, for followers to compare. On the engine's thread, while
    nothing is pending.
    """

    def wanted(self, first_seq: int, last_seq: int) -> tuple[int, int] | None:
        """Of a window of these seqs, the stretch to be stated next; None as a rule."""

    def state(self, stated: Stated) -> None:
        """Queue a statement; settles nothing."""


@runtime_checkable
class SharedLog(Log, Protocol):
    """A log that another node may take over."""

    statements: Statements

    def step_down(self) -> Following:
        """After Deposed, all tags being settled and ``rewind`` called: go on as a follower, from
        the last change that counts. Once."""


class Receiving(Protocol):
    """A new collection's log, made of live rows; it is not there before ``finish``. Not
    thread-safe. Calls may wait for the disk, and raise StorageFull or StorageFailed.
    """

    def keep(self, rows: KeptRows) -> None:
        """Take some rows in, all of them of the version of the checkpoint."""

    def finish(self, settle: Settle) -> Log:
        """Every row has come: make it durable. On the store's thread."""

    def abandon(self) -> None:
        """Leave nothing of it. Again and again."""


class Store(Protocol):
    """All logs of one data directory. Calls may wait for the disk; from one thread at a time."""

    def stored(self) -> list[Stored]:
        """The collections that are there, whatever their state."""

    def recover(self, stored: Stored, limits: WindowLimits) -> Recovery:
        """Begin to read a log back. Raises Damaged."""

    def create(self, manifest: Manifest, limits: WindowLimits, settle: Settle) -> Log:
        """A new collection's log, durable when this returns.

        Raises StorageFull or StorageFailed; then there is nothing of it. Unavailable while another
        one has its name: one whose drop failed.
        """

    def receive(
        self, manifest: Manifest, checkpoint: Checkpoint, limits: WindowLimits, time_us: int
    ) -> Receiving:
        """A new collection's log that begins at ``checkpoint``, whose rows are still to come;
        ``time_us``: what time it is for them now.

        Raises as ``create`` does, and Unsupported where a store cannot do that.
        """

    def drop(self, stored: Stored) -> None:
        """``Log.drop`` for a collection that has no log open: damaged, or not recovered yet."""

    def close(self) -> None:
        """Give the data directory free; its logs were closed before."""
