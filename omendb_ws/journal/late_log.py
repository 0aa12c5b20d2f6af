"""A log that was read back and cannot be gone on with yet: the disk is full, or has failed.

What it held is served; changes are refused with what the disk said. The store tries again, on its
thread (``try_again``); from then on everything goes to the log that came of it. All else is called
as ``interface.Log`` says.

Invariant: between a refusal and the ``rewind`` that the engine answers it with, every change is
refused, even if the log is there by then: those behind a refused one must not be in it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from omendb_core.model.change import Change
from omendb_core.model.errors import OmenError
from omendb_core.model.logged import Checkpoint

from .interface import Compaction, Log, LogNumbers, Recovery, Settle


class LateLog:
    """``interface.Log``; see the module.

    ``checkpoint`` is the window's, as it was read; ``remove`` takes the collection out of the
    store.
    """

    def __init__(
        self,
        recovery: Recovery,
        settle: Settle,
        checkpoint: Checkpoint,
        error: OmenError,
        remove: Callable[[], None],
    ) -> None:
        self.stored = recovery.stored
        self.manifest = recovery.manifest
        self._recovery = recovery
        self._settle = settle
        self._checkpoint = checkpoint
        self._why = _as_value(error)
        self._remove = remove
        self._lock = threading.Lock()
        self._log: Log | None = None
        self._is_refusing = False
        self._is_gone = False

    def try_again(self) -> None:
        """Open the log, unless it is gone by now. On the store's thread. OmenError."""
        with self._lock:
            if self._is_gone or self._log is not None:
                return
        log = self._recovery.finish(self._settle)
        with self._lock:
            if not self._is_gone:
                self._log = log
                return
        log.close()

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to try any more."""
        return self._is_gone or self._log is not None

    def fail(self, error: OmenError) -> None:
        """It will not be tried again."""
        self._why = _as_value(error)

    # -- Log --------------------------------------------------------------------------------------

    #: See Log.
    wants_rest = False

    @property
    def has_room(self) -> bool:
        """See Log."""
        return self._log is None or self._log.has_room

    @property
    def error(self) -> OmenError | None:
        """See Log."""
        if self._log is None or self._is_refusing:
            return self._why
        return self._log.error

    def append(self, change: Change, tag: Any) -> None:
        """See Log."""
        if self._log is None or self._is_refusing:
            self._is_refusing = True
            self._settle([tag], self._why)
        else:
            self._log.append(change, tag)

    def rewind(self) -> Checkpoint:
        """See Log."""
        self._is_refusing = False
        return self._checkpoint if self._log is None else self._log.rewind()

    @property
    def compaction(self) -> Compaction | None:
        """See Log."""
        return None if self._log is None else self._log.compaction

    def numbers(self) -> LogNumbers:
        """See Log."""
        if self._log is not None:
            return self._log.numbers()
        return LogNumbers(self._recovery.progress.bytes_total, 0, 0, 0, 0.0, 0)

    def close(self) -> None:
        """See Log."""
        log = self._go()
        if log is not None:
            log.close()

    def drop(self) -> None:
        """See Log."""
        log = self._go()
        if log is not None:
            log.drop()
        else:
            self._remove()

    def _go(self) -> Log | None:
        with self._lock:
            self._is_gone = True
            return self._log


def _as_value(error: OmenError) -> OmenError:
    """The same, without the way that it came: that holds the window, and so would the log."""
    return type(error)(error.message, row=error.row, **error.details)
