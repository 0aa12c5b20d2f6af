"""A log that is made of live rows as they come, and is none before all of them are there.

Until ``finish`` renames it, its directory has the name of one that is being created, so that a
server which stops meanwhile takes it away at its next start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from omendb_core.model.logged import KeptRows

from ..interface import Log, Settle
from .appender import Appender
from .contents import body_of

#: So much is written before it is flushed.
_FLUSH_BYTES: Final = 8 << 20


class LocalReceiving:
    """``interface.Receiving`` over an appender, from any one thread. ``publish`` gives it its
    name; ``remove`` takes it away."""

    def __init__(
        self,
        appender: Appender,
        publish: Callable[[Appender, Settle], Log],
        remove: Callable[[], None],
    ) -> None:
        self._appender: Appender | None = appender
        self._publish = publish
        self._remove = remove

    def keep(self, rows: KeptRows) -> None:
        """See Receiving."""
        assert self._appender is not None, "it is over"
        self._appender.write([(body_of(rows), rows)])
        if self._appender.unflushed_bytes >= _FLUSH_BYTES:
            self._appender.flush()

    def finish(self, settle: Settle) -> Log:
        """See Receiving."""
        assert self._appender is not None, "it is over"
        self._appender.flush()
        self._appender.mark()
        self._appender.flush()
        log = self._publish(self._appender, settle)
        self._appender = None
        return log

    def abandon(self) -> None:
        """See Receiving."""
        appender, self._appender = self._appender, None
        if appender is not None:
            appender.abandon()
            self._remove()
