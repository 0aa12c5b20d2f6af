"""A load: the batches of a file into a collection, from where an earlier run left off.

Asyncio over the public client. ``run`` tells an observer how it goes and returns, or raises, with
everything that was acknowledged counted in ``progress``.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np
from omendb_core.model.errors import Internal, OmenError, OutOfOrder
from omendb_core.model.types import MAX_SAFE_INTEGER

from ..client import Added, Client
from ..files.chunks import BadRow, Reader
from .cutting import Batch, Plan, cut, plan
from .sending import Sender
from .target import Target
from .usable import Wanted

#: Bad rows whose numbers are kept; more are only counted.
NAMED_BAD_ROWS: Final = 10
#: Much more than the messages under way.
_KEPT_BYTES: Final = 16 << 20
#: Batches that wait for their turn when a thread reads ahead.
_AHEAD: Final = 8


class RowRefused(Exception):
    """A row of the file cannot go in; the message names it and says why."""


@dataclass(slots=True)
class Progress:
    """How far a load has come: rows acknowledged in this run, and in earlier ones."""

    rows: int = 0
    earlier_rows: int = 0
    bad_rows: int = 0
    #: Of ``rows``: those that were left out as near others; None where that is not known of all.
    skipped_rows: int | None = 0
    bad: list[BadRow] = field(default_factory=list)
    #: Share of the file that is in, None where its size is not known.
    share: float | None = None
    version: int | None = None
    #: From the first batch to the last acknowledgement.
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Options:
    """How to load: as batches of ``producer``, cut as ``plan`` says; ``rate``: rows a second.
    ``unless_near``: rows that score as much against others are left out.

    ``is_new``: the producer's name was never used before, so nothing of it can be in.
    """

    producer: str
    plan: Plan
    skip_bad: bool = False
    rate: float | None = None
    is_new: bool = False
    unless_near: float | None = None


class Load:
    """One load of ``reader`` into the collection ``target``.

    ``create`` makes it where it is not there yet: once a batch is ready for it, or the file is
    over. ``reads_ahead``: by a thread, for what may wait for its data as long as it likes.
    """

    def __init__(
        self,
        db: Client,
        reader: Reader,
        target: Target,
        options: Options,
        *,
        create: Callable[[], Awaitable[object]] | None = None,
        reads_ahead: bool = False,
    ) -> None:
        self.progress = Progress()
        self._db, self._reader = db, reader
        self._target, self._options = target, options
        self._create = create
        self._created: asyncio.Future[object] | None = None
        self._reads_ahead = reads_ahead
        self._sender: Sender | None = None
        self._stopped = False
        self._started = 0.0

    def stop(self) -> None:
        """End early: what is under way is waited for and counted, nothing more is sent."""
        self._stopped = True
        if self._sender is not None:
            self._sender.stop()

    async def run(self, told: Callable[[Progress], None]) -> None:
        """Load everything, or until ``stop``; ``told`` after each batch.

        Raises FileError, RowRefused, OmenError, TimeoutError.
        """
        known = 0
        if not self._options.is_new and self._target.version:
            known = await known_batches(self._db, self._target, self._options.producer)
        there, how = self._target, self._options.plan
        chunks = self._reader.chunks(there.dim, there.ids, how.rows)
        batches = self._unknown(cut(chunks, how.wanted, self._found_bad), known)
        source = _Ahead(batches) if self._reads_ahead else _Direct(batches)
        self._sender = Sender(
            source, self._send, partial(self._acknowledged, told), self._options.rate
        )
        if isinstance(source, _Ahead):
            source.start(self._sender.news)
        if self._stopped:
            return
        _keep_freed_memory()
        self._started = time.monotonic()
        await self._sender.run()
        if not self._stopped:
            await self._is_there()

    # -- inside ---------------------------------------------------------------------------

    def _unknown(self, batches: Iterator[Batch], known: int) -> Iterator[Batch]:
        """Pass over the batches that an earlier run brought in."""
        for batch in batches:
            if batch.number > known:
                yield from itertools.chain([batch], batches)
                return
            self.progress.earlier_rows += len(batch)
            self.progress.share = batch.read

    def _found_bad(self, bad: BadRow) -> None:
        if not self._options.skip_bad:
            raise RowRefused(self._name(bad))
        self.progress.bad_rows += 1
        if len(self.progress.bad) < NAMED_BAD_ROWS:
            self.progress.bad.append(bad)

    def _name(self, bad: BadRow) -> str:
        return f"{self._reader.name}: {self._reader.unit} {bad.number}: {bad.reason}"

    async def _is_there(self) -> None:
        """Return when the collection is there; made if need be, whoever asks first."""
        if self._create is None:
            return
        if self._created is None:
            self._created = asyncio.ensure_future(self._create())
            await asyncio.shield(self._created)
            self._started = time.monotonic()
        await asyncio.shield(self._created)

    async def _send(self, batch: Batch) -> Added:
        await self._is_there()
        score = self._options.unless_near
        try:
            return await self._db.add(
                self._target.collection,
                batch.vectors,
                batch.ids,
                batch.metadata,
                producer=self._options.producer,
                batch=batch.number,
                unless_near=None if score is None else {"score": score},
            )
        except OmenError as error:
            if error.row is None or not 0 <= error.row < len(batch):
                raise
            bad = BadRow(int(batch.numbers[error.row]), error.message)
            raise RowRefused(self._name(bad)) from error

    def _acknowledged(self, told: Callable[[Progress], None], batch: Batch, added: Added) -> None:
        self.progress.rows += len(batch)
        if self._options.unless_near is not None and self.progress.skipped_rows is not None:
            if added.skipped is None:  # it was repeated after a lost connection
                self.progress.skipped_rows = None
            else:
                self.progress.skipped_rows += len(added.skipped)
        self.progress.share = batch.read
        self.progress.version = added.version
        self.progress.seconds = time.monotonic() - self._started
        told(self.progress)


async def plan_of(
    db: Client, there: Target, batch_rows: int | None = None, rate: float | None = None
) -> Plan:
    """Return how batches for a collection are cut; see ``cutting.plan``."""
    limits = await db.limits()
    wanted = Wanted(there.metric, there.columns, limits.max_metadata_bytes)
    return plan(there.dim, there.capacity, wanted, limits, batch_rows, rate)


def _keep_freed_memory() -> None:
    """Have glibc keep freed messages for the next ones, not give them back to the system.

    It gives back what is freed at the top of the heap beyond twice the largest block that was ever
    mapped and freed by itself. Without this each batch of 256 KiB faults its pages in anew: 190,000
    page faults a million rows of 128 dimensions and 0.42 s of system time, with it 3,000 and 0.12.
    """
    np.empty(_KEPT_BYTES, np.uint8)


async def known_batches(db: Client, target: Target, producer: str) -> int:
    """Return the number of the last batch of ``producer`` that went in, 0 if none.

    It asks for a number far beyond: that is refused with the one expected, before the rows are
    looked at (PROTOCOL section 4).
    """
    vectors = np.ones((1, target.dim), np.float32)
    ids: list[int] | list[str] | None = {"u64": [0], "str": ["-"]}.get(target.ids)  # type: ignore[assignment]
    try:
        await db.add(target.collection, vectors, ids, producer=producer, batch=MAX_SAFE_INTEGER)
    except OutOfOrder as error:
        expected = error.details.get("expected")
        if isinstance(expected, int):
            return expected - 1
        raise
    raise Internal(f"the server took a batch of {producer!r} that nobody sent")


class _Direct:
    """Batches as they are asked for."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches
        self.is_over = False

    def take(self) -> Batch | None:
        """See Source."""
        batch = next(self._batches, None)
        self.is_over = batch is None
        return batch


class _Ahead:
    """Batches that a thread reads, because reading may wait for ever (a pipe).

    The thread is a daemon: one that waits for a pipe does not keep the process alive.
    """

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches
        self._read: deque[Batch] = deque()
        self._room = threading.Semaphore(_AHEAD)
        self._error: BaseException | None = None
        self._ended = False

    def start(self, news: asyncio.Event) -> None:
        """Begin to read; ``news`` is set when there is something."""
        tell = partial(asyncio.get_running_loop().call_soon_threadsafe, news.set)
        threading.Thread(target=self._run, args=(tell,), daemon=True).start()

    def _run(self, tell: Callable[[], object]) -> None:
        try:
            for batch in self._batches:
                self._room.acquire()
                self._read.append(batch)
                tell()
        except BaseException as error:
            self._error = error
        self._ended = True
        try:
            tell()
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    @property
    def is_over(self) -> bool:
        """See Source."""
        return self._ended and not self._read and self._error is None

    def take(self) -> Batch | None:
        """See Source."""
        ended = self._ended  # before a look at what was read: afterwards nothing comes
        if self._read:
            self._room.release()
            return self._read.popleft()
        if ended and self._error is not None:
            raise self._error
        return None
