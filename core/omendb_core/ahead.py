"""What was admitted to a window and is not applied yet, as far as admission must know it.

An add is admitted whatever is ahead of it. A delete or an update looks rows up, and may do so while
only deletes, updates and expiries are ahead: none of them brings a row, and those that they take
out are known here. Owned by ``window.py``.
"""

from __future__ import annotations

import numpy as np

from .change import Change, DeleteChange, ExpireChange
from .types import U64, Bool1


class Ahead:
    """See the module; everything by the version of its change, and empty as a rule."""

    def __init__(self) -> None:
        self._payload_bytes: dict[int, int] = {}
        self._dying: dict[int, U64] = {}
        self._horizons: dict[int, int] = {}

    @property
    def payload_bytes(self) -> int:
        """Bytes of payloads that come, those that leave for them not counted."""
        return sum(self._payload_bytes.values())

    def admitted(self, change: Change, payload_bytes: int = 0) -> None:
        """A change was admitted that brings so many bytes of payloads."""
        if payload_bytes:
            self._payload_bytes[change.version] = payload_bytes
        if isinstance(change, DeleteChange):
            self._dying[change.version] = change.seqs
        elif isinstance(change, ExpireChange):
            self._horizons[change.version] = change.first_seq

    def applied(self, version: int) -> None:
        """The change of that version is applied."""
        self._payload_bytes.pop(version, None)
        self._dying.pop(version, None)
        self._horizons.pop(version, None)

    def clear(self) -> None:
        """What was admitted will never be applied."""
        self._payload_bytes.clear()
        self._dying.clear()
        self._horizons.clear()

    def is_dying(self, seqs: U64) -> Bool1:
        """Which of these live rows (n,) a change ahead takes out, by its seq."""
        dying = seqs < np.uint64(max(self._horizons.values(), default=0))
        if self._dying:
            dying |= np.isin(seqs, np.concatenate(list(self._dying.values())))
        return dying
