"""A collection's stream that is made of live rows: those of a snapshot, or of a window whose own
stream is not what was written.

It begins with the checkpoint of these rows, and they follow as kept rows. Until ``finish`` no
definition leads to it, so it is no collection; what a node that dies leaves of it is taken away.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from omendb_core.model.errors import OmenError, Unavailable
from omendb_core.model.logged import KeptRows

from ..interface import Log, Settle
from .log import StreamLog

#: How often it is looked at whether the log takes anything at all.
_LOOK_SECONDS: Final = 0.5
#: How long it may take nothing: twice what the servers of a stream need to choose who leads it. All
#: restores of a node share a thread, and others wait behind this one.
_STILL_SECONDS: Final = 20.0


class Arrivals:
    """What a log settles: kept rows, before somebody has it; from ``serve`` on that one is told."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._settle: Settle | None = None
        self._error: OmenError | None = None
        self._coming = 0

    def __call__(self, tags: Sequence[Any], error: OmenError | None) -> None:
        """See Settle."""
        with self._condition:
            if self._settle is None:
                self._coming -= len(tags)
                self._error = self._error or error
                self._condition.notify_all()
                return
        self._settle(tags, error)

    def serve(self, settle: Settle) -> None:
        """Somebody has the log: tell ``settle`` from now on."""
        with self._condition:
            self._settle = settle

    def expect(self) -> None:
        """Another one was appended."""
        with self._condition:
            self._coming += 1

    def wait(self, log: Log, *, for_all: bool) -> None:
        """Until the log has room, or has settled all. Raises why it does not; Unavailable where
        nothing of it was settled for long."""
        with self._condition:
            coming, since = self._coming, time.monotonic()
            while True:
                if self._coming != coming:
                    coming, since = self._coming, time.monotonic()
                if time.monotonic() - since > _STILL_SECONDS:
                    raise Unavailable("NATS takes nothing at the moment; try again")
                error = self._error or log.error
                if error is not None:
                    raise Unavailable(error.message)
                if not self._coming if for_all else log.has_room:
                    return
                self._condition.wait(_LOOK_SECONDS)


class StreamReceiving:
    """``interface.Receiving`` over a log that nobody else knows of.

    ``publish`` has a definition lead to it, and waits.
    """

    def __init__(
        self,
        log: StreamLog,
        arrivals: Arrivals,
        publish: Callable[[], None],
    ) -> None:
        self._log: StreamLog | None = log
        self._arrivals = arrivals
        self._publish = publish

    def keep(self, rows: KeptRows) -> None:
        """See Receiving. Unavailable where NATS takes nothing."""
        log = self._open_log()
        self._arrivals.wait(log, for_all=False)
        self._arrivals.expect()
        log.put((rows, rows, rows.vectors.nbytes + rows.times_us.nbytes))

    def finish(self, settle: Settle) -> Log:
        """See Receiving."""
        log = self._open_log()
        self._arrivals.wait(log, for_all=True)
        self._publish()
        self._log = None
        self._arrivals.serve(settle)
        return log

    def abandon(self) -> None:
        """See Receiving."""
        log, self._log = self._log, None
        if log is not None:
            log.drop()

    def _open_log(self) -> StreamLog:
        assert self._log is not None, "it is over"
        return self._log
